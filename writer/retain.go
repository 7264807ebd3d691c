package writer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/observatory-trace/observatory-trace/retention"
)

// Contents is what a database has. Times are UTC text, as the views have them;
// of what isn't there they are empty.
type Contents struct {
	Calls     int64    `json:"calls"`
	Oldest    string   `json:"oldest"` // when the earliest call began
	Newest    string   `json:"newest"` // when the latest did
	Seconds   StatRows `json:"seconds"`
	Minutes   StatRows `json:"minutes"`
	Hours     StatRows `json:"hours"`
	Gaps      int64    `json:"gaps"`
	FileBytes int64    `json:"file_bytes"`
	FreeBytes int64    `json:"free_bytes"` // of these, not in use
	LogBytes  int64    `json:"log_bytes"`  // of the write-ahead log, beside the file
	Shrinks   bool     `json:"shrinks"`    // free pages can be given back while it is in use
}

// StatRows are the rows of function_stats of one resolution.
type StatRows struct {
	Rows   int64  `json:"rows"`
	Oldest string `json:"oldest"`
	Newest string `json:"newest"`
}

// Removed is what Retain has taken out, or would.
type Removed struct {
	Calls      int64 `json:"calls"`
	Early      int64 `json:"early"`      // of these, younger than what is to be kept: for the sake of the size
	Statistics int64 `json:"statistics"` // rows that were merged into others, or deleted
	Gaps       int64 `json:"gaps"`       // the same
	Names      int64 `json:"names"`      // threads, processes, functions and sessions that nothing refers to any more
	Bytes      int64 `json:"bytes"`      // that the file has become smaller by
	Over       int64 `json:"over_bytes"` // by which it is larger than it should be, though no calls are left
}

// RetainOptions say what Retain does.
type RetainOptions struct {
	Policy retention.Policy
	Vacuum bool         // give all free space back
	DryRun bool         // change nothing
	Notice func(Notice) // is told what was brought in of sessions that could not write it, and what can't be; nobody

	now      func() retention.Moment // for tests, as the next
	patience time.Duration           // how long another program's lock is waited for: 60 s
}

// ErrMissing is of a database that should be there already.
var ErrMissing = errors.New("no such database")

var (
	faultMissing = fault{ErrMissing, "record one with `observatory-trace attach -p PID`, or name another file with --db"}
	faultInUse   = fault{ErrLocked, "end the programs that have it open (fuser {path}): a file without incremental vacuum is rewritten as a whole"}
)

// Retain applies a policy to a database once, in short transactions with pauses
// between them, so that others can write to it meanwhile. Before, it has the
// database have what sessions that were killed, or could not write it, left in
// spill files, and their statistics count their calls. It ends early, without
// an error, when ctx does: the file is sound after every step. Errors are as Open's.
func Retain(ctx context.Context, path string, o RetainOptions) (before, after Contents, removed Removed, err error) {
	fail := func(err error) (Contents, Contents, Removed, error) {
		return before, after, removed, wrap("trim database", path, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fail(faultMissing.error("trim database", path, nil))
	}
	if o.now == nil {
		o.now = machineNow
	}
	if o.patience == 0 {
		o.patience = time.Minute
	}
	d, err := openDatabase(path, o.patience, ctx.Done())
	if err != nil {
		return fail(err)
	}
	defer func() {
		if closing := d.close(); err == nil {
			err = wrap("close database", path, closing)
		}
	}()
	if err := d.retain(o.Policy, o.now); err != nil {
		return fail(err)
	}
	if before, err = d.contents(); err != nil {
		return fail(err)
	}
	if o.DryRun {
		removed, err = d.wouldRemove(o.now(), o.Vacuum)
		after = before
		return before, after, removed, wrap("trim database", path, err)
	}
	bringIn := d.bringIn(ctx, o)
	if bringIn != nil && !errors.Is(bringIn, ErrFull) {
		return fail(bringIn)
	}
	if err := d.trimAll(ctx, &removed); err != nil {
		return fail(err)
	}
	if bringIn != nil { // there may be room now
		if err := d.bringIn(ctx, o); err != nil && !errors.Is(err, ErrFull) {
			return fail(err)
		} else if err != nil && o.Notice != nil {
			o.Notice(Notice{true, "what earlier sessions left stays where it is: " + err.Error()})
		}
	}
	if o.Vacuum {
		if err := d.vacuum(ctx); err != nil {
			return fail(err)
		}
	}
	// The file becomes shorter when the log is folded into it; who reads now keeps it from that.
	if _, err := d.query(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil && !busy(err) && ctx.Err() == nil {
		return fail(err)
	}
	if after, err = d.contents(); err != nil {
		return fail(err)
	}
	removed.Bytes = before.FileBytes - after.FileBytes
	return before, after, removed, nil
}

// bringIn replays the spill files of sessions that have ended without their last
// statistics, and has these count their calls. Who still runs has its file locked, and is left alone.
func (d *database) bringIn(ctx context.Context, o RetainOptions) error {
	s := &Store{options: Options{Notice: o.Notice, Retention: o.Policy}.withDefaults(), path: d.path, db: d, room: newReserve(filepath.Dir(d.path))}
	defer s.room.close()
	defer s.closeReplays()
	var err error
	if s.row.seed, err = newSeed(); err != nil { // transactions are numbered
		return err
	}
	if err := s.findSpills(""); err != nil {
		return err
	}
	s.replays = slices.DeleteFunc(s.replays, func(r *replay) bool { // whose it was can't be told: attach makes it its own
		return r.row.seed == s.row.seed && r.log.Close() == nil
	})
	if len(s.replays) == 0 {
		return nil
	}
	for again := true; again && ctx.Err() == nil; {
		began := time.Now()
		if err = s.replay(s.options.BatchCalls); err != nil {
			break
		}
		again = slices.ContainsFunc(s.replays, func(r *replay) bool { return !r.broken })
		pause(ctx, time.Since(began))
	}
	own := d.transaction(func() error { return d.setMarks([]mark{{s.row.numberKey(), 0}}) })
	return wrap("trim database", d.path, errors.Join(err, own))
}

// Upgrade brings the schema of the database at path up to date, where it is
// older, and gives the version that it had. Errors are as Open's.
func Upgrade(ctx context.Context, path string) (from int, err error) {
	if from, err = schemaOf(path); err != nil || from == 0 || from == SchemaVersion {
		return from, err
	}
	d, err := openDatabase(path, time.Minute, ctx.Done())
	if err != nil {
		return from, wrap("upgrade database", path, err)
	}
	return from, wrap("close database", path, d.close())
}

// schemaOf gives the version of a database's schema, and changes nothing.
func schemaOf(path string) (version int, err error) {
	var s State
	d, err := s.open(path)
	if err == nil {
		defer d.abandon()
		version, err = d.checkSchema(SchemaVersion)
	}
	switch err = wrap("open database", path, err); {
	case errors.Is(err, fs.ErrNotExist):
		err = faultMissing.error("open database", path, nil)
	case errors.Is(err, ErrCorrupt) && foreign(path):
		err = faultForeign.error("open database", path, err)
	}
	return version, err
}

// trimAll takes steps until there is nothing left to do, or ctx ends.
func (d *database) trimAll(ctx context.Context, removed *Removed) error {
	session, err := d.integer("SELECT ifnull(max(id), 0) FROM session") // whose gap tells what is deleted early
	if err != nil {
		return err
	}
	d.session = session
	for more := true; more && ctx.Err() == nil; {
		began := time.Now()
		err := d.transaction(func() (err error) {
			now := d.expire.now()
			if err := d.look(now, false); err != nil {
				return err
			}
			if more, err = d.trimStep(now, 0); err != nil {
				return err
			}
			d.expire.more = more
			return d.rollUp(0, 0)
		})
		more = d.expire.more
		d.settleTrim(err)
		if err != nil {
			return err
		}
		if more {
			pause(ctx, time.Since(began)) // SQLite's lock is not fair: whoever waits for it gets it now
		}
	}
	for n := int64(1); n > 0 && ctx.Err() == nil; {
		began := time.Now()
		err := d.transaction(func() (err error) {
			n, err = d.expireNames(true)
			return err
		})
		if err != nil {
			return err
		}
		removed.Names += n
		pause(ctx, time.Since(began))
	}
	total := d.expire.total
	removed.Calls, removed.Early, removed.Statistics, removed.Gaps = total.calls, total.early, total.statistics, total.gaps
	state, err := d.state()
	removed.Over = retention.Plan(state, d.expire.horizon, d.expire.policy, 0).Over
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// vacuum gives all free space back: in steps, or, where the file can't do that
// yet, by writing it anew, after which it can.
func (d *database) vacuum(ctx context.Context) error {
	for d.expire.shrinks && ctx.Err() == nil {
		began := time.Now()
		var free int64
		err := d.transaction(func() (err error) {
			if err = d.giveBack(512); err == nil {
				free, err = d.integer("PRAGMA freelist_count")
			}
			return err
		})
		d.settleTrim(err)
		if err != nil || free == 0 {
			return err
		}
		pause(ctx, time.Since(began))
	}
	if d.expire.shrinks || ctx.Err() != nil {
		return nil
	}
	// This needs the file alone, which tells whether anybody else has it open.
	row, err := d.query(ctx, "PRAGMA journal_mode = DELETE")
	if busy(err) || err == nil && row[0] != "delete" {
		return faultInUse.error("rewrite database", d.path, nil)
	}
	if err != nil {
		return err
	}
	// In memory a copy would be made by temp_store: the file may be larger than that.
	return errors.Join(d.exec("PRAGMA temp_store = FILE; PRAGMA auto_vacuum = INCREMENTAL; VACUUM"), d.configure(),
		d.retain(d.expire.policy, d.expire.now))
}

// wouldRemove tells what Retain would do, changing nothing.
func (d *database) wouldRemove(now retention.Moment, vacuum bool) (removed Removed, err error) {
	if err := d.look(now, false); err != nil {
		return removed, err
	}
	state, err := d.state()
	if err != nil {
		return removed, err
	}
	each := state.Used() / max(state.Next-state.First, 1) // bytes a call
	for after := state; ; {
		step := retention.Plan(after, d.expire.horizon, d.expire.policy, 0)
		removed.Over = step.Over
		if step.Calls > 0 {
			n := step.Calls - after.First
			removed.Calls, removed.Early = removed.Calls+n, removed.Early+step.Early
			after.First, after.Free = step.Calls, min(after.Free+n*each/state.PageSize, after.Pages)
		}
		after.Pages, after.Free = after.Pages-step.Pages, after.Free-step.Pages
		if !step.More || step.Calls == 0 && step.Pages == 0 {
			removed.Bytes = (state.Pages - after.Pages) * state.PageSize
			break
		}
	}
	h := d.expire.horizon
	for i, span := range []retention.Span{h.Seconds, h.Minutes, h.Hours} {
		n, err := d.integer(fmt.Sprintf("SELECT count(*) FROM stat INDEXED BY %s WHERE seconds = %d AND NOT ts BETWEEN ? AND ?",
			resolutions[i].index, resolutions[i].seconds), secondText(span.From), secondText(span.To))
		if err != nil {
			return removed, err
		}
		removed.Statistics += n
	}
	if removed.Gaps, err = d.integer("SELECT count(*) FROM gap WHERE seconds = 0 AND NOT ts BETWEEN ? AND ? OR ts < ?",
		secondText(h.Gaps.From), secondText(h.Gaps.To), secondText(h.Hours.From)); err != nil {
		return removed, err
	}
	if vacuum {
		removed.Bytes = max(removed.Bytes, state.Free*state.PageSize+removed.Calls*each)
	}
	return removed, nil
}

// contents tells what there is.
func (d *database) contents() (c Contents, err error) {
	state, err := d.state()
	if err != nil {
		return c, err
	}
	c.FileBytes, c.FreeBytes, c.Shrinks = state.Pages*state.PageSize, state.Free*state.PageSize, state.Shrinks
	if st, err := os.Stat(d.path + "-wal"); err == nil {
		c.LogBytes = st.Size()
	}
	if c.Calls, err = d.integer("SELECT count(*) FROM process_trace"); err != nil {
		return c, err
	}
	if c.Gaps, err = d.integer("SELECT count(*) FROM gap"); err != nil {
		return c, err
	}
	type edge struct {
		query string
		into  *string
	}
	edges := []edge{
		{"SELECT ts FROM process_trace ORDER BY ts LIMIT 1", &c.Oldest},
		{"SELECT ts FROM process_trace ORDER BY ts DESC LIMIT 1", &c.Newest},
	}
	for i, rows := range []*StatRows{&c.Seconds, &c.Minutes, &c.Hours} {
		from := fmt.Sprintf("FROM stat INDEXED BY %s WHERE seconds = %d", resolutions[i].index, resolutions[i].seconds)
		if rows.Rows, err = d.integer("SELECT count(*) " + from); err != nil {
			return c, err
		}
		edges = append(edges, edge{"SELECT ts " + from + " ORDER BY ts LIMIT 1", &rows.Oldest},
			edge{"SELECT ts " + from + " ORDER BY ts DESC LIMIT 1", &rows.Newest})
	}
	for _, e := range edges {
		row, err := d.query(context.Background(), e.query)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return c, err
		}
		*e.into, _ = row[0].(string)
	}
	return c, nil
}
