package decode

import (
	"fmt"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// stackScene is a decoder of three functions: a call, one that returns Go's error,
// and __cxa_throw. Its stacks tell what they were made of.
func stackScene(t *testing.T) (d *Decoder, calls *[]*trace.Call) {
	t.Helper()
	functions := []*trace.Function{
		nil,
		{ID: 1, Name: "call", Language: trace.LangCPP},
		{ID: 2, Name: "fails", Language: trace.LangGo, ExitPlan: &trace.Plan{
			Root:  &trace.Type{Kind: trace.KindStruct, Size: 16, Fields: []trace.Field{{Name: "err", Type: scriptError}}},
			Moves: []trace.Move{{Size: 8, Source: trace.SourceRegister}, {Dst: 8, Size: 8, Source: trace.SourceRegister}},
		}},
		{ID: 3, Name: "__cxa_throw", Role: trace.RoleThrow},
	}
	calls = new([]*trace.Call)
	n := uint64(0)
	return New(Config{
		Function: func(id uint32) *trace.Function { return functions[id] },
		NextID:   func() uint64 { n++; return n },
		Emit:     func(c *trace.Call) bool { *calls = append(*calls, c); return true },
		Stack: func(tgid uint32, raw trace.RawStack) string {
			return fmt.Sprintf("ip %#x registers %d interrupted %v memory %d at %#x returns %d", raw.IP, len(raw.Registers), raw.Interrupted, len(raw.Memory), raw.SP, len(raw.Returns))
		},
	}), calls
}

func record(t *testing.T, d *Decoder, e Event, blocks ...Block) {
	t.Helper()
	e.TGID = 100
	if e.TID == 0 {
		e.TID = 100
	}
	if err := d.Record(appendRecord(nil, &e, blocks...)); err != nil {
		t.Fatal(err)
	}
}

var (
	someRegisters = Block{Type: typeRegisters, Data: make([]byte, 136)}
	someMemory    = Block{Addr: 0x7000, Type: typeStack, Data: make([]byte, 64)}
	someReturns   = Block{Type: typeFrames, Data: make([]byte, 24)}
)

// TestStackOfError holds which calls have which stack.
func TestStackOfError(t *testing.T) {
	d, calls := stackScene(t)
	record(t, d, Event{Kind: EventEntry, Func: 1, TS: 1, Pos: 10, CFA: ^uint64(10)})
	record(t, d, Event{Kind: EventEntry, Func: 1, TS: 2, Pos: 20, CFA: ^uint64(20)})
	record(t, d, Event{Kind: EventEntry, Func: 3, TS: 3, Pos: 30, CFA: ^uint64(30)}, someRegisters, someMemory)
	record(t, d, Event{Kind: EventDeath, TS: 9, Arg: 1 | 6<<8})
	record(t, d, Event{Kind: EventEntry, Func: 2, TS: 10, Pos: 10, Goid: 1})
	record(t, d, Event{Kind: EventExit, Func: 2, TS: 11, Pos: 10, Goid: 1, IP: 0x401000, Root: make([]byte, 16)}, someReturns)
	record(t, d, Event{Kind: EventEntry, Func: 2, TS: 12, Pos: 10, Goid: 1})
	record(t, d, Event{Kind: EventExit, Func: 2, TS: 13, Pos: 10, Goid: 1, IP: 0x401000, Root: append([]byte{1}, make([]byte, 15)...)}, someReturns)
	record(t, d, Event{Kind: EventEntry, Func: 2, TS: 14, Pos: 10, Goid: 1})
	record(t, d, Event{Kind: EventExit, Func: 2, TS: 15, Pos: 10, Goid: 1, IP: 0x401000, Root: append([]byte{1}, make([]byte, 15)...)},
		Block{Type: typeStack, Status: BlockFault})
	thrown := "exception: ip 0x0 registers 136 interrupted false memory 64 at 0x7000 returns 0"
	want := []string{thrown, thrown, "", "ip 0x401000 registers 0 interrupted false memory 0 at 0x0 returns 24", noRoom}
	if len(*calls) != len(want) {
		t.Fatalf("%d calls", len(*calls))
	}
	for i, c := range *calls {
		got := ""
		if c.Err != nil {
			got = c.Err.Stack
			if i < 2 {
				got = c.Err.Type + ": " + got
			}
		}
		if got != want[i] {
			t.Errorf("call %d: %q, want %q", i, got, want[i])
		}
	}
}

// TestSignal holds what is said of the calls of a process that a signal kills,
// and of one that it doesn't.
func TestSignal(t *testing.T) {
	for name, c := range map[string]struct {
		events []Event
		want   map[int]string // by thread: type, message and whether there is a stack
	}{
		"fault": {
			[]Event{{Kind: EventSignal, TID: 101, Arg: 11}, {Kind: EventDeath, TID: 100, Arg: 11 << 8}, {Kind: EventDeath, TID: 101, Arg: 1 | 11<<8}},
			map[int]string{100: "signal SIGSEGV: killed by SIGSEGV in thread 101, false", 101: "signal SIGSEGV: killed by SIGSEGV, true"},
		},
		"killed, untold": {
			[]Event{{Kind: EventDeath, TID: 101, Arg: 9 << 8}, {Kind: EventDeath, TID: 100, Arg: 1 | 9<<8}},
			map[int]string{100: "OPEN", 101: "OPEN"},
		},
		"stopped, told": {
			[]Event{{Kind: EventSignal, TID: 101, Arg: 15}, {Kind: EventDeath, TID: 101, Arg: 15 << 8}, {Kind: EventDeath, TID: 100, Arg: 1 | 15<<8}},
			map[int]string{100: "OPEN", 101: "OPEN"},
		},
		"fault, untold": {
			[]Event{{Kind: EventDeath, TID: 101, Arg: 7 << 8}, {Kind: EventDeath, TID: 100, Arg: 1 | 7<<8}},
			map[int]string{100: "signal SIGBUS: killed by SIGBUS, false", 101: "signal SIGBUS: killed by SIGBUS, false"},
		},
		"survived, then killed by another": {
			[]Event{{Kind: EventSignal, TID: 101, Arg: 15}, {Kind: EventDeath, TID: 100, Arg: 1 | 34<<8}},
			map[int]string{100: "signal 34: killed by 34, false", 101: "signal 34: killed by 34, false"},
		},
		"exit": {
			[]Event{{Kind: EventSignal, TID: 101, Arg: 15}, {Kind: EventDeath, TID: 100, Arg: 1}},
			map[int]string{100: "OPEN", 101: "OPEN"},
		},
	} {
		d, calls := stackScene(t)
		record(t, d, Event{Kind: EventEntry, Func: 1, TS: 1, Pos: 10})
		record(t, d, Event{Kind: EventEntry, Func: 1, TS: 2, Pos: 10, TID: 101})
		for i, e := range c.events {
			e.TS = uint64(10 + i)
			if e.Kind == EventSignal {
				record(t, d, e, someRegisters, someMemory)
			} else {
				record(t, d, e)
			}
		}
		if len(*calls) != 2 {
			t.Errorf("%s: %d calls", name, len(*calls))
		}
		for _, call := range *calls {
			got := call.Status.String()
			if call.Err != nil {
				got = fmt.Sprintf("%s: %s, %v", call.Err.Type, call.Err.Message, call.Err.Stack != "")
			}
			if got != c.want[call.TID] {
				t.Errorf("%s: thread %d: %q, want %q", name, call.TID, got, c.want[call.TID])
			}
		}
	}
}
