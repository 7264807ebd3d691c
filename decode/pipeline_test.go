package decode

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// addFailures adds calls of a Go function that return an error each, with its stack, between others.
func (s *stream) addFailures(n int) {
	fails := &trace.Function{
		Name: "main.fails", Language: trace.LangGo,
		EntryPlan: planOf(trace.Field{Name: "name", Type: scriptString}), ExitPlan: planOf(trace.Field{Name: "~r0", Type: scriptError}),
	}
	s.function(fails)
	for i := range uint64(n) {
		s.add(EventEntry, fails, at(1, 20, 64, le(0x1000, 7)), text(0x1000, fmt.Sprintf("call %2d", i%100)))
		if i%3 == 0 {
			s.add(EventExit, fails, at(1, 20, 64, le(0, 0)))
			continue
		}
		e := at(1, 20, 64, le(scriptItab, 0x2000))
		e.IP = i
		s.add(EventExit, fails, e, Block{Addr: 0x2000, Type: scriptErrorString.ID, Want: 16, Data: le(0x3000, 6)}, text(0x3000, "refuse"),
			Block{Type: typeFrames, Data: make([]byte, 64)})
	}
}

const scriptItab = 0x7000 // of *errors.errorString

// decoder makes a decoder of the stream's functions.
func (s *stream) decoder(workers int, emit func(*trace.Call) bool, stack func(uint32, trace.RawStack) string) *Decoder {
	process := &trace.Process{PID: 100}
	var id uint64
	return New(Config{
		Function: func(id uint32) *trace.Function { return s.functions[id] },
		Process:  func(uint32) *trace.Process { return process },
		NextID:   func() uint64 { id++; return id },
		Dynamic: func(_ uint32, word uint64, _ bool) (Dynamic, bool) {
			return Dynamic{Name: "*errors.errorString", Type: scriptErrorString}, word == scriptItab
		},
		Stack:   stack,
		Emit:    emit,
		Workers: workers,
	})
}

// shown is all that a call tells.
func shown(c *trace.Call) string {
	text := fmt.Sprintf("#%d<%d %s %d+%d %s %s %s %s %+v", c.ID, c.ParentID, c.Func.Name, c.StartNS, c.DurationNS, c.Status, c.Flags, c.Args, c.Result, c.Resources)
	if c.Err != nil {
		text += fmt.Sprintf(" (%+v)", *c.Err)
	}
	return text
}

// TestPipelineOrder: what several goroutines print is what one prints, in the same order,
// whoever was quicker.
func TestPipelineOrder(t *testing.T) {
	var s stream
	s.addFailures(100)
	s.addStructures(20, 3)
	s.addScalars(10)
	s.addFailures(200)
	s.addStructures(20, 80)
	stack := func(_ uint32, raw trace.RawStack) string {
		time.Sleep(time.Duration(raw.IP%4) * 100 * time.Microsecond)
		return fmt.Sprint("stack ", raw.IP)
	}
	decoded := func(workers, least int) (calls []string) {
		var d *Decoder
		d = s.decoder(workers, func(c *trace.Call) bool {
			calls = append(calls, shown(c))
			d.Recycle([]*trace.Call{c}) // what it holds may be changed from now on
			return true
		}, stack)
		if d.pipeline != nil {
			d.pipeline.least = least
		}
		for i, record := range s.records {
			record = append([]byte(nil), record...)
			if err := d.Record(record); err != nil {
				t.Fatal(err)
			}
			clear(record) // the ring buffer goes on
			switch i % 1000 {
			case 99, 100, 101:
				d.Poll()
			case 999:
				d.Flush(100)
				if d.pipeline != nil && d.pipeline.has(100) {
					t.Error("values wait that were to be there")
				}
			}
		}
		d.Close(s.ts)
		return calls
	}
	want := decoded(0, 0)
	if len(want) != s.calls {
		t.Fatalf("%d of %d calls", len(want), s.calls)
	}
	if !strings.Contains(want[1], "ERR") || !strings.Contains(want[1], "stack 1") || !strings.Contains(want[1], "refuse") {
		t.Fatalf("the second call: %s", want[1])
	}
	for _, c := range []struct{ workers, least int }{{1, deferBytes}, {1, 0}, {3, 0}, {3, 400}} {
		got := decoded(c.workers, c.least)
		if len(got) != len(want) {
			t.Fatalf("%+v: %d of %d calls", c, len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%+v: call %d\n got %s\nwant %s", c, i, got[i], want[i])
			}
		}
	}
}

// TestPipelineBounded: while the workers are held up, only so many records are taken, Fill
// says so, and nothing is lost thereafter.
func TestPipelineBounded(t *testing.T) {
	var s stream
	s.addFailures(10_000)
	hold := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(hold) }) }
	defer release()
	emitted := uint64(0)
	d := s.decoder(2, func(c *trace.Call) bool {
		if emitted++; c.ID != emitted {
			t.Errorf("call %d comes as number %d", c.ID, emitted)
		}
		return true
	}, func(uint32, trace.RawStack) string { <-hold; return "" })
	var taken int
	done := make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(done)
		for _, record := range s.records {
			if err := d.Record(record); err != nil {
				t.Error(err)
			}
			mu.Lock()
			taken++
			mu.Unlock()
		}
		d.Close(s.ts)
	}()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return taken
	}
	deadline := time.Now().Add(10 * time.Second)
	for before := -1; count() != before || d.Fill() < 1; time.Sleep(50 * time.Millisecond) {
		if before = count(); time.Now().After(deadline) {
			t.Fatalf("%d records taken, fill %v", before, d.Fill())
		}
	}
	if most := (d.pipeline.most() + 2) * (batchCalls + 1) * 2; count() > most {
		t.Errorf("%d records taken while nothing was printed, at most %d should be", count(), most)
	}
	release()
	<-done
	if emitted != uint64(s.calls) || d.Fill() != 0 {
		t.Errorf("%d of %d calls, fill %v", emitted, s.calls, d.Fill())
	}
}

// TestPipelineArguments: what open calls hold is known also of those whose arguments others print.
func TestPipelineArguments(t *testing.T) {
	var s stream
	s.addStructures(50, 80)
	d := s.decoder(2, func(*trace.Call) bool { return true }, nil)
	open := 0
	for _, record := range s.records {
		if e, _ := ParseEvent(record); e.Kind == EventEntry && e.Func == 1 {
			e.Goid += uint64(100 * open)
			open++
			if err := d.Record(appendRecord(nil, &e, blocksOf(&e)...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.Flush(100)
	held := 0
	for _, o := range d.owners {
		for i := range o.open {
			held += len(o.open[i].call.args)
		}
	}
	if open == 0 || held != d.bytes || held < open*80*10 {
		t.Errorf("%d open calls hold %d bytes, counted %d", open, held, d.bytes)
	}
	d.Close(s.ts)
	if d.bytes != 0 {
		t.Errorf("%d bytes are left", d.bytes)
	}
}

func blocksOf(e *Event) (blocks []Block) {
	it := e.Blocks()
	for b, ok := it.Next(); ok; b, ok = it.Next() {
		blocks = append(blocks, b)
	}
	return blocks
}
