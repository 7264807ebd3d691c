package writer

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// BenchmarkStore writes calls of 97 functions with 120 bytes of JSON each, as
// a tracer would, and reports processor time, bytes and calls a second.
func BenchmarkStore(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.db")
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	source := newCallSource(97)
	before := cpuSeconds(b)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		batch := make([]*trace.Call, min(left, 500))
		first, err := s.NextIDs(len(batch))
		if err != nil {
			b.Fatal(err)
		}
		for i := range batch {
			batch[i] = source.next(first + uint64(i))
		}
		if err := s.Write(batch); err != nil {
			b.Fatal(err)
		}
		left -= len(batch)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric((cpuSeconds(b)-before)*1e6/float64(b.N), "cpu-µs/call")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(fileSize(b, path))/float64(b.N), "bytes/call")
}

func cpuSeconds(tb testing.TB) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// callSource makes calls like those of a service: trees of four, now and then an error.
type callSource struct {
	functions []*trace.Function
	process   *trace.Process
	now       int64
	count     int
}

func newCallSource(functions int) *callSource {
	s := &callSource{
		process: &trace.Process{PID: 4242, Exe: "/usr/bin/orders", Comm: "orders", StartNS: 1_700_000_000_000_000_000},
		now:     1_732_400_000_000_000_000,
	}
	for i := range functions {
		s.functions = append(s.functions, &trace.Function{
			ID: uint32(i + 1), Name: fmt.Sprintf("main.function%d", i), RawName: fmt.Sprintf("main.function%d", i),
			Language: trace.LangGo, Module: "/usr/bin/orders", Address: uint64(0x401000 + 64*i), File: "main.go", Line: 10 + i,
		})
	}
	return s
}

func (s *callSource) next(id uint64) *trace.Call {
	s.now += 3300
	root := id - uint64(s.count%4)
	c := &trace.Call{
		ID: id, RootID: root, Depth: s.count % 4, Func: s.functions[s.count%len(s.functions)], Process: s.process,
		TID: 4242 + s.count%8, Goroutine: uint64(s.count % 1000), Thread: "orders",
		StartNS: s.now, DurationNS: 1000 + int64(s.count*7919%90_000), OverheadNS: 1700, SampleRate: 1,
		Args:      []byte(`{"order_id":"ord-123456","amount":129.95,"customer":{"id":4711,"name":"Ada"},"tags":["a","b"]}`),
		Result:    []byte(`{"ok":true,"reserved":12}`),
		Resources: &trace.Resources{CPUNS: 900},
	}
	if c.Depth > 0 {
		c.ParentID = id - 1
	}
	if s.count%1000 == 999 {
		c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "*errors.errorString", Message: "no such order", Stack: "main.get main.go:12"}
	}
	s.count++
	return c
}

// BenchmarkReplay brings errors that a dead session left into a new database.
func BenchmarkReplay(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.db")
	row := sessionRow{seed: 1 << 62, started: "2026-01-01 00:00:00.000", path: path}
	log, err := spill.Create(filepath.Dir(path), filepath.Base(path), row.headMessage())
	must(b, err)
	source := newCallSource(97)
	var records [][]byte
	for i := range b.N {
		source.count = 1000*i + 999
		records = append(records, callRecord(source.next(uint64(i+1)), 0))
	}
	must(b, log.Append(records))
	b.SetBytes(log.Bytes() / int64(b.N))
	must(b, log.Close())
	before := cpuSeconds(b)
	b.ResetTimer()
	s := open(b, path, Options{})
	must(b, s.Close())
	b.StopTimer()
	b.ReportMetric((cpuSeconds(b)-before)*1e6/float64(b.N), "cpu-µs/record")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	if got := shell(b, path, "SELECT count(*) FROM process_trace"); got != fmt.Sprint(b.N) {
		b.Errorf("%s of %d came in", got, b.N)
	}
}
