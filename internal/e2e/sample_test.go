package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestSampling holds that calls are chosen by chance as often as is asked for, whole traces together, that
// each row tells how likely it was, that all failed calls are recorded with their arguments, and that all are counted.
func TestSampling(t *testing.T) {
	testenv.RequireBPF(t)
	const requests, rate = 6000, 0.05
	for _, c := range []struct {
		target testenv.Target
		levels []string // each calls the next once, and the last one three times
		panics int      // every so many requests end in the first but one
		args   []string
	}{
		{testenv.Target{Source: "go/sampled"}, []string{"main.handle", "main.risky", "main.serve", "main.query"}, 1009, []string{"-s", "main.handle", "-s", "main.risky", "-s", "main.serve", "-s", "main.query"}},
		{testenv.Target{Source: "c/sampled"}, []string{"serve", "query"}, 0, []string{"-s", "serve", "-s", "query", "--error", "query=negative"}},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, c.target)
			tr := begin(t, append(append([]string{"--sample", fmt.Sprint(rate)}, c.args...), "--", program, fmt.Sprint(requests))...)
			if out := tr.end().Stdout; !strings.HasPrefix(out, fmt.Sprint(requests)) {
				t.Errorf("the target says %q", out)
			}
			db := tr.open()
			failed, panicked := failures(requests, c.panics)
			calls, errors := map[string]int64{}, map[string]int64{}
			for i, name := range c.levels {
				calls[name] = requests
				if c.panics > 0 && i >= 2 {
					calls[name] -= int64(panicked)
				}
			}
			query := c.levels[len(c.levels)-1]
			calls[query] *= 3
			errors[query] = int64(len(failed))
			if c.panics > 0 {
				errors["main.risky"] = int64(panicked)
			}
			for _, name := range c.levels {
				got := text(t, db, "SELECT sum(calls), sum(errors), sum(sampled_out) + sum(dropped) + (SELECT count(*) FROM process_trace WHERE process = ?1) FROM function_stats WHERE process = ?1", name)
				if want := fmt.Sprintf("%d|%d|%d", calls[name], errors[name], calls[name]); got != want {
					t.Errorf("%s: calls, errors, and what became of them: %s, want %s", name, got, want)
				}
			}

			// The failed ones, and what they were called with.
			if got := text(t, db, "SELECT args ->> '$.id' FROM data_trace JOIN process_trace USING (id) WHERE status = 'ERR' AND process_trace.process = ? ORDER BY 1 + (args ->> '$.id')", query); got != strings.Join(failed, "\n") {
				t.Errorf("failed queries have the ids %s", got)
			}
			if got := number(t, db, "SELECT count(*) FROM data_trace JOIN process_trace USING (id) WHERE status = 'ERR' AND process_trace.process = ? AND args ->> '$.text' NOT LIKE '%r' || ((args ->> '$.id') / 3)", query); got != 0 {
				t.Errorf("%d failed queries have another text", got)
			}
			if got := number(t, db, "SELECT count(*) FROM process_trace WHERE status = 'ERR' AND sample_rate <> 1"); got != 0 {
				t.Errorf("%d failed calls are said to be sampled", got)
			}
			if c.panics > 0 {
				if got := text(t, db, "SELECT DISTINCT error_type || ': ' || error FROM process_trace WHERE process = 'main.risky' AND status = 'ERR' ORDER BY id"); got != panics(requests, c.panics) {
					t.Errorf("panics: %s", got)
				}
			}

			// What was chosen is whole.
			for i, name := range c.levels[:len(c.levels)-1] {
				want := 1
				if i == len(c.levels)-2 {
					want = 3
				}
				partial := "SELECT count(*) FROM process_trace p WHERE process = ? AND status = 'OK' AND (SELECT count(*) FROM process_trace c WHERE c.parent_id = p.id) <> ?"
				if got := number(t, db, partial, name, want); got != 0 {
					t.Errorf("%d calls of %s are without their callees", got, name)
				}
			}
			// As often as it was to be: a level's calls are chosen with their callers, then all of them, or by themselves.
			for i, name := range c.levels {
				ok := float64(calls[name] - errors[name])
				if got := number(t, db, `SELECT count(*) FROM process_trace c WHERE process = ?1 AND status = 'OK' AND
					abs(sample_rate - CASE WHEN (SELECT p.status FROM process_trace p WHERE p.id = c.parent_id AND p.status = 'OK') IS NULL THEN ?2 ELSE 1 END) > 1e-6 AND
					NOT EXISTS (SELECT 1 FROM process_trace p WHERE p.id = c.parent_id AND p.status = 'ERR')`, name, rate); got != 0 {
					t.Errorf("%s: %d calls have another rate than what they were chosen by", name, got)
				}
				estimated := float64(number(t, db, "SELECT round(sum(1 / sample_rate)) FROM process_trace WHERE process = ? AND status = 'OK'", name))
				if off := math.Abs(estimated-ok) / math.Sqrt(ok*(1-rate)/rate); off > 5 {
					t.Errorf("%s: the rates make %v calls of the rows, there were %v: %.1f deviations off", name, estimated, ok, off)
				}
				recorded := float64(number(t, db, "SELECT count(*) FROM process_trace WHERE process = ? AND status = 'OK'", name))
				if p := 1 - math.Pow(1-rate, float64(i+1)); math.Abs(recorded-ok*p) > 5*math.Sqrt(3*ok*p*(1-p)) {
					t.Errorf("%s: %v of %v calls are recorded", name, recorded, ok)
				}
			}
		})
	}
}

// TestSampledWithin holds that the rows' rates make as many calls as there were also of a function of which none is
// recorded for itself, but what is below calls that were chosen.
func TestSampledWithin(t *testing.T) {
	testenv.RequireBPF(t)
	const requests, rate = 6000, 0.05
	for _, c := range []struct {
		target testenv.Target
		query  string
		rates  string // of the others
	}{
		{testenv.Target{Source: "c/sampled"}, "query", "serve=0.05"},
		{testenv.Target{Source: "go/sampled"}, "main.query", "main.handle=0.05 main.serve=0.05"}, // chosen by either
		{testenv.Target{Source: "go/sampled"}, "main.query", "main.handle=0.05 main.serve=1"},    // by the first, through others
		{testenv.Target{Source: "go/sampled"}, "main.query", "main.handle=0.05 main.risky=0 main.serve=0"},
	} {
		args := []string{"-s", "{serve,query}", "-s", "main.{handle,risky,serve,query}", "--error", "query=negative", "--sample", c.query + "=0"}
		for _, r := range strings.Fields(c.rates) {
			args = append(args, "--sample", r)
		}
		tr := begin(t, append(args, "--", testenv.Build(t, c.target), fmt.Sprint(requests))...)
		tr.end()
		db := tr.open()
		calls := float64(number(t, db, "SELECT sum(calls) - sum(errors) FROM function_stats WHERE process = ?", c.query))
		got := float64(number(t, db, "SELECT round(sum(1 / sample_rate)) FROM process_trace WHERE process = ? AND status = 'OK'", c.query))
		// Those of one request come together.
		if off := math.Abs(got-calls) / (3 * math.Sqrt(requests*(1-rate)/rate)); off > 5 || calls < 2.9*requests {
			t.Errorf("%s: the rates make %v calls of the rows, there were %v: %.1f deviations off", c.rates, got, calls, off)
		}
	}
}

// TestShowLate holds that show has below a call which was told only when it had failed what was recorded of the calls that it
// made, be it for another failure or by chance; whether or not its caller is recorded, and where that was told late, too.
func TestShowLate(t *testing.T) {
	testenv.RequireBPF(t)
	const requests = 500
	program := testenv.Build(t, testenv.Target{Source: "c/sampled"})
	for _, args := range [][]string{
		{"-s", "serve", "-s", "query"},
		{"-s", "main", "-s", "serve", "-s", "query", "--sample", "main=1"},
		{"-s", "main", "-s", "serve", "-s", "query", "--sample", "main=0", "--error", "main=null"},
	} {
		tr := begin(t, append(append([]string{"--sample", "0.05", "--error", "query=negative", "--error", "serve=nonzero"}, args...), "--", program, fmt.Sprint(requests))...)
		tr.end()
		db := tr.open()
		// Each request makes the queries 3 * id, and the two behind.
		want := map[int64]string{}
		for _, row := range strings.Fields(text(t, db, "SELECT (args ->> '$.id') / 3, args ->> '$.id' FROM data_trace WHERE process = 'query' ORDER BY id")) {
			var request int64
			var query string
			if _, err := fmt.Sscanf(strings.ReplaceAll(row, "|", " "), "%d %s", &request, &query); err != nil {
				t.Fatalf("%q: %v", row, err)
			}
			want[request] += " " + query
		}
		late := strings.Fields(text(t, db, "SELECT id FROM data_trace WHERE process = 'serve' AND flags LIKE '%late%' ORDER BY args ->> '$.r.id' % 7, id LIMIT 100"))
		below, none := 0, 0
		for _, id := range late {
			serve := shown(t, tr.db, id)
			serve.check(t, want)
			below += len(serve.Callees)
			if len(serve.Callees) == 0 {
				none++
			}
		}
		if below == 0 || none == 0 {
			t.Errorf("%q: of %d calls that were told late %d have none below them, the others %d", args, len(late), none, below)
		}
		main := text(t, db, "SELECT id FROM process_trace WHERE process = 'main'")
		for _, id := range late {
			serve := shown(t, tr.db, id)
			for i := range serve.Callees {
				serve.Callees[i].checkCallers(t, tr.db, main, id)
			}
		}
		if main != "" {
			calls := shown(t, tr.db, main).Callees
			for i := range calls {
				calls[i].check(t, want)
				if i%10 == 0 {
					calls[i].checkCallers(t, tr.db, main)
				}
			}
			if len(calls) != requests {
				t.Errorf("%q: below main there are %d calls", args, len(calls))
			}
		}
	}
}

// callShown is a call of c/sampled as show prints it.
type callShown struct {
	ID      int64  `json:"id"`
	Process string `json:"process"`
	Args    struct {
		R  struct{ ID int64 }
		ID int64
	}
	Callees []callShown
	Callers []struct{ ID int64 }
}

// shown is a call with those below it.
func shown(t *testing.T, db, id string) (c callShown) {
	t.Helper()
	got := testenv.Run(t, testenv.Binary(t), "show", "--db", db, "-o", "json", "--limit", "100000", id)
	if err := json.Unmarshal([]byte(got.Stdout), &c); err != nil || got.ExitCode != 0 {
		t.Fatalf("show %s: exit code %d, %v: %s%s", id, got.ExitCode, err, got.Stdout, got.Stderr)
	}
	return c
}

// check compares the queries below a request with those that there are, by the request's id.
func (c *callShown) check(t *testing.T, want map[int64]string) {
	t.Helper()
	got := ""
	for _, q := range c.Callees {
		got += fmt.Sprintf(" %d", q.Args.ID)
		if q.Process != "query" || len(q.Callees) > 0 {
			t.Errorf("below a query: %+v", q)
		}
	}
	if c.Process != "serve" || got != want[c.Args.R.ID] {
		t.Errorf("below call %d, %s of request %d, there are%s, want%s", c.ID, c.Process, c.Args.R.ID, got, want[c.Args.R.ID])
	}
}

// checkCallers holds that show has these callers above a call, by their ids; empty ones are none.
func (c *callShown) checkCallers(t *testing.T, db string, want ...string) {
	t.Helper()
	got := ""
	for _, caller := range shown(t, db, fmt.Sprint(c.ID)).Callers {
		got += fmt.Sprintf("%d ", caller.ID)
	}
	if want := strings.TrimSpace(strings.Join(want, " ")); strings.TrimSpace(got) != want {
		t.Errorf("above %s %d there are %q, want %q", c.Process, c.ID, got, want)
	}
}

// TestSampledErrors holds that failed calls which were sampled out have their arguments, those in memory too, of
// functions that have more than registers hold.
func TestSampledErrors(t *testing.T) {
	testenv.RequireBPF(t)
	const requests = 2000
	program := testenv.Build(t, testenv.Target{Source: "c/sampled"})
	tr := begin(t, "--sample", "0.001", "-s", "fetch", "--error", "fetch=negative", "--", program, fmt.Sprint(requests))
	tr.end()
	var want []string
	for i := 97; i <= requests; i += 97 {
		want = append(want, fmt.Sprintf(`{"row":{"id":%d,"shard":%d,"kind":%d,"tag":"t%d","text":"r%d"},"a":%d,"b":-2,"c":"r%d","d":4,"e":5,"f":6,"g":-7}`, i, -i, i%1000, i, i, i+1, i))
	}
	db := tr.open()
	if got := text(t, db, "SELECT args FROM data_trace JOIN process_trace USING (id) WHERE status = 'ERR' ORDER BY id"); got != strings.Join(want, "\n") {
		t.Errorf("failed calls have the arguments\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	// Nearly all, that is: one may have been chosen.
	if got := number(t, db, "SELECT count(*) FROM data_trace JOIN process_trace USING (id) WHERE status = 'ERR' AND flags LIKE '%late%'"); got < int64(len(want))-3 {
		t.Errorf("of %d failed calls the arguments of %d were kept until then", len(want), got)
	}
}

// failures are the ids of the queries that fail, and the number of requests that end before theirs.
func failures(requests, panics int) (ids []string, panicked int) {
	for r := 1; r <= requests; r++ {
		if panics > 0 && r%panics == 0 {
			panicked++
			continue
		}
		for id := 3 * r; id < 3*r+3; id++ {
			if id%97 == 0 {
				ids = append(ids, fmt.Sprint(id))
			}
		}
	}
	return ids, panicked
}

func panics(requests, every int) string {
	var lines []string
	for r := every; r <= requests; r += every {
		lines = append(lines, fmt.Sprintf("panic: request %d", r))
	}
	return strings.Join(lines, "\n")
}
