package writer

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// BenchmarkStore hands calls of a service over as a tracer would, and waits for them to be committed. It reports
// processor time, calls a second that one processor has time for, and bytes of the file.
func BenchmarkStore(b *testing.B) {
	path := newPath(b)
	s := open(b, path, Options{})
	source := newService(b, 64, s.NextIDs)
	m := newMeter(b)
	for left := b.N; left > 0; {
		calls := source.ended(min(left, 100_000))
		left -= len(calls)
		m.start()
		for part := range slices.Chunk(calls, 500) {
			must(b, s.Write(part))
		}
		must(b, s.Flush())
		m.stop()
	}
	must(b, s.Close())
	m.report(path, b.N)
}

// BenchmarkInsert does what a transaction does, again and again, with 10,000 calls each: alone, and while as many old
// calls expire in it and another process reads all the time.
func BenchmarkInsert(b *testing.B) {
	for _, c := range []struct {
		name          string
		expire, read  bool
		owners, batch int
	}{
		{"alone", false, false, 64, 10_000},
		{"expiring", true, false, 64, 10_000},
		{"expiring and read", true, true, 64, 10_000},
		{"of 1000 goroutines", false, false, 1000, 10_000},
		{"1000 at a time", false, false, 64, 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := newPath(b)
			must(b, open(b, path, Options{}).Close()) // its session is the one that the calls are of
			d, err := openDatabase(path, time.Minute, nil)
			must(b, err)
			defer d.abandon()
			d.session = 1
			source := newService(b, c.owners, func(n int) (first uint64, err error) {
				err = d.transaction(func() error {
					id, err := d.reserve("next_id", n)
					first = uint64(id)
					return err
				})
				return first, err
			})
			kept := int64(b.N)
			if c.expire {
				kept = 500_000
				for range kept / 10_000 {
					_, err := d.commit(batch{calls: source.ended(10_000)}, 0)
					must(b, err)
				}
			}
			if c.read {
				stop := startReader(b, path)
				defer stop()
			}
			m := newMeter(b)
			for left := b.N; left > 0; {
				calls := source.ended(min(left, c.batch))
				left -= len(calls)
				m.start()
				must(b, d.transaction(func() error {
					if c.expire { // first: so the new rows go to pages that are being written anyway
						next, err := d.nextCall()
						if err != nil {
							return err
						}
						if _, err := d.expireCalls(next + int64(len(calls)) - kept); err != nil {
							return err
						}
					}
					return d.insert(batch{calls: calls})
				}))
				m.stop()
			}
			must(b, d.close())
			m.report(path, int(kept))
		})
	}
}

// meter measures parts of a benchmark.
type meter struct {
	b           *testing.B
	cpu, before float64
}

func newMeter(b *testing.B) *meter {
	b.ResetTimer()
	b.StopTimer()
	return &meter{b: b}
}

// start begins a part. What garbage there is by then is not that part's.
func (m *meter) start() {
	runtime.GC()
	m.b.StartTimer()
	m.before = cpuSeconds(m.b)
}

func (m *meter) stop() {
	m.cpu += cpuSeconds(m.b) - m.before
	m.b.StopTimer()
}

// report gives the measures of all b.N calls, of which the file at path has kept some.
func (m *meter) report(path string, kept int) {
	n := float64(m.b.N)
	m.b.ReportMetric(m.cpu*1e6/n, "cpu-µs/call")
	m.b.ReportMetric(n/m.cpu, "calls/cpu-s")
	m.b.ReportMetric(float64(fileSize(m.b, path))/float64(kept), "bytes/call")
}

// readPath tells this test's program to be a reader, until its input ends.
const readPath = "OBSERVATORY_TEST_READ_DB"

// startReader has another process read; the function ends it, and fails when it has not read.
func startReader(tb testing.TB, path string) (stop func()) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), readPath+"="+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(tb, err)
	must(tb, cmd.Start())
	return func() {
		must(tb, errors.Join(in.Close(), cmd.Wait()))
	}
}

// readAll runs what people ask for most, again and again.
func readAll(path string) error {
	d := &database{path: path}
	if err := d.connect(); err != nil {
		return err
	}
	defer d.abandon()
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	for reads := 0; !stop.Load(); reads++ {
		for _, query := range []string{
			"SELECT * FROM process_trace ORDER BY ts DESC LIMIT 100",
			"SELECT * FROM process_trace p JOIN data_trace d USING (id) WHERE p.id = (SELECT max(id) FROM process_trace)",
			errorsQuery,
			`SELECT process, avg(duration_ms), count(*) FROM process_trace
				WHERE ts > (SELECT strftime('%Y-%m-%d %H:%M:%f', max(ts), '-0.3 seconds') FROM process_trace) GROUP BY process`,
		} {
			rows, err := d.conn.Query(query, nil)
			if err != nil {
				return err
			}
			row := make([]driver.Value, len(rows.Columns()))
			for n := 0; err == nil; n++ {
				if err = rows.Next(row); errors.Is(err, io.EOF) && n == 0 {
					return fmt.Errorf("no rows of %s", query)
				}
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			if err := rows.Close(); err != nil {
				return err
			}
		}
	}
	return nil
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

// service makes calls in the order in which they end, as trees of about a hundred, in many goroutines at a time:
// a root spans thousands of other calls, so that ids, which are given at entry, come far out of order.
type service struct {
	*callSource
	tb     testing.TB
	ids    func(n int) (first uint64, err error)
	id     idRange
	random *rand.Rand
	owners [][]openCall
}

type openCall struct {
	id, root uint64
	function int
	start    int64
	left     int // calls that it will make
}

func newService(tb testing.TB, owners int, ids func(int) (uint64, error)) *service {
	return &service{
		callSource: newCallSource(97), tb: tb, ids: ids,
		random: rand.New(rand.NewPCG(1, 2)), owners: make([][]openCall, owners),
	}
}

// ended gives the next calls.
func (s *service) ended(n int) []*trace.Call {
	calls := make([]*trace.Call, 0, n)
	for len(calls) < n {
		s.now += 1650 // entries and exits of 300,000 calls a second
		at := s.random.IntN(len(s.owners))
		open := s.owners[at]
		if k := len(open); k == 0 || open[k-1].left > 0 {
			c := openCall{id: s.nextID(), function: s.random.IntN(len(s.functions)), start: s.now}
			c.root = c.id
			if k > 0 {
				open[k-1].left--
				c.root = open[0].id
			}
			c.left = [...]int{20, 4, s.random.IntN(2), 0}[k]
			s.owners[at] = append(open, c)
			continue
		}
		k := len(open) - 1
		s.owners[at] = open[:k]
		o := open[k]
		c := s.next(o.id)
		s.now -= 3300
		c.RootID, c.ParentID, c.Depth, c.Func = o.root, 0, k, s.functions[o.function]
		c.StartNS, c.DurationNS = o.start, s.now-o.start
		c.TID, c.Goroutine = 4242+at%8, uint64(7*at+1)
		if k > 0 {
			c.ParentID = open[k-1].id
		}
		calls = append(calls, c)
	}
	return calls
}

func (s *service) nextID() uint64 {
	if s.id.next == s.id.end {
		first, err := s.ids(4096)
		must(s.tb, err)
		s.id = idRange{first, first + 4096}
	}
	s.id.next++
	return s.id.next - 1
}
