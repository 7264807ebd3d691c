package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a database knows of sessions beyond the present connection: theirs is
// one row each, found by its seed, and rows of meta that say which of their
// transactions came through.

// readSession gives this connection's session as its row has it.
func (d *database) readSession(path string, s Session) (sessionRow, error) {
	row, err := d.query(context.Background(), "SELECT seed, started, tracer_pid FROM session WHERE id = ?", d.session)
	if err != nil {
		return sessionRow{}, fmt.Errorf("read session: %w", err)
	}
	r := sessionRow{Session: s, path: absolute(path)}
	var seed, started, pid bool
	var n int64
	r.seed, seed = row[0].(int64)
	r.started, started = row[1].(string)
	if n, pid = row[2].(int64); !seed || !started || !pid {
		return sessionRow{}, fmt.Errorf("read session: %w", ErrCorrupt)
	}
	r.pid = int(n)
	return r, nil
}

// sessionOf finds a session's row by its seed, or writes it anew, inside a transaction.
func (d *database) sessionOf(r *sessionRow) (id int64, added bool, err error) {
	id, err = d.integer("SELECT id FROM session WHERE seed = ?", r.seed)
	if !errors.Is(err, io.EOF) {
		return id, false, err
	}
	id, err = d.integer(`INSERT INTO session
		(seed, started, version, host, kernel, tracer_pid, command, settings)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		r.seed, r.started, r.Version, r.Host, r.Kernel, int64(r.pid), jsonText(r.Command, "[]"), jsonText(r.Settings, "{}"))
	if err != nil {
		return 0, false, fmt.Errorf("write session: %w", err)
	}
	return id, true, nil
}

// mark gives a row of meta, 0 when there is none.
func (d *database) mark(key string) (int64, error) {
	n, err := d.integer("SELECT value FROM meta WHERE key = ?", key)
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	return n, err
}

// wrote tells whether a session's transaction that failed is in the database all the same.
func (d *database) wrote(r *sessionRow, number uint64) (bool, error) {
	last, err := d.mark(r.numberKey())
	if err != nil || uint64(last) < number {
		return false, err
	}
	void, err := d.mark(r.voidKey(number))
	return void == 0, err
}

// raiseIDs has no id below end be given out any more.
func (d *database) raiseIDs(end uint64) error {
	next, err := d.mark("next_id")
	if err != nil || uint64(next) >= end {
		return err
	}
	return d.setMarks([]mark{{"next_id", int64(end)}})
}

// endOther notes another session's end.
func (d *database) endOther(session int64, ended time.Time) error {
	return d.transaction(func() error {
		return d.set("UPDATE session SET ended = ? WHERE id = ? AND ended IS NULL", d.clock.text(ended.UnixNano()), session)
	})
}

// forgetMarks deletes what meta has of a session that has ended, and whose spill file is gone.
func (d *database) forgetMarks(r *sessionRow, session int64, key string) error {
	return d.transaction(func() error {
		if err := d.setMarks([]mark{{key, 0}, {r.numberKey(), 0}, {beyondKey(session), 0}}); err != nil {
			return err
		}
		return d.set("DELETE FROM meta WHERE key GLOB ?", fmt.Sprintf("void %016x *", r.seed))
	})
}

// Running tells whether the tracer of this pid, whose session began then, still
// runs: another process may have got its pid. Where that can't be told, it does.
func Running(pid int, began time.Time) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	var now unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return true
	}
	// The 22nd field is when it was started, in hundredths of a second since boot; the second may hold spaces (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return true
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	age := time.Duration(now.Nano()) - time.Duration(ticks)*10*time.Millisecond
	return err != nil || time.Now().Add(-age).Before(began.Add(time.Second))
}
