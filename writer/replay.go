package writer

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// replay brings a spill file's records into the database, in order. How far it
// is stands in the database, written in the same transaction as the records:
// whatever happens in between, each comes in once.
type replay struct {
	log      spillFile
	own      *spill.Log // log, when it is this session's; else nil
	row      sessionRow // of the session that wrote it
	session  int64      // that one's id in the database, 0 until it is looked up
	position uint64     // the number of the last record that is in the database
	read     uint64     // the number of the last record that was read
	entries  []numbered // that were read and are not in the database yet
	known    known
	end      bool      // all has been read
	broken   bool      // it can't be read: it stays for later
	bad      uint64    // records that say nothing
	ended    time.Time // when the session ended; zero when that isn't known
	came     uint64    // errors and other records that came into the database
}

type spillFile interface {
	ID() string
	Path() string
	Next() (spill.Record, error)
	Damage() spill.Damage
	Rewind() error
	Remove() error
	Close() error
}

type numbered struct {
	number uint64
	entry
}

// replayAtOnce is how many records are replayed before calls that wait have their turn.
const replayAtOnce = 100_000

// replayDone is the position of a file that has been replayed to its end.
const replayDone = 1<<63 - 1

func (r *replay) key() string { return "spill " + r.log.ID() }

// pending is how many records of this session's own file are not in the database.
func (r *replay) pending() uint64 { return r.own.Last() - max(r.position, r.own.Last()-r.own.Held()) }

// numberKey is the row of meta that has the number of the session's last transaction.
func (r *sessionRow) numberKey() string { return fmt.Sprintf("commit %016x", r.seed) }

// voidKey is the row of meta that says that a transaction was looked for, and not there.
func (r *sessionRow) voidKey(number uint64) string {
	return fmt.Sprintf("void %016x %d", r.seed, number)
}

// openSpills makes this session's spill file and finds what dead sessions left.
func (s *Store) openSpills() error {
	dir := s.spillDir()
	log, err := spill.Create(dir, filepath.Base(s.path), s.row.headMessage())
	if err != nil {
		if s.options.SpillDir == "" {
			return wrap("create spill file for database", s.path, err)
		}
		return &Error{Op: "create spill file in", Path: dir, Err: err, hint: "choose another folder with --spill-dir"}
	}
	s.spill = log
	if err := s.findSpills(log.Path()); err != nil {
		return err
	}
	s.replays = append(s.replays, &replay{log: ownFile{log}, own: log, row: s.row, session: s.db.session})
	return nil
}

// findSpills finds what dead sessions left, own apart, in the order of the sessions.
func (s *Store) findSpills(own string) error {
	dirs, err := s.db.spillDirs(s.path, s.spillDir())
	if err != nil {
		return wrap("read sessions of database", s.path, err)
	}
	for _, dir := range dirs {
		found, err := spill.Find(dir, filepath.Base(s.path))
		if err != nil {
			s.options.Notice(Notice{true, fmt.Sprintf("what earlier sessions may have left in %s can't be looked for: %v", dir, err)})
		}
		for _, path := range found {
			if path != own {
				s.adopt(path)
			}
		}
	}
	slices.SortStableFunc(s.replays, func(a, b *replay) int { return cmp.Compare(a.row.started, b.row.started) })
	return nil
}

// ownFile is a Log as a spillFile.
type ownFile struct{ *spill.Log }

// Rewind has Next begin again.
func (f ownFile) Rewind() error {
	f.Log.Rewind()
	return nil
}

// spillDirs gives the folders that may have spill files of the database at
// path: one, its own, and those that its sessions were told to use.
func (d *database) spillDirs(path, one string) ([]string, error) {
	dirs := []string{absolute(one)}
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	add(filepath.Dir(absolute(path)))
	err := d.each(context.Background(), func(row []driver.Value) error {
		add(textOf(row[0]))
		return nil
	}, "SELECT DISTINCT settings ->> '$.spill_dir' AS dir FROM session WHERE json_valid(settings) AND dir <> ''")
	return dirs, err
}

func (s *Store) spillDir() string {
	if s.options.SpillDir != "" {
		return s.options.SpillDir
	}
	return filepath.Dir(s.path)
}

// adopt takes a dead session's spill file over. A live one's, and another database's, is left alone.
func (s *Store) adopt(path string) {
	r, err := spill.Open(path)
	if errors.Is(err, spill.ErrLive) || errors.Is(err, spill.ErrGone) {
		return
	}
	if err == nil {
		row, headErr := readHead(r.Head())
		if r.Head() == nil || headErr != nil {
			row = s.row // whose it was can't be told; the errors are worth more
			row.path = absolute(s.path)
		}
		if row.path != absolute(s.path) && absolute(filepath.Dir(path)) != filepath.Dir(absolute(s.path)) {
			err = r.Close()
		} else {
			s.replays = append(s.replays, &replay{log: r, row: row})
		}
	}
	if err != nil {
		s.options.Notice(Notice{true, fmt.Sprintf("an earlier session's errors stay where they are: %v", err)})
	}
}

// replay commits up to about so many records of spill files.
func (s *Store) replay(limit int) error {
	for _, r := range slices.Clone(s.replays) {
		for done := false; !done && limit > 0; {
			if r.broken || r.own != nil && r.pending() == 0 {
				break
			}
			n, err := s.replayPart(r)
			if err != nil {
				return err
			}
			limit -= n
			done = r.end && len(r.entries) == 0
		}
		if !r.end || len(r.entries) > 0 {
			continue
		}
		if err := s.replayedAll(r); err != nil {
			return err
		}
	}
	return nil
}

// replayPart commits one transaction of records, and gives how many.
func (s *Store) replayPart(r *replay) (int, error) {
	if r.session == 0 {
		if err := s.locate(r); err != nil {
			return 0, err
		}
	}
	if r.own != nil {
		r.end = false // more may have come since
	}
	if err := r.fill(s.options.BatchCalls); err != nil {
		// That is no reason not to write the database.
		r.broken = true
		s.options.Notice(Notice{true, fmt.Sprintf("spill file %s can't be read, and stays for the next session: %v", r.log.Path(), err)})
		return 0, nil
	}
	n := len(r.entries)
	for {
		err := s.replayEntries(r, n)
		if err == nil {
			return n, nil
		}
		if !poison(err) || n == 0 {
			return 0, err
		}
		if n == 1 {
			var part batch
			r.entries[0].add(&part)
			s.giveUp(&part, err)
			r.entries[0].entry = entry{}
			continue
		}
		n /= 2
	}
}

// fill reads up to so many records.
func (r *replay) fill(limit int) error {
	for len(r.entries) < limit && !r.end {
		rec, err := r.log.Next()
		if errors.Is(err, io.EOF) {
			r.end = true
			return nil
		}
		if err != nil {
			return err
		}
		r.read = rec.Number
		if rec.Number <= r.position {
			continue
		}
		e, err := readRecord(rec.Payload, &r.known)
		if err != nil {
			r.bad++
			continue
		}
		if !e.ended.IsZero() {
			r.ended = e.ended
		}
		r.entries = append(r.entries, numbered{rec.Number, e})
	}
	return nil
}

// replayEntries commits the first n records that were read.
func (s *Store) replayEntries(r *replay, n int) error {
	var part batch
	position := r.position
	for _, e := range r.entries[:n] {
		position = e.number
		if e.tried != 0 {
			there, err := s.db.wrote(&r.row, e.tried)
			if err != nil {
				return err
			}
			if there {
				continue
			}
		}
		e.add(&part)
	}
	calls := uint64(len(part.calls))
	if r.end && n == len(r.entries) {
		if g, ok := r.damaged(); ok {
			part.gaps = append(part.gaps, g)
		}
		if position = replayDone; r.own != nil {
			position = r.own.Last()
		}
	}
	part.marks = []mark{{r.key(), int64(position)}}
	if err := s.replayTransact(r, part); err != nil {
		return err
	}
	r.position = position
	r.entries = r.entries[n:]
	r.came += uint64(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.Calls += calls
	s.counters.Commits++
	s.replayed += uint64(n)
	return nil
}

// replayTransact writes records as their session's own. The transaction is on
// the disk when it returns: the file that had them may go.
func (s *Store) replayTransact(r *replay, part batch) error {
	if err := s.db.exec("PRAGMA synchronous = FULL"); err != nil {
		return err
	}
	own := s.db.session
	s.db.session = r.session
	s.db.names.forget()
	_, err := s.transact(part, 0)
	s.db.session = own
	s.db.names.forget()
	if normal := s.db.exec("PRAGMA synchronous = NORMAL"); err == nil {
		err = normal
	}
	return err
}

// damaged is what could not be read of a file that has been read to its end.
func (r *replay) damaged() (trace.Gap, bool) {
	d := r.log.Damage()
	lost := d.Records + r.bad
	switch {
	case r.own != nil:
		lost += r.own.Last() - max(r.read, r.position)
	case d.Bytes > 0 && lost == 0:
		lost = 1 // the last one was torn, at least
	}
	return trace.Gap{
		TimeNS: nowNS(), Count: lost, Reason: "spill file damaged",
		Hint: fmt.Sprintf("%d bytes of %s could not be read", d.Bytes, r.log.Path()),
	}, lost > 0
}

// locate finds the session's row, or writes it anew, and how far its file has been replayed.
func (s *Store) locate(r *replay) error {
	var session, position int64
	err := s.db.transaction(func() (err error) {
		if session, _, err = s.db.sessionOf(&r.row); err != nil {
			return err
		}
		position, err = s.db.mark(r.key())
		return err
	})
	if err != nil {
		return err
	}
	if uint64(position) < r.position { // a new database, or an older copy: from the beginning
		if err := r.log.Rewind(); err != nil {
			return err
		}
		r.entries, r.read, r.end = nil, 0, false
	}
	r.session, r.position = session, uint64(position)
	r.entries = slices.DeleteFunc(r.entries, func(e numbered) bool { return e.number <= r.position })
	return nil
}

// replayedAll is done with a file: that of a dead session is deleted, this one's begins anew.
func (s *Store) replayedAll(r *replay) error {
	r.end = false
	if r.own != nil {
		r.read = 0
		_ = r.own.Reset() // where it fails, what is there stays replayed
		return nil
	}
	why := GapKilled
	if !r.ended.IsZero() {
		why = GapNoRoom
		if err := s.db.endOther(r.session, r.ended); err != nil {
			r.end = true
			return err
		}
	}
	calls, err := s.db.recount(r.session, why)
	if err != nil {
		r.end = true
		return err
	}
	if calls > 0 {
		s.options.Notice(Notice{Text: fmt.Sprintf("database %s: the statistics of session %d have its last %s now", s.path, r.session, counted(calls, "call"))})
	}
	s.replays = slices.DeleteFunc(s.replays, func(other *replay) bool { return other == r })
	text := fmt.Sprintf("database %s: %s came in that an earlier session had left in %s", s.path, counted(r.came, "record"), r.log.Path())
	if err := r.log.Remove(); err != nil {
		s.options.Notice(Notice{true, fmt.Sprintf("%s, which is no longer needed and can't be removed: %v", text, err)})
		return nil
	}
	if r.came > 0 {
		s.options.Notice(Notice{Text: text})
	}
	return s.db.forgetMarks(&r.row, r.session, r.key())
}
