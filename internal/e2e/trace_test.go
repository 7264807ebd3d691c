package e2e

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the database's driver

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// tracer is a running observatory-trace attach.
type tracer struct {
	*testenv.Process
	tb testing.TB
	db string // path of the database it writes
}

// attach starts to trace and waits until it is active.
func attach(t testing.TB, args ...string) *tracer {
	t.Helper()
	tr := begin(t, args...)
	tr.WaitStderr("attached: ")
	return tr
}

// begin starts to trace, into a database of its own unless args name one.
func begin(t testing.TB, args ...string) *tracer {
	t.Helper()
	testenv.RequireBPF(t)
	return beginInto(t, filepath.Join(t.TempDir(), "calls.db"), args...)
}

func beginInto(t testing.TB, db string, args ...string) *tracer {
	t.Helper()
	args = append([]string{"attach", "--db", db, "-o", "none"}, args...)
	if !slices.ContainsFunc(args, isBudget) {
		args = slices.Insert(args, 1, "--unlimited")
	}
	command := exec.Command(testenv.Binary(t), args...)
	return &tracer{testenv.StartCommand(t, command), t, db}
}

// isBudget says whether an argument limits what is recorded: where none does, all is.
func isBudget(arg string) bool { return strings.HasPrefix(arg, "--max-overhead") }

// attachPID traces a running process.
func attachPID(t testing.TB, pid int, args ...string) *tracer {
	t.Helper()
	return attach(t, append([]string{"-p", strconv.Itoa(pid)}, args...)...)
}

// aboutFlags are the warnings about patterns and names of the command line, which a test may give on purpose.
var aboutFlags = regexp.MustCompile(`warning: (-|--)[^\n]*(: matches no |no traced function has | leaves only by tail jumps)`)

// end waits until the tracer ends by itself, which it has to do without a complaint.
func (tr *tracer) end() testenv.Result {
	tr.tb.Helper()
	result := tr.Wait()
	if result.ExitCode != 0 || strings.Contains(aboutFlags.ReplaceAllString(result.Stderr, ""), "warning") {
		tr.tb.Errorf("tracer: exit code %d, signal %v\n%s", result.ExitCode, result.Signal, result.Stderr)
	}
	return result
}

// stop ends the tracer as Ctrl-C does.
func (tr *tracer) stop() testenv.Result {
	tr.tb.Helper()
	tr.Signal(syscall.SIGINT)
	return tr.end()
}

var attachedLine = regexp.MustCompile(`(?m)^attached: (\d+) functions? in (\d+) process(?:es)?$`)

// attached says how many functions the tracer attached to, in how many processes.
func (tr *tracer) attached() (functions, processes int) {
	tr.tb.Helper()
	m := attachedLine.FindStringSubmatch(tr.Stderr())
	if m == nil {
		tr.tb.Fatalf("no line that says what is attached: %s", tr.Stderr())
	}
	functions, _ = strconv.Atoi(m[1])
	processes, _ = strconv.Atoi(m[2])
	return functions, processes
}

// open opens the database that the tracer writes, to read.
func (tr *tracer) open() *sql.DB {
	tr.tb.Helper()
	return openDB(tr.tb, tr.db)
}

func openDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro&_busy_timeout=10000")
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// number is the result of a statement that gives one integer; NULL is 0.
func number(t testing.TB, db *sql.DB, statement string, args ...any) int64 {
	t.Helper()
	var n sql.NullInt64
	if err := db.QueryRow(statement, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return n.Int64
}

// text is the result of a statement that gives rows: columns separated by "|", a row a line.
func text(t testing.TB, db *sql.DB, statement string, args ...any) string {
	t.Helper()
	rows, err := db.Query(statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	var lines []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		words := make([]string, len(columns))
		for i, v := range values {
			words[i] = v.String
		}
		lines = append(lines, strings.Join(words, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return strings.Join(lines, "\n")
}

// sound checks the database's integrity.
func sound(t testing.TB, db *sql.DB) {
	t.Helper()
	if got := text(t, db, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("the database is damaged: %s", got)
	}
}

// tally is what the database says of one function.
type tally struct{ OK, ERR, Open uint64 }

func (c tally) String() string { return fmt.Sprintf("%d OK, %d ERR, %d OPEN", c.OK, c.ERR, c.Open) }

// tallies counts the recorded calls by function and status, of the processes
// for which where holds ("" for all).
func tallies(t testing.TB, db *sql.DB, where string) map[string]tally {
	t.Helper()
	if where == "" {
		where = "1"
	}
	rows, err := db.Query("SELECT process, status, count(*) FROM process_trace WHERE " + where + " GROUP BY 1, 2")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]tally{}
	for rows.Next() {
		var name, status string
		var n uint64
		if err := rows.Scan(&name, &status, &n); err != nil {
			t.Fatal(err)
		}
		c := all[name]
		switch status {
		case "OK":
			c.OK = n
		case "ERR":
			c.ERR = n
		case "OPEN":
			c.Open = n
		default:
			t.Errorf("%s: status %q", name, status)
		}
		all[name] = c
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
