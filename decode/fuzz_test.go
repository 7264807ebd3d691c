package decode

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// FuzzParseEvent: whatever the bytes, the parts lie inside of the record.
func FuzzParseEvent(f *testing.F) {
	f.Add(appendRecord(nil, sampleEvent(), text(0x1000, "hello")))
	f.Add(appendRecord(nil, &Event{Kind: EventDeath}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEvent(raw)
		if err != nil {
			return
		}
		total, n := headerSize+len(e.Root), 0
		it := e.Blocks()
		for b, ok := it.Next(); ok; b, ok = it.Next() {
			total += blockHeaderSize + len(b.Data)
			n++
		}
		if total > len(raw) || n > maxBlocks || len(it.rest) != 0 {
			t.Errorf("%d bytes in parts of %d, %d blocks, %d left", total, len(raw), n, len(it.rest))
		}
	})
}

// fuzzTypes has one type of every kind, some of them hostile.
func fuzzTypes() []*trace.Type {
	var types []*trace.Type
	for kind := trace.KindUnknown; kind <= trace.KindVariant+1; kind++ {
		for _, size := range []uint32{0, 1, 4, 8, 16, 24, 100} {
			types = append(types, &trace.Type{Kind: kind, Size: size, LenOff: 8, Elem: pairType, Count: 3, Lang: trace.Language(size % 5), Fields: pairType.Fields, Enum: modes.Enum})
		}
	}
	types = append(types, containerTypes(100)...)
	// Of the wire's blocks, some are objects of these classes, whose vtables lead back to them.
	for id := range uint32(4) {
		class := &trace.Type{ID: 100 + id, Name: "shop::Circle", Kind: trace.KindStruct, Size: 24, Virtual: true, Lang: trace.LangCPP}
		pointer := &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: class, Exact: id == 3, Lang: trace.LangCPP}
		class.Fields = []trace.Field{{Name: "next", Offset: 8, Type: pointer}, {Name: "n", Offset: 16, Type: int32Type}}
		object := &trace.Type{Kind: trace.KindInterface, Size: 16, PtrOff: 8 * (id & 1), LenOff: 8 * (1 - id&1), Head: 8 * id, Trait: "shop::Shape", Lang: trace.LangRust}
		types = append(types, class, pointer, object)
	}
	bad := math.MaxUint32
	return append(types, listType, pairType, colour, scriptErrorString,
		&trace.Type{Kind: trace.KindString, Size: 16, PtrOff: uint32(bad), LenOff: uint32(bad)},
		&trace.Type{Kind: trace.KindSlice, Size: 24, PtrOff: 8, LenOff: uint32(bad) - 3, Elem: listType},
		&trace.Type{Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: byteType},
		&trace.Type{Kind: trace.KindArray, Size: uint32(bad), Count: math.MaxUint64, Elem: listType},
		&trace.Type{Kind: trace.KindArray, Count: math.MaxUint64, Elem: charType},
		&trace.Type{Kind: trace.KindStruct, Name: "time.Time", Lang: trace.LangGo, Size: 24, Fields: []trace.Field{{Name: "wall", Type: int32Type}, {Name: "ext", Offset: uint32(bad), Type: int32Type}}},
		&trace.Type{Kind: trace.KindStruct, Size: 8, Fields: []trace.Field{{Name: "\xff\"", Offset: uint32(bad), Type: int32Type}, {}, {Name: "b", Type: int32Type, BitSize: 255, BitShift: 255}}},
		&trace.Type{Kind: trace.KindPointer, Size: 8, Elem: listType}, scriptThrown, scriptInfo, scriptText)
}

// FuzzValue: whatever the bytes and blocks, a value is bounded, valid JSON.
func FuzzValue(f *testing.F) {
	types := fuzzTypes()
	f.Add(uint16(0), le(0x1000, 2, 2), appendRecord(nil, sampleEvent(), text(0x1000, "hello"), Block{Addr: 0x1000, Type: 30, Want: 8, Data: le(1)}))
	f.Add(uint16(200), le(0x1000), appendRecord(nil, sampleEvent(), Block{Addr: 0x1000, Type: 31, Want: 16, Data: le(1, 0x1000)}))
	for i := range types { // blocks for every container form: each at an address of its own, and leading to the others
		blocks := []Block{text(0x1008, "\x01\x02\xff\x80")}
		for id := range uint32(16) {
			blocks = append(blocks, Block{Addr: 0x1000, Type: 100 + id, Want: 96, Data: le(3, 0x1000, 2, 0x1000, 0x1000, 1, 0, 0, 0x1000, 5, 1, 0x1000)})
		}
		f.Add(uint16(i), le(0x1000, 1, 0, 3, 0x1000, 3), appendRecord(nil, sampleEvent(), blocks...))
		for id := range uint64(4) {
			object := Block{Addr: 0x1000, Type: 100 + uint32(id), Want: 24, Data: le(100+id, 0x1000+8*(id&1), 100+id)}
			if id&1 != 0 {
				object.Data = le(1, 100+id, 0x1008)
			}
			f.Add(uint16(i), le(0x1000+8*(id&1), 100+id), appendRecord(nil, sampleEvent(), object))
		}
	}
	config := Config{
		MaxValue: 4096,
		Symbol:   func(_ uint32, addr uint64) string { return [...]string{"", "go:itab.*a/b.C,error", "f\xff"}[addr%3] },
		Dynamic: func(_ uint32, word uint64, _ bool) (Dynamic, bool) {
			t := types[word%uint64(len(types))]
			name := [...]string{"*errors.errorString", "syscall.Errno", "*fs.PathError", "runtime.boundsError", "*errors.joinError", "*context.valueCtx", "*context.cancelCtx", "context.withoutCancelCtx", "*reflect.rtype", ""}[word%10]
			return Dynamic{Name: name, Type: t, Direct: word&1 != 0}, word%7 != 0
		},
		Vtable: func(_ uint32, address uint64) (Dynamic, bool) {
			if address >= 100 && address < 104 { // the objects' own
				i := slices.IndexFunc(types, func(t *trace.Type) bool { return t.ID == uint32(address) && t.Virtual })
				return Dynamic{Name: "shop::Badge", Type: types[i], Adjust: -8 * int32(address&1)}, true
			}
			t := types[address%uint64(len(types))]
			return Dynamic{Name: [...]string{"shop::Circle", "", "\xff"}[address%3], Type: t, Adjust: -int32(address & 24), Align: uint32(address >> 3)}, address%5 != 0
		},
	}
	config.setDefaults()
	f.Fuzz(func(t *testing.T, which uint16, data, record []byte) {
		e, err := ParseEvent(record)
		if err != nil {
			return
		}
		p := printer{config: &config}
		p.load(&e)
		p.begin(nil)
		typ := types[int(which)%len(types)]
		out := p.value(nil, typ, data)
		if !json.Valid(out) {
			t.Errorf("not JSON: %.500q", out)
		}
		// A string may exceed what was left of the limit.
		if len(out) > config.MaxValue+8*maxData {
			t.Errorf("%d bytes", len(out))
		}
		if typ.Kind == trace.KindVariant {
			p.resultError(typ, data)
		}
		p.errorOf(typ, data)
		p.panicOf(typ, data)
		p.firstText(typ, data, 0)
	})
}

// fuzzFunctions are one function of every role, in Go and in C++, the latter
// with and without uretprobe.
func fuzzFunctions() []*trace.Function {
	functions := []*trace.Function{nil}
	add := func(lang trace.Language, role trace.Role, kind trace.ExitKind, params ...trace.Field) {
		functions = append(functions, &trace.Function{
			ID: uint32(len(functions)), Name: "f", Language: lang, Role: role, Exit: trace.Exit{Kind: kind},
			EntryPlan: planOf(params...), ExitPlan: planOf(trace.Field{Type: scriptError}),
		})
	}
	word := trace.Field{Name: "goid", Type: scriptWord}
	for range 3 {
		add(trace.LangGo, trace.RoleCall, trace.ExitSites, trace.Field{Name: "v", Type: scriptAny})
		add(trace.LangC, trace.RoleCall, trace.ExitSites, trace.Field{Name: "s", Type: scriptText})
		add(trace.LangCPP, trace.RoleCall, trace.ExitReturn)
	}
	for role := trace.RoleGoPanic; role <= trace.RoleGoUncaught; role++ {
		add(trace.LangGo, role, trace.ExitNone, word, trace.Field{Name: "hi", Type: scriptWord}, trace.Field{Name: "fp", Type: scriptWord}, trace.Field{Type: scriptAny})
		add(trace.LangCPP, role, trace.ExitNone, trace.Field{Type: scriptThrown}, trace.Field{Type: scriptInfo})
	}
	return functions
}

// FuzzPairing: whatever the events, every entry makes exactly one call, the
// Decoder's accounts agree, and its limits hold. Three bytes are an event.
func FuzzPairing(f *testing.F) {
	f.Add([]byte{1, 0, 1, 1, 0, 2, 0x81, 0, 2, 0x81, 0, 1})
	f.Add([]byte{1, 0, 1, 1, 0, 2, 10, 0, 3, 1, 0, 4, 0x81, 0, 1, 3, 1, 1, 0x43, 0, 1, 0xc0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		functions := fuzzFunctions()
		var id uint64
		entries := 0
		calls := map[uint64]int{}
		d := New(Config{
			Function: func(id uint32) *trace.Function {
				if int(id) < len(functions) {
					return functions[id]
				}
				return nil
			},
			NextID:    func() uint64 { id++; return id },
			SameStack: func(_ uint32, a, b uint64) bool { return a>>6 == b>>6 },
			Emit: func(c *trace.Call) bool {
				calls[c.ID]++
				if c.Status == trace.StatusErr != (c.Err != nil) || c.DurationNS < 0 || c.Args != nil && !json.Valid(c.Args) {
					t.Errorf("call %+v", c)
				}
				return true
			},
			MaxOpen: 40, MaxOpenPerOwner: 12, MaxOpenBytes: 600,
		})
		ts := uint64(0)
		for ; len(data) >= 3; data = data[3:] {
			e, role := fuzzEvent(data, functions, d)
			ts += uint64(data[1]>>4) * 300_000_000
			e.TS = ts
			if d.Record(appendRecord(nil, &e)) == nil && e.Kind == EventEntry && role == trace.RoleCall {
				entries++
			}
			accounts(t, d)
		}
		d.Close(ts)
		accounts(t, d)
		if len(calls) != entries || d.frames != 0 || len(d.owners) != 0 || len(d.processes) != 0 {
			t.Errorf("%d entries, %d calls; %d frames, %d owners, %d processes are left", entries, len(calls), d.frames, len(d.owners), len(d.processes))
		}
		for id, n := range calls {
			if n != 1 {
				t.Errorf("call %d was emitted %d times", id, n)
			}
		}
	})
}

// fuzzEvent makes an event of three bytes: what and which function; the
// process, thread and goroutine; the position.
func fuzzEvent(b []byte, functions []*trace.Function, d *Decoder) (Event, trace.Role) {
	e := Event{TGID: 1 + uint32(b[1]&1), TID: 1 + uint32(b[1]>>1&1), Goid: uint64(b[1] >> 2 & 3), Pos: uint64(b[2]), CFA: 255 - uint64(b[2]), Root: make([]byte, 40)}
	if b[1]&15 == 15 {
		e.Flags = EventNoG
	}
	for i := range 5 {
		binary.LittleEndian.PutUint64(e.Root[8*i:], uint64(b[i%3]))
	}
	role := trace.RoleCall
	switch what := b[0] & 0x3f; what {
	case 0x3f:
		d.Lost(uint32(b[2])%uint32(len(functions)), uint64(b[1]&1))
		e.Kind, e.Arg = EventDeath, uint64(b[2]&1)|uint64(b[1]>>1&markNone)<<deathInside
	case 0x3e:
		e.Kind, e.Arg = EventFork, 1+uint64(b[2]&3)
	case 0x3d:
		e.Kind = EventExec
	case 0x3c:
		d.ProcessGone(e.TGID, e.TS)
		e.Kind = EventDeath
	default:
		e.Func = uint32(what)%uint32(len(functions)-1) + 1
		role = functions[e.Func].Role
		e.Kind = EventEntry
		switch b[0]&0x40 | b[2]&1 {
		case 0x40:
			e.More = markNone << insideShift
		case 0x41:
			e.More = uint64(markOf(d.now)) << insideShift
		}
		if b[0]&0x80 != 0 {
			e.Kind = EventExit
		}
		if b[0]&0x40 != 0 {
			e.Flags |= EventTail
		}
	}
	return e, role
}

// accounts checks that what the Decoder counts is what there is.
func accounts(t *testing.T, d *Decoder) {
	t.Helper()
	frames, bytes, idle := 0, 0, 0
	for key, o := range d.owners {
		live := 0
		for i := range o.open {
			f := &o.open[i]
			if f.fn == nil {
				t.Fatal("a dead frame is left")
			}
			if f.call != nil {
				live++
				bytes += f.call.size
			}
			if i > 0 && !o.mixed && f.pos < o.open[i-1].pos {
				t.Fatal("positions descend on one stack")
			}
		}
		frames += len(o.open)
		if o.list == &d.idle {
			idle++
		}
		if o.key != key || o.live != live || (o.list == &d.busy) != (live > 0) || len(o.raises) > maxRaises || len(o.spans) > maxSpans {
			t.Fatalf("owner %+v: %d live of %d, %d raises", key, live, o.live, len(o.raises))
		}
		if len(o.open) > d.config.MaxOpenPerOwner {
			t.Fatalf("%d open calls of one owner", len(o.open))
		}
	}
	if frames != d.frames || bytes != d.bytes || idle != d.idleCount || frames > d.config.MaxOpen || bytes > d.config.MaxOpenBytes {
		t.Fatalf("%d frames, counted %d; %d bytes, counted %d; %d idle, counted %d", frames, d.frames, bytes, d.bytes, idle, d.idleCount)
	}
	listed := 0
	for _, p := range d.processes {
		for o := p.owners.head; o != nil; o = o.next[linkProcess] {
			listed++
		}
	}
	if listed != len(d.owners) {
		t.Fatalf("%d owners listed of %d", listed, len(d.owners))
	}
}
