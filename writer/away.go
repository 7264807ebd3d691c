package writer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
)

// doubt is a transaction that failed. It may be in the database all the same:
// when the disk was full for what comes after its last page, say, the next
// connection finds it whole in the log. Its number tells.
type doubt struct {
	number uint64
	part   batch
	fresh  bool // its errors are not in the spill file yet
}

// lockSlice is how long one transaction waits for another program's lock. Then
// errors go to the spill file, so that a SIGKILL can't lose them, and it is tried again.
const lockSlice = time.Second

// lockExcuse is how long another program's lock is waited for before the database counts as away, where what waits has the room for it.
const lockExcuse = 3 * time.Second

// heldReason is why errors are dropped.
const heldReason = "errors lost: database away, and no room in the spill file"

// GapNoRoom is the reason of the gap that counts calls that were to go to the spill file when
// tracing ended, and had no room there.
const GapNoRoom = "no room in the spill file at the end"

// maxHeld is how much of errors is kept in memory when the spill file has no room, bytes.
const maxHeld = 64 << 20

func nowNS() int64 { return time.Now().UnixNano() }

// counted gives a number and its noun.
func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func awayReason(err error) string { return "database away: " + causeOf(err) }

func hintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint()
	}
	return ""
}

// describe takes note of how the session's row is, to write it anew where need be.
func (s *Store) describe() (err error) {
	s.row, err = s.db.readSession(s.path, s.options.Session)
	return err
}

// settleIn sets up what follows the file that db has opened.
func (s *Store) settleIn() {
	s.db.patience = min(s.options.Patience, lockSlice)
	s.retries.Add(s.db.retries.Load()) // opening it
	s.db.retries = &s.retries
	s.size = 0
	if st, err := os.Stat(s.path + "-wal"); err == nil {
		s.wal = st
	}
}

// leastSize is less than any database that has a page, bytes.
const leastSize = 512

// look sees whether the file at the path is still the one that is written, and
// whole as far as its size tells.
func (s *Store) look() error {
	st, err := os.Stat(s.path)
	if err != nil || !os.SameFile(st, s.db.identity) {
		return faultReplaced.error("write database", s.path, err)
	}
	before := s.size
	s.size = st.Size()
	switch {
	case s.size < leastSize:
		return faultCorrupt.error("write database", s.path, fmt.Errorf("%w: it was cut to %d bytes", ErrCorrupt, s.size))
	case s.size < before && time.Since(s.verified) > verifyPause: // by who trims it, or by who damages it
		s.verified = time.Now()
		return wrap("check database", s.path, verify(s.path))
	}
	return nil
}

// verifyPause is how long a file that became shorter isn't checked again: retention may trim it all the time.
const verifyPause = time.Minute

// verify checks a file as it is on the disk: an open connection remembers pages.
func verify(path string) error {
	d := &database{path: path}
	defer d.abandon()
	if err := d.connect(); err != nil {
		return err
	}
	return d.check()
}

// openOrSetAside opens the database; a damaged one is set aside, and a new one
// begun. It gives the damaged one's new path.
func openOrSetAside(path string, patience time.Duration, hurry <-chan struct{}) (db *database, aside string, err error) {
	before, _ := os.Stat(path) // nil when there is none
	db, err = openDatabase(path, patience, hurry)
	err = wrap("open database", path, err)
	if !errors.Is(err, ErrCorrupt) || before == nil {
		return db, "", err
	}
	if foreign(path) {
		return nil, "", faultForeign.error("open database", path, err)
	}
	if aside, err = setAside(path, before); err != nil {
		return nil, "", err
	}
	db, err = openDatabase(path, patience, hurry)
	return db, aside, err
}

// foreign tells whether a file never was a database: it is somebody else's, and stays where it is.
func foreign(path string) bool {
	f, err := os.Open(path) // nobody has locks on a file that SQLite can't read
	if err != nil {
		return true
	}
	defer f.Close()
	head := make([]byte, len(sqliteMagic))
	if _, err := f.ReadAt(head, 0); err != nil {
		return true
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return false
	}
	return string(head) != sqliteMagic && strings.Trim(string(head), "\x00") != ""
}

// sqliteMagic begins every database (https://sqlite.org/fileformat.html, 1.3).
const sqliteMagic = "SQLite format 3\x00"

// setAside renames the damaged file that was seen at the path, its log first:
// alone, that would be deleted with the next opening. Where another session was
// quicker, it does nothing, and gives no path.
func setAside(path string, damaged os.FileInfo) (aside string, err error) {
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("set damaged database aside: %w", err)
	}
	defer unlock()
	if now, err := os.Stat(path); err != nil || !os.SameFile(now, damaged) {
		return "", nil
	}
	stem := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside = stem
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", stem, n)
	}
	for _, suffix := range []string{"-wal", "-shm", ""} {
		err := os.Rename(path+suffix, aside+suffix)
		if err != nil && (suffix == "" || !errors.Is(err, os.ErrNotExist)) {
			return "", fmt.Errorf("set damaged database aside: %w", err)
		}
	}
	return aside, nil
}

// lockFolder has one session at a time rename files in a folder.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// tellAside says that a damaged database was set aside, here and in the new one.
func (s *Store) tellAside(aside string) {
	hint := fmt.Sprintf("sqlite3 %s .recover | sqlite3 recovered.db saves what can be read", aside)
	s.options.Notice(Notice{true, fmt.Sprintf("database %s: damaged: it was set aside as %s and a new one begun; %s", s.path, aside, hint)})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueue(trace.Gap{TimeNS: nowNS(), Reason: "database damaged: set aside as " + aside, Hint: hint})
}

// enqueue has a gap of the store's own written with the next batch. It is called with s.mu held.
func (s *Store) enqueue(g trace.Gap) {
	if s.queue.empty() {
		s.since = time.Now()
	}
	s.queue.gaps = append(s.queue.gaps, g)
}

// resume makes the database ready after it was away: opens it anew where that
// is needed, has the session in it, and finds out what came through of the
// transaction that failed.
func (s *Store) resume(b *batch) error {
	if err := s.reopen(); err != nil {
		return err
	}
	if err := s.look(); err != nil {
		return err
	}
	end := s.idsEnd()
	var added, there bool
	s.number++
	err := s.db.transaction(func() (err error) {
		marks := []mark{{s.row.numberKey(), int64(s.number)}}
		if s.db.session, added, err = s.db.sessionOf(&s.row); err != nil {
			return err
		}
		if s.doubt != nil {
			if there, err = s.db.wrote(&s.row, s.doubt.number); err != nil {
				return err
			}
			if !there { // transactions with greater numbers follow
				marks = append(marks, mark{s.row.voidKey(s.doubt.number), 1})
			}
		}
		if added { // other sessions may have reserved ids in the file that is gone
			end = nextBlock(end)
		}
		if err := s.db.raiseIDs(end); err != nil {
			return err
		}
		return s.db.setMarks(marks)
	})
	if err != nil {
		return err
	}
	if s.doubt != nil && !there {
		b.unshift(s.doubt.part)
	}
	s.mu.Lock()
	if s.doubt != nil && there {
		s.counters.Calls += uint64(len(s.doubt.part.calls))
	}
	if added && b.attached == nil {
		b.attached = s.attached
	}
	s.raised = end
	s.mu.Unlock()
	s.doubt = nil
	for _, r := range s.replays {
		r.session = 0
	}
	return nil
}

func (s *Store) idsEnd() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.end
}

// reopen opens the file anew, unless the connection has stayed good.
func (s *Store) reopen() error {
	if s.db != nil {
		cause := s.breaker.cause()
		if errors.Is(cause, ErrFull) || errors.Is(cause, ErrLocked) {
			return nil // it has stayed good, and there may be no room to open it
		}
		if err := s.shut(cause); err != nil {
			return err
		}
	}
	db, aside, err := openOrSetAside(s.path, min(s.options.Patience, lockSlice), s.hurry)
	if err != nil {
		return err
	}
	s.db = db
	if err := db.retain(s.options.Retention, s.options.now); err != nil {
		return err
	}
	s.settleIn()
	if aside != "" {
		s.tellAside(aside)
	}
	return nil
}

// shut closes a connection that is no longer good.
func (s *Store) shut(cause error) error {
	aside := ""
	switch {
	case errors.Is(cause, ErrReplaced):
		// What only the log has goes into the file that was moved, wherever that is now.
		_, _ = s.db.query(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	case errors.Is(cause, ErrCorrupt):
		// Renamed before it is closed: SQLite then leaves it, and its log, as they are.
		var err error
		if aside, err = setAside(s.path, s.db.identity); err != nil {
			return err
		}
	}
	if errors.Is(cause, ErrReplaced) || aside != "" {
		s.leaveFile()
	}
	gone := s.db.identity
	s.db.abandon()
	s.db = nil
	if errors.Is(cause, ErrReplaced) {
		s.removeLog(gone)
	}
	if aside != "" {
		s.tellAside(aside)
	}
	return nil
}

// leaveFile notes that what was written is not in the file at the path.
func (s *Store) leaveFile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.Elsewhere += s.counters.Calls - s.here
	s.here = s.counters.Calls
}

// removeLog deletes the log of a file that is no longer at the path: it would
// be taken for that of the next one. Another session's is left alone.
func (s *Store) removeLog(gone os.FileInfo) {
	unlock, err := lockFolder(filepath.Dir(s.path))
	if err != nil {
		return // the folder is gone, too
	}
	defer unlock()
	if st, err := os.Stat(s.path); err == nil && os.SameFile(st, gone) {
		return // it has come back
	}
	st, err := os.Stat(s.path + "-wal")
	if err != nil || s.wal == nil || !os.SameFile(st, s.wal) {
		return
	}
	_ = os.Remove(s.path + "-wal") // what can't be removed, opening the next file will tell
	_ = os.Remove(s.path + "-shm")
}

// left takes note of why the database can't be written, and says so when that is new.
func (s *Store) left(err error) {
	since := s.breaker.locked // when it is one
	if since.IsZero() {
		since = time.Now()
	}
	s.mu.Lock()
	news := s.away == nil || causeOf(s.away) != causeOf(err)
	if s.away == nil {
		s.before = progress{since, s.replayed, s.counters.Dropped}
	}
	s.away = err
	waiting, capacity := len(s.queue.calls)+s.flying, s.capacity()
	s.changed.Broadcast()
	s.mu.Unlock()
	s.told = true
	if news {
		why := err.Error()
		var e *Error
		if errors.As(err, &e) {
			why = e.Err.Error()
		}
		if errors.Is(err, ErrLocked) {
			why += fmt.Sprintf(", for %s now", time.Since(since).Round(100*time.Millisecond))
		}
		s.options.Notice(Notice{true, fmt.Sprintf("database %s: away: %s; errors go to %s, of other calls the first %d wait in memory (%d now); %s",
			s.path, why, s.spill.Path(), capacity, waiting, hintOf(err))})
	}
}

// tellWaiting says that opening the database has to wait for a lock, if it does.
func (s *Store) tellWaiting() {
	if who := holder(s.path); who != "" {
		s.options.Notice(Notice{true, fmt.Sprintf("database %s: locked by another program; it is waited for, at most %s; end the write transaction of %s", s.path, s.options.Patience, who)})
	}
}

// progress is how far things were when the database went away.
type progress struct {
	since             time.Time
	replayed, dropped uint64
}

// returned says that the database is written again, when all that was spilled is in it.
func (s *Store) returned() {
	if !s.told || s.replays[len(s.replays)-1].pending() > 0 {
		return
	}
	s.told, s.spillFailed = false, false
	cause := s.breaker.cause()
	s.mu.Lock()
	replayed, dropped := s.replayed-s.before.replayed, s.counters.Dropped-s.before.dropped
	lasted := time.Since(s.before.since).Round(100 * time.Millisecond)
	s.enqueue(trace.Gap{
		TimeNS: s.before.since.UnixNano(), Reason: awayReason(cause),
		Hint: fmt.Sprintf("for %s; %s came from the spill file, %s dropped", lasted, counted(replayed, "error"), counted(dropped, "call")),
	})
	s.mu.Unlock()
	s.options.Notice(Notice{Text: fmt.Sprintf("database %s: written again after %s; %s replayed, %s dropped", s.path, lasted, counted(replayed, "error"), counted(dropped, "call"))})
}

// comeBack ends the database's being away, when no ids were given out that it doesn't know of.
func (s *Store) comeBack() error {
	for {
		s.mu.Lock()
		end := s.ids.end
		if s.away == nil || end <= s.raised {
			s.away = nil
			s.slot.end = 0 // other sessions get ids from there now
			s.changed.Broadcast()
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if err := s.db.transaction(func() error { return s.db.raiseIDs(end) }); err != nil {
			return err
		}
		s.raised = end
	}
}

// keep has what could not be committed where it is safest: errors in the spill
// file, the rest in the queue.
func (s *Store) keep(b batch) {
	if d := s.doubt; d != nil && d.fresh {
		d.fresh = false
		s.hold(d.part.takeErrors(), d.number)
	}
	s.hold(b.takeErrors(), 0)
	s.spillHeld(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.empty() {
		s.since = s.flight
	}
	b.append(s.queue)
	s.flight, s.flying = time.Time{}, 0
	if s.queue = b; s.away != nil {
		s.queue.compact()
	}
}

// hold keeps errors until the spill file takes them.
func (s *Store) hold(calls []*trace.Call, tried uint64) {
	for _, c := range calls {
		record := callRecord(c, tried)
		if s.heldBytes+len(record) > s.options.heldBytes {
			s.lose(c.Func)
			continue
		}
		s.held = append(s.held, record)
		s.heldBytes += len(record)
	}
}

// lose counts an error for which there is no room anywhere, and says so at once when it is the first.
func (s *Store) lose(f *trace.Function) {
	hint := "free space on the file system of " + s.spill.Path()
	s.mu.Lock()
	s.drop(f, 1, heldReason, hint)
	s.mu.Unlock()
	if !s.losing {
		s.losing = true
		s.options.Notice(Notice{true, fmt.Sprintf("database %s: errors are lost from now on: neither it nor the spill file has room, and %d MiB wait in memory; %s", s.path, s.options.heldBytes>>20, hint)})
	}
}

// spillHeld writes what is held to the spill file, or as much of it as there is room for.
func (s *Store) spillHeld(now bool) {
	if len(s.held) == 0 || !now && time.Now().Before(s.spillDue) {
		return
	}
	var err error
	for n := len(s.held); n > 0 && len(s.held) > 0; {
		n = min(n, len(s.held))
		if err = s.spill.Append(s.held[:n]); err != nil {
			n /= 2
			continue
		}
		for _, record := range s.held[:n] {
			s.heldBytes -= len(record)
		}
		s.held = s.held[n:]
		s.mu.Lock()
		s.spilled += uint64(n)
		s.mu.Unlock()
	}
	if len(s.held) == 0 {
		s.held = nil
		return
	}
	s.spillDue = time.Now().Add(time.Second)
	if !s.spillFailed {
		s.spillFailed = true
		s.options.Notice(Notice{true, fmt.Sprintf("spill file %s can't be written: %v; errors wait in memory, at most %d MiB: free space there", s.spill.Path(), err, s.options.heldBytes>>20)})
	}
}

// takeHeld moves what the spill file never took into a batch, as the database is back.
func (s *Store) takeHeld(b *batch) error {
	held := s.held
	s.held, s.heldBytes = nil, 0
	var first batch
	var k known
	for _, record := range held {
		e, err := readRecord(record, &k)
		if err != nil {
			continue // it was written a moment ago
		}
		there := false
		if e.tried != 0 {
			if there, err = s.db.wrote(&s.row, e.tried); err != nil {
				s.held, s.heldBytes = held, recordBytes(held)
				return err
			}
		}
		if !there {
			e.add(&first)
		}
	}
	b.unshift(first)
	return nil
}

func recordBytes(records [][]byte) (n int) {
	for _, r := range records {
		n += len(r)
	}
	return n
}

// finish ends the session: in the database, or, where that is away, in the spill file.
func (s *Store) finish() error {
	deadline := time.Now().Add(min(s.options.Patience, closePatience))
	own := s.replays[len(s.replays)-1]
	err := s.drain(true)
	for (busy(err) || err == nil && s.unfinished(own)) && time.Now().Before(deadline) {
		err = s.drain(true)
	}
	if err == nil && !s.unfinished(own) && !own.broken {
		if err = s.end(own); err == nil {
			return nil
		}
	}
	return s.leave(err)
}

// unfinished tells whether something is left to be written.
func (s *Store) unfinished(own *replay) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return own.pending() > 0 && !own.broken || len(s.held) > 0 || !s.queue.empty() || len(s.drops.waiting)+len(s.drops.uncorrected) > 0
}

// end ends the session in the database, all of which is written.
func (s *Store) end(own *replay) error {
	if s.db.checkIdentity() != nil {
		s.leaveFile()
	}
	if err := s.db.endSession(time.Now(), s.retireIDs()); err != nil {
		return wrap("close database", s.path, err)
	}
	// First the file, then what says that it was replayed.
	if err := s.spill.Remove(); err != nil {
		s.options.Notice(Notice{true, err.Error()})
	} else if err := s.db.forgetMarks(&s.row, s.db.session, own.key()); err != nil {
		s.options.Notice(Notice{true, err.Error()})
	}
	s.closeReplays()
	return wrap("close database", s.path, s.db.close())
}

// closeReplays lets go of other sessions' files that are not replayed to their end: the next session goes on.
func (s *Store) closeReplays() {
	for _, r := range s.replays {
		if r.own == nil {
			_ = r.log.Close()
		}
	}
}

// leave puts all that is in memory into the spill file, and says where it is.
func (s *Store) leave(cause error) error {
	if s.db != nil && errors.Is(cause, ErrFull) {
		s.room.cut(0)
		_ = s.db.fold("TRUNCATE")      // what failed has left the log long; where it can't be folded, what is free must do
		s.room.growMost(leastRoom / 4) // which calls must not take from what comes behind them
	}
	s.spillHeld(true)
	s.dropHeld()
	saved, lost := s.saveRest(cause != nil)
	lost = also(lost, s.spill.Close())
	s.closeReplays()
	if s.db != nil {
		s.db.abandon()
	}
	e := &Error{Op: "close database", Path: s.path, Err: cause}
	if cause == nil {
		e.Err = errors.New("not all that waited could be written in time")
	}
	var told *Error
	if errors.As(cause, &told) {
		e.Err, e.hint = told.Err, told.hint+"; "
	}
	e.hint += fmt.Sprintf("%s: attach or retain with this --db writes it, doctor --db shows it", saved)
	s.mu.Lock()
	gone := s.drops.reasons[heldReason]
	s.mu.Unlock()
	if gone > 0 {
		lost = also(fmt.Errorf("%s lost: there was no room", counted(gone, "error")), lost)
	}
	e.Err = also(e.Err, lost)
	return e
}

// dropHeld counts the errors for which there is no room anywhere.
func (s *Store) dropHeld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var k known
	for _, record := range s.held {
		if e, err := readRecord(record, &k); err == nil { // it was written a moment ago
			s.drop(e.call.Func, 1, heldReason, "free space on the file system of "+s.spill.Path())
		}
	}
}

// also puts two errors on one line; either may be nil.
func also(one, other error) error {
	switch {
	case one == nil:
		return other
	case other == nil:
		return one
	}
	return fmt.Errorf("%w; %w", one, other)
}

// saveRest puts statistics, gaps, calls and the end into the spill file, and
// says what is there now. Calls that it has no room for are dropped, and taken
// off the statistics, which came first, as they are what can't be done without.
func (s *Store) saveRest(away bool) (saved string, lost error) {
	d := doubt{}
	if s.doubt != nil {
		d = *s.doubt
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.queue
	s.queue = batch{}
	if away && s.away != nil {
		b.gaps = append(b.gaps, trace.Gap{TimeNS: s.before.since.UnixNano(), Reason: awayReason(s.away), Hint: "until the session ended"})
	}
	for i := range b.stats {
		s.drops.correct(&b.stats[i])
	}
	save := func() error {
		return s.spill.Append(append(d.part.counts(d.number), b.counts(0)...))
	}
	lost = save()
	if lost != nil && len(b.stats) > 0 { // few long spans need less room
		b.stats, b.gaps = mergeSeconds(b.stats, 1<<20), mergeGaps(b.gaps)
		lost = save()
	}
	if lost != nil {
		s.room.cut(0)
		lost = save()
	}
	s.saveCalls(d.part.calls, d.number)
	s.saveCalls(b.calls, 0)
	s.room.cut(0)
	rest := batch{stats: s.drops.corrections(), gaps: s.drops.gaps()}
	if err := s.spill.Append(append(rest.counts(0), endRecord(time.Now()))); err != nil {
		lost = cmp.Or(lost, err)
		_ = s.spill.Append([][]byte{endRecord(time.Now())}) // which says that it was not killed; it may have room alone
	}
	if lost != nil {
		lost = fmt.Errorf("the last statistics are lost, or not exact: %w", lost)
	}
	own := s.replays[len(s.replays)-1]
	s.pending.Records = own.pending()
	return fmt.Sprintf("%s has %s not in the database", s.spill.Path(), counted(own.pending(), "record")), lost
}

// saveCalls puts calls into the spill file, as far as there is room. It is called with s.mu held.
func (s *Store) saveCalls(calls []*trace.Call, tried uint64) {
	for len(calls) > 0 {
		part := calls[:min(len(calls), s.options.BatchCalls)]
		calls = calls[len(part):]
		records := make([][]byte, len(part))
		for i, c := range part {
			records[i] = callRecord(c, tried)
		}
		if s.spill.Append(records) == nil {
			continue
		}
		for _, c := range part {
			s.drop(c.Func, 1, GapNoRoom, "free space on the file system of "+s.spill.Path())
		}
	}
}

// counts gives the records of a batch's statistics and gaps.
func (b *batch) counts(tried uint64) (records [][]byte) {
	for i := range b.stats {
		records = append(records, secondRecord(&b.stats[i], tried))
	}
	for i := range b.gaps {
		records = append(records, gapRecord(&b.gaps[i], tried))
	}
	return records
}
