package sites

// inst is an instruction, the same for both instruction sets: where it is and
// where it leads.
type inst struct {
	target uint64 // direct branches: absolute address
	off    int32  // bytes from the start of its piece
	size   uint8
	flow   flow
	cond   int8 // conditional branches: condition code, or condRegister; else Always
	marks  mark
}

// effect is the rest of what choosing sites needs of an instruction.
type effect struct {
	delta   int32  // operand of sp and fp
	slot    int32  // offset of the memory operand from base
	writes  uint32 // bit n: general register n, in the instruction set's numbering
	site    siteClass
	sp      spEffect
	fp      fpEffect
	base    slotBase
	known   bool // writes is complete, and memory is neither written nor faulted on
	pad     bool // fills gaps
	syscall bool
}

type mark uint8

const (
	markOdd   mark = 1 << iota // does not occur in a program that runs: a sign of data
	markData                   // arm64: a literal
	markLabel                  // a direct branch leads here
)

// condRegister is the condition of a branch on a register, which no flags tell.
const condRegister int8 = -2

type flow uint8

const (
	flowNext    flow = iota
	flowJump         // direct, unconditional
	flowCond         // direct, conditional
	flowCall         // direct
	flowRet          //
	flowJumpPtr      // indirect jump
	flowCallPtr      // indirect call
	flowStop         // traps
)

// siteClass is what the kernel does with a probe on the instruction.
type siteClass uint8

const (
	siteStep siteClass = iota
	siteEmulated
	siteNop5    // emulated or rewritten, depending on the kernel
	siteRefused // refused, or accepted and executed wrongly
)

// kind is how the kernel executes the instruction under a probe.
func (s siteClass) kind() Kind {
	switch s {
	case siteEmulated:
		return Emulated
	case siteNop5:
		return Nop5
	}
	return SingleStep
}

// spEffect is how an instruction changes the stack pointer.
type spEffect uint8

const (
	spKeep  spEffect = iota
	spPush           // moves down by delta bytes (up when negative)
	spFrame          // becomes the frame pointer plus delta
	spDrop           // moves down by an amount that isn't known
	spLost
)

// fpEffect is how an instruction changes the frame pointer.
type fpEffect uint8

const (
	fpKeep fpEffect = iota
	fpSet           // becomes the stack pointer plus delta
	fpLost
)

// slotBase is what a memory operand is based on.
type slotBase uint8

const (
	slotNone slotBase = iota
	slotSP
	slotFP
	slotReturn // no memory: the return address is read from its register
)

func (in *inst) end() int32 { return in.off + int32(in.size) }

func (in *inst) is(m mark) bool { return in.marks&m != 0 }

// falls reports whether the next instruction can be executed after this one.
func (in *inst) falls() bool {
	switch in.flow {
	case flowNext, flowCond, flowCall, flowCallPtr:
		return true
	}
	return false
}

// branches reports a direct branch, calls included.
func (in *inst) branches() bool {
	return in.flow == flowJump || in.flow == flowCond || in.flow == flowCall
}
