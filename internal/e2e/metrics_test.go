package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

var metricsLine = regexp.MustCompile(`(?m)^metrics: (http://127\.0\.0\.1:\d+)/metrics$`)

// ask asks a tracer that serves metrics.
func (tr *tracer) ask(path string) (status int, body string) {
	tr.tb.Helper()
	m := metricsLine.FindStringSubmatch(tr.Stderr())
	if m == nil {
		tr.tb.Fatalf("it does not say where its metrics are: %s", tr.Stderr())
	}
	response, err := http.Get(m[1] + path)
	if err != nil {
		tr.tb.Fatalf("%v\n%s", err, tr.Stderr())
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		tr.tb.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// scraped is metrics, by name, without the prefix.
type scraped map[string]*dto.MetricFamily

func (tr *tracer) scrape() scraped {
	tr.tb.Helper()
	status, body := tr.ask("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if status != http.StatusOK || err != nil {
		tr.tb.Fatalf("metrics: status %d, %v\n%s", status, err, body)
	}
	own := scraped{}
	for name, f := range families {
		own[strings.TrimPrefix(name, "observatory_trace_")] = f
	}
	return own
}

// series gives the one with these labels' values, in the order of their names; an empty one where there is none.
func (s scraped) series(name string, labels ...string) *dto.Metric {
	for _, m := range s[name].GetMetric() {
		var values []string
		for _, l := range m.GetLabel() {
			values = append(values, l.GetValue())
		}
		if slices.Equal(values, labels) {
			return m
		}
	}
	return &dto.Metric{}
}

// value is that of a counter or gauge; 0 where there is none.
func (s scraped) value(name string, labels ...string) float64 {
	m := s.series(name, labels...)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// scrapeUntil asks until something is so.
func (tr *tracer) scrapeUntil(what string, so func(scraped) bool) scraped {
	tr.tb.Helper()
	for deadline := time.Now().Add(testenv.Deadline); ; time.Sleep(20 * time.Millisecond) {
		s := tr.scrape()
		if so(s) {
			return s
		}
		if time.Now().After(deadline) {
			_, body := tr.ask("/metrics")
			tr.tb.Fatalf("never: %s\n%s\n%s", what, tr.Stderr(), body)
		}
	}
}

// reported is a row of report.
type reported struct {
	Process    string
	Calls      float64
	Errors     float64
	SampledOut float64 `json:"sampled_out"`
	Dropped    float64
	Recorded   float64
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Total      float64 `json:"total_ms"`
}

func report(t *testing.T, db string) (rows []reported) {
	t.Helper()
	out, err := exec.Command(testenv.Binary(t), "report", "--db", db, "-o", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &rows)
	}
	if err != nil {
		t.Fatalf("report: %v\n%s", err, out)
	}
	return rows
}

// compareReport compares a scrape with the report of the same session.
func compareReport(t *testing.T, s scraped, rows []reported) {
	t.Helper()
	if len(rows) == 0 || len(s["calls_total"].GetMetric()) != len(rows) {
		t.Errorf("metrics have %d functions, the report %d", len(s["calls_total"].GetMetric()), len(rows))
	}
	for _, r := range rows {
		f := r.Process
		dropped := s.value("calls_dropped_total", f, "ring_buffer") + s.value("calls_dropped_total", f, "probe_memory") + s.value("calls_dropped_total", f, "database")
		got := reported{f, s.value("calls_total", f), s.value("call_errors_total", f), s.value("calls_sampled_out_total", f), dropped, s.value("calls_recorded_total", f), r.P50, r.P99, r.Total}
		if got != r {
			t.Errorf("metrics: %+v\nreport:  %+v", got, r)
		}
		h := s.series("call_duration_seconds", f).GetHistogram()
		if math.Abs(h.GetSampleSum()*1000-r.Total) > 1e-3 {
			t.Errorf("%s: %v s in all, by the report %v ms", f, h.GetSampleSum(), r.Total)
		}
		for q, ms := range map[float64]float64{0.5: r.P50, 0.99: r.P99} {
			// The bucket that holds the quantile's rank.
			rank, low := math.Ceil(q*float64(h.GetSampleCount())), 0.0
			for _, b := range h.GetBucket() {
				if float64(b.GetCumulativeCount()) >= rank {
					if ms/1000 < low || ms/1000 > b.GetUpperBound() {
						t.Errorf("%s: quantile %v is between %v and %v s, by the report %v ms", f, q, low, b.GetUpperBound(), ms)
					}
					break
				}
				low = b.GetUpperBound()
			}
		}
	}
}

// TestMetrics holds that what is served is what is reported, and what the target did.
func TestMetrics(t *testing.T) {
	testenv.RequireBPF(t)
	const requests = 5000
	program := testenv.Build(t, testenv.Target{Source: "go/sampled"})
	tr := attach(t, "--exe", program, "-s", "main.handle", "-s", "main.risky", "-s", "main.query", "--sample", "0.3", "--metrics", "127.0.0.1:0")
	if status, body := tr.ask("/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("health: %d %s", status, body)
	}
	testenv.Run(t, program, fmt.Sprint(requests))
	failed, panicked := failures(requests, 1009)
	s := tr.scrapeUntil("all calls are counted", func(s scraped) bool {
		done := s.value("calls_total", "main.handle") >= requests
		for _, f := range []string{"main.handle", "main.risky", "main.query"} {
			// What the probes have counted is decoded a moment later.
			done = done && s.value("calls_total", f) == s.value("calls_recorded_total", f)+s.value("calls_sampled_out_total", f)
		}
		return done
	})
	for _, c := range []struct {
		name          string
		calls, errors int
	}{{"main.handle", requests, 0}, {"main.risky", requests, panicked}, {"main.query", 3 * (requests - panicked), len(failed)}} {
		if calls, errors := s.value("calls_total", c.name), s.value("call_errors_total", c.name); calls != float64(c.calls) || errors != float64(c.errors) {
			t.Errorf("%s: %v calls, %v errors; made were %d and %d", c.name, calls, errors, c.calls, c.errors)
		}
		if n := s.series("call_duration_seconds", c.name).GetHistogram().GetSampleCount(); n != uint64(c.calls) {
			t.Errorf("%s: %d durations of %d", c.name, n, c.calls)
		}
		if n := s.value("calls_estimated_total", c.name); n != float64(c.calls) {
			t.Errorf("%s: %v calls by estimate", c.name, n)
		}
	}
	if s.value("calls_sampled_out_total", "main.query") == 0 || s.value("functions") != 3 || s.value("processes") != 0 || !math.IsInf(s.value("overhead_limit_ratio"), 1) || s.value("process_cpu_seconds_total") == 0 {
		t.Errorf("sampled out %v, functions %v, processes %v, limit %v", s.value("calls_sampled_out_total", "main.query"), s.value("functions"), s.value("processes"), s.value("overhead_limit_ratio"))
	}
	tr.stop()
	compareReport(t, s, report(t, tr.db))
}

// TestMetricsAway fills the disk below the database: metrics and health tell that the breaker opens, why, and that it
// closes when there is room again, and in the end what became of all calls.
func TestMetricsAway(t *testing.T) {
	testenv.RequireBPF(t)
	dir := testenv.Filesystem(t, "6m")
	program := testenv.Build(t, testenv.Target{Source: "go/sampled"})
	tr := beginInto(t, filepath.Join(dir, "calls.db"), "--exe", program, "-s", "main.handle", "-s", "main.query", "--spill-dir", t.TempDir(), "--metrics", "127.0.0.1:0")
	tr.WaitStderr("attached: ")
	made := 0
	run := func(requests int) { testenv.Run(t, program, fmt.Sprint(requests)); made += requests }
	run(100)
	s := tr.scrapeUntil("what was called is written", func(s scraped) bool { return s.value("store_calls_written_total") >= 400-1 })
	if s.value("store_breaker_state", "closed") != 1 || s.value("store_breaker_state", "open") != 0 || s["store_breaker_last_failure_info"] != nil || s.value("store_database_bytes") == 0 || s.value("store_transactions_total") == 0 {
		t.Errorf("before: %v, %v", s["store_breaker_state"], s["store_transactions_total"])
	}

	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 6<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	s = tr.scrapeUntil("the breaker opens", func(s scraped) bool { run(300); return s.value("store_breaker_state", "open") == 1 })
	if s.value("store_breaker_state", "closed") != 0 || s.value("store_breaker_transitions_total", "closed", "open") == 0 || s.value("store_breaker_last_failure_info", "no space left") != 1 || s.value("store_breaker_opened_total", "no space left") == 0 {
		t.Errorf("away: %v, %v, %v", s["store_breaker_state"], s["store_breaker_transitions_total"], s["store_breaker_opened_total"])
	}
	if status, body := tr.ask("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "database away since") || !strings.Contains(body, "no space left") {
		t.Errorf("health: %d %s", status, body)
	}
	run(300)
	s = tr.scrapeUntil("calls wait, and it is tried", func(s scraped) bool {
		return s.value("store_queue_calls") > 0 && s.value("store_breaker_tries_total") > 0
	})
	if away := s.value("store_breaker_change_timestamp_seconds"); away == 0 || away > float64(time.Now().Unix()+1) {
		t.Errorf("away since %v", away)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s = tr.scrapeUntil("the breaker closes", func(s scraped) bool { return s.value("store_breaker_state", "closed") == 1 })
	opened, tried := s.value("store_breaker_transitions_total", "closed", "open"), s.value("store_breaker_transitions_total", "open", "half-open")
	failed, closed := s.value("store_breaker_transitions_total", "half-open", "open"), s.value("store_breaker_transitions_total", "half-open", "closed")
	if opened == 0 || opened != closed || tried != failed+closed {
		t.Errorf("opened %v times, tried %v, failed %v, closed %v", opened, tried, failed, closed)
	}
	if status, body := tr.ask("/healthz"); status != http.StatusOK {
		t.Errorf("health: %d %s", status, body)
	}
	run(50)
	s = tr.scrapeUntil("all is written", func(s scraped) bool {
		handled, queried := s.value("calls_recorded_total", "main.handle"), s.value("calls_recorded_total", "main.query")
		return handled == float64(made) && queried == 3*handled && s.value("store_calls_written_total") == handled+queried && s.value("store_spill_pending_records") == 0
	})
	if s.value("store_replayed_records_total") != s.value("store_spilled_records_total") {
		t.Errorf("%v replayed of %v", s.value("store_replayed_records_total"), s.value("store_spilled_records_total"))
	}
	tr.Signal(syscall.SIGINT)
	tr.Wait()
	compareReport(t, s, report(t, tr.db))
	sound(t, tr.open())
}

// TestMetricsBudget holds that a function that is too hot is seen to be traced for a part of the time.
func TestMetricsBudget(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/hot"}), "600", "0")
	tr := attachPID(t, p.PID, "--max-overhead", "5", "-s", "hot", "-s", "cold", "--metrics", "127.0.0.1:0")
	s := tr.scrapeUntil("it is sliced, and was looked at", func(s scraped) bool {
		return s.value("functions_sliced") == 1 && s.value("calls_estimated_total", "hot") > 2*s.value("calls_total", "hot")
	})
	if s.value("budget_steps_total") == 0 || s.value("overhead_ratio") <= 0 || s.value("overhead_limit_ratio") != 0.05 || s.value("cpu_limit_ratio") != 1 || s.value("memory_limit_bytes") != 1<<30 || s.value("processes") != 1 {
		t.Errorf("steps %v, overhead %v of %v", s.value("budget_steps_total"), s.value("overhead_ratio"), s.value("overhead_limit_ratio"))
	}
	tr.stop()
	if told := number(t, tr.open(), "SELECT count(*) FROM gaps WHERE process IS NOT NULL AND count = 0"); float64(told) < s.value("budget_steps_total") {
		t.Errorf("%v steps, of which the database has %d", s.value("budget_steps_total"), told)
	}
}

// TestMetricsRefused holds that an address that is taken is an error, before anything is attached.
func TestMetricsRefused(t *testing.T) {
	p := orders(t)
	tr := attachPID(t, p.PID, "--metrics", "127.0.0.1:0")
	taken := strings.TrimPrefix(metricsLine.FindStringSubmatch(tr.Stderr())[1], "http://")
	second := begin(t, "-p", fmt.Sprint(p.PID), "--metrics", taken)
	result := second.Wait()
	if result.ExitCode != 1 || !strings.Contains(result.Stderr, "address already in use") || !strings.Contains(result.Stderr, "port 0") || strings.Contains(result.Stderr, "attached: ") {
		t.Errorf("exit code %d: %s", result.ExitCode, result.Stderr)
	}
	tr.stop()
	running(t, p)
}
