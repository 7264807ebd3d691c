package e2e

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestRetention traces for longer than calls are kept: the old ones go meanwhile, what was counted stays, and retain
// trims what the tracer writes to.
func TestRetention(t *testing.T) {
	service := orders(t)
	tr := attachPID(t, service.PID, "--retention", "2s", "--max-db-size", "64MiB")
	db := tr.recorded(1)
	first := text(t, db, "SELECT min(ts) FROM process_trace")
	for deadline := time.Now().Add(30 * time.Second); text(t, db, "SELECT min(ts) FROM process_trace") == first; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first call never goes")
		}
	}
	// It runs on beside retain, which takes what is to be kept from the session, or is told.
	out, err := exec.Command(testenv.Binary(t), "retain", "--db", tr.db, "--retention", "1s", "-o", "json").Output()
	if err != nil {
		t.Fatalf("retain: %v", err)
	}
	var trimmed struct {
		Policy struct {
			Size int64 `json:"max_db_size"`
		}
		Removed struct{ Calls int64 }
	}
	if err := json.Unmarshal(out, &trimmed); err != nil || trimmed.Policy.Size != 64<<20 || trimmed.Removed.Calls == 0 {
		t.Errorf("retain: %v\n%s", err, out)
	}
	tr.stop()
	// A mark every 100 ms, a tick of the store, and what waits for it on a busy machine.
	if got := text(t, db, "SELECT max(julianday(ts)) - min(julianday(ts)) < 6.0 / 86400 FROM process_trace"); got != "1" {
		t.Errorf("calls of more than 6 s are there: %s", text(t, db, "SELECT min(ts), max(ts) FROM process_trace"))
	}
	if got := number(t, db, "SELECT sum(recorded) - (SELECT count(*) FROM process_trace) FROM function_stats"); got < trimmed.Removed.Calls {
		t.Errorf("by statistics %d calls have gone, retain alone has deleted %d", got, trimmed.Removed.Calls)
	}
	if got := text(t, db, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("the database: %s", got)
	}
	running(t, service)
}
