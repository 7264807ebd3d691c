package sites

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Arch is an instruction set.
type Arch uint8

// The instruction sets that are understood.
const (
	AMD64 Arch = iota
	ARM64
)

// MaxCode is the most bytes that one function's pieces may have together. It
// bounds what a forged symbol size can cost: about 100 bytes of memory a byte.
const MaxCode = 1 << 20

// Range is one contiguous piece of a function.
type Range struct {
	Addr uint64 // virtual address of the first byte
	Code []byte // not kept, not modified
}

// Input is one function.
type Input struct {
	Arch Arch
	// Body is the main piece; its first byte is the function's entry.
	Body Range
	// Parts are further pieces (gcc's .cold).
	Parts []Range
	// Part is asked where a jump out of all pieces leads: it returns the piece
	// of this function that contains target, or false when target is another
	// function. moved says that the stack pointer is not what it was at entry,
	// so that it can't be a tail call. For programs without a symbol table: the
	// unwind information (.eh_frame) tells the pieces; a jump into the middle of
	// one that no symbol names, into one whose frame address at its start is not
	// a function's, and any that has moved, leads to a part. Nil: every jump out
	// is to another function. Not used for Go.
	Part func(target uint64, moved bool) (Range, bool)
	// Go selects Go's conventions: its argument registers, and the stack check,
	// behind which the entry site lies.
	Go bool
	// Asm says that no compiler made this code: bytes that nothing reaches may
	// be data, and are refused. Set it too where the source language isn't known.
	Asm bool
	// Unwinder says that computed jumps go on in another function's frame, which has been looked for: gcc's eh_return.
	Unwinder bool
	// Morestack tells the addresses of runtime.morestack and its variants. Nil:
	// any call that the stack check leads to is taken for it. Go only.
	Morestack func(addr uint64) bool
	// Args has bit n set when DWARF register n carries an argument of this
	// function. It counts only with ArgsKnown; without it every register that
	// the convention can pass an argument in is taken for one.
	Args      uint32
	ArgsKnown bool
}

// Kind is how the kernel executes the probed instruction. The order is that of cost.
type Kind uint8

// The kinds.
const (
	Nop5       Kind = iota // a 5-byte nop at the first byte: rewritten to a call since Linux 6.18
	Emulated               // emulated in the trap handler
	SingleStep             // executed out of line, with a second trap
)

// Site is one instruction to be probed.
type Site struct {
	Offset int64 // bytes from Input.Body.Addr; may be negative in a part
	Kind   Kind
}

// Always is the Cond of an exit site that leaves whenever it is executed.
const Always int8 = -1

// ExitSite is an instruction through which a function is left. When it is
// executed the stack pointer is what it was at entry.
type ExitSite struct {
	Site
	// Tail marks a jump to another function, which returns in this one's place.
	Tail bool
	// Cond is the condition under which a conditional tail jump is taken: the
	// low nibble of the jcc opcode on amd64, of B.cond on arm64; or Always.
	Cond int8
	// Target is the absolute address of a direct tail jump, 0 otherwise.
	Target uint64
}

// Result says how a function can be probed.
type Result struct {
	Entry Site
	// EntryReason is why Entry was chosen, for an operator.
	EntryReason string
	// Exits are all the ways out, sorted by offset. It is empty when there are
	// none (NoReturn) and when ExitReason says why they can't be probed. An exit
	// may be the same instruction as Entry.
	Exits      []ExitSite
	ExitReason string
	// NoReturn: no instruction leaves the function.
	NoReturn bool

	// Calls are the absolute addresses that are called or tail-jumped to
	// directly, sorted, without duplicates. Empty for Go.
	Calls []uint64
	// UnknownCalls: may call what Calls does not tell: through a pointer, into the
	// kernel (where a thread can be cancelled), or from a part that is missing.
	UnknownCalls bool
	// ReadsReturn: uses its own return address, which a uretprobe replaces.
	ReadsReturn bool
}

// Refusal is the error of a function that must not be probed.
type Refusal struct {
	Reason string // a short phrase, for an operator
}

// Error gives the reason.
func (r *Refusal) Error() string { return "refuse function: " + r.Reason }

func refuse(format string, args ...any) error {
	return &Refusal{Reason: fmt.Sprintf(format, args...)}
}

var errArch = errors.New("analyze function: unknown instruction set")

// Analyze chooses a function's probe sites. The error is a *Refusal when the
// code does not allow probing; ways out that can't be probed while the entry
// can are told in Result.ExitReason instead.
func Analyze(in Input) (Result, error) {
	if in.Arch > ARM64 {
		return Result{}, errArch
	}
	f, err := flowOf(&in)
	if err != nil {
		return Result{}, err
	}
	f.classifyJumps()
	var r Result
	if err := f.chooseEntry(&r); err != nil {
		return Result{}, err
	}
	f.findExits(&r)
	f.collectFacts(&r)
	return r, nil
}

// maxParts bounds how many parts Input.Part may add.
const maxParts = 16

// flowOf decodes a function and follows its jumps and its stack, asking for
// parts until none is missing.
func flowOf(in *Input) (*function, error) {
	in.Parts = slices.Clip(in.Parts)
	for asked := map[uint64]bool{}; ; {
		f := &function{in: in}
		for _, step := range []func() error{f.sweep, f.link, f.reach} {
			if err := step(); err != nil {
				return nil, err
			}
		}
		if len(f.jumps) > 0 || !in.Go {
			f.trackStack()
		}
		if in.Go || in.Part == nil || !f.addPart(asked) {
			return f, nil
		}
	}
}

// addPart asks where the jumps out lead, once for each target, and reports
// whether that brought a new part. Lower targets come first: a jump to the end of
// a part shows as such only once the part is there.
func (f *function) addPart(asked map[uint64]bool) bool {
	jumps := slices.Clone(f.jumps)
	slices.SortFunc(jumps, func(a, b jump) int { return cmp.Compare(f.at(a.at).target, f.at(b.at).target) })
	for _, j := range jumps {
		to := f.at(j.at).target
		if f.at(j.at).flow == flowJumpPtr || f.toEnd(j.at) || asked[to] || len(f.in.Parts) >= maxParts {
			continue
		}
		asked[to] = true
		r, ok := f.in.Part(to, nonZero(f.state(j.at).depth))
		if ok && to-r.Addr < uint64(len(r.Code)) && !f.overlaps(r) {
			f.in.Parts = append(f.in.Parts, r)
			return true
		}
	}
	return false
}

func (f *function) overlaps(r Range) bool {
	for _, o := range append(f.in.Parts, f.in.Body) {
		if r.Addr-o.Addr < uint64(len(o.Code)) || o.Addr-r.Addr < uint64(len(r.Code)) {
			return true
		}
	}
	return false
}
