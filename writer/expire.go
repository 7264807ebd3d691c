package writer

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
)

// expirer is what a writing connection knows of what is over. The steps are
// taken in the transactions that insert: so the file stays as large as it is,
// and no transaction is much longer than without.
type expirer struct {
	policy  retention.Policy
	now     func() retention.Moment
	shrinks bool // the file can give pages back while it is in use

	last     retention.Moment // of the mark that this connection has set last; zero: none
	horizon  retention.Horizon
	more     bool      // there is more to do at once
	idle     bool      // nothing was written since the last mark
	unfolded bool      // pages were given back, and the log that says so is not yet folded into the file
	folded   time.Time // when that was tried last

	over  int64 // bytes by which the file is too large, though no calls are left
	log   int64 // bytes of the write-ahead log, when the last mark was set
	early gapID // of the gap that tells what is deleted before its time

	step  removed // what the transaction under way removes
	total removed // what was removed until now
}

// removed is how much retention has taken out of the file.
type removed struct {
	calls, early int64 // calls, and how many of them before their time, for the size
	cleared      int64 // and how many for errors that had no other room
	statistics   int64 // rows that were merged or deleted
	gaps         int64 // the same
	names        int64 // threads, processes, functions and sessions
	pages        int64 // given back
}

func (r *removed) add(o removed) {
	r.calls += o.calls
	r.early += o.early
	r.cleared += o.cleared
	r.statistics += o.statistics
	r.gaps += o.gaps
	r.names += o.names
	r.pages += o.pages
}

// gapID is a gap that is added to for a while.
type gapID struct {
	id int64 // 0: none
	up int64 // when it was added, as Moment has it
}

// GapEarly is the reason of the gap that counts calls that were deleted before
// their time, because the database had reached its size.
const GapEarly = "deleted early: the database had reached its size"

const gapEarlyHint = "raise --max-db-size, lower --retention, or record less"

// retain sets up what is kept from now on.
func (d *database) retain(p retention.Policy, now func() retention.Moment) error {
	mode, err := d.integer("PRAGMA auto_vacuum")
	if err != nil {
		return fmt.Errorf("read whether the file can shrink: %w", err)
	}
	d.expire = expirer{policy: p, now: now, shrinks: mode == autoVacuumIncremental}
	return d.exec(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d; PRAGMA journal_size_limit = %d",
		p.CheckpointBytes()/8192, p.LogBytes()))
}

// autoVacuumIncremental is what PRAGMA auto_vacuum says of a file that gives pages back when asked to.
const autoVacuumIncremental = 2

// machineNow reads the clocks.
func machineNow() retention.Moment {
	var up unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) // fails only for a clock that doesn't exist
	return retention.Moment{Wall: time.Now().UnixNano(), Boot: bootID(), Up: up.Nano()}
}

// bootID tells boots of machines apart; 0 where the kernel doesn't say.
var bootID = sync.OnceValue(func() int64 {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	digits := strings.ReplaceAll(string(text), "-", "")
	id, err := strconv.ParseUint(digits[:min(16, len(digits))], 16, 64)
	if err != nil {
		return 0
	}
	return int64(id>>1 | 1)
})

// behind tells whether a transaction is due though there is nothing to write.
func (d *database) behind() bool {
	e := &d.expire
	if e.more || e.foldDue() {
		return true
	}
	nothing := e.idle && e.policy == retention.Policy{} // has become old
	return e.now != nil && !nothing && e.due(e.now())
}

// due tells whether the next mark is.
func (e *expirer) due(now retention.Moment) bool {
	return e.last == retention.Moment{} || now.Up-e.last.Up >= int64(e.policy.MarkInterval()) || retention.Stepped(e.last, now)
}

// trim takes the next step, in a transaction that has inserted so many calls
// and statistics.
func (d *database) trim(calls, stats int) error {
	e := &d.expire
	if e.now == nil {
		return nil
	}
	now := e.now()
	e.idle = e.idle && calls+stats == 0
	if e.due(now) {
		if err := d.look(now, true); err != nil {
			return fmt.Errorf("expire: %w", err)
		}
	}
	if (e.policy == retention.Policy{}) {
		return nil
	}
	more, err := d.trimStep(now, calls)
	e.more = more
	if err != nil {
		return fmt.Errorf("expire: %w", err)
	}
	return nil
}

// rollUp merges statistics that are old enough, behind what was inserted with them.
func (d *database) rollUp(calls, stats int) error {
	e := &d.expire
	if e.now == nil || e.policy == (retention.Policy{}) || stats == 0 && calls > 0 {
		return nil
	}
	left, err := d.mergeStatistics(max(4*stats, 2000))
	e.more = e.more || left
	if err != nil {
		return fmt.Errorf("expire: %w", err)
	}
	return nil
}

func (d *database) trimStep(now retention.Moment, calls int) (more bool, err error) {
	e := &d.expire
	state, err := d.state()
	if err != nil {
		return false, err
	}
	step := retention.Plan(state, e.horizon, e.policy, calls)
	e.over = step.Over
	more = step.More
	if step.Calls > 0 {
		n, err := d.expireCalls(step.Calls)
		if err != nil {
			return false, err
		}
		e.step.calls += n
		more = more && (n > 0 || step.Pages > 0)
		if early := n - (step.Calls - state.First - step.Early); early > 0 {
			e.step.early += early
			if err := d.tellEarly(now, early); err != nil {
				return false, err
			}
		}
	}
	if step.Pages > 0 {
		if err := d.giveBack(step.Pages); err != nil {
			return false, err
		}
	}
	return more, nil
}

// giveBack takes at most so many free pages out of the file.
func (d *database) giveBack(pages int64) error {
	// Every row that the statement gives is a page.
	err := d.each(context.Background(), func([]driver.Value) error { d.expire.step.pages++; return nil }, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err != nil {
		return fmt.Errorf("give pages back: %w", err)
	}
	return nil
}

// settleTrim notes what became of the transaction that trim was part of.
func (d *database) settleTrim(failed error) {
	e := &d.expire
	if failed != nil { // all is as it was before
		e.last, e.early, e.step, e.more = retention.Moment{}, gapID{}, removed{}, false
		return
	}
	e.unfolded = e.unfolded || e.step.pages > 0
	e.total.add(e.step)
	e.step = removed{}
	if e.foldDue() {
		e.folded = time.Now()
		// The file becomes shorter when all of the log is folded into it; where readers stand in the way, later.
		row, err := d.query(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)")
		e.unfolded = err != nil || row[1] != row[2]
	}
}

// foldDue tells whether pages were given back that are still in the file, and nothing else is to be given back first.
func (e *expirer) foldDue() bool { return e.unfolded && !e.more && time.Since(e.folded) > time.Second }

// tell adds what was done, and what can't be helped, to a store's counters.
func (e *expirer) tell(c *Counters) {
	c.Expired, c.Early, c.Cleared, c.OverBytes, c.LogBytes = uint64(e.total.calls), uint64(e.total.early), uint64(e.total.cleared), e.over, e.log
}

// look sets a mark, where it is to, and finds out what is over now.
func (d *database) look(now retention.Moment, set bool) error {
	e := &d.expire
	marks, err := d.marks()
	if err != nil {
		return err
	}
	if e.last == (retention.Moment{}) {
		// What was written after the last mark, and before any of this session, is as old as its newest row.
		end, err := d.endOf(marks)
		if err != nil {
			return err
		}
		marks = append(marks, end...)
		if set {
			for _, m := range end {
				if err := d.addMark(m.Calls, m.Moment); err != nil {
					return err
				}
			}
		}
	}
	e.horizon = retention.Look(marks, now, e.policy)
	if !set {
		return nil
	}
	if err := d.set("DELETE FROM mark WHERE id < ?", e.horizon.Marks); err != nil {
		return fmt.Errorf("delete marks: %w", err)
	}
	for _, id := range e.horizon.Dense {
		if err := d.set("DELETE FROM mark WHERE id = ?", id); err != nil {
			return fmt.Errorf("delete marks: %w", err)
		}
	}
	next, err := d.nextCall()
	if err != nil {
		return err
	}
	if err := d.addMark(next, now); err != nil {
		return err
	}
	e.last, e.idle = now, true
	if st, err := os.Stat(d.path + "-wal"); err == nil {
		e.log = st.Size()
	}
	if (e.policy == retention.Policy{}) {
		return nil
	}
	n, err := d.expireNames(false) // functions and sessions are few, and looking through all statistics takes long
	e.step.names += n
	return err
}

func (d *database) addMark(calls int64, at retention.Moment) error {
	err := d.set("INSERT INTO mark (calls, wall_ns, boot, up_ns) VALUES (?, ?, ?, ?)", calls, at.Wall, at.Boot, at.Up)
	if err != nil {
		return fmt.Errorf("write mark: %w", err)
	}
	return nil
}

func (d *database) marks() (marks []retention.Mark, err error) {
	err = d.each(context.Background(), func(row []driver.Value) error {
		var n [5]int64
		for i := range n {
			n[i], _ = row[i].(int64)
		}
		marks = append(marks, retention.Mark{ID: n[0], Calls: n[1], Moment: retention.Moment{Wall: n[2], Boot: n[3], Up: n[4]}})
		return nil
	}, "SELECT id, calls, wall_ns, boot, up_ns FROM mark ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	return marks, nil
}

// endOf gives a mark for the end of what was written behind the last of marks,
// by the newest call; none where there is nothing.
func (d *database) endOf(marks []retention.Mark) ([]retention.Mark, error) {
	ended, err := d.newestCall()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	next, err := d.nextCall()
	if err != nil {
		return nil, err
	}
	end := retention.Mark{ID: 1, Calls: next, Moment: retention.Moment{Wall: ended}}
	if n := len(marks); n > 0 {
		last := marks[n-1]
		if last.Calls == next {
			return nil, nil
		}
		// Marks follow one another in some minutes: the clock was set if it seems longer.
		later := min(max(ended-last.Wall, 0), int64(5*time.Minute))
		end.ID, end.Moment = last.ID+1, retention.Moment{Wall: last.Wall + later, Boot: last.Boot, Up: last.Up + later}
	}
	return []retention.Mark{end}, nil
}

// state tells how much there is.
func (d *database) state() (s retention.State, err error) {
	s.Shrinks = d.expire.shrinks
	for query, into := range map[string]*int64{
		"PRAGMA page_count": &s.Pages, "PRAGMA freelist_count": &s.Free, "PRAGMA page_size": &s.PageSize,
	} {
		if *into, err = d.integer(query); err != nil {
			return s, fmt.Errorf("read size: %w", err)
		}
	}
	if s.Next, err = d.nextCall(); err != nil {
		return s, fmt.Errorf("count calls: %w", err)
	}
	if s.First, err = d.firstCall(); errors.Is(err, io.EOF) {
		s.First, err = s.Next, nil
	}
	if err != nil {
		return s, fmt.Errorf("count calls: %w", err)
	}
	return s, nil
}

// tellEarly counts calls that are deleted before their time, in a gap a minute.
func (d *database) tellEarly(now retention.Moment, calls int64) error {
	e := &d.expire
	if e.early.id != 0 && now.Up-e.early.up < int64(time.Minute) {
		_, err := d.integer("UPDATE gap SET count = count + ? WHERE id = ? RETURNING id", calls, e.early.id)
		if err == nil || !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := d.insertGap(&trace.Gap{TimeNS: now.Wall, Count: uint64(calls), Reason: GapEarly, Hint: gapEarlyHint}); err != nil {
		return err
	}
	id, err := d.integer("SELECT last_insert_rowid()")
	e.early = gapID{id, now.Up}
	return err
}

// resolution is statistics whose rows span so many seconds.
type resolution struct {
	seconds int
	index   string // of stat, by time, that has just these rows
}

// resolutions are those that rows are merged through.
var resolutions = []resolution{{1, "stat_second"}, {60, "stat_minute"}, {3600, "stat_hour"}}

// mergeStatistics merges and deletes statistics and gaps that are over, a
// limited number of rows, and tells whether there are more.
func (d *database) mergeStatistics(limit int) (more bool, err error) {
	h := &d.expire.horizon
	for i, span := range []retention.Span{h.Seconds, h.Minutes, h.Hours} {
		from, to := secondText(span.From), secondText(span.To)
		for _, outside := range []struct{ operator, bound string }{{"<", from}, {">=", to}} {
			n, err := d.mergeRows(i, outside.operator, outside.bound, limit)
			if err != nil {
				return false, fmt.Errorf("merge statistics: %w", err)
			}
			more = more || n == limit
			d.expire.step.statistics += int64(n)
		}
	}
	n, err := d.mergeGaps(secondText(h.Gaps.From), secondText(h.Gaps.To), secondText(h.Hours.From), limit)
	if err != nil {
		return false, fmt.Errorf("merge gaps: %w", err)
	}
	d.expire.step.gaps += n
	return more || n >= int64(limit), nil
}

// secondText is a time as function_stats has it, from Unix time in s. Text before or after
// all others stands for times that have no such form.
func secondText(at int64) string {
	switch {
	case at < 0:
		return ""
	case at >= 253402300800: // the year 10000
		return "~"
	}
	return time.Unix(at, 0).UTC().Format("2006-01-02 15:04:05")
}

// mergeRows takes at most limit rows of a resolution out whose time is so, the
// earliest, and adds them to those of the next; rows of hours are deleted. It
// gives how many it took.
func (d *database) mergeRows(i int, operator, bound string, limit int) (int, error) {
	type key struct {
		ts                string
		function, session int64
	}
	var last key
	var order []key
	merged := make(map[key]*FunctionSecond)
	of, n := resolutions[i], 0
	where := fmt.Sprintf("FROM stat INDEXED BY %s WHERE seconds = %d AND ts %s ?", of.index, of.seconds, operator)
	err := d.each(context.Background(), func(row []driver.Value) error {
		n++
		last.ts, _ = row[0].(string)
		last.function, _ = row[1].(int64)
		last.session, _ = row[2].(int64)
		if i+1 == len(resolutions) {
			return nil
		}
		into := key{startText(last.ts, resolutions[i+1].seconds), last.function, last.session}
		if merged[into] == nil {
			merged[into] = new(FunctionSecond)
			order = append(order, into)
		}
		return merged[into].mergeRow(row[3:])
	}, fmt.Sprintf("SELECT ts, function_id, session_id, %s %s ORDER BY ts, function_id, session_id LIMIT %d", statColumns, where, limit), bound)
	if err != nil || n == 0 {
		return 0, err
	}
	err = d.set(fmt.Sprintf("DELETE %s AND (ts, function_id, session_id) <= (?, ?, ?)", where), bound, last.ts, last.function, last.session)
	if err != nil {
		return 0, err
	}
	for _, k := range order {
		if err := d.addStat(k.ts, k.function, k.session, resolutions[i+1].seconds, merged[k]); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// startText is the beginning of the minute or hour that a time lies in.
func startText(ts string, seconds int) string {
	const minute, hour = len("2006-01-02 15:04"), len("2006-01-02 15")
	switch {
	case seconds == 60 && len(ts) > minute:
		return ts[:minute] + ":00"
	case seconds == 3600 && len(ts) > hour:
		return ts[:hour] + ":00:00"
	}
	return ts
}

// mergeGaps adds single gaps outside of a time up, by hour, place and reason, and deletes those before the end.
func (d *database) mergeGaps(from, to, end string, limit int) (taken int64, err error) {
	single := fmt.Sprintf(`(SELECT id FROM gap INDEXED BY gap_single WHERE seconds = 0 AND ts < ?1 UNION ALL
		SELECT id FROM gap INDEXED BY gap_single WHERE seconds = 0 AND ts >= ?2 LIMIT %d)`, limit)
	n, err := d.integer("SELECT count(*) FROM "+single, from, to)
	if err != nil {
		return 0, err
	}
	if n > 0 {
		if err := d.set(`INSERT INTO gap (session_id, ts, function_id, pid, count, reason, hint, seconds)
			SELECT session_id, substr(ts, 1, 13) || ':00:00.000', function_id, pid, sum(count), reason, hint, 3600
			FROM gap WHERE id IN `+single+` GROUP BY 1, 2, 3, 4, 6, 7`, from, to); err != nil {
			return 0, err
		}
		if err := d.set("DELETE FROM gap WHERE id IN "+single, from, to); err != nil {
			return 0, err
		}
	}
	old, err := d.integer(fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM gap WHERE ts < ? LIMIT %d)", limit), end)
	if err != nil || old == 0 {
		return n, err
	}
	return n + old, d.set(fmt.Sprintf("DELETE FROM gap WHERE id IN (SELECT id FROM gap WHERE ts < ? ORDER BY ts LIMIT %d)", limit), end)
}

// namesWindow is how many calls may be written with names that were looked up before them: so many
// later a name that wasn't looked up again has no calls, and nobody remembers it.
const namesWindow = 1 << 19

// renewNames forgets names before so many calls are inserted, when they are to be looked up again.
func (d *database) renewNames(calls int) error {
	next, err := d.nextCall()
	if err != nil {
		return fmt.Errorf("look names up: %w", err)
	}
	if n := &d.names; n.base == 0 || next+int64(calls) > n.base+namesWindow {
		n.forget()
		n.base = next
	}
	return nil
}

// namesAtOnce are the names that are deleted at once: some milliseconds' work.
const namesAtOnce = 5000

// expireNames deletes threads and processes that no call refers to, and, when all is to be looked
// through, functions and sessions that nothing refers to. It gives how many.
func (d *database) expireNames(all bool) (n int64, err error) {
	first, err := d.firstCall()
	if errors.Is(err, io.EOF) {
		first, err = d.nextCall()
	}
	if err != nil {
		return 0, err
	}
	unused := first - 2*namesWindow // twice, as one transaction may have begun before and been large
	steps := []string{
		fmt.Sprintf("DELETE FROM thread WHERE id IN (SELECT id FROM thread WHERE seen < ?1 ORDER BY seen LIMIT %d)", namesAtOnce),
		fmt.Sprintf("DELETE FROM target WHERE id IN (SELECT id FROM target p WHERE NOT EXISTS (SELECT 1 FROM thread t WHERE t.target_id = p.id) LIMIT %d)", namesAtOnce),
	}
	if all {
		// The indexes of stat are small beside its rows.
		const referred = `(SELECT %[1]s FROM stat INDEXED BY stat_second WHERE seconds = 1 UNION SELECT %[1]s FROM stat INDEXED BY stat_minute WHERE seconds = 60
			UNION SELECT %[1]s FROM stat INDEXED BY stat_hour WHERE seconds = 3600 UNION SELECT %[1]s FROM gap WHERE %[1]s NOT NULL)`
		steps = append(steps,
			fmt.Sprintf("DELETE FROM function WHERE seen < ?1 AND id NOT IN "+referred, "function_id"),
			fmt.Sprintf("DELETE FROM session WHERE id <> ?2 AND ifnull(ended, started) < ?3 AND NOT EXISTS (SELECT 1 FROM target p WHERE p.session_id = session.id) AND id NOT IN "+referred, "session_id"))
	}
	for i, statement := range steps {
		res, err := d.conn.Exec(statement, []driver.Value{unused, d.session, secondText(d.expire.horizon.Hours.From)})
		if err != nil {
			return n, fmt.Errorf("delete names: %w", err)
		}
		rows, err := res.RowsAffected()
		if err != nil {
			return n, fmt.Errorf("delete names: %w", err)
		}
		if n += rows; i == 0 && rows == 0 && !all {
			return 0, nil
		}
	}
	return n, nil
}

// each calls f with every row, which it must not keep.
func (d *database) each(ctx context.Context, f func(row []driver.Value) error, sql string, args ...driver.Value) error {
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	rows, err := d.conn.QueryContext(ctx, sql, named)
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	for err == nil {
		if err = rows.Next(row); err == nil {
			err = f(row)
		}
	}
	if closing := rows.Close(); errors.Is(err, io.EOF) {
		return closing
	}
	return err
}
