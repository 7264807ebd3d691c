package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// countsVariant is a build of a counts target, and how its functions are selected.
type countsVariant struct {
	testenv.Target
	args []string // SELECTION; none: the application's own functions
}

// countsVariants are the builds whose recorded calls are held against what the
// targets count themselves. Stripped programs have no debug information that
// tells the application's own functions from the libraries': patterns do there.
var countsVariants = []countsVariant{
	{testenv.Target{Source: "go/counts"}, nil},
	{testenv.Target{Source: "go/counts", Opt: "-O0"}, nil},
	{testenv.Target{Source: "go/counts", PIE: true, Compiler: "go1.24.6"}, nil},
	{testenv.Target{Source: "go/counts", Compiler: "go1.25.4"}, nil},
	{testenv.Target{Source: "go/counts", Compiler: "go1.23.12"}, nil},
	{testenv.Target{Source: "go/counts", Compiler: "go1.22.12"}, nil},
	{testenv.Target{Source: "go/counts", Strip: testenv.StripAll}, nil},
	{testenv.Target{Source: "c/counts"}, nil},
	{testenv.Target{Source: "c/counts", Opt: "-O0", NoPIE: true}, nil},
	{testenv.Target{Source: "c/counts", Compiler: "clang-19", DWARF: 5}, nil},
	{testenv.Target{Source: "c/counts", Opt: "-O3", Static: true, DWARF: 4}, nil},
	{testenv.Target{Source: "c/counts", Split: testenv.SplitLink}, nil},
	{testenv.Target{Source: "c/counts", Strip: testenv.StripAll, Flags: []string{"-rdynamic"}}, []string{"-s", "*"}},
	{testenv.Target{Source: "cpp/counts"}, nil},
	{testenv.Target{Source: "cpp/counts", Opt: "-O0", DWARF: 4}, nil},
	{testenv.Target{Source: "cpp/counts", Compiler: "clang++-19", Opt: "-O3", NoPIE: true}, nil},
	{testenv.Target{Source: "cpp/counts", Static: true}, nil},
	{testenv.Target{Source: "cpp/counts", Strip: testenv.StripDebug}, []string{"-s", "*"}},
	{testenv.Target{Source: "rust/counts"}, nil},
	{testenv.Target{Source: "rust/counts", Opt: "-O0", DWARF: 5}, nil},
	{testenv.Target{Source: "rust/counts", Opt: "-O3", NoPIE: true, DWARF: 4}, nil},
	{testenv.Target{Source: "rust/counts", Strip: testenv.StripDebug}, []string{"-s", "counts*", "-s", "<counts*"}},
}

// TestCounts holds that what is recorded is what happened, however a target is
// built: as many calls of every function as it counted, those that were thrown
// away as ERR and none of the others so, but for those that returned an error.
func TestCounts(t *testing.T) {
	testenv.RequireBPF(t)
	for _, v := range countsVariants {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, v.Target)
			selection := v.args
			if v.Source == "c/counts" && !v.Static {
				selection = append([]string{"-l", filepath.Join(filepath.Dir(program), "libplugin.so"), "-s", "*"}, selection...)
			}
			if strings.HasPrefix(v.Source, "go/") {
				selection = append([]string{"-s", "main.*", "-s", "main.(*derived).deposit"}, selection...)
			}
			untraced := testenv.Run(t, program)

			t.Run("command", func(t *testing.T) {
				tr := begin(t, append(selection, "--", program)...)
				result := tr.end()
				if result.Stdout != untraced.Stdout {
					t.Errorf("it printed %q, untraced %q", result.Stdout, untraced.Stdout)
				}
				checkCounts(t, v.Target, tr.open(), testenv.ParseCounts(t, untraced.Stdout))
			})
			t.Run("running", func(t *testing.T) {
				p := testenv.Start(t, program, "-wait").Ready()
				tr := attachPID(t, p.PID, selection...)
				p.Go()
				result := p.Wait()
				if want := "ready\n" + untraced.Stdout; result.Stdout != want || result.ExitCode != 0 || result.Stderr != "" {
					t.Errorf("it ended with %+v, wants %q", result, want)
				}
				tr.end()
				db := tr.open()
				checkCounts(t, v.Target, db, testenv.ParseCounts(t, result.Stdout))
				if got := number(t, db, "SELECT count(*) FROM process_trace WHERE parent_id IS NOT NULL AND parent_id NOT IN (SELECT id FROM process_trace)"); got != 0 {
					t.Errorf("%d calls have a parent that was not recorded", got)
				}
			})
		})
	}
}

// TestLeftOut holds the same of the statistics, and of the calls that fail, where all others
// are left out: their entries are kept back until it is known how they end.
func TestLeftOut(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range []testenv.Target{
		{Source: "go/counts"},
		{Source: "c/counts"},
		{Source: "cpp/counts"},
		{Source: "rust/counts"},
		{Source: "go/counts", Opt: "-O0"},
		{Source: "cpp/counts", Opt: "-O0"},
	} {
		for _, left := range [][]string{{"--min-duration", "1h"}, {"--sample", "0"}} {
			t.Run(target.String()+strings.Join(left, "="), func(t *testing.T) {
				t.Parallel()
				p := testenv.Start(t, testenv.Build(t, target), "-wait").Ready()
				tr := attachPID(t, p.PID, left...)
				p.Go()
				result := p.Wait()
				tr.end()
				db := tr.open()
				if n := number(t, db, "SELECT count(*) FROM process_trace WHERE status = 'OK'"); n != 0 {
					t.Errorf("%d short calls are recorded", n)
				}
				// Of what was raised, the entries that were kept back come before it is told. (What left a
				// signal's stack by a jump is found gone later, and is never told from a coroutine.)
				if got := text(t, db, "SELECT DISTINCT process FROM process_trace WHERE error_type = 'unwound' AND process <> 'on_fault'"); got != "" {
					t.Errorf("nobody knows what these died of: %s", got)
				}
				// What does not fail is recorded nowhere: the statistics stand for it.
				failed, counted := tallies(t, db, ""), statistics(t, db)
				counts := testenv.ParseCounts(t, result.Stdout)
				for name, w := range counts.Functions {
					c, ok := counted[instance(name)]
					if !ok {
						continue // of a library, or a wrapper
					}
					w.Calls += counts.Children[name].Calls
					w.Unwound += counts.Children[name].Unwound
					f := failed[instance(name)]
					if c.calls != w.Calls || c.errors != f.ERR || f.ERR+c.open < w.Unwound || c.left != w.Calls-f.ERR-f.Open {
						t.Errorf("%s: %+v by the statistics; %v recorded; %d calls, %d unwound", name, c, f, w.Calls, w.Unwound)
					}
				}
				if len(failed) == 0 || len(counted) == 0 {
					t.Errorf("%d functions recorded, %d counted", len(failed), len(counted))
				}
			})
		}
	}
}

// TestStatsOnly holds that the statistics tell of all calls, and of those that fail, where none is recorded.
func TestStatsOnly(t *testing.T) {
	testenv.RequireBPF(t)
	for _, source := range []string{"go/counts", "c/counts", "cpp/counts", "rust/counts"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, testenv.Target{Source: source})
			p := testenv.Start(t, program, "-wait").Ready()
			full := testenv.Start(t, program, "-wait").Ready()
			tr, trFull := attachPID(t, p.PID, "--stats-only"), attachPID(t, full.PID)
			p.Go()
			full.Go()
			result := p.Wait()
			full.Wait()
			said := tr.end()
			trFull.end()
			db := tr.open()
			if n := number(t, db, "SELECT count(*) FROM process_trace"); n != 0 {
				t.Errorf("%d calls are recorded", n)
			}
			total := number(t, db, "SELECT sum(calls) FROM function_stats")
			if want := fmt.Sprintf("counted %d calls in ", total); total == 0 || !strings.Contains(said.Stderr, want) {
				t.Errorf("said %q, not %q", said.Stderr, want)
			}
			counted, whole := statistics(t, db), statistics(t, trFull.open())
			for name, c := range testenv.ParseCounts(t, result.Stdout).Functions {
				name = instance(name)
				if counted[name].calls != whole[name].calls || counted[name].errors != whole[name].errors || counted[name].calls < c.Calls && counted[name].calls > 0 {
					t.Errorf("%s: %+v; with all recorded %+v; %d calls", name, counted[name], whole[name], c.Calls)
				}
			}
		})
	}
}

// instance is the name of a generic Go function as it is recorded, with its real type arguments, where
// there are symbols to tell them. The target's have the shapes' names.
func instance(name string) string { return strings.ReplaceAll(name, "go.shape.", "") }

// checkCounts compares the recorded calls with those that the target counted.
func checkCounts(t *testing.T, target testenv.Target, db *sql.DB, counts testenv.Counts) {
	t.Helper()
	// Functions that had been entered when tracing began are told of when they return.
	if gaps := text(t, db, "SELECT * FROM gaps WHERE reason <> 'already running when tracing began' LIMIT 20"); gaps != "" {
		t.Errorf("gaps: %s", gaps)
	}
	want := map[string]testenv.Count{}
	groups := []map[string]testenv.Count{counts.Functions, counts.Children}
	for _, library := range counts.Libraries {
		groups = append(groups, library)
	}
	for _, group := range groups {
		for name, c := range group {
			w := want[name]
			want[name] = testenv.Count{Calls: w.Calls + c.Calls, Returns: w.Returns + c.Returns, Unwound: w.Unwound + c.Unwound}
		}
	}
	// Of Go's assembly and its wrapper of the same name only the former is traced, and
	// of other wrappers those that are asked for by name.
	for name, c := range want {
		if plain, ok := strings.CutSuffix(name, ".abi0"); ok {
			want[plain] = c
			delete(want, name)
		}
	}
	for name, c := range want {
		if real := instance(name); real != name && target.Strip != testenv.StripAll {
			want[real] = c
			delete(want, name)
		}
	}
	if c, ok := want["shop::tail_throw"]; ok && target.Opt == "-O0" {
		// It counts its return before the tail call that throws: here that is no tail call.
		want["shop::tail_throw"] = testenv.Count{Calls: c.Calls, Unwound: c.Calls}
	}
	got := tallies(t, db, "")
	counted := statistics(t, db)
	if c := got["on_jump"]; c.Open == 1 {
		// Left by a jump from a signal's stack to the thread's: of the last one nothing tells
		// that it won't go on, as a coroutine does.
		got["on_jump"] = tally{OK: c.OK, ERR: c.ERR + 1}
		e := counted["on_jump"]
		e.errors++
		counted["on_jump"] = e
	}
	// Those are told from unwound calls by their results.
	returned := tallies(t, db, "id IN (SELECT id FROM data_trace WHERE result IS NOT NULL)")
	for name, w := range want {
		g := got[name]
		errors := w.Unwound + returned[name].ERR
		if g.OK+g.ERR != w.Calls || g.ERR != errors || g.Open != 0 {
			t.Errorf("%s: %v; of %d calls %d returned and %d were unwound", name, g, w.Calls, w.Returns, w.Unwound)
		}
		if c := counted[name]; c.calls != w.Calls || c.errors != g.ERR || c.left != 0 {
			t.Errorf("%s: the statistics tell of %d calls, %d errors and %d left out, not of %d and %d", name, c.calls, c.errors, c.left, w.Calls, g.ERR)
		}
	}
}

// exact is what a function's statistics tell.
type exact struct{ calls, errors, left, open uint64 }

// statistics are those of each function.
func statistics(t testing.TB, db *sql.DB) map[string]exact {
	t.Helper()
	rows, err := db.Query("SELECT process, sum(calls), sum(errors), sum(sampled_out), sum(calls) - sum(timed) FROM function_stats GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]exact{}
	for rows.Next() {
		var name string
		var e exact
		if err := rows.Scan(&name, &e.calls, &e.errors, &e.left, &e.open); err != nil {
			t.Fatal(err)
		}
		all[name] = e
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
