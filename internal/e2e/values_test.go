package e2e

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestValues compares what is recorded of one call of each function with what
// the target was made to pass and return.
func TestValues(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range []testenv.Target{
		{Source: "go/values"},
		{Source: "go/values", Opt: "-O0"},
		{Source: "go/values", Compiler: "go1.22.12"},
		{Source: "go/values", PIE: true, Compiler: "go1.24.6"},
		{Source: "c/values"},
		{Source: "c/values", Opt: "-O0"},
		{Source: "c/values", Compiler: "clang-19", DWARF: 5},
		{Source: "c/values", Compiler: "clang-19", Opt: "-O0"},
		{Source: "cpp/values"},
		{Source: "cpp/values", Opt: "-O0"},
		{Source: "cpp/values", Compiler: "clang++-19"},
		{Source: "cpp/values", Compiler: "clang++-19", Opt: "-O0"},
		{Source: "cpp/values", Compiler: "clang++-19", Flags: []string{"-stdlib=libc++"}},
		{Source: "cpp/values", Compiler: "clang++-19", Opt: "-O0", Flags: []string{"-stdlib=libc++"}},
		{Source: "rust/values"},
		{Source: "rust/values", Opt: "-O0"},
	} {
		t.Run(target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, target)
			p := testenv.Start(t, program, "-wait").Ready()
			tr := attachPID(t, p.PID, "--depth", "4", "--max-bytes", "8192")
			p.Go()
			if got := p.Wait(); got.Stdout != "ready\ndone\n" || got.ExitCode != 0 {
				t.Errorf("the target ended with %+v", got)
			}
			tr.end()
			db := tr.open()
			for name, golden := range testenv.Goldens(t, target.Source) {
				checkValues(t, target, db, name, golden)
			}
			// What the probes took for failures is what the values are.
			for name, c := range statistics(t, db) {
				rows := tallies(t, db, "process = '"+strings.ReplaceAll(name, "'", "''")+"'")[name]
				if got := (exact{rows.OK + rows.ERR + rows.Open, rows.ERR, 0, rows.Open}); got != c {
					t.Errorf("%s: %+v by the statistics, %+v recorded", name, c, got)
				}
			}
		})
	}
}

func checkValues(t *testing.T, target testenv.Target, db *sql.DB, name string, want testenv.Golden) {
	t.Helper()
	var status string
	var args, result, message, kind sql.NullString
	err := db.QueryRow("SELECT p.status, d.args, d.result, p.error, p.error_type FROM process_trace p JOIN data_trace d USING (id) WHERE p.process = ?", name).
		Scan(&status, &args, &result, &message, &kind)
	optimised := target.Opt != "-O0" && !strings.HasPrefix(target.Source, "go/")
	if err == sql.ErrNoRows && strings.HasPrefix(target.Compiler, "clang") && optimised {
		return // it knows the result beforehand, and leaves out the call
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if status != want.Status {
		t.Errorf("%s: status %s, want %s", name, status, want.Status)
	}
	differ := func(what string, want []byte, got sql.NullString, empty string) {
		var have []byte
		if got.Valid && got.String != empty {
			have = []byte(got.String)
		}
		d := testenv.DiffJSON(want, have)
		// An optimiser may leave nothing to read: that has to be said, then.
		unsaid := optimised && (strings.Contains(got.String, "$unavailable") || what == "result" && have == nil)
		if d != "" && !unsaid {
			t.Errorf("%s: %s: %s", name, what, d)
		}
	}
	differ("args", want.Args, args, "{}")
	differ("result", want.Result, result, "")
	if want.Error != nil {
		differ("error", want.Error.Message, quoted(t, db, message), "")
		differ("error type", want.Error.Type, quoted(t, db, kind), "")
	}
}

// quoted is a text as JSON.
func quoted(t *testing.T, db *sql.DB, s sql.NullString) (out sql.NullString) {
	t.Helper()
	out = sql.NullString{String: "null", Valid: true}
	if s.Valid {
		out = sql.NullString{String: text(t, db, "SELECT json_quote(?)", s.String), Valid: true}
	}
	return out
}

// TestNotResident holds that arguments are read which are on pages that the
// program has not touched: literals of a program that was just started.
func TestNotResident(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "go/values"})
	tr := begin(t, "-s", "main.text", "--", program)
	tr.end()
	db := tr.open()
	checkValues(t, testenv.Target{Source: "go/values"}, db, "main.text", testenv.Goldens(t, "go/values")["main.text"])

	c := testenv.Build(t, testenv.Target{Source: "c/absent"})
	p := testenv.Start(t, c, "-wait").Ready()
	tr = attachPID(t, p.PID, "-s", "take")
	p.Go()
	if got := p.Wait(); got.Stdout != "ready\ndone\n" {
		t.Errorf("the target ended with %+v", got)
	}
	tr.end()
	if got := text(t, tr.open(), "SELECT args FROM data_trace WHERE process = 'take' ORDER BY id"); got != strings.TrimSuffix(strings.Repeat(`{"where":"a text that nobody has looked at","n":1}`+"\n", 3), "\n") {
		t.Errorf("got %s", got)
	}
}

const (
	slowest = `SELECT process, AVG(duration_ms) AS avg_ms, COUNT(*) AS calls FROM process_trace WHERE ts > datetime('now','-1 hour') GROUP BY process ORDER BY avg_ms DESC`
	errors  = `SELECT * FROM process_trace WHERE status='ERR' ORDER BY ts DESC LIMIT 10`
)

// TestSQL holds that the two statements that everybody begins with work as they
// stand, while calls are being recorded: from a program, from Debian's shell and
// from query.
func TestSQL(t *testing.T) {
	p := orders(t)
	tr := attachPID(t, p.PID)
	db := tr.recorded(500)
	for number(t, db, "SELECT count(*) FROM process_trace WHERE status = 'ERR'") == 0 {
		tr.recorded(number(t, db, "SELECT count(*) FROM process_trace") + 1)
	}
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Fatalf("find SQLite's shell (scripts/setup.sh test installs it): %v", err)
	}
	for name, command := range map[string]*exec.Cmd{
		"shell": exec.Command(shell, "-readonly", tr.db, slowest+";"+errors),
		"query": exec.Command(testenv.Binary(t), "query", "--db", tr.db, slowest),
	} {
		got := testenv.StartCommand(t, command).Wait()
		if got.ExitCode != 0 || got.Stderr != "" || !strings.Contains(got.Stdout, "main.(*") || name == "shell" && !strings.Contains(got.Stdout, "|ERR|") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := text(t, db, slowest); strings.Count(got, "\n") < 4 {
		t.Errorf("the first statement gives %s", got)
	}
	if got := text(t, db, errors); got == "" {
		t.Error("the second statement gives nothing")
	}
	if !tr.Running() {
		t.Error("tracing has ended")
	}
	tr.stop()
	if _, err := os.Stat(filepath.Clean(tr.db)); err != nil {
		t.Error(err)
	}
	running(t, p)
}

// TestClosures holds how much is told of what closures have captured: all that their debug
// information describes. Optimised code leaves out what it reads only once, Go 1.22 leaves out all.
func TestClosures(t *testing.T) {
	const (
		who       = `"who":{"owner":"eve","cents":9}`
		optimised = `{"$func":"main.callClosures.func1","label":"sum",` + who + `}`
		plain     = `{"$func":"main.callClosures.func1","offset":40,"label":"sum",` + who + `}`
		nested    = `,"nested":{"$func":"main.callClosures.func3","captured":`
		value     = `{"value":{"$func":"main.square.Area-fm","receiver":{"Side":3}},"pointer":{"$func":"main.(*circle).Area-fm","receiver":{"R":2}},"dynamic":`
	)
	for _, c := range []struct {
		target          testenv.Target
		closures, bound string
	}{
		{
			testenv.Target{Source: "go/values"},
			`{"captured":` + optimised + `,"changed":{"$func":"main.callClosures.func2","total":0}` + nested + optimised + `},"none":"main.double"}`,
			value + `"main.shape.Area-fm"}`,
		},
		{
			testenv.Target{Source: "go/values", Opt: "-O0"},
			`{"captured":` + plain + `,"changed":{"$func":"main.callClosures.func2","total":0,"offset":40}` + nested + plain + `},"none":"main.double"}`,
			value + `{"$func":"main.shape.Area-fm","receiver":{"$type":"main.square","$value":{"Side":5}}}}`,
		},
		{
			testenv.Target{Source: "go/values", Compiler: "go1.22.12"},
			`{"captured":"main.callClosures.func1","changed":"main.callClosures.func2","nested":"main.callClosures.func3","none":"main.double"}`,
			value + `"main.shape.Area-fm"}`,
		},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			t.Parallel()
			tr := begin(t, "-s", "main.closures", "-s", "main.methodValues", "--", testenv.Build(t, c.target))
			tr.end()
			db := tr.open()
			for name, want := range map[string]string{"main.closures": c.closures, "main.methodValues": c.bound} {
				if got := text(t, db, "SELECT args FROM process_trace JOIN data_trace USING (id) WHERE process_trace.process = ?", name); got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
				}
			}
		})
	}
}
