package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestDatabaseDeleted deletes the database under a tracer: it goes on with a new
// one, which has the session, and says so, on the terminal and in the database.
func TestDatabaseDeleted(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	tr := attachPID(t, p.PID)
	tr.recorded(10)
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
	if got := text(t, db, "SELECT count(*), count(ended), min(functions) > 0 FROM sessions"); got != "1|1|1" {
		t.Errorf("sessions: %s", got)
	}
	if got := text(t, db, "SELECT count(*) FROM gaps WHERE reason LIKE 'database away: deleted%'"); got != "1" {
		t.Errorf("gaps: %s", text(t, db, "SELECT * FROM gaps"))
	}
	sound(t, db)
	running(t, p)
}
