// A function of the same name as one in another file.
__attribute__((noinline)) static int twin(int a) { return a * 2; }

// An assembly function whose symbol has no size, and one that is none.
__asm__(".text\n"
	".globl unsized\n"
	".type unsized, @function\n"
	"unsized: ret\n"
	".globl sized\n"
	".type sized, @function\n"
	"sized: push %rbx\n pop %rbx\n ret\n"
	".size sized, .-sized\n"
	"untyped: ret\n");

int other_twin(int a) { return twin(a) + twin(a + 1); }
