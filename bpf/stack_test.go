package bpf

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// maxStack is the most stack, in bytes, that a function of a uprobe program may
// use: the kernel rounds up to 16, and from 64 (BPF_PRIV_STACK_MIN_SIZE) on puts
// it where another thread that hits a probe on the same processor finds it, too.
const maxStack = 48

// TestStack guards against values of one call in the events of another, and
// worse: two threads had one stack when one preempted the other inside of a probe.
func TestStack(t *testing.T) {
	spec, err := loadProbe()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"hit"} {
		used := stackUse(spec.Programs[program].Instructions)
		if used[program] == 0 || len(used) < 8 {
			t.Errorf("%s: not all of its functions are seen: %v", program, used)
		}
		for function, n := range used {
			if n > maxStack {
				t.Errorf("%s: %s uses %d bytes of stack, of at most %d", program, function, n, maxStack)
			}
		}
	}
}

// stackUse is how far below the frame pointer each function reaches.
func stackUse(program asm.Instructions) map[string]int64 {
	used := map[string]int64{}
	function := ""
	based := map[asm.Register]bool{} // registers that hold the frame pointer
	for _, in := range program {
		if name := in.Symbol(); name != "" {
			if _, seen := used[name]; !seen {
				used[name] = 0
			}
			function = name
		}
		switch op := in.OpCode; {
		case op.Class().IsLoad() && in.Src == asm.RFP, op.Class().IsStore() && in.Dst == asm.RFP:
			used[function] = max(used[function], -int64(in.Offset))
		case op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && op.Class() == asm.ALU64Class:
			based[in.Dst] = in.Src == asm.RFP
		case op.ALUOp() == asm.Add && op.Source() == asm.ImmSource && based[in.Dst]:
			used[function] = max(used[function], -in.Constant)
		}
	}
	return used
}
