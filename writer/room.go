package writer

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
)

// reserve is space on the database's file system that a file without a name
// holds: by it the log can be folded into the file, and old calls be deleted,
// when the disk is full. It is gone with the process.
type reserve struct {
	file *os.File // nil where the file system can't
	size int64
}

func newReserve(dir string) *reserve {
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return &reserve{file: os.NewFile(uintptr(fd), "reserve of "+dir)}
	}
	f, err := os.CreateTemp(dir, ".reserve-*") // not every file system has files without a name from the start
	if err != nil {
		return &reserve{}
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // it would be in the way
		return &reserve{}
	}
	return &reserve{file: f}
}

// grow has the reserve hold at least n bytes, or tells that there is no room for them.
func (r *reserve) grow(n int64) bool {
	if r.file == nil || r.size >= n {
		return true
	}
	err := unix.Fallocate(int(r.file.Fd()), 0, r.size, n-r.size)
	for err == unix.EINTR {
		err = unix.Fallocate(int(r.file.Fd()), 0, r.size, n-r.size)
	}
	switch {
	case err == nil:
		r.size = n
		return true
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		r.cut(r.size) // a part of it may be there
		return false
	}
	r.close() // it can't be had here
	r.file = nil
	return true
}

// growMost is like grow, and holds at least what there is.
func (r *reserve) growMost(n int64) bool {
	if r.grow(n) {
		return true
	}
	for part := n / 2; part > r.size && !r.grow(part); part /= 2 {
	}
	return false
}

// cut has the reserve hold no more than n bytes.
func (r *reserve) cut(n int64) {
	if n = min(n, r.size); r.file != nil && r.file.Truncate(n) == nil {
		r.size = n
	}
}

func (r *reserve) close() {
	if r.file != nil {
		_ = r.file.Close() // nothing was written to it
	}
}

// leastRoom is what a step of making room may add to the log, bytes.
const leastRoom = 1 << 20

// keepRoom reserves what folding the log will add to the file, the next
// transaction included. Where the disk has no room for that any more, the log is
// folded while it can be, and the disk counts as full, though there may be room
// in the log: what goes there could not be folded.
func (s *Store) keepRoom() error {
	growth, err := s.db.growth()
	if err != nil {
		return err
	}
	s.stride = max(s.stride, min(growth-s.growth, mostStride))
	s.growth = growth
	want := leastRoom + 2*s.stride + min(growth, s.options.Retention.LogBytes())
	if s.room.size > want+8*leastRoom {
		s.room.cut(want)
	}
	if s.room.size >= want || s.room.grow(want+leastRoom) {
		return nil
	}
	err = s.db.fold("PASSIVE")
	if err != nil {
		s.room.cut(0)
		err = s.db.fold("PASSIVE")
	}
	if !s.room.growMost(leastRoom) || err != nil {
		return faultFull.error("write database", s.path, err)
	}
	s.growth = 0
	return nil
}

// mostStride bounds what a transaction is thought to add to the file, bytes.
const mostStride = 8 << 20

// growth is how much longer the file will be when the log is folded into it, bytes.
func (d *database) growth() (int64, error) {
	pages, err := d.integer("PRAGMA page_count")
	if err != nil {
		return 0, err
	}
	size, err := d.integer("PRAGMA page_size")
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(d.path)
	if err != nil {
		return 0, err
	}
	return max(pages*size-st.Size(), 0), nil
}

// fold writes what the log has into the file. Its error is busy when readers stand in the way of all of it.
func (d *database) fold(mode string) error {
	row, err := d.query(context.Background(), "PRAGMA wal_checkpoint("+mode+")")
	if err != nil {
		return fmt.Errorf("fold the log: %w", err)
	}
	if row[1] != row[2] || row[0] != int64(0) {
		return fmt.Errorf("fold the log: %w", ErrLocked)
	}
	return nil
}

// roomPause is how long no room is made after it was tried.
const roomPause = time.Second

// makeRoom makes space for errors on a full disk, at the cost of what is worth
// less: the reserve, the log's length, and the oldest calls that are no errors.
// It tells whether it made some.
func (s *Store) makeRoom() bool {
	need := int64(s.heldBytes)
	if s.ending() { // its statistics, and the records' frames
		s.mu.Lock()
		need += int64(len(s.queue.stats)+len(s.queue.gaps)) * 1024
		s.mu.Unlock()
	}
	if need == 0 || s.db == nil {
		return false
	}
	need += need/4 + leastRoom
	s.room.cut(0) // it is held for this
	cleared, err := s.db.makeRoom(s.room, need)
	s.room.cut(leastRoom) // for the next time
	if cleared > 0 {
		s.mu.Lock()
		s.db.expire.tell(&s.counters)
		s.mu.Unlock()
		if !s.cleared {
			s.cleared = true
			s.options.Notice(Notice{true, fmt.Sprintf("database %s: no space left: the oldest calls go, to make room for errors; free space on its file system", s.path)})
		}
	}
	s.spillHeld(true)
	s.roomDue = time.Now().Add(roomPause)
	if err != nil && cleared == 0 {
		return false
	}
	s.short = nil
	return true
}

func (s *Store) ending() bool {
	select {
	case <-s.hurry:
		return true
	default:
		return false
	}
}

// GapCleared is the reason of the gap that counts calls that were deleted for
// errors for which a full disk had no other room.
const GapCleared = "deleted early: the disk was full, and errors took their place"

// clearRows are how many calls are deleted at once, and clearPages how many
// pages are given back then, so that the log has room for it.
const (
	clearRows  = 5_000
	clearPages = 32
)

// makeRoom frees need bytes on the file system, which the reserve then holds.
// It gives how many calls it deleted for that.
func (d *database) makeRoom(r *reserve, need int64) (cleared int64, err error) {
	if err := d.fold("TRUNCATE"); err != nil {
		return 0, err
	}
	// Whoever else takes what is given back gets no more than as much again.
	for freed := int64(0); !r.grow(need) && freed < 2*need; {
		before, err := d.state()
		if err != nil {
			return cleared, err
		}
		if before.Free < clearPages {
			n, err := d.clear()
			if err != nil {
				return cleared, err
			}
			cleared += n
			if err := d.fold("TRUNCATE"); err != nil {
				return cleared, err
			}
			if n == 0 && before.Free == 0 {
				return cleared, fmt.Errorf("make room: no calls are left but errors: %w", ErrFull)
			}
		}
		if !d.expire.shrinks { // what was freed, only the database can use
			after, err := d.state()
			if err != nil {
				return cleared, err
			}
			freed += 2 * max(before.Used()-after.Used(), before.PageSize)
			continue
		}
		freed += clearPages * before.PageSize
		err = d.transaction(func() error { return d.giveBack(clearPages) })
		d.settleTrim(err)
		if err == nil {
			err = d.fold("TRUNCATE")
		}
		if err != nil {
			return cleared, err
		}
	}
	return cleared, nil
}

// clear deletes the oldest calls that are no errors, and tells how many.
func (d *database) clear() (n int64, err error) {
	err = d.transaction(func() error {
		var first, last int64
		err := d.each(context.Background(), func(row []driver.Value) error {
			if last = numberOf(row[0]); first == 0 {
				first = last
			}
			if n += numberOf(row[1]); n >= clearRows {
				return io.EOF
			}
			return nil
		}, "SELECT id, calls FROM moment WHERE status <> 'ERR' ORDER BY id LIMIT ?", int64(clearRows))
		if err != nil || n == 0 {
			return err
		}
		for _, table := range []string{"error", "call"} {
			err := d.set("DELETE FROM "+table+" WHERE key BETWEEN ? AND ? AND key >> 8 NOT IN (SELECT id FROM moment WHERE status = 'ERR' AND id BETWEEN ? AND ?)",
				first<<momentBits, last<<momentBits|(1<<momentBits-1), first, last)
			if err != nil {
				return fmt.Errorf("delete calls: %w", err)
			}
		}
		if err := d.set("DELETE FROM moment WHERE id BETWEEN ? AND ? AND status <> 'ERR'", first, last); err != nil {
			return fmt.Errorf("delete calls: %w", err)
		}
		d.expire.step.calls += n
		d.expire.step.cleared += n
		return d.insertGap(&trace.Gap{TimeNS: nowNS(), Count: uint64(n), Reason: GapCleared, Hint: faultFull.hint})
	})
	d.settleTrim(err)
	if err != nil {
		return 0, err
	}
	return n, nil
}
