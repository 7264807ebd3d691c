package decode

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// structOf reads a struct of bpf/event.h: the offset of each member, and the size.
func structOf(t *testing.T, source, name string) (map[string]int, int) {
	t.Helper()
	_, body, ok := strings.Cut(source, "struct "+name+" {\n")
	body, _, ok2 := strings.Cut(body, "\n};")
	if !ok || !ok2 {
		t.Fatalf("no struct %s", name)
	}
	sizes := map[string]int{"__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8}
	offsets, at := map[string]int{}, 0
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) (\w+);`).FindAllStringSubmatch(body, -1) {
		size := sizes[m[1]]
		if size == 0 || at%size != 0 {
			t.Fatalf("struct %s: member %s is not as wide as known, or not aligned", name, m[0])
		}
		offsets[m[2]] = at
		at += size
	}
	return offsets, at
}

// TestLayout compares the offsets and numbers here with bpf/event.h.
func TestLayout(t *testing.T) {
	raw, err := os.ReadFile("../bpf/event.h")
	if err != nil {
		t.Fatal(err)
	}
	source := string(raw)
	compare := func(name string, size int, here map[string]int) {
		there, n := structOf(t, source, name)
		if n != size {
			t.Errorf("struct %s has %d bytes, not %d", name, n, size)
		}
		if len(there) != len(here) {
			t.Errorf("struct %s has members %v, known are %v", name, there, here)
		}
		for member, off := range here {
			if there[member] != off {
				t.Errorf("struct %s: %s is at %d, not %d", name, member, there[member], off)
			}
		}
	}
	compare("event", headerSize, map[string]int{
		"size": offSize, "kind": offKind, "flags": offFlags, "root": offRoot, "func": offFunc, "missed": offMissed, "tgid": offTGID,
		"tid": offTID, "ts": offTS, "goid": offGoid, "pos": offPos, "ip": offIP, "cfa": offCFA, "arg": offArg,
		"minor": offMinor, "major": offMajor, "switches": offSwitches, "rss": offRSS, "more": offMore,
	})
	compare("block", blockHeaderSize, map[string]int{
		"addr": offBlockAddr, "type": offBlockType, "len": offBlockLen, "status": offBlockStatus, "want": offBlockWant,
	})
	for name, value := range map[string]int{
		"MAX_DATA": maxData, "MAX_MOVES": maxMoves, "MAX_BLOCKS": maxBlocks, "MAX_BLOCK": maxRoot, "TYPE_BYTES": typeBytes,
		"TYPE_REGISTERS": typeRegisters, "TYPE_STACK": typeStack, "TYPE_FRAMES": typeFrames, "TYPE_ERRNO": typeErrno, "MAX_RECORD": maxRecord,
		"EVENT_ENTRY": int(EventEntry), "EVENT_EXIT": int(EventExit), "EVENT_FORK": int(EventFork), "EVENT_EXEC": int(EventExec), "EVENT_DEATH": int(EventDeath), "EVENT_SIGNAL": int(EventSignal),
		"EVENT_TAIL": int(EventTail), "EVENT_URETPROBE": int(EventUretprobe), "EVENT_TRUNCATED": int(EventTruncated), "EVENT_NO_G": int(EventNoG),
		"EVENT_NO_CPU": int(EventNoCPU), "EVENT_NO_RSS": int(EventNoRSS), "EVENT_LATE": int(EventLate), "EVENT_DEAD": int(EventDead),
		"MORE_INSIDE": insideShift, "MARK_NONE": markNone, "DEATH_INSIDE": deathInside,
		"STACK_ROOM": stackRoom, "STACK_BUDGET": stackBudget, "ERRNO_PLACE": int(errnoPlace), "ERRNO_MEMORY": int(errnoMemory), "ERRNO_SEVERAL": int(errnoSeveral),
		"BLOCK_OK": int(BlockOK), "BLOCK_FAULT": int(BlockFault), "BLOCK_CUT": int(BlockCut),
	} {
		m := regexp.MustCompile(name + `(?: =)? (\d+)`).FindStringSubmatch(source)
		if m == nil || m[1] != strconv.Itoa(value) {
			t.Errorf("%s is %v, not %d", name, m, value)
		}
	}
}

func sampleEvent() *Event {
	return &Event{
		Kind: EventEntry, Flags: EventTruncated, Func: 7, Missed: 5, TGID: 100, TID: 101, TS: 12345, Goid: 9, Pos: 64, IP: 0x401000, CFA: 0xc000, Arg: 1 << 63,
		Usage: Usage{CPU: 1 << 63, Minor: 2, Major: 3, Switches: 4, RSS: 1 << 31}, More: readLate | 5,
		Root: []byte("sixteen bytes 16"),
	}
}

func TestParseEvent(t *testing.T) {
	blocks := []Block{{Addr: 0x1000, Type: 1, Want: 5, Data: []byte("hello")}, {Addr: 1, Type: 7, Status: BlockFault, Want: 16}, text(0x3000, "")}
	raw := appendRecord(nil, sampleEvent(), blocks...)
	e, err := ParseEvent(raw)
	if err != nil {
		t.Fatal(err)
	}
	if string(appendRecord(nil, &e, blocks...)) != string(raw) {
		t.Errorf("read back as %+v", e)
	}
	it := e.Blocks()
	for _, want := range blocks {
		b, ok := it.Next()
		if !ok || b.Addr != want.Addr || b.Type != want.Type || b.Status != want.Status || b.Want != want.Want || string(b.Data) != string(want.Data) {
			t.Errorf("block %+v, want %+v", b, want)
		}
	}
	if _, ok := it.Next(); ok {
		t.Error("a block too many")
	}
	if n := testing.AllocsPerRun(100, func() {
		e, err := ParseEvent(raw)
		it := e.Blocks()
		for _, ok := it.Next(); ok; _, ok = it.Next() {
		}
		if err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestParseMalformed: every cut and every length that leaves the record is an error.
func TestParseMalformed(t *testing.T) {
	good := appendRecord(nil, sampleEvent(), text(0x1000, "hello"))
	block := headerSize + 16
	for name, change := range map[string]func(b []byte) []byte{
		"empty":                  func([]byte) []byte { return nil },
		"short header":           func(b []byte) []byte { return b[:headerSize-1] },
		"size beyond the record": func(b []byte) []byte { b[offSize]++; return b },
		"size of no header":      func(b []byte) []byte { b[offSize] = headerSize - 8; return b },
		"size far too large":     func(b []byte) []byte { b[offSize+3] = 0xff; return b },
		"bytes behind":           func(b []byte) []byte { return append(b, make([]byte, 8)...) },
		"root beyond the record": func(b []byte) []byte { b[offRoot] = 0xf8; return b },
		"root not padded":        func(b []byte) []byte { b[offRoot] = 15; return b },
		"kind 0":                 func(b []byte) []byte { b[offKind] = 0; return b },
		"kind 7":                 func(b []byte) []byte { b[offKind] = 7; return b },
		"block too long":         func(b []byte) []byte { b[block+offBlockLen] = 9; return b },
		"block far too long":     func(b []byte) []byte { b[block+offBlockLen+3] = 0xff; return b },
		"block header cut":       func(b []byte) []byte { b[offSize] -= 16; return b[:len(b)-16] },
		"too many blocks": func([]byte) []byte {
			return appendRecord(nil, sampleEvent(), make([]Block, maxBlocks+otherBlocks+1)...)
		},
	} {
		raw := change(append([]byte(nil), good...))
		if e, err := ParseEvent(raw); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	// The last block's padding may be missing.
	raw := append([]byte(nil), good[:len(good)-3]...)
	raw[offSize] -= 3
	if _, err := ParseEvent(raw); err != nil {
		t.Error(err)
	}
}
