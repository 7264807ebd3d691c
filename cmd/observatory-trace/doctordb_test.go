package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/writer"
)

// TestDoctorDatabase holds what doctor says of a database that is well, and of one that isn't.
func TestDoctorDatabase(t *testing.T) {
	s := newShop(t)
	must(t, s.store.Close())
	code, out, diagnostics := observatory(t, "doctor", "--db", s.path)
	for _, want := range []string{"schema version", "sound: ok", "the file system has ", "last sessions", " until 20"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if code != 0 || diagnostics != "" || strings.Contains(out, "NO ") {
		t.Errorf("exit %d, stderr %q", code, diagnostics)
	}

	for limit, want := range map[string]string{
		"2097152":             "it may take up to 2.0 MiB (--max-db-size), and there is room for that\n",
		"1152921504606846976": "it may take up to 1048576.0 TiB (--max-db-size); there is room for ",
	} {
		must(t, exec.Command("sqlite3", s.path, `UPDATE session SET settings = '{"max_db_size":`+limit+`}'`).Run())
		if code, out, _ := observatory(t, "doctor", "--db", s.path); code != 0 || !strings.Contains(out, want) || strings.Contains(out, "NO ") {
			t.Errorf("exit %d, of a limit of %s:\n%s", code, limit, out)
		}
	}

	must(t, os.Truncate(s.path, 20_000))
	code, out, diagnostics = observatory(t, "doctor", "--db", s.path)
	if code != 1 || !strings.Contains(out, "NO  ") || !strings.Contains(out, ".recover") || !strings.Contains(diagnostics, "1 problem with "+s.path) {
		t.Errorf("exit %d, stderr %q, stdout\n%s", code, diagnostics, out)
	}
	code, out, _ = observatory(t, "doctor", "--db", s.path, "-o", "json")
	var state writer.State
	if err := json.Unmarshal([]byte(out), &state); err != nil || code != 1 || len(state.Problems) == 0 || state.Problems[0].Hint == "" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
	checkFails(t, 2, "go with --db", "doctor", "-o", "json")
	checkFails(t, 2, "one of table, json", "doctor", "--db", s.path, "-o", "xml")
}

func TestBinarySize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 60: "1048576.0 TiB"} {
		if got := binarySize(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
