package e2e

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// usage is what a thread used.
type usage struct {
	CPU      int64 `json:"cpu_ns"`
	Minor    int64 `json:"minor"`
	Major    int64 `json:"major"`
	Switches int64 `json:"switches"`
}

// usedCall is what a usage target says of a call: what the function finds first
// and last, what its caller finds before and after it, and the memory that it got.
type usedCall struct {
	Function string `json:"function"`
	Inside   usage  `json:"inside"`
	Outside  usage  `json:"outside"`
	RSS      int64  `json:"rss_kb"`
	Moved    bool   `json:"moved"` // it ended on another thread than it began on
}

// TestUsage compares what is recorded of calls' CPU time, faults, memory and
// switches with what the target finds itself, in calls that compute, sleep,
// compete for their processor, change it, and use memory.
func TestUsage(t *testing.T) {
	testenv.RequireBPF(t)
	for _, v := range []struct {
		testenv.Target
		selection []string
		least     map[string]int64 // what makes the comparison one: figures that the target must have had
	}{
		{
			testenv.Target{Source: "c/usage", Flags: []string{"-pthread"}},
			[]string{"-s", "{nothing,burn,nap,grow,shrink,read_in,wander}"},
			map[string]int64{"calls": 11, "minor": 5000, "major": 32, "switches": 25 + 1 + 30},
		},
		{
			testenv.Target{Source: "go/usage"},
			[]string{"-s", "main.{move,burn,nap,grow}"},
			map[string]int64{"calls": 5, "minor": 5000, "switches": 25},
		},
	} {
		t.Run(v.String(), func(t *testing.T) {
			p := testenv.Start(t, testenv.Build(t, v.Target), "-wait").Ready()
			tr := attachPID(t, p.PID, v.selection...)
			p.Go()
			result := p.Wait()
			tr.end()
			said := parseUsage(t, result.Stdout)
			had := map[string]int64{"calls": int64(len(said))}
			for _, c := range said {
				had["minor"] += c.Inside.Minor
				had["major"] += c.Inside.Major
				had["switches"] += c.Inside.Switches
			}
			for what, n := range v.least {
				if had[what] < n {
					t.Errorf("the target had %d %s, at least %d were wanted", had[what], what, n)
				}
			}
			db := tr.open()
			checkUsage(t, db, said)
			checkCPUSums(t, db)
		})
	}
}

func parseUsage(t *testing.T, stdout string) (all []usedCall) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(stdout)); lines.Scan(); {
		if lines.Text() == "ready" {
			continue
		}
		var c usedCall
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("parse usage: %v\n%s", err, lines.Text())
		}
		all = append(all, c)
	}
	return all
}

// rssError is by how many KiB a change of resident memory may be off: each processor
// keeps that many pages to itself, of files and anonymous ones (percpu_counter_batch).
func rssError() int64 {
	n := int64(runtime.NumCPU())
	return 2 * 2 * n * max(32, 2*n) * int64(os.Getpagesize()/1024)
}

// checkUsage holds every figure between what the function found inside of the
// probes and what its caller found around them.
func checkUsage(t *testing.T, db *sql.DB, said []usedCall) {
	t.Helper()
	rows, err := db.Query("SELECT process, cpu_ms * 1e6, minor_faults, major_faults, switches, rss_delta_kb FROM process_trace ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var function string
		var cpu sql.NullFloat64
		var minor, major, switches, rss sql.NullInt64
		if err := rows.Scan(&function, &cpu, &minor, &major, &switches, &rss); err != nil {
			t.Fatal(err)
		}
		if n >= len(said) || said[n].Function != function {
			t.Fatalf("call %d is of %s; the target says %+v", n, function, said)
		}
		c := said[n]
		t.Logf("%s: CPU %.0f ns, faults %d and %d, switches %d, memory %d KiB; the target: %+v",
			function, cpu.Float64, minor.Int64, major.Int64, switches.Int64, rss.Int64, c)
		if !rss.Valid || abs(rss.Int64-c.RSS) > rssError() {
			t.Errorf("%s: memory changed by %v KiB, not %d", function, rss, c.RSS)
		}
		if c.Moved {
			if cpu.Valid || minor.Valid || major.Valid || switches.Valid {
				t.Errorf("%s: its thread changed, and yet: CPU %v, faults %v, %v, switches %v", function, cpu, minor, major, switches)
			}
			continue
		}
		for _, f := range []struct {
			what        string
			known       bool
			got         int64
			least, most int64
		}{
			{
				"CPU time", cpu.Valid, int64(cpu.Float64),
				c.Inside.CPU - max(c.Inside.CPU/20, 20_000), c.Outside.CPU + max(c.Outside.CPU/20, 20_000),
			},
			{"minor faults", minor.Valid, minor.Int64, c.Inside.Minor, c.Outside.Minor},
			{"major faults", major.Valid, major.Int64, c.Inside.Major, c.Outside.Major},
			{"switches", switches.Valid, switches.Int64, c.Inside.Switches, c.Outside.Switches},
		} {
			if !f.known || f.got < f.least || f.got > f.most {
				t.Errorf("%s: %s: known %v, %d, not within %d and %d", function, f.what, f.known, f.got, f.least, f.most)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n != len(said) {
		t.Errorf("%d calls are recorded, of %d", n, len(said))
	}
}

// checkCPUSums compares the statistics with the calls that they sum up.
func checkCPUSums(t *testing.T, db *sql.DB) {
	t.Helper()
	differ := text(t, db, `SELECT * FROM
		(SELECT process, sum(cpu_ms) AS of_calls FROM process_trace GROUP BY process) JOIN
		(SELECT process, sum(cpu_ms) AS of_stats FROM function_stats GROUP BY process) USING (process)
		WHERE abs(coalesce(of_calls, -1) - coalesce(of_stats, -1)) > 1e-6`)
	if differ != "" {
		t.Errorf("function_stats.cpu_ms is not the sum of the calls' cpu_ms: %s", differ)
	}
	if n := number(t, db, "SELECT count(*) FROM function_stats WHERE cpu_ms > 100"); n == 0 {
		t.Error("function_stats has no CPU time")
	}
}

func abs(n int64) int64 { return max(n, -n) }
