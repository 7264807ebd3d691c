package attach

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// start begins a session, which is closed when the test ends.
func start(t *testing.T, o Options) *Session {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestPerfEvents traces as on kernels before 6.6: a link for each site.
func TestPerfEvents(t *testing.T) {
	entries, exits := traceBench(t, Options{PerfEvents: true})
	if entries != 1000 || exits != 1000 {
		t.Errorf("%d entries and %d exits of 1000 calls", entries, exits)
	}
}

func TestUprobeMulti(t *testing.T) {
	entries, exits := traceBench(t, Options{})
	if entries != 1000 || exits != 1000 {
		t.Errorf("%d entries and %d exits of 1000 calls", entries, exits)
	}
}

// traceBench counts the events of 1,000 calls.
func traceBench(t *testing.T, o Options) (entries, exits int) {
	t.Helper()
	testenv.RequireBPF(t)
	path := testenv.Build(t, testenv.Target{Source: "c/bench", Compiler: "gcc", Opt: "-O2"})
	p := testenv.Start(t, path)
	p.WaitLine("ready")
	o.PIDs = []int{p.PID}
	o.Selection = symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("add3")}}
	o.MaxDepth = 1
	s := start(t, o)
	if functions, processes := s.Attached(); functions != 1 || processes != 1 {
		t.Fatalf("attached to %d functions in %d processes", functions, processes)
	}
	p.Send("1000")
	for deadline := time.Now().Add(10 * time.Second); exits < 1000 && time.Now().Before(deadline); {
		record, err := s.Next()
		if errors.Is(err, ErrIdle) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		h, _ := bpf.ParseHeader(record)
		if f := s.Function(h.Func); f == nil || f.Role != trace.RoleCall {
			continue
		}
		switch h.Kind {
		case bpf.EventEntry:
			entries++
		case bpf.EventExit:
			exits++
		}
	}
	return entries, exits
}

// TestCrowded holds that calls are counted for which no scratch was free in the
// probes: here there is one, for threads on several processors.
func TestCrowded(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/counts"}), "-wait", "-n", "20000", "threads").Ready()
	s := start(t, Options{
		PIDs: []int{p.PID}, MaxDepth: 1, RingBytes: 1 << 26, scratch: 1,
		Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("ints")}},
	})
	p.Go()
	want := testenv.ParseCounts(t, p.Wait().Stdout).Functions["ints"].Calls
	events := drain(t, s)
	counts, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]uint64{}
	for _, g := range counts.Losses {
		if g.Func.Name != "ints" || g.Hint == "" {
			t.Errorf("gap %+v", g)
		}
		lost[g.Reason] = g.Count
	}
	if lost[GapEntriesCrowded] == 0 || len(lost) > 2 {
		t.Errorf("gaps %v", lost)
	}
	// A call whose entry was lost has no exit, either.
	entries, exits := events[bpf.EventEntry], events[bpf.EventExit]
	if entries+lost[GapEntriesCrowded] != want || exits+lost[GapExitsCrowded] != entries {
		t.Errorf("%d entries and %d exits of %d calls; lost: %v", entries, exits, want, lost)
	}
	if len(counts.Tallies) != 1 || counts.Tallies[0].Calls != want || counts.Tallies[0].Dropped != lost[GapEntriesCrowded] || counts.Tallies[0].Latency.Count() != want {
		t.Errorf("counted %+v, of %d calls", counts.Tallies, want)
	}
}

// TestFarLatencies holds that calls are counted and timed, and their errors, whose histograms find no room in the array: here
// each processor has it for one.
func TestFarLatencies(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/counts"}), "-wait", "-n", "3000", "threads").Ready()
	s := start(t, Options{
		PIDs: []int{p.PID}, MaxDepth: 1, StatsOnly: true, latencies: 1,
		Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("ints")}},
		Failure:   func(*trace.Function) *trace.Failure { return &trace.Failure{Size: 4, Span: 1<<32 - 1} },
	})
	var counted, timed, failed uint64
	count := func() {
		counts, err := s.Counts()
		if err != nil || len(counts.Losses) > 0 {
			t.Fatal(err, counts.Losses)
		}
		for _, c := range counts.Tallies {
			counted += c.Calls
			timed += c.Latency.Count()
			failed += c.Errors
		}
	}
	p.Go()
	p.WaitStdout("functions")
	count()
	want := testenv.ParseCounts(t, p.Wait().Stdout).Functions["ints"].Calls
	count()
	if counted != want || timed != want || failed != want {
		t.Errorf("%d calls, %d timed, %d errors, of %d that failed", counted, timed, failed, want)
	}
}

// TestErrorsWithCalls holds that calls and errors are read together, while calls go on all of which fail. (A
// processor that is stopped between the two additions shows the one without the other: that is rare.)
func TestErrorsWithCalls(t *testing.T) {
	testenv.RequireBPF(t)
	const n, reads = 50_000, 100
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/counts"}), "-wait", "-n", strconv.Itoa(n), "calls").Ready()
	s := start(t, Options{
		PIDs: []int{p.PID}, StatsOnly: true,
		Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("ints")}},
		Failure:   func(*trace.Function) *trace.Failure { return &trace.Failure{Size: 4, Span: 1<<32 - 1} },
	})
	var calls, failed, told, differ uint64
	count := func() {
		counts, err := s.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts.Tallies {
			calls += c.Calls
			failed += c.Errors
			told++
			if c.Errors != c.Calls {
				differ++
			}
		}
	}
	p.Go()
	for told < reads && calls < n {
		count()
	}
	if told < reads || differ > reads/10 {
		t.Errorf("%d of %d readings have other errors than calls", differ, told)
	}
	p.Wait()
	count()
	if calls != n || failed != n {
		t.Errorf("%d calls, %d errors, of %d that failed", calls, failed, n)
	}
}

// TestTargetOutlivesSession detaches while the target runs on, which must answer as before.
func TestTargetOutlivesSession(t *testing.T) {
	testenv.RequireBPF(t)
	path := testenv.Build(t, testenv.Target{Source: "c/bench", Compiler: "gcc", Opt: "-O2"})
	p := testenv.Start(t, path)
	p.WaitLine("ready")
	for range 3 {
		s, err := Start(Options{PIDs: []int{p.PID}, MaxDepth: 1})
		if err != nil {
			t.Fatal(err)
		}
		p.Send("100")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.CloseInput()
	if r := p.Wait(); r.ExitCode != 0 {
		t.Errorf("exit code %d after three sessions", r.ExitCode)
	}
}

// TestPrecondition holds that a call which is known not to be recorded gives no event, but
// counts; unless it fails, where that is asked for: then its entry comes with its exit.
func TestPrecondition(t *testing.T) {
	const n = 1000
	for _, c := range []struct {
		name, target, scenario, function string
		condition                        trace.Precondition
		events                           uint64 // entries, and as many exits
		left                             uint64
	}{
		{"less", "c/counts", "calls", "ints", trace.Precondition{Checks: []trace.Check{{Param: "a", Op: trace.OpLess, Value: 10}}}, 10, n - 10},
		{"negative", "c/counts", "calls", "ints", trace.Precondition{Checks: []trace.Check{{Param: "a", Op: trace.OpMore, Value: -1}}}, n, 0},
		{"two", "c/counts", "calls", "ints", trace.Precondition{Checks: []trace.Check{{Param: "a", Op: trace.OpAtLeast, Value: 990}, {Param: "c", Op: trace.OpEqual, Value: 2}}}, 10, n - 10},
		{"no such parameter", "c/counts", "calls", "ints", trace.Precondition{Checks: []trace.Check{{Param: "z", Op: trace.OpEqual, Value: 2}}}, n, 0},
		{"too long", "c/counts", "calls", "ints", trace.Precondition{LeastNS: 1e12}, 0, n},
		{"long enough", "c/counts", "calls", "ints", trace.Precondition{LeastNS: 1}, n, 0},
		{"failed", "go/counts", "errors", "main.find", trace.Precondition{Checks: []trace.Check{{Param: "id", Op: trace.OpEqual, Value: -1}}, Failed: true}, n / 4, n - n/4},
		{"failed or long", "go/counts", "errors", "main.find", trace.Precondition{LeastNS: 1e12}, n / 4, n - n/4},
	} {
		t.Run(c.name, func(t *testing.T) {
			testenv.RequireBPF(t)
			p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: c.target}), "-wait", "-n", strconv.Itoa(n), c.scenario).Ready()
			s := start(t, Options{
				PIDs: []int{p.PID}, MaxDepth: 1, Precondition: func(*trace.Function) trace.Precondition { return c.condition },
				Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile(c.function)}},
			})
			p.Go()
			want := testenv.ParseCounts(t, p.Wait().Stdout).Functions[c.function].Calls
			events := drain(t, s)
			counts, err := s.Counts()
			if err != nil {
				t.Fatal(err)
			}
			if len(counts.Tallies) != 1 {
				t.Fatalf("counted %+v", counts)
			}
			if got := counts.Tallies[0]; got.Calls != want || got.LeftOut != c.left || got.Latency.Count() != want {
				t.Errorf("counted %+v, of %d calls", got, want)
			}
			if events[bpf.EventEntry] != c.events || events[bpf.EventExit] != c.events {
				t.Errorf("%d entries and %d exits, want %d", events[bpf.EventEntry], events[bpf.EventExit], c.events)
			}
		})
	}
}

// drain reads all events and counts those of calls and of processes by their kind.
func drain(t *testing.T, s *Session) (events [bpf.EventSignal + 1]uint64) {
	t.Helper()
	for {
		record, err := s.Next()
		if errors.Is(err, ErrIdle) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		if h, _ := bpf.ParseHeader(record); h.Kind >= bpf.EventFork || s.Function(h.Func).Role == trace.RoleCall {
			events[h.Kind]++
		}
	}
}
