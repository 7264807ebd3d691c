package decode

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestMemoryBounded runs what would grow a decoder that keeps something of
// every goroutine, thread, process or open call.
func TestMemoryBounded(t *testing.T) {
	d, enter, leave := benchDecoder(trace.LangGo, nil, nil, Event{}, Event{})
	d.config.MaxOpen = 10000
	calls, gaps := 0, uint64(0)
	d.config.Emit = func(*trace.Call) bool { calls++; return true }
	d.config.Gap = func(g trace.Gap) { gaps += g.Count }
	const goroutines = 100_000
	le := binary.LittleEndian
	for i := range uint64(goroutines) {
		for _, raw := range [][]byte{enter, leave} {
			le.PutUint64(raw[offGoid:], i+1)
			le.PutUint32(raw[offTID:], uint32(i))
			le.PutUint32(raw[offTGID:], uint32(i%3000))
			if err := d.Record(raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(d.owners) > maxIdle+1 || len(d.processes) > 3000 || calls != goroutines || gaps != 0 {
		t.Errorf("%d owners, %d processes, %d calls, %d gaps", len(d.owners), len(d.processes), calls, gaps)
	}
	le.PutUint32(enter[offTGID:], 1)
	for i := range uint64(goroutines) {
		le.PutUint64(enter[offGoid:], i+1)
		if err := d.Record(enter); err != nil {
			t.Fatal(err)
		}
	}
	if d.frames > 10000 || len(d.owners) > 10000+maxIdle {
		t.Errorf("%d open calls, %d owners", d.frames, len(d.owners))
	}
	for _, p := range d.processes {
		if len(p.names) > maxNames {
			t.Errorf("%d names of threads", len(p.names))
		}
	}
	d.Close(1)
	if gaps != goroutines-10000 {
		t.Errorf("%d calls reported as given up", gaps)
	}
	if calls != 2*goroutines || len(d.owners)+len(d.processes) != 0 {
		t.Errorf("%d calls, %d owners and %d processes are left", calls, len(d.owners), len(d.processes))
	}
}

// TestArgumentsBounded: open calls with large arguments are given up before
// they fill the memory.
func TestArgumentsBounded(t *testing.T) {
	blob := &trace.Type{Kind: trace.KindArray, Size: 1024, Count: 1024, Elem: byteType}
	d, enter, _ := benchDecoder(trace.LangGo, []trace.Field{{Name: "blob", Type: blob}}, nil, Event{Root: make([]byte, 1024)}, Event{})
	d.config.MaxOpenBytes = 64 << 10
	calls := 0
	d.config.Emit = func(c *trace.Call) bool {
		calls++
		if c.Status != trace.StatusOpen {
			t.Errorf("%+v", c)
		}
		return true
	}
	for i := range uint64(1000) {
		binary.LittleEndian.PutUint64(enter[offGoid:], i+1)
		if err := d.Record(enter); err != nil {
			t.Fatal(err)
		}
		if d.bytes > 64<<10 {
			t.Fatalf("%d bytes are held", d.bytes)
		}
	}
	if calls < 900 {
		t.Errorf("%d calls given up", calls)
	}
}

// TestFunctionTable: an id that the session never gave out costs no memory.
func TestFunctionTable(t *testing.T) {
	d := New(Config{Function: func(id uint32) *trace.Function {
		if id == 5 {
			return &trace.Function{ID: 5}
		}
		return nil
	}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, id := range []uint32{0, 1 << 20, 1 << 24, 1<<32 - 1} {
		if err := d.Record(appendRecord(nil, &Event{Kind: EventEntry, Func: id})); err == nil {
			t.Errorf("function %d is known", id)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 || len(d.functions) != 0 {
		t.Errorf("%d bytes for functions that don't exist, a table of %d", n, len(d.functions))
	}
	d.Lost(5, 1)
	if len(d.functions) != 6 {
		t.Errorf("a table of %d", len(d.functions))
	}
}
