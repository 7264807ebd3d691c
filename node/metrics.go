package node

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// Sweep is what a recorder saw of its session at one time, about once a second.
type Sweep struct {
	Time time.Time
	// Seconds is what was counted since the last sweep, as Store.Stats has left it: less what the store
	// has dropped. Of their histograms no use is made, as they are the store's by then.
	Seconds []writer.FunctionSecond
	// Tallies is the same, as the probes told it. The receiver owns it.
	Tallies []trace.Tally
	Losses  []trace.Gap  // events that were not delivered since the last sweep
	Blind   attach.Blind // since tracing began

	Functions, Processes                int // that are traced now
	CallsFill, ErrorsFill, DecodingFill float64
	Budget                              Budget
}

// Budget is what tracing takes, and what it may.
type Budget struct {
	Overhead float64 // of the probes, as Limits.Overhead has it
	Limits   sample.Limits
	Sampled  int    // functions of which a part of the calls is recorded
	Sliced   int    // functions whose probes are in place for a part of the time
	Steps    uint64 // changes of how functions are traced, so far
}

// Metrics is a session as Prometheus reads it. Its methods are safe for concurrent use. Sweeps never
// wait for who reads, and reading touches neither the probes nor the recorder: only a store's
// counters, each for as long as copying them takes.
type Metrics struct {
	registry *prometheus.Registry
	version  string
	store    *writer.Store // nil before Began
	path     string        // of the store's database

	mu      sync.Mutex // guards store, path, pending and ended
	pending []Sweep    // that are not in what follows yet
	ended   bool

	gathering sync.Mutex // guards what follows; taken before mu
	last      Sweep
	functions map[string]*function // by the label
	ends      map[string]uint64    // lost, by reason
}

// function is what was counted of the functions of one name.
type function struct {
	calls, errors, recorded, sampledOut uint64
	estimated                           float64
	dropped                             map[string]uint64 // by reason
	latency                             trace.Histogram
	totalNS                             int64
}

// maxFunctions is how many functions have series of their own: those that were called first, so that no
// series ever falls.
const maxFunctions = 1000

// others stands for all functions beyond that: no function has such a name.
const others = "(other)"

// NewMetrics makes the metrics of a program of this version, which traces nothing yet.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), version: version, functions: map[string]*function{}, ends: map[string]uint64{}}
	m.registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Began tells that all is attached, and recorded into a store, whose database is at path.
func (m *Metrics) Began(store *writer.Store, path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store, m.path = store, path
}

// Ended tells that nothing is traced any more. What was counted stays.
func (m *Metrics) Ended() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
}

// Healthy says why calls don't come to the database as they should, nil when they do.
func (m *Metrics) Healthy() error {
	m.mu.Lock()
	store, ended := m.store, m.ended
	m.mu.Unlock()
	switch {
	case ended:
		return errors.New("tracing has ended")
	case store == nil:
		return errors.New("not attached yet")
	}
	h := store.Health()
	if h.State == "closed" {
		return nil
	}
	if h.Err != nil {
		q := store.Queue()
		return fmt.Errorf("database away since %s: %w; %d calls wait in memory, of at most %d", h.Since.UTC().Format(time.RFC3339), h.Err, q.Calls, q.Capacity)
	}
	return errors.New("database away: " + h.Cause)
}

// Swept takes what a recorder saw. It never waits for who reads the metrics.
func (m *Metrics) Swept(s Sweep) {
	m.mu.Lock()
	m.pending = append(m.pending, s)
	m.mu.Unlock()
	if m.gathering.TryLock() {
		defer m.gathering.Unlock()
		m.add()
	}
}

// add adds the sweeps that wait. It is called with m.gathering held.
func (m *Metrics) add() {
	m.mu.Lock()
	pending := m.pending
	m.pending = nil
	m.mu.Unlock()
	for i := range pending {
		m.addSweep(&pending[i])
	}
}

// The reasons for which calls of a function are dropped.
const (
	droppedRing     = "ring_buffer"  // it was full
	droppedCrowded  = "probe_memory" // too many threads waited for it
	droppedDatabase = "database"     // it was away, or does not take them
)

func (m *Metrics) addSweep(s *Sweep) {
	m.last = *s
	m.last.Seconds, m.last.Tallies, m.last.Losses = nil, nil, nil
	probes := map[*trace.Function]uint64{} // what they have dropped
	for i := range s.Tallies {
		t := &s.Tallies[i]
		probes[t.Func] += t.Dropped
		f := m.function(t.Func)
		f.latency.Merge(&t.Latency)
		f.totalNS += t.TotalNS
		f.dropped[droppedRing] += t.Dropped
	}
	for _, g := range s.Losses {
		switch g.Reason {
		case attach.GapEntriesCrowded:
			f := m.function(g.Func)
			n := min(g.Count, f.dropped[droppedRing]) // the probes' counters are not all read at one time
			f.dropped[droppedCrowded] += n
			f.dropped[droppedRing] -= n
		case attach.GapExitsLost:
			m.ends[droppedRing] += g.Count
		case attach.GapExitsCrowded:
			m.ends[droppedCrowded] += g.Count
		}
	}
	for i := range s.Seconds {
		second := &s.Seconds[i]
		f := m.function(second.Func)
		f.calls += second.Calls
		f.errors += second.Errors
		f.recorded += second.Recorded
		f.sampledOut += second.LeftOut
		f.dropped[droppedDatabase] += second.Dropped - min(second.Dropped, probes[second.Func])
		f.estimated += second.All()
	}
}

// function gives what is counted under a function's name.
func (m *Metrics) function(fn *trace.Function) *function {
	name := strings.ToValidUTF8(fn.Name, "\uFFFD") // what a file says it is called may be anything
	f := m.functions[name]
	if f == nil && len(m.functions) >= maxFunctions {
		name = others
		f = m.functions[name]
	}
	if f == nil {
		f = &function{dropped: map[string]uint64{}}
		m.functions[name] = f
	}
	return f
}

// Describe sends what Collect may send.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range defined {
		descs <- d.desc
	}
}

// Collect sends all metrics but those of the process and of the Go runtime.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	send := func(d *definition, value float64, labels ...string) { metrics <- d.metric(value, labels...) }
	send(buildInfo, 1, m.version, runtime.Version())
	m.mu.Lock()
	store, path := m.store, m.path
	m.mu.Unlock()
	if store == nil {
		return
	}
	sendStore(send, store, path)

	m.gathering.Lock()
	defer m.gathering.Unlock()
	m.add()
	if m.last.Time.IsZero() {
		return
	}
	for name, f := range m.functions {
		send(calls, float64(f.calls), name)
		send(callsEstimated, f.estimated, name)
		send(callErrors, float64(f.errors), name)
		send(callsRecorded, float64(f.recorded), name)
		send(callsSampledOut, float64(f.sampledOut), name)
		for _, reason := range []string{droppedRing, droppedCrowded, droppedDatabase} {
			send(callsDropped, float64(f.dropped[reason]), name, reason)
		}
		metrics <- histogram(name, &f.latency, f.totalNS)
	}
	m.sendSession(send)
}

func (m *Metrics) sendSession(send func(*definition, float64, ...string)) {
	s := &m.last
	send(sweptAt, seconds(s.Time))
	send(functions, float64(s.Functions))
	send(processes, float64(s.Processes))
	send(bufferFill, s.CallsFill, "calls")
	send(bufferFill, s.ErrorsFill, "errors")
	send(bufferFill, s.DecodingFill, "decoding")
	for _, reason := range []string{droppedRing, droppedCrowded} {
		send(endsLost, float64(m.ends[reason]), reason)
	}
	send(processEventsLost, float64(s.Blind.ProcessEvents))
	send(callsUntracked, float64(s.Blind.Untracked))
	send(callsUnmeasured, float64(s.Blind.Unmeasured))
	b := &s.Budget
	send(overhead, b.Overhead)
	send(overheadLimit, orInfinite(b.Limits.Overhead))
	send(cpuLimit, orInfinite(b.Limits.CPU))
	send(memoryLimit, orInfinite(float64(b.Limits.Memory)))
	send(functionsSampled, float64(b.Sampled))
	send(functionsSliced, float64(b.Sliced))
	send(budgetSteps, float64(b.Steps))
}

// sendStore sends how the database is, and what waits for it.
func sendStore(send func(*definition, float64, ...string), store *writer.Store, path string) {
	h, q, c := store.Health(), store.Queue(), store.Counters()
	for _, state := range []string{"closed", "open", "half-open"} {
		is := 0.0
		if h.State == state {
			is = 1
		}
		send(breakerState, is, state)
	}
	for change, n := range h.Changes {
		send(breakerTransitions, float64(n), change.From, change.To)
	}
	send(breakerChanged, seconds(h.Since))
	for cause, n := range h.Opened {
		send(breakerOpened, float64(n), cause)
	}
	send(breakerTries, float64(h.Tries))
	if h.Cause != "" {
		send(breakerLastFailure, 1, h.Cause)
	}
	send(queueCalls, float64(q.Calls))
	send(queueCapacity, float64(q.Capacity))
	send(queueOldest, q.Oldest.Seconds())
	send(callsWritten, float64(c.Calls))
	send(transactions, float64(c.Commits))
	send(callsExpired, float64(c.Expired))
	send(writeWaits, float64(c.Waits))
	send(writeWaited, c.Waited.Seconds())
	send(lockRetries, float64(c.Retries))
	send(callsDroppedByStore, float64(c.Dropped))
	send(spilled, float64(h.Spilled))
	send(replayed, float64(h.Replayed))
	send(spillPending, float64(h.Spill.Records))
	send(spillHeld, float64(h.Spill.Held))
	send(spillBytes, float64(h.Spill.Bytes))
	for of, name := range map[*definition]string{databaseBytes: path, logBytes: path + "-wal"} {
		size := 0.0 // of none
		if st, err := os.Stat(name); err == nil {
			size = float64(st.Size())
		}
		send(of, size)
	}
}
