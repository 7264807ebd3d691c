package sites

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// at is where hand-assembled functions lie.
const at = 0x1000

// code assembles hexadecimal bytes; anything behind a semicolon up to the end of
// its line is a comment.
func code(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, ";")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	raw, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// refusedBecause reports whether err is a refusal for the reason.
func refusedBecause(err error, reason string) bool {
	var r *Refusal
	return errors.As(err, &r) && strings.Contains(r.Reason, reason)
}

func TestEntryAMD64(t *testing.T) {
	const args = 1<<5 | 1<<4 // DWARF: rdi, rsi
	for _, c := range []struct {
		name   string
		code   string
		in     Input
		want   Site
		reason string
	}{
		{"push first", `55; push %rbp
			48 89 e5 5d c3`, Input{}, Site{0, Emulated}, "push %rbp, before the stack pointer moves"},
		{"push of r8 to r15", `41 57 41 5f c3`, Input{}, Site{0, Emulated}, "push %r15"},
		{"push with another REX", `48 55 5d c3`, Input{}, Site{0, SingleStep}, "the stack pointer moves first"},
		{"push of 16 bits", `66 55 66 5d c3`, Input{}, Site{0, SingleStep}, ""},
		{"nop", `90 c3`, Input{}, Site{0, Emulated}, "nop"},
		{"nop5", `0f 1f 44 00 00 c3`, Input{}, Site{0, Nop5}, "nop"},
		{"nop5 is no site behind the first byte", `f3 0f 1e fa 0f 1f 44 00 00 c3`, Input{}, Site{0, SingleStep}, ""},
		{"nop5 is passed", `f3 0f 1e fa 0f 1f 44 00 00 53 5b c3`, Input{}, Site{9, Emulated}, "first emulated instruction, push %rbx"},
		{"endbr64 is passed", `f3 0f 1e fa 55 5d c3`, Input{}, Site{4, Emulated}, "push %rbp"},
		{"conditional jump", `48 85 ff 74 01 c3 c3; test %rdi,%rdi; je`, Input{}, Site{3, Emulated}, "conditional jump"},
		{"jump", `31 c0 eb 01 90 c3; xor %eax,%eax; jmp`, Input{}, Site{2, Emulated}, "jump"},
		{"call", `31 c0 e8 00 10 00 00`, Input{}, Site{2, Emulated}, "call"},
		{"an argument is overwritten", `48 89 f7 55 5d c3; mov %rsi,%rdi`, Input{}, Site{0, SingleStep}, "arguments are overwritten"},
		{"by a byte register", `40 b7 01 55 5d c3; mov $1,%dil`, Input{}, Site{0, SingleStep}, "arguments are overwritten"},
		{"by a high byte register", `b6 01 55 5d c3; mov $1,%dh`, Input{}, Site{0, SingleStep}, "arguments are overwritten"},
		{"by a conditional move", `48 0f 44 fe 55 5d c3; cmove %rsi,%rdi`, Input{}, Site{0, SingleStep}, "arguments are overwritten"},
		{"no argument is overwritten", `48 89 f2 55 5d c3; mov %rsi,%rdx`, Input{ArgsKnown: true, Args: args}, Site{3, Emulated}, "push"},
		{"one is", `48 89 fe 55 5d c3; mov %rdi,%rsi`, Input{ArgsKnown: true, Args: args}, Site{0, SingleStep}, "overwritten"},
		{"the stack pointer moves", `48 83 ec 08 e8 00 10 00 00 48 83 c4 08 c3`, Input{}, Site{0, SingleStep}, "stack pointer moves"},
		{"store through a pointer", `89 37 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"load through a pointer", `8b 07 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"store to the red zone", `89 7c 24 fc 55 5d c3`, Input{}, Site{4, Emulated}, "push"},
		{"store below the red zone", `89 bc 24 00 ff ff ff 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"store to a stack argument", `89 7c 24 08 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"exchange with a stack argument", `48 87 44 24 08 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"load of a stack argument", `8b 44 24 08 55 5d c3`, Input{}, Site{4, Emulated}, "push"},
		{"load of a global", `8b 05 00 01 00 00 55 5d c3`, Input{}, Site{6, Emulated}, "push"},
		{"store to a global", `89 05 00 01 00 00 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"stack protector", `64 48 8b 04 25 28 00 00 00 55 5d c3`, Input{}, Site{9, Emulated}, "push"},
		{"a thread-local pointer", `64 48 8b 00 55 5d c3`, Input{}, Site{0, SingleStep}, "with effects"},
		{"division may trap", `48 f7 f6 55 5d c3`, Input{ArgsKnown: true}, Site{0, SingleStep}, "with effects"},
		{"a loop back to the site", `
			85 ff; test %edi,%edi
			74 04; je +8
			ff cf; dec %edi
			eb fa; jmp +2
			c3`, Input{}, Site{0, SingleStep}, "a loop leads back"},
		{"a loop back behind the site", `
			55; push %rbp
			ff cf; dec %edi
			75 fc; jne +1
			5d c3`, Input{}, Site{0, Emulated}, "push"},
		{"a part branches back before the site", `
			85 ff 55; test %edi,%edi; push
			0f 84 f7 0f 00 00; je to the part
			5d c3`, Input{Parts: []Range{{at + 0x1000, []byte{0xe9, 0xfd, 0xef, 0xff, 0xff}}}}, Site{0, SingleStep}, "a loop leads back"},
		{"a computed jump that can't lead to the entry", `
			85 ff; test %edi,%edi
			55; push %rbp
			ff e7; jmp *%rdi, behind the push
			5d c3`, Input{}, Site{2, Emulated}, "push"},
		{"a computed jump that might", `
			85 ff; test %edi,%edi
			74 08; je +12
			3e ff 24 fd 00 00 40 00; notrack jmp *0x400000(,%rdi,8)
			c3`, Input{}, Site{0, SingleStep}, "computed jump"},
		{"a segment prefix is no site, but passed", `2e 66 0f 1f 84 00 00 00 00 00 55 5d c3`, Input{}, Site{10, Emulated}, "push"},
		{"an address-size prefix is no site, but passed", `67 8d 04 3e 55 5d c3`, Input{}, Site{4, Emulated}, "push"},
		{"behind a locked update", `f0 ff 07 89 f8 c3; lock incl (%rdi)`, Input{}, Site{3, SingleStep}, "first instruction that the kernel can probe"},
		{"return first", `c3`, Input{}, Site{0, SingleStep}, "leaves its straight line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Body = Range{at, code(t, c.code)}
			r, err := Analyze(in)
			if err != nil {
				t.Fatal(err)
			}
			if r.Entry != c.want || !strings.Contains(r.EntryReason, c.reason) {
				t.Errorf("got %+v, %q, want %+v, %q", r.Entry, r.EntryReason, c.want, c.reason)
			}
		})
	}
}

func TestRefusalsAMD64(t *testing.T) {
	const first = "can't probe its first instruction"
	for _, c := range []struct {
		name   string
		code   string
		in     Input
		reason string
	}{
		{"empty", ``, Input{}, "no code"},
		{"empty part", `c3`, Input{Parts: []Range{{at + 16, nil}}}, "no code"},
		{"cut short", `55 48 8b`, Input{}, "can't be decoded to its exact end, from +0x1"},
		{"an unknown instruction", `55 06 c3 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90`, Input{}, "unknown instruction at +0x1"},
		{"XOP", `8f e8 78 c2 ec 0e c3 90 90 90 90 90 90 90 90 90`, Input{}, "unknown instruction"},
		{"REX2", `d5 00 58 c3 90 90 90 90 90 90 90 90 90 90 90 90`, Input{}, "unknown instruction"},
		{"16-bit branch", `66 e9 00 00 00 00 c3 90 90 90 90 90 90 90 90 90`, Input{}, "unknown instruction"},
		{"a branch inside an instruction", `74 01 b8 01 00 00 00 c3`, Input{}, "a branch at +0x0 leads inside"},
		{"a branch past a lock prefix", `74 01 f0 0f b1 0f c3`, Input{}, "leads inside"},
		{"a call inside an instruction", `e8 01 00 00 00 b8 01 00 00 00 c3`, Input{}, "leads inside"},
		{
			"a branch inside a part's instruction", `0f 84 fb 0f 00 00 c3`,
			Input{Parts: []Range{{at + 0x1000, []byte{0xb8, 1, 0, 0, 0, 0xc3}}}},
			"leads inside",
		},
		{"a local subroutine", `e8 01 00 00 00 c3 31 c0 c3`, Input{}, "leads into the function itself"},
		{"runs on past its end", `31 c0`, Input{}, "runs on past its end"},
		{"a conditional jump at its end", `31 c0 74 fc`, Input{}, "runs on past its end"},
		{"a part runs on past its end", `c3`, Input{Parts: []Range{{at + 16, []byte{0x31, 0xc0}}}}, "runs on past its end"},
		{"privileged", `fa c3`, Input{}, "looks like data: a privileged or obsolete instruction at +0x0"},
		{"port", `c3 ec c3`, Input{}, "looks like data"},
		{"interrupt", `c3 cd 80`, Input{}, "looks like data"},
		{"far jump", `c3 ff 2f`, Input{}, "looks like data"},
		{"control register", `c3 0f 20 c0 90 90 90 90 90 90 90 90 90 90 90 90`, Input{}, "unknown instruction"},
		{"a loop by a conditional jump", `85 ff 75 fc c3`, Input{}, "a loop leads back to its first byte"},
		{"a loop by a jump", `85 ff 74 02 eb fa c3`, Input{}, "a loop leads back to its first byte"},
		{
			"a loop by a part", `0f 84 fa 0f 00 00 c3`,
			Input{Parts: []Range{{at + 0x1000, []byte{0xe9, 0xfb, 0xef, 0xff, 0xff}}}},
			"a loop leads back to its first byte",
		},
		{"data in hand-written code", `c3 01 02 c3`, Input{Asm: true}, "nothing leads to +0x1"},
		{"overlapping pieces", `90 90 c3`, Input{Parts: []Range{{at + 2, []byte{0xc3}}}}, "overlap"},
		{"a body inside a part", `c3`, Input{Parts: []Range{{at - 2, []byte{0x90, 0x90, 0x90, 0xc3}}}}, "overlap"},
		{"beyond memory", `c3`, Input{Parts: []Range{{^uint64(0), []byte{0x90, 0xc3}}}}, "beyond the end of memory"},

		{"a locked update that loads", `f0 48 0f c1 3f c3; lock xadd %rdi,(%rdi)`, Input{}, first},
		{"a locked exchange of the stack pointer", `f0 48 0f c1 27 c3`, Input{}, first},
		{"VEX that the kernel takes for a jump", `c5 f9 eb c0 c3; vpor`, Input{}, first},
		{"VEX that the kernel takes for a call", `c5 f9 e8 c0 c3; vpsubsb`, Input{}, first},
		{"VEX that the kernel takes for a nop", `c4 e2 f9 90 04 08 c3; vpgatherdq`, Input{}, first},
		{"vzeroupper", `c5 f8 77 c3`, Input{}, first},
		{"EVEX", `62 f1 fe 48 6f 06 c3`, Input{}, first},
		{"repeated store", `f3 48 ab c3`, Input{}, first},
		{"pushf", `9c 58 c3`, Input{}, first},
		{"xchg that old kernels take for a nop", `49 90 c3`, Input{}, first},
		{"syscall", `0f 05 c3`, Input{}, first},
		{"trap", `0f 0b`, Input{}, first},
		{"int3", `cc`, Input{}, first},
		{"transaction", `c7 f8 00 00 00 00 c3`, Input{}, first},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Body = Range{at, code(t, c.code)}
			r, err := Analyze(in)
			if !refusedBecause(err, c.reason) {
				t.Errorf("got %+v, %v, want %q", r.Entry, err, c.reason)
			}
		})
	}
	if _, err := Analyze(Input{Body: Range{at, make([]byte, MaxCode+1)}}); !refusedBecause(err, "larger than") {
		t.Errorf("too large: %v", err)
	}
	if _, err := Analyze(Input{Arch: 9, Body: Range{at, []byte{0xc3}}}); err == nil {
		t.Error("an unknown instruction set is analysed")
	}
}

// check is a Go function's stack check for each size of frame, and for g in
// thread-local storage, as cmd/internal/obj/x86 emits it. Each jumps to the
// distance that is filled in.
var checks = map[string]string{
	"small":        `49 3b 66 10; cmp 0x10(%r14),%rsp`,
	"system stack": `49 3b 66 18; cmp 0x18(%r14),%rsp`,
	"big":          `4c 8d 64 24 80 4d 3b 66 10; lea -0x80(%rsp),%r12; cmp 0x10(%r14),%r12`,
	"huge": `49 89 e4; mov %rsp,%r12
		49 81 ec 00 00 02 00; sub $0x20000,%r12
		72 FF; jb
		4d 3b 66 10; cmp 0x10(%r14),%r12`,
	"ABI0":                 `64 4c 8b 34 25 f8 ff ff ff 49 3b 66 10; mov %fs:-8,%r14`,
	"position-independent": `4c 8b 35 00 10 00 00 64 4d 8b 36 49 3b 66 10; mov tlsg@gottpoff(%rip),%r14; mov %fs:(%r14),%r14`,
}

// goFunction is a function with a stack check: body behind it, then the block
// that spills an argument, calls morestack at 0x2000 and starts over.
func goFunction(t testing.TB, check, body string) (code_ []byte, start int64) {
	head := code(t, strings.ReplaceAll(check, "FF", "00"))
	head = append(head, 0x76, 0) // jbe
	b := code(t, body)
	block := len(head) + len(b)
	fill := func(i int) { head[i] = byte(block - i - 1) }
	fill(len(head) - 1)
	if i := strings.Index(check, "FF"); i >= 0 {
		fill(len(code(t, check[:i])))
	}
	f := append(head, b...)
	f = append(f, 0x48, 0x89, 0x44, 0x24, 0x08) // mov %rax,8(%rsp)
	call := at + len(f) + 5
	f = append(f, 0xe8)
	f = le32(f, 0x2000-call)
	f = append(f, 0x48, 0x8b, 0x44, 0x24, 0x08) // mov 8(%rsp),%rax
	f = append(f, 0xe9)
	f = le32(f, -len(f)-4)
	return f, int64(len(head))
}

func le32(b []byte, v int) []byte { return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24)) }

func TestEntryGo(t *testing.T) {
	only := func(addr uint64) bool { return addr == 0x2000 }
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			f, start := goFunction(t, check, `55 48 89 e5 5d c3`)
			for _, morestack := range []func(uint64) bool{only, nil} {
				r, err := Analyze(Input{Body: Range{at, f}, Go: true, Morestack: morestack})
				if want := (Site{start, Emulated}); err != nil || r.Entry != want {
					t.Errorf("got %+v, %v, want %+v", r.Entry, err, want)
				}
				if want := "right behind the stack check, push %rbp, before the stack pointer moves"; r.EntryReason != want {
					t.Errorf("reason %q, want %q", r.EntryReason, want)
				}
				if len(r.Exits) != 1 || r.Exits[0].Offset != start+5 {
					t.Errorf("exits %+v", r.Exits)
				}
			}

			// An instruction that isn't emulated: right behind the check, single-stepped.
			f, start = goFunction(t, check, `48 83 ec 18 48 83 c4 18 c3`)
			r, err := Analyze(Input{Body: Range{at, f}, Go: true, Morestack: only})
			if want := (Site{start, SingleStep}); err != nil || r.Entry != want {
				t.Errorf("got %+v, %v, want %+v", r.Entry, err, want)
			}
			// One that may be passed, then a push.
			f, start = goFunction(t, check, `45 31 e4 55 5d c3; xor %r12d,%r12d`)
			r, err = Analyze(Input{Body: Range{at, f}, Go: true, Morestack: only})
			if want := (Site{start + 3, Emulated}); err != nil || r.Entry != want {
				t.Errorf("got %+v, %v, want %+v", r.Entry, err, want)
			}
			// An argument register that System V doesn't have.
			f, start = goFunction(t, check, `31 db 55 5d c3; xor %ebx,%ebx`)
			r, err = Analyze(Input{Body: Range{at, f}, Go: true, Morestack: only})
			if want := (Site{start, SingleStep}); err != nil || r.Entry != want {
				t.Errorf("got %+v, %v, want %+v", r.Entry, err, want)
			}
			// A loop to right behind the check: not once a call.
			f, _ = goFunction(t, check, `ff cb 75 fc c3`)
			if r, err = Analyze(Input{Body: Range{at, f}, Go: true, Morestack: only}); !refusedBecause(err, "loop") {
				t.Errorf("got %+v, %v", r.Entry, err)
			}
			// What is called isn't morestack.
			f, _ = goFunction(t, check, `55 5d c3`)
			r, err = Analyze(Input{Body: Range{at, f}, Go: true, Morestack: func(uint64) bool { return false }})
			if !refusedBecause(err, "a loop leads back to its first byte") {
				t.Errorf("got %+v, %v", r.Entry, err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		r, err := Analyze(Input{Body: Range{at, code(t, `48 8d 04 18 c3`)}, Go: true})
		if err != nil || r.Entry != (Site{0, SingleStep}) {
			t.Errorf("got %+v, %v", r.Entry, err)
		}
	})
}

func TestExitsAMD64(t *testing.T) {
	ret := func(off int64) ExitSite { return ExitSite{Site: Site{off, SingleStep}, Cond: Always} }
	tail := func(off int64, k Kind, cond int8, target uint64) ExitSite {
		return ExitSite{Site: Site{off, k}, Tail: true, Cond: cond, Target: target}
	}
	const ambiguous = "may go to another function or to a part of this one"
	for _, c := range []struct {
		name   string
		code   string
		in     Input
		want   []ExitSite
		reason string
	}{
		{"returns", `74 01 c3 c2 08 00`, Input{}, []ExitSite{ret(2), ret(3)}, ""},
		{"prefixed returns", `74 02 f3 c3 f2 c3`, Input{}, []ExitSite{ret(2), ret(4)}, ""},
		{"a tail call", `e9 fb 0f 00 00`, Input{}, []ExitSite{tail(0, Emulated, Always, 0x2000)}, ""},
		{"a short one", `90 eb 7d`, Input{}, []ExitSite{tail(1, Emulated, Always, at+0x80)}, ""},
		{"a conditional one", `85 ff 0f 85 f8 0f 00 00 c3`, Input{}, []ExitSite{tail(2, Emulated, 5, 0x2000), ret(8)}, ""},
		{"a short conditional one", `85 ff 7e 7c c3`, Input{}, []ExitSite{tail(2, Emulated, 14, at+0x80), ret(4)}, ""},
		{"with a hint", `85 ff 3e 0f 85 f7 0f 00 00 c3`, Input{}, nil, "the kernel can't probe the tail jump at +0x2"},
		{"on a counter", `e2 7e c3`, Input{}, nil, "depends on a register"},
		{"through the GOT", `ff 25 00 10 00 00`, Input{}, []ExitSite{tail(0, SingleStep, Always, 0)}, ""},
		{"through a virtual table", `48 8b 07 ff 60 10`, Input{}, []ExitSite{tail(3, SingleStep, Always, 0)}, ""},
		{"through a loaded pointer", `48 8b 47 08 ff e0`, Input{}, []ExitSite{tail(4, SingleStep, Always, 0)}, ""},
		{
			"through a loaded pointer, after a test", `48 8b 47 08 48 85 c0 74 02 ff e0 c3`,
			Input{},
			[]ExitSite{tail(9, SingleStep, Always, 0), ret(11)},
			"",
		},
		{"through an argument", `31 f6 ff e7`, Input{}, []ExitSite{tail(2, SingleStep, Always, 0)}, ""},
		{"through a moved argument", `48 89 f8 31 ff ff e0`, Input{}, []ExitSite{tail(5, SingleStep, Always, 0)}, ""},
		{"behind an epilogue", `53 48 89 f3 48 8b 04 c7 5b ff e0`, Input{}, []ExitSite{tail(9, SingleStep, Always, 0)}, ""},
		{"a table with the stack moved", `53 ff 24 fd 00 00 40 00 5b c3`, Input{}, []ExitSite{ret(9)}, ""},
		{"a table or an array of functions", `ff 24 fd 00 00 40 00 c3`, Input{}, nil, ambiguous},
		{"a table, Go", `48 8d 0d 00 10 00 00 ff 24 c1 c3`, Input{Go: true}, []ExitSite{ret(10)}, ""},
		{"a marked table", `90 3e ff e0 c3`, Input{}, []ExitSite{ret(4)}, ""},
		{"a relative table", `
			48 8d 15 00 10 00 00; lea table(%rip),%rdx
			48 63 04 ba; movslq (%rdx,%rdi,4),%rax
			48 01 d0; add %rdx,%rax
			ff e0 c3`, Input{}, []ExitSite{ret(16)}, ""},
		{"an unknown target", `48 31 c0 ff e0`, Input{}, nil, ambiguous},
		{"hand-written with the stack moved", `53 ff e0`, Input{Asm: true}, nil, ambiguous},
		{"a pushed target", `50 c3`, Input{}, nil, "leaves with the stack pointer moved"},
		{"a jump out with the stack moved", `53 e9 00 10 00 00`, Input{}, nil, "leaves with the stack pointer moved"},
		{"a jump to the end that is never executed", `53 85 ff 74 05 e8 00 10 00 00 75 02 5b c3`, Input{}, []ExitSite{ret(13)}, ""},
		{"none", `48 83 ec 08 e8 00 10 00 00`, Input{}, nil, ""},
		{"an endless loop", `50 eb fe`, Input{}, nil, ""},
		{
			"in a part", `0f 84 fa 0f 00 00 c3`,
			Input{Parts: []Range{{at + 0x1000, []byte{0x31, 0xc0, 0xc3}}}},
			[]ExitSite{ret(6), ret(0x1002)},
			"",
		},
		{
			"in a part before the body", `0f 84 fa ef ff ff c3`,
			Input{Parts: []Range{{at - 0x1000, []byte{0x31, 0xc0, 0xc3}}}},
			[]ExitSite{ret(-0xffe), ret(6)},
			"",
		},
		{"an aligned frame", `
			55 48 89 e5; push %rbp; mov %rsp,%rbp
			48 83 e4 c0 48 83 ec 40; and $-64,%rsp; sub $64,%rsp
			ff e0; a table
			c9 e9 ec 0f 00 00; leave; jmp 0x2000`, Input{}, []ExitSite{tail(15, Emulated, Always, 0x2000)}, ""},
		{"a variable frame", `
			55 48 89 e5 48 29 fc; sub %rdi,%rsp
			48 8d 65 00 5d; lea 0(%rbp),%rsp; pop %rbp
			48 8b 07 ff 20; mov (%rdi),%rax; jmp *(%rax)`, Input{}, []ExitSite{tail(15, SingleStep, Always, 0)}, ""},
		{"a landing pad", `
			53 e8 00 10 00 00; push %rbx; call
			5b c3
			48 89 c7 e8 00 10 00 00; what the unwinder enters
			5b e9 00 10 00 00`, Input{}, []ExitSite{ret(7), tail(17, Emulated, Always, at+17+5+0x1000)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Body = Range{at, code(t, c.code)}
			r, err := Analyze(in)
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != "" {
				if !strings.Contains(r.ExitReason, c.reason) || len(r.Exits) != 0 || r.NoReturn {
					t.Errorf("got %+v, %q, want %q", r.Exits, r.ExitReason, c.reason)
				}
				return
			}
			if r.ExitReason != "" || len(r.Exits) != len(c.want) || r.NoReturn != (len(c.want) == 0) {
				t.Fatalf("got %+v, %q, want %+v", r.Exits, r.ExitReason, c.want)
			}
			for i := range c.want {
				if r.Exits[i] != c.want[i] {
					t.Errorf("exit %d: got %+v, want %+v", i, r.Exits[i], c.want[i])
				}
			}
		})
	}
}

// TestPartsOnDemand gives a function its cold part when a jump asks for it.
func TestPartsOnDemand(t *testing.T) {
	cold := Range{at + 0x1000, code(t, `31 c0 5b c3`)}
	body := Range{at, code(t, `53 85 ff 0f 84 f7 0f 00 00 5b e9 f1 1f 00 00`)} // je to the part; jmp 0x3000
	asked := map[uint64]bool{}
	in := Input{Body: body, Part: func(target uint64, moved bool) (Range, bool) {
		asked[target] = moved
		return cold, target-cold.Addr < uint64(len(cold.Code))
	}}
	r, err := Analyze(in)
	if err != nil || r.ExitReason != "" {
		t.Fatal(err, r.ExitReason)
	}
	if len(r.Exits) != 2 || r.Exits[0].Target != 0x3000 || r.Exits[1].Offset != 0x1003 {
		t.Errorf("exits %+v", r.Exits)
	}
	if moved, ok := asked[at+0x1000]; !ok || !moved {
		t.Errorf("asked %v", asked)
	}
	if moved, ok := asked[0x3000]; !ok || moved {
		t.Errorf("asked %v", asked)
	}
	// Answers that make no sense are not believed.
	for _, bad := range []Range{{}, body, {at + 0x1000, nil}, {at - 1, make([]byte, 8)}, {0x9000, cold.Code}} {
		in.Part = func(uint64, bool) (Range, bool) { return bad, true }
		if r, err := Analyze(in); err != nil || r.ExitReason == "" {
			t.Errorf("%#x: got %+v, %v", bad.Addr, r.Exits, err)
		}
	}
}

func TestFacts(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    string
		calls   []uint64
		unknown bool
		reads   bool
	}{
		{"calls once each", `53 e8 fa 0f 00 00 e8 f5 0f 00 00 5b e9 ef 1f 00 00`, []uint64{0x2000, 0x3000}, false, false},
		{"itself", `50 e8 fa ff ff ff 58 c3`, []uint64{at}, false, false},
		{"an indirect call", `50 ff d0 58 c3`, nil, true, false},
		{"an indirect tail call", `48 8b 07 ff 20`, nil, true, false},
		{"a jump that may leave", `ff 24 fd 00 00 40 00 c3`, nil, true, false},
		{"a table", `90 3e ff e0 c3`, nil, false, false},
		{"a system call", `90 0f 05 c3`, nil, true, false},
		{"another stack", `50 48 89 fc c3; mov %rdi,%rsp`, nil, true, false},
		{"a missing part", `53 e9 00 10 00 00`, nil, true, false},
		{"its own address", `50 e8 00 00 00 00 58 58 c3`, nil, false, false},
		{"its return address", `48 8b 04 24 c3`, nil, false, true},
		{"behind a push", `53 48 8b 44 24 08 5b c3`, nil, false, true},
		{"by the frame pointer", `55 48 89 e5 48 8b 45 08 5d c3`, nil, false, true},
		{"a saved register", `53 48 8b 04 24 5b c3`, nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Analyze(Input{Body: Range{at, code(t, c.code)}})
			if err != nil {
				t.Fatal(err)
			}
			same := len(r.Calls) == len(c.calls)
			for i := range c.calls {
				same = same && r.Calls[i] == c.calls[i]
			}
			if !same || r.UnknownCalls != c.unknown || r.ReadsReturn != c.reads {
				t.Errorf("got %#x, unknown %v, reads %v", r.Calls, r.UnknownCalls, r.ReadsReturn)
			}
		})
	}
}
