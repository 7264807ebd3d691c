package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestDatabaseDeleted deletes the database under a tracer: it goes on with a new
// one, which has the session, and says so, on the terminal and in the database.
func TestDatabaseDeleted(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	tr := attachPID(t, p.PID)
	tr.recorded(10)
	old := tr.db + ".old"
	if err := os.Link(tr.db, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(tr.db); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(tr.Stderr(), "written again"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came back: %s", tr.Stderr())
		}
	}
	db := tr.recorded(10)
	tr.Signal(syscall.SIGINT)
	result := tr.Wait()
	if result.ExitCode != 0 || !strings.Contains(result.Stderr, "warning: database "+tr.db+": away: ") {
		t.Errorf("exit code %d, stderr %s", result.ExitCode, result.Stderr)
	}
	moved := number(t, openDB(t, old), "SELECT count(*) FROM process_trace")
	if want := fmt.Sprintf("%d recorded calls were in a database that was deleted", moved); moved == 0 || !strings.Contains(strings.ReplaceAll(result.Stderr, ",", ""), want) {
		t.Errorf("it doesn't say that %s: %s", want, result.Stderr)
	}
	if want := fmt.Sprintf("recorded %d calls in %s", number(t, db, "SELECT count(*) FROM process_trace"), tr.db); !strings.Contains(result.Stderr, want) {
		t.Errorf("it doesn't say that it %s: %s", want, result.Stderr)
	}
	if got := text(t, db, "SELECT count(*), count(ended), min(functions) > 0 FROM sessions"); got != "1|1|1" {
		t.Errorf("sessions: %s", got)
	}
	if got := text(t, db, "SELECT count(*) FROM gaps WHERE reason LIKE 'database away: deleted%'"); got != "1" {
		t.Errorf("gaps: %s", text(t, db, "SELECT * FROM gaps"))
	}
	sound(t, db)
	running(t, p)
}

// TestCommandsCodeOfFailed holds that a command's exit code passes through when what it did can't be stored, which is
// said once, with where it is; a command that ends well leaves the tracer's own.
func TestCommandsCodeOfFailed(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"-crash", "exit"}, 3},
		{nil, 1},
	} {
		tr := attach(t, append([]string{"--", program, "-wait", "-n", "50"}, c.args...)...)
		tr.WaitLine("ready")
		freeze(t, tr.db+"-wal")
		tr.Go()
		got := tr.Wait()
		if got.ExitCode != c.code || strings.Count(got.Stderr, "observatory-trace: close database "+tr.db+": not writable") != 1 ||
			!strings.Contains(got.Stderr, tr.db+".spill-") || strings.Contains(got.Stderr, "write database") || strings.Contains(got.Stderr, "recorded ") {
			t.Errorf("%q: exit code %d, stderr\n%s", c.args, got.ExitCode, got.Stderr)
		}
	}
}

// freeze makes a file one that can't be written to, until the test ends.
func freeze(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL, linux/fs.h
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags) // else it can't be deleted
		f.Close()
	})
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|immutable); err != nil {
		t.Fatal(err)
	}
}

// TestUnread holds that it is no failure when nobody reads what attach prints, which ends the recording; that what was recorded
// by then is stored; and that it is said, and a failure, when that can't be.
func TestUnread(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	for _, output := range []string{"json", "tree", "table"} {
		for _, frozen := range []bool{false, true} {
			db := filepath.Join(t.TempDir(), "calls.db")
			p := testenv.Start(t, program, "-wait", "-n", "50").Ready()
			tr := testenv.StartCommand(t, exec.Command("bash", "-c", `set -o pipefail; "$@" | true`, "bash",
				testenv.Binary(t), "attach", "--db", db, "-o", output, "--unlimited", "-p", strconv.Itoa(p.PID)))
			tr.WaitStderr("attached: ")
			if frozen {
				freeze(t, db+"-wal")
			}
			p.Go()
			p.Wait()
			got := tr.Wait()
			if frozen != (got.ExitCode == 1) || frozen != (strings.Count(got.Stderr, "observatory-trace: close database "+db+": not writable") == 1) ||
				frozen == strings.Contains(got.Stderr, "\nrecorded ") || strings.Contains(got.Stderr, "pipe") {
				t.Errorf("%s, frozen: %v: exit code %d, stderr\n%s", output, frozen, got.ExitCode, got.Stderr)
			}
			if !frozen && number(t, openDB(t, db), "SELECT count(*) FROM process_trace") == 0 {
				t.Errorf("%s: nothing was recorded", output)
			}
		}
	}
}

// TestDiskFull fills the disk under a tracer and ends it so: every error that was counted is recorded, in the end or
// with the next attach, and it says what became of the rest.
func TestDiskFull(t *testing.T) {
	testenv.RequireBPF(t)
	dir := testenv.Filesystem(t, "16m")
	p := orders(t)
	db := filepath.Join(dir, "calls.db")
	tr := beginInto(t, db, "-p", strconv.Itoa(p.PID))
	tr.WaitStderr("attached: ")
	tr.recorded(200)
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, make([]byte, 16<<20), 0o600) // as far as there is room
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(tr.Stderr(), "away: no space left"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it was never noticed: %s", tr.Stderr())
		}
	}
	time.Sleep(time.Second) // errors come in the meantime
	tr.Signal(syscall.SIGINT)
	result := tr.Wait()
	if whole := strings.Contains(result.Stderr, "\nrecorded "); whole != (result.ExitCode == 0) || strings.Contains(result.Stderr, "lost") ||
		!whole && !strings.Contains(result.Stderr, "no space left") {
		t.Errorf("exit code %d, stderr %s", result.ExitCode, result.Stderr)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	next := beginInto(t, db, "-s", "in_child", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-n", "1")
	next.CloseInput()
	if got := next.Wait(); got.ExitCode != 0 {
		t.Errorf("the next one: exit code %d, %s", got.ExitCode, got.Stderr)
	}
	read := openDB(t, db)
	const differ = `SELECT * FROM (SELECT process, sum(errors) AS counted FROM function_stats GROUP BY process) LEFT JOIN
		(SELECT process, count(*) AS there FROM process_trace WHERE status = 'ERR' GROUP BY process) USING (process) WHERE counted <> coalesce(there, 0)`
	if got := text(t, read, differ); got != "" {
		t.Errorf("errors, counted and there: %s", got)
	}
	if n := number(t, read, "SELECT count(*) FROM process_trace WHERE status = 'ERR'"); n < 50 {
		t.Errorf("%d errors are too few to tell", n)
	}
	sound(t, read)
	running(t, p)
}

// TestDatabaseLocked has another program lock the database under a tracer: who it is is told once, health and doctor tell
// it, and when the lock is gone, that is told, too, and nothing is missing.
func TestDatabaseLocked(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	tr := attachPID(t, p.PID, "--metrics", "127.0.0.1:0")
	tr.recorded(100)
	locker := testenv.StartCommand(t, exec.Command("sqlite3", tr.db))
	locker.Send("BEGIN IMMEDIATE; SELECT 'held';")
	locker.WaitLine("held")
	told := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(testenv.Deadline); !strings.Contains(tr.Stderr(), what); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not told: %s", what, tr.Stderr())
			}
		}
	}
	told("away: locked by another program")
	who := fmt.Sprintf("process %d (sqlite3)", locker.PID)
	if status, body := tr.ask("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, who) || !strings.Contains(body, " calls wait in memory, of at most 500000") {
		t.Errorf("health: %d %s", status, body)
	}
	if s := tr.scrape(); s.value("store_breaker_state", "closed") != 0 || s.value("store_breaker_opened_total", "locked by another program") != 1 || s.value("store_queue_capacity_calls") != 500_000 {
		t.Errorf("metrics: %v", s["store_breaker_state"])
	}
	doctor, err := exec.Command(testenv.Binary(t), "doctor", "--db", tr.db).CombinedOutput()
	if err == nil || !strings.Contains(string(doctor), "NO  it is locked: a write transaction of "+who) || !strings.Contains(string(doctor), "which runs, process "+strconv.Itoa(tr.PID)) {
		t.Errorf("doctor: %v: %s", err, doctor)
	}
	locker.CloseInput()
	told("written again after ")
	if status, body := tr.ask("/healthz"); status != http.StatusOK {
		t.Errorf("health: %d %s", status, body)
	}
	tr.Signal(syscall.SIGINT)
	result := tr.Wait()
	if result.ExitCode != 0 || strings.Count(result.Stderr, "warning") != 1 || !strings.Contains(result.Stderr, "; end the write transaction of "+who+"\n") ||
		strings.Count(result.Stderr, "written again") != 1 || !strings.Contains(result.Stderr, ", 0 calls dropped") {
		t.Errorf("exit code %d, stderr %s", result.ExitCode, result.Stderr)
	}
	const differ = `SELECT * FROM (SELECT process, count(*) AS n, sum(status = 'ERR') AS e FROM process_trace GROUP BY process)
		JOIN (SELECT process, sum(recorded) AS r, sum(errors) AS x, sum(calls) AS c FROM function_stats GROUP BY process) USING (process) WHERE n <> r OR e <> x OR c <> r`
	if got := text(t, tr.open(), differ); got != "" {
		t.Errorf("calls, errors, recorded ones, counted errors, and all: %s", got)
	}
	running(t, p)
}

// TestTinyDisk traces into a disk that is full at once, and stays so: what is told in the end is true, each thing once,
// and nothing says that tracing ended abruptly. When there is room, retain brings in what was left.
func TestTinyDisk(t *testing.T) {
	testenv.RequireBPF(t)
	dir := testenv.Filesystem(t, "3m")
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "go/orders"}), "-rate", "400").Ready()
	tr := beginInto(t, filepath.Join(dir, "calls.db"), "-p", strconv.Itoa(p.PID), "--max-db-size", "off")
	for deadline := time.Now().Add(testenv.Deadline); !strings.Contains(tr.Stderr(), "can't be written"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is never full: %s", tr.Stderr())
		}
	}
	time.Sleep(3 * time.Second) // more comes, for which there is no room
	tr.Signal(syscall.SIGINT)
	result := tr.Wait()
	if result.ExitCode != 1 || strings.Count(result.Stderr, "can't be written") > 1+strings.Count(result.Stderr, "written again") || !regexp.MustCompile(`(?m)^[\d,]+ calls not recorded: `).MatchString(result.Stderr) {
		t.Errorf("exit code %d, stderr %s", result.ExitCode, result.Stderr)
	}
	tell := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(testenv.Binary(t), append(args, "--db", tr.db)...).CombinedOutput()
		if err != nil && args[0] != "doctor" {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	if got := tell("report"); strings.Contains(got, "abruptly") || strings.Contains(got, "no calls were recorded") && strings.Contains(got, "not counted") ||
		!regexp.MustCompile(`\d records? \([\d,]+ errors?\) not yet in the database, and not shown: in `+tr.db+`.spill-\S+; the next attach or retain `).MatchString(got) {
		t.Errorf("the report: %s", got)
	}
	if got := tell("doctor"); !strings.Contains(got, "which has ended: it was killed, or could not write the database in the end") || strings.Contains(got, "which runs") {
		t.Errorf("doctor: %s", got)
	}
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if got := tell("retain"); !strings.Contains(got, " records came in that an earlier session had left") {
		t.Errorf("retain: %s", got)
	}
	if got := tell("report"); strings.Contains(got, "abruptly") || strings.Contains(got, "not counted") || strings.Contains(got, "not shown") {
		t.Errorf("the report, then: %s", got)
	}
	if got := tell("doctor"); strings.Contains(got, "records") || !strings.Contains(got, " until 20") {
		t.Errorf("doctor, then: %s", got)
	}
	sound(t, tr.open())
	running(t, p)
}
