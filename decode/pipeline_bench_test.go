package decode

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// stream is records as the ring buffer delivers them, of calls that have all ended.
type stream struct {
	functions []*trace.Function // by id
	records   [][]byte
	calls     int
	ts        uint64
}

func (s *stream) function(f *trace.Function) {
	if len(s.functions) == 0 {
		s.functions = []*trace.Function{nil}
	}
	f.ID = uint32(len(s.functions))
	s.functions = append(s.functions, f)
}

func (s *stream) add(kind EventKind, f *trace.Function, e Event, blocks ...Block) {
	s.ts += 1000
	e.Kind, e.Func, e.TGID, e.TS = kind, f.ID, 100, s.ts
	e.Usage = Usage{CPU: -s.ts / 2, RSS: 1000}
	s.records = append(s.records, appendRecord(nil, &e, blocks...))
	if kind == EventExit {
		s.calls++
	}
}

// at is an event at so many bytes below the upper end of an owner's stack.
func at(thread, goroutine, depth uint64, root []byte) Event {
	e := Event{TID: uint32(100 + thread), Goid: goroutine, Root: root}
	if goroutine > 0 {
		e.CFA, e.Pos = goroutine<<20-depth, depth
	} else {
		e.CFA = thread<<24 - depth
		e.Pos = ^e.CFA
	}
	return e
}

// addScalars adds calls of C functions with three integers, nested, on four threads.
func (s *stream) addScalars(n int) {
	integer := &trace.Type{Name: "int", Kind: trace.KindInt, Size: 4}
	long := &trace.Type{Name: "long", Kind: trace.KindInt, Size: 8}
	three := planOf(trace.Field{Name: "id", Type: long}, trace.Field{Name: "amount", Type: long}, trace.Field{Name: "flags", Type: integer})
	outer := &trace.Function{Name: "settle", Language: trace.LangC, EntryPlan: three, ExitPlan: planOf(trace.Field{Type: integer})}
	inner := &trace.Function{Name: "fee", Language: trace.LangC, EntryPlan: three, ExitPlan: planOf(trace.Field{Type: long})}
	s.function(outer)
	s.function(inner)
	for i := range uint64(n) {
		for thread := range uint64(4) {
			s.add(EventEntry, outer, at(thread, 0, 64, le(100_000+i, 4950, 3)))
		}
		for range 3 {
			for thread := range uint64(4) {
				s.add(EventEntry, inner, at(thread, 0, 128, le(i, 4950, 1)))
				s.add(EventExit, inner, at(thread, 0, 128, le(99)))
			}
		}
		for thread := range uint64(4) {
			s.add(EventExit, outer, at(thread, 0, 64, le(0)))
		}
	}
}

// addStructures adds calls of Go functions with texts and structures, nested, of eight
// goroutines on four threads.
func (s *stream) addStructures(n, lineCount int) {
	integer := &trace.Type{Name: "int", Kind: trace.KindInt, Size: 8, Lang: trace.LangGo}
	float := &trace.Type{Name: "float64", Kind: trace.KindFloat, Size: 8, Lang: trace.LangGo}
	field := func(name string, offset uint32, t *trace.Type) trace.Field {
		return trace.Field{Name: name, Offset: offset, Type: t}
	}
	goStruct := func(id uint32, name string, fields ...trace.Field) *trace.Type {
		t := structType(id, fields...)
		t.Name, t.Lang = name, trace.LangGo
		return t
	}
	line := goStruct(60, "main.Line", field("SKU", 0, scriptString), field("Quantity", 16, integer), field("Price", 24, float))
	lines := &trace.Type{Name: "[]main.Line", Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: line, Lang: trace.LangGo}
	order := goStruct(61, "main.Order", field("ID", 0, integer), field("Customer", 8, scriptString), field("Lines", 24, lines), field("Paid", 48, integer))
	place := &trace.Function{
		Name: "main.(*Shop).Place", Language: trace.LangGo,
		EntryPlan: planOf(trace.Field{Name: "o", Type: pointerTo(order)}, trace.Field{Name: "coupon", Type: scriptString}, trace.Field{Name: "priority", Type: integer}),
		ExitPlan:  planOf(trace.Field{Name: "~r0", Type: integer}, trace.Field{Name: "~r1", Type: scriptError}),
	}
	price := &trace.Function{
		Name: "main.price", Language: trace.LangGo,
		EntryPlan: planOf(trace.Field{Name: "sku", Type: scriptString}, trace.Field{Name: "quantity", Type: integer}),
		ExitPlan:  planOf(trace.Field{Name: "~r0", Type: float}, trace.Field{Name: "~r1", Type: scriptError}),
	}
	s.function(place)
	s.function(price)
	goLine := func(sku, quantity uint64, price float64) []byte {
		return le(sku, 12, quantity, math.Float64bits(price))
	}
	var items []byte
	for i := range uint64(lineCount) {
		items = append(items, goLine(0x5000+0x1000*(i%2), 2-i%2, 24.75)...)
	}
	for i := range uint64(n) {
		for g := uint64(1); g <= 8; g++ {
			s.add(EventEntry, place, at(g%4, g, 64, le(0x1000, 0x2000, 10, 1)),
				Block{Addr: 0x1000, Type: order.ID, Want: order.Size, Data: le(100_000+i, 0x3000, 12, 0x4000, uint64(lineCount), uint64(lineCount), 4950)},
				text(0x2000, "TENPERCENT"), text(0x3000, "Ada Lovelace"),
				Block{Addr: 0x4000, Type: line.ID, Want: uint32(len(items)), Data: items},
				text(0x5000, "desk-lamp-07"), text(0x6000, "light-bulb-2"))
			for _, sku := range []string{"desk-lamp-07", "light-bulb-2"} {
				s.add(EventEntry, price, at(g%4, g, 160, le(0x5000, 12, 2)), text(0x5000, sku))
				s.add(EventExit, price, at(g%4, g, 160, le(math.Float64bits(49.5), 0, 0)))
			}
			s.add(EventExit, place, at(g%4, g, 64, le(100_000+i, 0, 0)))
		}
	}
}

// cpuTime is the process's CPU time.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPipeline takes records, as the ring buffer has them, to decoded calls, of which the
// latest are kept for a while, as the store does until they are committed.
func BenchmarkPipeline(b *testing.B) {
	for _, load := range []struct {
		name string
		fill func(s *stream)
	}{
		{"scalars", func(s *stream) { s.addScalars(64) }},
		{"structures", func(s *stream) { s.addStructures(64, 2) }},
		{"large", func(s *stream) { s.addStructures(32, 50) }},
	} {
		for _, workers := range []int{0, 1} {
			b.Run(fmt.Sprintf("%s/workers=%d", load.name, workers), func(b *testing.B) { benchStream(b, load.fill, workers) })
		}
	}
}

func benchStream(b *testing.B, fill func(s *stream), workers int) {
	var s stream
	fill(&s)
	const queued = 16 << 10 // calls
	batch := make([]*trace.Call, 0, queued)
	var d *Decoder
	var id, emitted uint64
	process := &trace.Process{PID: 100}
	d = New(Config{
		Function: func(id uint32) *trace.Function { return s.functions[id] },
		Process:  func(uint32) *trace.Process { return process },
		Thread:   func(_, _ uint32) string { return "worker" },
		NextID:   func() uint64 { id++; return id },
		Workers:  workers,
		Emit: func(c *trace.Call) bool {
			batch = append(batch, c)
			emitted++
			if len(batch) == queued {
				d.Recycle(batch) // as the store does when they are committed
				batch = batch[:0]
			}
			return true
		},
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpuTime()
	round := uint64(0)
	for b.Loop() {
		for _, record := range s.records {
			ts := record[offTS : offTS+8]
			binary.LittleEndian.PutUint64(ts, binary.LittleEndian.Uint64(ts)+s.ts)
			if err := d.Record(record); err != nil {
				b.Fatal(err)
			}
		}
		d.Flush(100)
		round++
	}
	d.Close(0)
	cpu := cpuTime() - start
	runtime.ReadMemStats(&after)
	calls := round * uint64(s.calls)
	if emitted != calls {
		b.Fatalf("%d of %d calls", emitted, calls)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(calls), "allocs/call")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(calls), "B/call")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(calls), "ns/call")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(calls), "cpu-ns/call")
	b.ReportMetric(float64(calls)/b.Elapsed().Seconds(), "calls/s")
}
