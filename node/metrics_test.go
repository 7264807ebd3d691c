package node

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// recording writes calls into a real store, and sweeps, as a recorder does.
type recording struct {
	t     *testing.T
	m     *Metrics
	store *writer.Store
	path  string
	stats writer.Accumulator
}

func record(t *testing.T, options writer.Options) *recording {
	t.Helper()
	r := &recording{t: t, m: NewMetrics("v1"), path: filepath.Join(t.TempDir(), "calls.db")}
	var err error
	r.store, err = writer.Open(r.path, options)
	must(t, err)
	t.Cleanup(func() { _ = r.store.Close() })
	r.m.Began(r.store, r.path)
	return r
}

// call has a function called so often, a tenth of the calls fail.
func (r *recording) call(f *trace.Function, n int, s *Sweep) {
	r.t.Helper()
	first, err := r.store.NextIDs(n)
	must(r.t, err)
	tally := trace.Tally{Func: f}
	recorded := make([]*trace.Call, n)
	for i := range recorded {
		c := &trace.Call{ID: first + uint64(i), Func: f, Status: trace.StatusOK, StartNS: time.Now().UnixNano(), DurationNS: 1000 * int64(i)}
		if i%10 == 9 {
			c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "E", Message: "failed"}
		}
		tally.Add(c.Status, c.DurationNS)
		r.stats.Recorded(c)
		recorded[i] = c
	}
	r.stats.Tally(&tally)
	s.Tallies = append(s.Tallies, tally)
	must(r.t, r.store.Write(recorded))
}

func (r *recording) sweep(s Sweep) {
	r.t.Helper()
	s.Time = time.Now()
	s.Seconds = r.stats.Take(s.Time)
	must(r.t, r.store.Stats(s.Seconds))
	r.m.Swept(s)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gather gives the families by name, without the prefix.
func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	must(t, err)
	found := map[string]*dto.MetricFamily{}
	for _, f := range families {
		found[strings.TrimPrefix(f.GetName(), prefix)] = f
	}
	return found
}

// value is that of the series which has these labels' values, in the order of their names; NaN for none.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	for _, m := range families[name].GetMetric() {
		values := []string{}
		for _, l := range m.GetLabel() {
			values = append(values, l.GetValue())
		}
		if slices.Equal(values, append([]string{}, labels...)) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return math.NaN()
}

// lock takes the database as another program would, and gives what releases it.
func lock(t *testing.T, path string) (release func()) {
	t.Helper()
	p := testenv.Start(t, "sqlite3", path)
	p.Send("BEGIN IMMEDIATE; SELECT 'held';")
	p.WaitLine("held")
	return func() { p.Send("COMMIT;\n.quit"); p.Wait() }
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testenv.Deadline); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came about")
		}
	}
}

// TestAway has the database locked by another program: the breaker's states, its changes and their cause are seen,
// and calls for which the queue has no room count as dropped, not as recorded.
func TestAway(t *testing.T) {
	r := record(t, writer.Options{QueueCalls: 100, Patience: time.Millisecond})
	f := &trace.Function{ID: 1, Name: "main.pay"}
	var s Sweep
	r.call(f, 50, &s)
	r.sweep(s)
	must(t, r.store.Flush())
	got := gather(t, r.m)
	for _, state := range []string{"closed", "open", "half-open"} {
		if is := value(got, "store_breaker_state", state); is != map[string]float64{"closed": 1}[state] {
			t.Errorf("state %s: %v", state, is)
		}
	}
	if value(got, "store_breaker_transitions_total", "closed", "open") != 0 || got["store_breaker_last_failure_info"] != nil || r.m.Healthy() != nil {
		t.Errorf("it was never away: %+v", r.store.Health())
	}

	release := lock(t, r.path)
	written := 50
	waitFor(t, func() bool {
		s = Sweep{}
		r.call(f, 10, &s)
		written += 10
		r.sweep(s)
		got = gather(t, r.m)
		return value(got, "store_breaker_state", "open") == 1 && value(got, "store_calls_dropped_total") > 0
	})
	if value(got, "store_lock_retries_total") == 0 {
		t.Error("no try for the lock has failed")
	}
	if value(got, "store_breaker_state", "closed") != 0 || value(got, "store_breaker_transitions_total", "closed", "open") != 1 ||
		value(got, "store_breaker_last_failure_info", "locked by another program") != 1 || value(got, "store_breaker_opened_total", "locked by another program") != 1 {
		t.Errorf("away: %+v, of which the metrics tell %v", r.store.Health(), got["store_breaker_transitions_total"])
	}
	if err := r.m.Healthy(); err == nil || !strings.Contains(err.Error(), "locked by another program") {
		t.Errorf("it is healthy: %v", err)
	}
	dropped := value(got, "calls_dropped_total", "main.pay", droppedDatabase)
	if recorded := value(got, "calls_recorded_total", "main.pay"); dropped == 0 || recorded+dropped != float64(written) || value(got, "calls_total", "main.pay") != float64(written) {
		t.Errorf("%d calls: %v recorded, %v dropped", written, recorded, dropped)
	}
	if dropped != value(got, "store_calls_dropped_total") || value(got, "store_queue_calls") < 100 || value(got, "store_queue_capacity_calls") != 500 || value(got, "store_spilled_records_total") == 0 {
		t.Errorf("queue %+v, %v dropped, %+v", r.store.Queue(), dropped, r.store.Health())
	}

	release()
	waitFor(t, func() bool { got = gather(t, r.m); return value(got, "store_breaker_state", "closed") == 1 })
	// It may have been tried more than once.
	opened, tried, failed, closed := value(got, "store_breaker_transitions_total", "closed", "open"), value(got, "store_breaker_transitions_total", "open", "half-open"),
		value(got, "store_breaker_transitions_total", "half-open", "open"), value(got, "store_breaker_transitions_total", "half-open", "closed")
	if opened != 1 || closed != 1 || tried != failed+closed || value(got, "store_breaker_last_failure_info", "locked by another program") != 1 || r.m.Healthy() != nil {
		t.Errorf("opened %v times, tried %v, failed %v, closed %v: %v", opened, tried, failed, closed, r.m.Healthy())
	}
	must(t, r.store.Flush())
	waitFor(t, func() bool { return r.store.Health().Spill.Records == 0 })
	got = gather(t, r.m)
	if n := value(got, "store_calls_written_total"); n != float64(written)-dropped || value(got, "store_replayed_records_total") != value(got, "store_spilled_records_total") {
		t.Errorf("%v written of %d, %v dropped", n, written, dropped)
	}
}

// TestFunctions has more functions called than have series of their own, some of the same name, some of none that is text.
func TestFunctions(t *testing.T) {
	r := record(t, writer.Options{})
	total := 0
	for round := range 3 {
		var s Sweep
		for i := range 1500 {
			f := &trace.Function{ID: uint32(i), Name: fmt.Sprint("f", i)}
			if i < 10 {
				f.Name = "same\xff"
			}
			r.call(f, 1+round, &s)
			total += 1 + round
		}
		r.sweep(s)
	}
	got := gather(t, r.m)
	all := 0.0
	for _, m := range got["calls_total"].GetMetric() {
		all += m.GetCounter().GetValue()
	}
	if n := len(got["calls_total"].GetMetric()); n != maxFunctions+1 || all != float64(total) {
		t.Errorf("%d series, together %v calls of %d", n, all, total)
	}
	if same, rest := value(got, "calls_total", "same\uFFFD"), value(got, "calls_total", others); same != 60 || rest != (1500-9-maxFunctions)*6 {
		t.Errorf("of one name %v, others %v", same, rest)
	}
}

// TestEstimates holds that calls while probes were out are in the estimate, and why others were dropped.
func TestEstimates(t *testing.T) {
	r := record(t, writer.Options{})
	f := &trace.Function{ID: 1, Name: "hot"}
	tally := trace.Tally{Func: f, Calls: 100, LeftOut: 60, Dropped: 30}
	r.stats.Tally(&tally)
	r.stats.Cover(func(*trace.Function) (share, off float64) { return 0.25, 0 })
	r.sweep(Sweep{Tallies: []trace.Tally{tally}, Losses: []trace.Gap{
		{Func: f, Count: 10, Reason: attach.GapEntriesCrowded},
		{Func: f, Count: 20, Reason: attach.GapEntriesLost},
		{Func: f, Count: 3, Reason: attach.GapExitsLost},
		{Func: f, Count: 4, Reason: attach.GapExitsCrowded},
		{Count: 9, Reason: "another"},
	}})
	got := gather(t, r.m)
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{100, "calls_total", []string{"hot"}},
		{400, "calls_estimated_total", []string{"hot"}},
		{60, "calls_sampled_out_total", []string{"hot"}},
		{20, "calls_dropped_total", []string{"hot", droppedRing}},
		{10, "calls_dropped_total", []string{"hot", droppedCrowded}},
		{0, "calls_dropped_total", []string{"hot", droppedDatabase}},
		{3, "call_ends_lost_total", []string{droppedRing}},
		{4, "call_ends_lost_total", []string{droppedCrowded}},
		{math.Inf(1), "overhead_limit_ratio", nil},
	} {
		if n := value(got, c.name, c.labels...); n != c.want {
			t.Errorf("%s%v is %v, not %v", c.name, c.labels, n, c.want)
		}
	}
}

// TestHistogram compares both forms with the durations themselves.
func TestHistogram(t *testing.T) {
	var h trace.Histogram
	var durations []float64 // s
	sum := int64(0)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		ns := int64(math.Exp(random.Float64()*25)) - 1 // 0 to 72 s
		h.Add(ns)
		sum += ns
		durations = append(durations, float64(ns)/1e9)
	}
	slices.Sort(durations)
	var m dto.Metric
	must(t, histogram("f", &h, sum).Write(&m))
	got := m.GetHistogram()
	if got.GetSampleCount() != 20_000 || got.GetSampleSum() != float64(sum)/1e9 || len(got.GetBucket()) != lastOctave-firstOctave+1 {
		t.Errorf("%d durations, sum %v, in %d buckets", got.GetSampleCount(), got.GetSampleSum(), len(got.GetBucket()))
	}
	for _, b := range got.GetBucket() {
		n, _ := slices.BinarySearch(durations, b.GetUpperBound())
		if b.GetCumulativeCount() != uint64(n) {
			t.Errorf("%d are up to %v s, not %d", n, b.GetUpperBound(), b.GetCumulativeCount())
		}
	}
	// Natively: what lies up to a bucket's end is between what does up to 3.3 % below and above it.
	index, last, delta, below := 0, int64(0), 0, got.GetZeroCount()
	for _, span := range got.GetPositiveSpan() {
		index += int(span.GetOffset())
		for range span.GetLength() {
			last += got.GetPositiveDelta()[delta]
			delta++
			below += uint64(last)
			end := math.Exp2(float64(index) / (1 << nativeSchema))
			least, _ := slices.BinarySearch(durations, end*0.967)
			most, _ := slices.BinarySearch(durations, end*1.033)
			if below < uint64(least) || below > uint64(most) {
				t.Errorf("up to %v s there are %d, not %d to %d", end, below, least, most)
			}
			index++
		}
	}
	if below != 20_000 {
		t.Errorf("native buckets have %d", below)
	}
}

// TestLint holds that all metrics are there, are named and described as Prometheus wants it.
func TestLint(t *testing.T) {
	r := record(t, writer.Options{Patience: time.Millisecond})
	release := lock(t, r.path)
	f := &trace.Function{ID: 1, Name: "main.pay"}
	var s Sweep
	r.call(f, 20, &s)
	r.sweep(s)
	waitFor(t, func() bool { return r.store.Health().State != "closed" })
	release()
	waitFor(t, func() bool { return r.store.Health().State == "closed" })
	families, err := r.m.registry.Gather()
	must(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	must(t, err)
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, prefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	got := gather(t, r.m)
	for _, d := range defined {
		if family := got[strings.TrimPrefix(d.name, prefix)]; family == nil {
			t.Errorf("%s is never seen", d.name)
		} else if kind := strings.ToLower(family.GetType().String()); kind != d.kind {
			t.Errorf("%s is a %s, not a %s", d.name, kind, d.kind)
		}
	}
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines"} {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestDocument holds that docs/metrics.md has all metrics.
func TestDocument(t *testing.T) {
	root, err := testenv.Root()
	must(t, err)
	path := filepath.Join(root, "docs", "metrics.md")
	if *update {
		must(t, os.WriteFile(path, document(), 0o644))
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, document()) {
		t.Errorf("docs/metrics.md is not what the code says (%v): make docs", err)
	}
}

// document is docs/metrics.md.
func document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Metrics

Made by `+"`make docs`"+` of `+"`node/definitions.go`"+`. `+"`attach --metrics 127.0.0.1:9464`"+` serves these at `+"`/metrics`"+`, as text, OpenMetrics or protobuf, whichever is asked for, with
those of client_golang for the process (`+"`process_…`"+`: CPU time, memory, files) and for the Go runtime (`+"`go_…`"+`). `+"`/healthz`"+` answers 200 while calls are traced and the database is
not away, else 503 and why; another program's lock counts as that after 3 s, or as soon as errors or a full queue can't wait for it. Names of functions are all that is told of a target, but to everybody who can reach the address: choose one that only Prometheus can.

The first %d functions that are called have series of their own, all others together those of the function `+"`%s`"+`. Figures are of function names: those of
functions with one name are added up. Calls, errors, recorded, sampled out and dropped are the figures of `+"`report`"+`, since this session began.

Durations come as a native histogram (protobuf; eight buckets for each power of two seconds), and in classic buckets, from 1.024 µs on, each twice as wide as the one before.

| metric | type | labels | |
|---|---|---|---|
`, maxFunctions, others)
	for _, d := range defined {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.kind, strings.Join(d.labels, ", "), d.help)
	}
	return b.Bytes()
}

// get asks a server, and gives the answer's status, type and body.
func get(t *testing.T, server *Server, path, accept string) (status int, kind string, body []byte) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+server.Address()+path, nil)
	must(t, err)
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(response.Body)
	must(t, err)
	return response.StatusCode, response.Header.Get("Content-Type"), b.Bytes()
}

// TestServe asks for metrics in each of their forms while they change, and for health from before the beginning to after the end.
func TestServe(t *testing.T) {
	m := NewMetrics("v1")
	server, err := Serve("127.0.0.1:0", m)
	must(t, err)
	if _, err := Serve(server.Address(), m); err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "port 0") {
		t.Errorf("a second one: %v", err)
	}
	if status, _, body := get(t, server, "/healthz", ""); status != 503 || !strings.Contains(string(body), "not attached yet") {
		t.Errorf("before: %d %s", status, body)
	}
	if status, _, body := get(t, server, "/metrics", ""); status != 200 || !strings.Contains(string(body), prefix+`build_info{goversion="go`) {
		t.Errorf("before: %d %s", status, body)
	}

	r := record(t, writer.Options{})
	r.m = m
	m.Began(r.store, r.path)
	f := &trace.Function{ID: 1, Name: `main.(*Store).Get"[...]`}
	var s Sweep
	r.call(f, 100, &s)
	r.sweep(s)
	var wait sync.WaitGroup
	stop := make(chan struct{})
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				var s Sweep
				r.call(&trace.Function{ID: 2, Name: "another"}, 10, &s)
				r.sweep(s)
			}
		}
	})
	for accept, want := range map[string]expfmt.FormatType{
		"": expfmt.TypeTextPlain, "application/openmetrics-text; version=1.0.0": expfmt.TypeOpenMetrics,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited": expfmt.TypeProtoDelim,
	} {
		status, kind, body := get(t, server, "/metrics", accept)
		if status != 200 || expfmt.Format(kind).FormatType() != want {
			t.Errorf("asked for %q: %d, %s", accept, status, kind)
			continue
		}
		if want == expfmt.TypeOpenMetrics {
			if !bytes.HasSuffix(body, []byte("# EOF\n")) || !bytes.Contains(body, []byte(prefix+`calls_total{function="main.(*Store).Get\"[...]"} 100.0`)) {
				t.Errorf("OpenMetrics: %s", body)
			}
			continue
		}
		decoder := expfmt.NewDecoder(bytes.NewReader(body), expfmt.NewFormat(want))
		if want == expfmt.TypeTextPlain {
			decoder = expfmt.NewDecoder(bytes.NewReader(body), expfmt.FmtText)
		}
		found := false
		for {
			var family dto.MetricFamily
			if err := decoder.Decode(&family); err != nil {
				break
			}
			if family.GetName() != callDuration.name {
				continue
			}
			for _, metric := range family.GetMetric() {
				h := metric.GetHistogram()
				if metric.GetLabel()[0].GetValue() == f.Name && h.GetSampleCount() == 100 && len(h.GetBucket()) > lastOctave-firstOctave {
					found = (h.Schema != nil) == (want == expfmt.TypeProtoDelim)
				}
			}
		}
		if !found {
			t.Errorf("asked for %q: no histogram as it should be in %d bytes", accept, len(body))
		}
	}
	close(stop)
	wait.Wait()
	if status, _, body := get(t, server, "/healthz", ""); status != 200 || string(body) != "ok\n" {
		t.Errorf("meanwhile: %d %s", status, body)
	}
	m.Ended()
	if status, _, body := get(t, server, "/healthz", ""); status != 503 || !strings.Contains(string(body), "has ended") {
		t.Errorf("after: %d %s", status, body)
	}
	must(t, server.Close())
	if _, err := http.Get("http://" + server.Address() + "/metrics"); err == nil {
		t.Error("it answers when it is closed")
	}
}
