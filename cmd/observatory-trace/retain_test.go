package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

func TestKeepFlags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there.db")
	for _, c := range []struct {
		window, size string
		calls        time.Duration
		bytes        int64 // -1: what auto gives
		fails        string
	}{
		{"6h", "auto", 6 * time.Hour, -1, ""},
		{"off", "off", 0, 0, ""},
		{"0", "off", 0, 0, "at least 1s, or off"},
		{"off", "0", 0, 0, "at least 2.0 MiB, or off"},
		{"7d", "2GB", 7 * 24 * time.Hour, 2 << 30, ""},
		{"7d", "3TiB", 7 * 24 * time.Hour, 3 << 40, ""},
		{"7d", "3298534883328", 7 * 24 * time.Hour, 3 << 40, ""},
		{"7d", "9999999999TiB", 0, 0, "no size"},
		{"90s", "32MiB", 90 * time.Second, 32 << 20, ""},
		{"1ms", "off", 0, 0, "--retention"},
		{"-6h", "off", 0, 0, "6h, 30m or 7d"},
		{"long", "off", 0, 0, "6h, 30m or 7d"},
		{"d", "off", 0, 0, "6h, 30m or 7d"},
		{"6h", "1MiB", 0, 0, "at least 2.0 MiB, or off"},
		{"6h", "large", 0, 0, "auto or off"},
	} {
		got, err := (&keepFlags{c.window, c.size}).policy(path)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) || codeOf(err) != exitUsage {
				t.Errorf("%q and %q: error %v, want a usage error with %q", c.window, c.size, err, c.fails)
			}
			continue
		}
		must(t, err)
		if c.bytes < 0 {
			if got.Bytes < retention.LeastBytes || got.Bytes > retention.DefaultBytes {
				t.Errorf("by itself it takes %d bytes", got.Bytes)
			}
			c.bytes = got.Bytes
		}
		if want := retention.For(c.calls, c.bytes); got != want {
			t.Errorf("%q and %q give %+v, want %+v", c.window, c.size, got, want)
		}
	}
}

// TestAutoLimit holds that a database takes half of what is free by itself, also of a small file system.
func TestAutoLimit(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, "size=12m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	if got := autoLimit(filepath.Join(dir, "new", "x.db")); got > 6<<20 || got < 5<<20 {
		t.Errorf("of 12 MiB, %d bytes", got)
	}
	path := filepath.Join(dir, "x.db")
	must(t, os.WriteFile(path, make([]byte, 9<<20), 0o600))
	if got := autoLimit(path); got > 6<<20 || got < 5<<20 {
		t.Errorf("of 12 MiB, with the database's own, %d bytes", got)
	}
	must(t, os.Rename(path, path+".old"))
	if got := autoLimit(path); got != retention.LeastBytes {
		t.Errorf("of 3 MiB, %d bytes", got)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 20 << 20: "20 MiB", 10 << 30: "10 GiB", 3 << 40: "3.0 TiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// TestRetain trims a file whose calls are said to be old.
func TestRetain(t *testing.T) {
	s := newShop(t)
	must(t, s.store.Gap(trace.Gap{TimeNS: s.now.UnixNano(), Count: 1, Reason: "x"}))
	must(t, s.store.Close())
	sql := func(statement string) string {
		out, err := exec.Command("sqlite3", s.path, statement).Output()
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	// As old as seven hours, in a session that was to keep ten.
	sql("UPDATE mark SET up_ns = up_ns - 7 * 3600e9, wall_ns = wall_ns - 7 * 3600e9; INSERT INTO mark SELECT NULL, 1000, wall_ns, boot, up_ns FROM mark;" +
		`UPDATE session SET settings = '{"retention":"10h0m0s","max_db_size":0}'`)

	code, out, diagnostics := observatory(t, "retain", "--db", s.path)
	for _, part := range []string{"calls                  10h", "2026-07-09 01:02:03.000  2026-07-09 01:02:03.001", "statistics by seconds  10h", "statistics by hours    90d", "any size", "deleted 0 calls;"} {
		if !strings.Contains(out, part) || code != 0 {
			t.Errorf("exit %d %s, %q is missing in\n%s", code, diagnostics, part, out)
		}
	}
	var r retained
	code, out, diagnostics = observatory(t, "retain", "--db", s.path, "--retention", "6h", "--dry-run", "-o", "json")
	must(t, json.Unmarshal([]byte(out), &r))
	if code != 0 || !r.DryRun || r.Removed.Calls != 2 || r.Before.Calls != 2 || r.After != nil || r.Policy.Calls != "6h" || r.Policy.Minutes != "7d" {
		t.Errorf("exit %d %s: %s", code, diagnostics, out)
	}
	r = retained{}
	code, out, diagnostics = observatory(t, "retain", "--db", s.path, "--retention", "6h", "--max-db-size", "1GiB", "-o", "json")
	must(t, json.Unmarshal([]byte(out), &r))
	if code != 0 || r.Removed.Calls != 2 || r.After.Calls != 0 || r.Removed.Early != 0 || r.Policy.Bytes != 1<<30 || !r.After.Shrinks {
		t.Errorf("exit %d %s: %s", code, diagnostics, out)
	}
	if got := sql("SELECT (SELECT count(*) FROM process_trace), (SELECT sum(calls) FROM function_stats)"); got != "0|1236" {
		t.Errorf("calls and statistics: %s", got)
	}

	checkFails(t, 1, "attach -p PID", "retain", "--db", filepath.Join(t.TempDir(), "none.db"))
	checkFails(t, 2, "--retention", "retain", "--db", s.path, "--retention", "soon")
	checkFails(t, 2, "one of table, json", "retain", "--db", s.path, "-o", "csv")
	checkFails(t, 2, "--max-db-size", "attach", "-p", "1", "--max-db-size", "3")
	text := filepath.Join(t.TempDir(), "text")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no database\n", 100)), 0o600))
	checkFails(t, 1, "not an observatory-trace database", "retain", "--db", text)
}

// TestRetainAuto holds that a limit of size which came of what was free once deletes no error that has its room now, and
// one that was asked for does.
func TestRetainAuto(t *testing.T) {
	s := newShop(t)
	process := &trace.Process{PID: 77, Exe: "/app/shop"}
	for range 20 {
		calls := make([]*trace.Call, 300)
		first, err := s.store.NextIDs(300)
		must(t, err)
		for i := range calls {
			id := first + uint64(i)
			calls[i] = &trace.Call{
				ID: id, RootID: id, Func: s.pay, Process: process, TID: 78, StartNS: s.now.UnixNano() + int64(id), SampleRate: 1,
				Status: trace.StatusErr, Err: &trace.Error{Message: fmt.Sprintf("%d: %s", id, strings.Repeat("declined ", 100))},
			}
		}
		must(t, s.store.Write(calls))
		must(t, s.store.Flush()) // the next ones find room for it
	}
	must(t, s.store.Close())
	for _, c := range []struct {
		settings, command string
		limit             int64
		deletes           bool
	}{
		{`{"max_db_size":2097152,"max_db_size_auto":true}`, `["observatory-trace","attach","--max-db-size","auto"]`, retention.DefaultBytes, false},
		{`{"max_db_size":2097152}`, `["observatory-trace","attach","-p","1"]`, retention.DefaultBytes, false}, // of an older version
		{`{"max_db_size":2097152}`, `["observatory-trace","attach","--max-db-size=2MiB"]`, 2 << 20, true},
		{`{"max_db_size":2097152,"max_db_size_auto":false}`, `["observatory-trace","attach","--max-db-size=2MiB"]`, 2 << 20, true},
	} {
		out, err := exec.Command("sqlite3", s.path, fmt.Sprintf("UPDATE session SET settings = '%s', command = '%s'", c.settings, c.command)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var r retained
		code, stdout, stderr := observatory(t, "retain", "--db", s.path, "--dry-run", "-o", "json")
		must(t, json.Unmarshal([]byte(stdout), &r))
		if code != 0 || r.Policy.Bytes != c.limit || r.Removed.Early > 0 != c.deletes || r.Before.Calls != 6002 {
			t.Errorf("%s of %s: exit %d %s: %s", c.settings, c.command, code, stderr, stdout)
		}
	}
}

// TestRetainOlder holds that a file of an older version is brought up to date, which is said, and by --dry-run left as it is.
func TestRetainOlder(t *testing.T) {
	script, err := os.ReadFile("../../writer/testdata/version1.sql")
	must(t, err)
	path := filepath.Join(t.TempDir(), "old.db")
	make := exec.Command("sqlite3", path)
	make.Stdin = strings.NewReader(string(script))
	out, err := make.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before, err := os.ReadFile(path)
	must(t, err)
	checkFails(t, 1, "retain --db "+path, "retain", "--db", path, "--dry-run")
	after, err := os.ReadFile(path)
	must(t, err)
	if string(before) != string(after) {
		t.Error("--dry-run has changed it")
	}
	code, stdout, stderr := observatory(t, "retain", "--db", path, "--retention", "off")
	if want := fmt.Sprintf("its schema was version 1, and is %d now", writer.SchemaVersion); code != 0 || !strings.Contains(stderr, want) || !strings.Contains(stdout, "deleted 0 calls") {
		t.Errorf("exit %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	if code, stdout, stderr = observatory(t, "report", "--db", path); code != 0 || !strings.Contains(stdout, "main.pay") {
		t.Errorf("exit %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
}
