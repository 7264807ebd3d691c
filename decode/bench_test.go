package decode

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// benchDecoder makes a decoder of one function, and the records of one call of it.
func benchDecoder(lang trace.Language, args, results []trace.Field, entry, exit Event, blocks ...Block) (d *Decoder, enter, leave []byte) {
	f := &trace.Function{ID: 1, Name: "main.process", Language: lang, EntryPlan: planOf(args...), ExitPlan: planOf(results...)}
	var id uint64
	d = New(Config{
		Function: func(uint32) *trace.Function { return f },
		Process:  func(uint32) *trace.Process { return &trace.Process{PID: 100} },
		Thread:   func(_, _ uint32) string { return "main" },
		NextID:   func() uint64 { id++; return id },
		Emit:     func(*trace.Call) bool { return true },
	})
	for _, e := range []*Event{&entry, &exit} {
		e.Func, e.TGID, e.TID, e.Pos, e.CFA = 1, 100, 100, 4096, 1<<40
	}
	entry.Kind, exit.Kind = EventEntry, EventExit
	entry.TS, exit.TS = 1000, 2000
	return d, appendRecord(nil, &entry, blocks...), appendRecord(nil, &exit)
}

func benchRecords(b *testing.B, d *Decoder, enter, leave []byte) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := d.Record(enter); err != nil {
			b.Fatal(err)
		}
		if err := d.Record(leave); err != nil {
			b.Fatal(err)
		}
		n += 2
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkScalars(b *testing.B) {
	integer := &trace.Type{Name: "int", Kind: trace.KindInt, Size: 8}
	d, enter, leave := benchDecoder(trace.LangC,
		[]trace.Field{{Name: "id", Type: integer}, {Name: "amount", Type: integer}, {Name: "flags", Type: integer}},
		[]trace.Field{{Type: integer}},
		Event{Root: make([]byte, 24)}, Event{Root: make([]byte, 8)})
	benchRecords(b, d, enter, leave)
}

func BenchmarkGoString(b *testing.B) {
	root := make([]byte, 16)
	binary.LittleEndian.PutUint64(root, 0x1000)
	binary.LittleEndian.PutUint64(root[8:], 24)
	d, enter, leave := benchDecoder(trace.LangGo,
		[]trace.Field{{Name: "name", Type: scriptString}}, []trace.Field{{Name: "~r0", Type: scriptError}},
		Event{Goid: 7, Root: root}, Event{Goid: 7, Root: make([]byte, 16)},
		Block{Addr: 0x1000, Type: typeBytes, Want: 24, Data: []byte("an order of twelve books")})
	benchRecords(b, d, enter, leave)
}

// BenchmarkGoroutines pairs calls of ever new goroutines, many open at a time.
func BenchmarkGoroutines(b *testing.B) {
	d, enter, leave := benchDecoder(trace.LangGo, nil, nil, Event{}, Event{})
	const open = 1000
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		binary.LittleEndian.PutUint64(enter[offGoid:], n+open+1)
		binary.LittleEndian.PutUint64(leave[offGoid:], n+1)
		if d.Record(enter) != nil || n >= open && d.Record(leave) != nil {
			b.Fatal("record")
		}
		n++
	}
	b.ReportMetric(float64(2*n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRedaction shows what looking for secrets costs: a text of the length at which
// texts are cut, and a structure.
func BenchmarkRedaction(b *testing.B) {
	page := strings.Repeat("it was the best of times, ", 10)[:256]
	order := structType(50, trace.Field{Name: "Name", Type: scriptString}, trace.Field{Name: "Total", Offset: 16, Type: scriptInt})
	root := le(0x1000, 256, 0x2000)
	for name, off := range map[string]bool{"on": false, "off": true} {
		b.Run(name, func(b *testing.B) {
			d, enter, leave := benchDecoder(trace.LangGo,
				[]trace.Field{{Name: "text", Type: scriptString}, {Name: "order", Type: pointerTo(order)}}, []trace.Field{{Name: "~r0", Type: scriptError}},
				Event{Goid: 7, Root: root}, Event{Goid: 7, Root: make([]byte, 16)},
				Block{Addr: 0x1000, Type: typeBytes, Want: 256, Data: []byte(page)},
				Block{Addr: 0x2000, Type: 50, Want: 24, Data: le(0x1000, 24, 77)})
			d.config.ShowSecrets = off
			benchRecords(b, d, enter, leave)
		})
	}
}
