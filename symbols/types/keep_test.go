package types

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestReturnsAddress(t *testing.T) {
	cases := []struct {
		name, asm string
		want      bool
	}{
		{"at once", "mov %rdi, %rax; ret", true},
		{"in a saved register", "push %rbx; mov %rdi, %rbx; call *%rsi; mov %rbx, %rax; pop %rbx; ret", true},
		{"in a stack slot", "sub $24, %rsp; mov %rdi, 8(%rsp); call *%rsi; mov 8(%rsp), %rax; add $24, %rsp; ret", true},
		{"in a frame", "push %rbp; mov %rsp, %rbp; sub $32, %rsp; mov %rdi, -8(%rbp); call *%rsi; mov -8(%rbp), %rax; leave; ret", true},
		{"on both ways", "test %rsi, %rsi; je 1f; mov %rdi, %rax; ret; 1: mov %rdi, %rax; ret", true},
		{"in a loop", "mov %rdi, %rax; 1: dec %rsi; jne 1b; ret", true},
		{"not at all", "mov %rsi, (%rdi); mov $7, %eax; ret", false},
		{"on one way only", "test %rsi, %rsi; je 1f; mov %rdi, %rax; 1: ret", false},
		{"lost to a call", "mov %rdi, %rax; call *%rsi; ret", false},
		{"lost to a narrow write", "mov %rdi, %rax; mov $1, %al; ret", false},
		{"lost to a division", "mov %rdi, %rax; mov $1, %edx; div %rsi; ret", false},
		{"its slot overwritten", "sub $24, %rsp; mov %rdi, 8(%rsp); movl $0, 12(%rsp); mov 8(%rsp), %rax; add $24, %rsp; ret", false},
		{"another slot", "sub $24, %rsp; mov %rdi, 8(%rsp); mov 16(%rsp), %rax; add $24, %rsp; ret", false},
		{"after an unknown jump", "mov %rdi, %rax; jmp *%rsi", false},
		{"only the lower half", "mov %edi, %eax; ret", false},
		{"nothing", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := returnsAddress(assemble(t, c.asm)); got != c.want {
				t.Errorf("returnsAddress(%s) = %v", c.asm, got)
			}
		})
	}
}

// TestSpills holds what is seen of the registers that a function stores first.
func TestSpills(t *testing.T) {
	for _, c := range []struct {
		asm  string
		want []spill
	}{
		{"sub $0x28, %rsp; mov %rdi, 0x10(%rsp); mov 0x10(%rsp), %rax; mov %rax, 8(%rsp); mov %esi, 0x24(%rsp); ret", []spill{{-0x18, 8, 5}, {-0x20, 8, 5}, {-4, 4, 4}}},
		{"push %rbp; mov %rsp, %rbp; mov %edx, -4(%rbp); mov %cl, -5(%rbp); mov %r8, -16(%rbp); ret", []spill{{-12, 4, 1}, {-13, 1, 2}, {-24, 8, 8}}},
		{"mov %rsi, %rax; mov %rdx, %rsi; mov %rsi, -8(%rsp); mov %rax, -16(%rsp); ret", []spill{{-8, 8, 1}, {-16, 8, 4}}},
		{"mov %rdi, -8(%rsp); movl $1, -4(%rsp); add $1, %rsi; mov %rsi, -16(%rsp); ret", nil},
		{"mov %rdi, -8(%rsp); call *%rsi; mov %rdx, -16(%rsp)", []spill{{-8, 8, 5}}},
		{"mov %rdi, (%rsi); cmp %rdi, %rsi; mov %rsi, -8(%rsp); ret", []spill{{-8, 8, 4}}},
	} {
		var s spiller
		if s.follow(assemble(t, c.asm)); !slices.Equal(s.spills, c.want) {
			t.Errorf("%s: %v, want %v", c.asm, s.spills, c.want)
		}
	}
}

// assemble returns the machine code of AT&T assembly.
func assemble(t *testing.T, asm string) []byte {
	t.Helper()
	dir := t.TempDir()
	source, object, raw := filepath.Join(dir, "a.s"), filepath.Join(dir, "a.o"), filepath.Join(dir, "a.bin")
	if err := os.WriteFile(source, []byte(asm+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "as", source, "-o", object)
	run(t, "objcopy", "-O", "binary", "-j", ".text", object, raw)
	code, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func FuzzReturnsAddress(f *testing.F) {
	f.Add([]byte{0x48, 0x89, 0xf8, 0xc3})
	f.Add([]byte{0x53, 0x48, 0x89, 0xfb, 0xff, 0xd6, 0x48, 0x89, 0xd8, 0x5b, 0xc3})
	f.Fuzz(func(_ *testing.T, code []byte) { returnsAddress(code) })
}
