package attach

import (
	"errors"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

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
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
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
	s, err := Start(Options{
		PIDs: []int{p.PID}, MaxDepth: 1, RingBytes: 1 << 26, scratch: 1,
		Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("ints")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	p.Go()
	want := testenv.ParseCounts(t, p.Wait().Stdout).Functions["ints"].Calls
	var events [bpf.EventDeath + 1]uint64
	for {
		record, err := s.Next()
		if errors.Is(err, ErrIdle) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h, _ := bpf.ParseHeader(record); h.Kind >= bpf.EventFork || s.Function(h.Func).Role == trace.RoleCall {
			events[h.Kind]++
		}
	}
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
