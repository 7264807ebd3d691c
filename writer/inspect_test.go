package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// listing is the names and sizes of what is in the database's folder.
func listing(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func inspect(t *testing.T, path string) State {
	t.Helper()
	before := listing(t, path)
	s := Inspect(t.Context(), path, "")
	if after := listing(t, path); !slices.Equal(before, after) {
		t.Errorf("inspecting left %v, of %v", after, before)
	}
	return s
}

func (s *State) has(what, hint string) bool {
	return slices.ContainsFunc(s.Problems, func(p Problem) bool { return strings.Contains(p.What, what) && strings.Contains(p.Hint, hint) })
}

// TestInspect looks at a database while it is written, when it was away, and afterwards.
func TestInspect(t *testing.T) {
	path := newPath(t)
	var said notices
	s := open(t, path, fast(&said))
	l := newLedger(t, s)
	l.write(500)
	must(t, s.Flush())
	got := inspect(t, path)
	if got.Schema != SchemaVersion || got.Sound != "ok" || got.Bytes == 0 || got.LogBytes == 0 || got.DiskFree == 0 || len(got.Problems) != 0 ||
		len(got.Sessions) != 1 || got.Sessions[0].PID != os.Getpid() || got.Sessions[0].Ended != "" || !got.Sessions[0].Runs || len(got.Spills) != 1 || !got.Spills[0].Live || got.Spills[0].Records != 0 {
		t.Errorf("while it is written: %+v", got)
	}
	release := hold(t, path)
	waitFor(t, func() bool { l.write(100); return s.Health().State != "closed" })
	_ = s.Flush()
	if got := inspect(t, path); len(got.Spills) != 1 || got.Spills[0].Records != s.Health().Spill.Records || got.Spills[0].Records == 0 ||
		len(got.Problems) != 1 || !got.has("a write transaction of process ", "end that") || !got.Sessions[0].Runs {
		t.Errorf("while it is away: %+v", got)
	}
	if err := s.Close(); err == nil {
		t.Error("it closed without an error")
	}
	release()
	there := shell(t, path, "SELECT count(*) FROM process_trace WHERE status = 'ERR'")
	if got := inspect(t, path); len(got.Spills) != 1 || got.Spills[0].Live || got.Sessions[0].Runs || got.Sessions[0].Ended != "" || !got.has("of a session that ended", "attach") ||
		!got.has(fmt.Sprintf("%d errors among them", got.Spills[0].Errors), "attach") || fmt.Sprint(uint64(len(l.errors))-got.Spills[0].Errors) != there {
		t.Errorf("with what a dead session left: %+v", got)
	}
	must(t, open(t, path, Options{}).Close())
	got = inspect(t, path)
	if len(got.Sessions) != 2 || got.Sessions[1].Ended == "" || len(got.Spills) != 0 || len(got.Problems) != 0 ||
		len(got.Away) != 1 || got.Away[0].Reason != awayReason(ErrLocked) || got.Away[0].Session != 1 {
		t.Errorf("in the end: %+v", got)
	}
}

// TestInspectRoom holds that little free space is no problem where the limit of size is held with it.
func TestInspectRoom(t *testing.T) {
	path := filepath.Join(testenv.Filesystem(t, "40m"), "small.db")
	for limit, problem := range map[int64]bool{20 << 20: false, 10 << 30: true, 0: true} {
		must(t, open(t, path, Options{Session: Session{Settings: fmt.Appendf(nil, `{"max_db_size":%d}`, limit)}}).Close())
		if got := inspect(t, path); got.Limit != limit || got.has("MiB left", "free space on it") != problem || got.Room() < 30<<20 || got.Room() > 40<<20 {
			t.Errorf("of %d bytes: %+v", limit, got)
		}
	}
}

// TestInspectDamaged looks at what is not as it should be.
func TestInspectDamaged(t *testing.T) {
	path := newPath(t)
	if got := inspect(t, path); !got.has("no such file", "") || got.Sound != "not known" {
		t.Errorf("of nothing: %+v", got)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	if got := inspect(t, path); !got.has("empty", "attach") {
		t.Errorf("of an empty file: %+v", got)
	}
	must(t, os.WriteFile(path, []byte(strings.Repeat("text", 1000)), 0o600))
	if got := inspect(t, path); !got.has("damaged", "sets it aside") {
		t.Errorf("of text: %+v", got)
	}
	must(t, os.Remove(path))
	s := open(t, path, Options{})
	writeMany(t, s, 3000)
	must(t, s.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, overwrite(whole), 0o600))
	if got := inspect(t, path); got.Sound == "ok" || !got.has("damaged", ".recover") {
		t.Errorf("of overwritten pages: %+v", got)
	}
	must(t, open(t, path, Options{}).Close())
	if got := inspect(t, path); got.Sound != "ok" || len(got.Aside) != 1 || !got.has("set aside as "+got.Aside[0], "recovered.db") || len(got.Away) != 1 {
		t.Errorf("of the new one: %+v", got)
	}
	release := hold(t, path) // a lock doesn't keep one from looking
	defer release()
	start := time.Now()
	if got := inspect(t, path); got.Sound != "ok" || time.Since(start) > 5*time.Second {
		t.Errorf("while it is locked: %+v", got)
	}
}
