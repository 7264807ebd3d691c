package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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
		log, err := os.Open(tr.db + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		const immutable = 0x10 // FS_IMMUTABLE_FL, linux/fs.h
		flags, err := unix.IoctlGetInt(int(log.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = unix.IoctlSetPointerInt(int(log.Fd()), unix.FS_IOC_SETFLAGS, flags) // else it can't be deleted
			log.Close()
		})
		if err := unix.IoctlSetPointerInt(int(log.Fd()), unix.FS_IOC_SETFLAGS, flags|immutable); err != nil {
			t.Fatal(err)
		}
		tr.Go()
		got := tr.Wait()
		if got.ExitCode != c.code || strings.Count(got.Stderr, "observatory-trace: close database "+tr.db+": not writable") != 1 ||
			!strings.Contains(got.Stderr, tr.db+".spill-") || strings.Contains(got.Stderr, "write database") || strings.Contains(got.Stderr, "recorded ") {
			t.Errorf("%q: exit code %d, stderr\n%s", c.args, got.ExitCode, got.Stderr)
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
