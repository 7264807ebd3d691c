package types

import "testing"

func TestSignatureCPP(t *testing.T) {
	want := map[string]string{
		"spill":    "(a int@rdi, b unsigned char@rsi, s const char *@rdx, p ns::Point@rcx, pp ns::Point *@r8, d double@in SSE register, e long int@r9, g short int@cfa+0, h int@cfa+8) -> ( int@rax)",
		"large":    "(b ns::Big@cfa+0, m ns::Mix@rsi:in SSE register, d ns::Doubles@in SSE register, p ns::Packed@cfa+48, c ns::Color@rdx) -> ( ns::Big@[rax])",
		"handle":   "(n ns::Handle@[rsi], i __int128@rdx:rcx, ld long double@cfa+0, bits ns::Bits@r8) -> ( ns::Handle@[rax])",
		"mixed":    "(m ns::Mix@rdi:in SSE register) -> ( ns::Mix@rax:in SSE register)",
		"callback": "(cb int (*)(int, char *)@rdi, ctx void *@rsi, argv char **@rdx, z complex float@in SSE register) -> ( long double@in x87 register)",
	}
	for _, flags := range []string{"-O0 -gdwarf-5", "-O2 -gdwarf-4"} {
		t.Run(flags, func(t *testing.T) {
			f := openFile(t, compile(t, "g++ testdata/values/values.cc "+flags))
			for name, want := range want {
				sig, err := f.reader.Signature(f.function(t, name))
				if err != nil {
					t.Fatal(err)
				}
				if got := describe(sig); got != want {
					t.Errorf("%s:\n got %s\nwant %s", name, got, want)
				}
			}
		})
	}
}

func TestSignatureGo(t *testing.T) {
	want := map[string]string{
		"main.blanks":                      "(arg0 int@rax, s string@rbx:rcx, arg2 string@rdi:rsi, b bool@r8) -> (r0 int@rax, r1 error@rbx:rcx)",
		"main.unused":                      "(a int@rax, s string@rbx:rcx, c []int@rdi:rsi:r8) -> (n int@rax)",
		"main.(*box[go.shape.string]).set": "(b *main.box[string]@rax, v string@rcx:rdi, k int@rsi) -> (r0 string@rax:rbx, r1 error@rcx:rdi)",
		"main.generic[go.shape.string]":    "(v string@rbx:rcx, k int@rdi) -> (r0 string@rax:rbx)",
		"main.(*order).process":            "(o *main.order@rax, id uint64@rbx, amount float64@in SSE register, m map[string]int@rcx, c chan int@rdi, f func(int) error@rsi, x interface {}@r8:r9) -> (r0 *main.order@rax, r1 error@rbx:rcx)",
		"main.spill":                       "(a int@rax, b int@rbx, c int@rcx, d int@rdi, e int@rsi, f int@r8, g int@r9, h int@r10, s string@cfa+0, i uint8@r11, j [2]int16@cfa+16) -> (r1 [3]int@cfa+24, r2 string@rax:rbx, r3 int8@rcx)",
		"main.ten":                         "(a int64@rax, b int64@rbx, c int64@rcx, d int64@rdi, e int64@rsi) -> (r0 int64@rax, r1 int64@rbx, r2 int64@rcx, r3 int64@rdi, r4 int64@rsi, r5 int64@r8, r6 int64@r9, r7 int64@r10, r8 string@cfa+0)",
	}
	f := openFile(t, compileGo(t, "", "./testdata/golang"))
	for name, want := range want {
		sig, err := f.reader.Signature(f.function(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(sig); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}
