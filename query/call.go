package query

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Call is one recorded call: its columns in process_trace and data_trace.
// Columns that are NULL are nil or empty.
type Call struct {
	ID          uint64   `json:"id"`
	TS          string   `json:"ts"` // UTC, to the millisecond
	TSNS        int64    `json:"ts_ns"`
	Process     string   `json:"process"` // the function's name
	Group       string   `json:"process_group,omitempty"`
	DurationMS  float64  `json:"duration_ms"`
	OverheadMS  float64  `json:"overhead_ms"`
	Status      string   `json:"status"`
	Error       string   `json:"error,omitempty"`
	ErrorType   string   `json:"error_type,omitempty"`
	PID         int      `json:"pid,omitempty"`
	TID         int      `json:"tid,omitempty"`
	Goroutine   uint64   `json:"goroutine,omitempty"`
	Thread      string   `json:"thread,omitempty"`
	Exe         string   `json:"exe,omitempty"`
	ParentID    uint64   `json:"parent_id,omitempty"`
	Depth       int      `json:"depth"`
	CPUMS       *float64 `json:"cpu_ms,omitempty"`
	MinorFaults *int64   `json:"minor_faults,omitempty"`
	MajorFaults *int64   `json:"major_faults,omitempty"`
	RSSDeltaKB  *int64   `json:"rss_delta_kb,omitempty"`
	Switches    *int64   `json:"switches,omitempty"`
	SampleRate  float64  `json:"sample_rate"`
	Container   string   `json:"container,omitempty"`
	Pod         string   `json:"pod,omitempty"`
	Namespace   string   `json:"namespace,omitempty"`
	TraceID     string   `json:"trace_id,omitempty"`
	SpanID      string   `json:"span_id,omitempty"`

	Args   json.RawMessage `json:"args,omitempty"`   // an object by parameter name
	Result json.RawMessage `json:"result,omitempty"` // any JSON value
	Stack  string          `json:"stack,omitempty"`
	Flags  string          `json:"flags,omitempty"`

	File     string `json:"file,omitempty"` // where the function is declared
	Line     int    `json:"line,omitempty"`
	Language string `json:"language,omitempty"`
	Module   string `json:"module,omitempty"` // the executable or shared object that it is in

	key int64 // the order in which calls were written, within a transaction that of moments
}

// Duration is how long the call took.
func (c *Call) Duration() time.Duration { return time.Duration(c.DurationMS * 1e6) }

// Filter selects calls. Its zero value selects all.
type Filter struct {
	Range
	Status string // OK, ERR or OPEN; empty: all
}

const callColumns = `
	c.key, c.id, m.ts, m.ms * 1000000 + (c.start & 1048575), f.name, f.process_group, c.duration_ns / 1e6, c.overhead_ns / 1e6, m.status,
	coalesce(e.message, ''), coalesce(e.type, ''), coalesce(p.pid, 0), coalesce(t.tid, 0), coalesce(c.goroutine, 0),
	coalesce(t.name, ''), coalesce(p.exe, ''), coalesce(c.id - c.up, 0), c.start >> 20, c.cpu_ns / 1e6,
	c.usage, m.sample_rate,
	coalesce(p.container, ''), coalesce(p.pod, ''), coalesce(p.namespace, ''), c.id - coalesce(c.up, 0) - c.top, s.seed,
	c.args, c.result, coalesce(e.stack, ''), coalesce(m.flags, ''), f.file, f.line, f.language, f.module`

// Which comes first is forced: byMoment goes through moments, whose conditions
// are met without a look at their calls; byCall follows a FROM that names the calls c.
const (
	byMoment = " FROM moment m CROSS JOIN call c ON c.key BETWEEN m.id << 8 AND m.id << 8 | 255" + callJoins
	byCall   = " CROSS JOIN moment m ON m.id = c.key >> 8" + callJoins
)

const callJoins = `
	CROSS JOIN function f ON f.id = c.function_id
	LEFT JOIN error e ON e.key = c.key
	LEFT JOIN thread t ON t.id = c.thread_id
	LEFT JOIN target p ON p.id = t.target_id
	LEFT JOIN session s ON s.id = p.session_id`

func scanCall(rows *sql.Rows) (c Call, err error) {
	var root, seed *int64
	var args, result *string
	var usage any
	if err := rows.Scan(&c.key, &c.ID, &c.TS, &c.TSNS, &c.Process, &c.Group, &c.DurationMS, &c.OverheadMS, &c.Status,
		&c.Error, &c.ErrorType, &c.PID, &c.TID, &c.Goroutine, &c.Thread, &c.Exe, &c.ParentID, &c.Depth, &c.CPUMS,
		&usage, &c.SampleRate,
		&c.Container, &c.Pod, &c.Namespace, &root, &seed,
		&args, &result, &c.Stack, &c.Flags, &c.File, &c.Line, &c.Language, &c.Module); err != nil {
		return c, err
	}
	if seed != nil {
		c.SpanID = fmt.Sprintf("%016x", int64(c.ID)^*seed)
		if root != nil {
			c.TraceID = fmt.Sprintf("%016x%016x", *seed, *root^*seed)
		}
	}
	c.Args, c.Result = rawJSON(args), rawJSON(result)
	return c, c.setUsage(usage)
}

// setUsage unpacks what docs/schema.md describes as usage.
func (c *Call) setUsage(usage any) error {
	switch u := usage.(type) {
	case int64:
		if u&1 == 0 {
			minor, major, switches := u>>12&(1<<20-1), u>>32&(1<<8-1), u>>2&(1<<10-1)
			c.MinorFaults, c.MajorFaults, c.Switches = &minor, &major, &switches
		}
		if u&2 == 0 {
			rss := u >> 40
			c.RSSDeltaKB = &rss
		}
	case string:
		var n [4]*int64
		if err := json.Unmarshal([]byte(u), &n); err != nil {
			return fmt.Errorf("%w: usage of call %d: %w", ErrDamaged, c.ID, err)
		}
		c.MinorFaults, c.MajorFaults, c.RSSDeltaKB, c.Switches = n[0], n[1], n[2], n[3]
	}
	return nil
}

// rawJSON keeps text that isn't JSON after all from breaking what it is printed in.
func rawJSON(text *string) json.RawMessage {
	if text == nil {
		return nil
	}
	if raw := json.RawMessage(*text); json.Valid(raw) {
		return raw
	}
	quoted, _ := json.Marshal(*text) // strings always have a form
	return quoted
}

// calls runs a query whose columns are callColumns.
func (d *Database) calls(ctx context.Context, query string, args ...any) ([]Call, error) {
	rows, err := d.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, d.wrap("read calls", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	var calls []Call
	for rows.Next() {
		c, err := scanCall(rows)
		if err != nil {
			return nil, d.wrap("read calls", err)
		}
		calls = append(calls, c)
	}
	return calls, d.wrap("read calls", rows.Err())
}

// Errors gives the latest calls that ended in an error, the latest first.
func (d *Database) Errors(ctx context.Context, r Range, limit int) ([]Call, error) {
	where, args := Filter{Range: r, Status: trace.StatusErr.String()}.where()
	return d.calls(ctx, "SELECT"+callColumns+byMoment+
		" WHERE true"+where+" ORDER BY m.ts DESC, m.id DESC, c.key DESC LIMIT ?", append(args, limit)...)
}

// timestamp is a time as the ts columns have it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// Latest gives the calls that were written last, in the order of writing, which
// is the order in which they ended but for a tenth of a second.
func (d *Database) Latest(ctx context.Context, f Filter, limit int) ([]Call, error) {
	where, args := f.where()
	calls, err := d.calls(ctx, "SELECT"+callColumns+byMoment+
		" WHERE true"+where+" ORDER BY m.id DESC, c.key DESC LIMIT ?", append(args, limit)...)
	slices.Reverse(calls)
	return calls, err
}

func (f Filter) where() (where string, args []any) {
	where, args = f.functions("c.function_id")
	if f.Status != "" {
		where, args = where+" AND m.status = ?", append(args, f.Status)
	}
	if !f.Since.IsZero() {
		where, args = where+" AND m.ts >= ?", append(args, timestamp(f.Since))
	}
	return where, args
}

// Follower gives calls as they are written. It is not safe for concurrent use.
type Follower struct {
	d      *Database
	filter Filter
	last   int64 // key of the last call that was looked at
}

// Follow starts behind the calls that are in the database now.
func (d *Database) Follow(ctx context.Context, f Filter) (*Follower, error) {
	last, err := d.lastKey(ctx)
	return &Follower{d: d, filter: f, last: last}, err
}

// Pass leaves out a call that was seen already, and those before it.
func (f *Follower) Pass(c *Call) { f.last = max(f.last, c.key) }

func (d *Database) lastKey(ctx context.Context) (int64, error) {
	var last int64
	err := d.sql.QueryRowContext(ctx, "SELECT coalesce(max(key), 0) FROM call").Scan(&last)
	return last, d.wrap("read calls", err)
}

// Next gives the calls that were written since the last Next and that the
// filter selects: at most limit, the latest ones, and how many that leaves out.
// It doesn't wait: neither calls nor an error is nothing new.
func (f *Follower) Next(ctx context.Context, limit int) (calls []Call, skipped uint64, err error) {
	if now, err := os.Stat(f.d.path); err != nil || !os.SameFile(now, f.d.identity) {
		return nil, 0, &Error{Op: "follow database", Path: f.d.path, Err: ErrReplaced, hint: "start again to follow the new one"}
	}
	last, err := f.d.lastKey(ctx)
	if err != nil || last <= f.last {
		return nil, 0, err
	}
	where, args := f.filter.where()
	// A moment's calls are written together: none comes later.
	where, args = " WHERE m.id BETWEEN ? >> 8 AND ? >> 8 AND c.key > ?"+where, append([]any{f.last, last, f.last}, args...)
	calls, err = f.d.calls(ctx, "SELECT"+callColumns+byMoment+where+
		" ORDER BY m.id DESC, c.key DESC LIMIT ?", append(slices.Clone(args), limit)...)
	if err != nil {
		return nil, 0, err
	}
	if len(calls) == limit {
		if err := f.d.sql.QueryRowContext(ctx, "SELECT count(*) FROM moment m CROSS JOIN call c ON c.key BETWEEN m.id << 8 AND m.id << 8 | 255"+where, args...).Scan(&skipped); err != nil {
			return nil, 0, f.d.wrap("read calls", err)
		}
		skipped -= uint64(len(calls))
	}
	f.last = last
	slices.Reverse(calls)
	return calls, skipped, nil
}

// Node is a call and the recorded calls made within it.
type Node struct {
	Call
	Callees []*Node // in order of their start
}

// Tree is a call in its place.
type Tree struct {
	Callers []Call // from the outermost down; those that are recorded
	// Unknown is the call that made the first of Callers (or, without any, the
	// call itself) and is not recorded: still open, sampled out, dropped or expired. 0: none.
	Unknown uint64
	Node    *Node
	Cut     bool // there are more callees than were asked for; the deepest are missing
}

// maxDepth bounds how far up callers are followed.
const maxDepth = 10_000

// Tree gives a call with its callers and at most limit calls below it. Its
// error wraps ErrNoCall when the call isn't there.
func (d *Database) Tree(ctx context.Context, id uint64, limit int) (*Tree, error) {
	c, err := d.Call(ctx, id)
	if err != nil {
		return nil, err
	}
	t := &Tree{Node: &Node{Call: c}}
	if err := d.climb(ctx, t); err != nil {
		return nil, err
	}
	within, err := d.within(ctx, &c, limit+1)
	if err != nil {
		return nil, err
	}
	ids, err := d.below(ctx, int64(id), within, limit+1)
	if err != nil {
		return nil, err
	}
	list, _ := json.Marshal(ids) // numbers always have a form
	below, err := d.calls(ctx, "SELECT"+callColumns+
		" FROM json_each(?) j CROSS JOIN call c ON c.id = j.value"+byCall+" ORDER BY j.key", string(list))
	if err != nil {
		return nil, err
	}
	if len(below) > limit {
		below, t.Cut = below[:limit], true
	}
	t.Node.adopt(below, within)
	return t, nil
}

// adopt puts calls, callers before callees, below the node; and so those that are within it.
func (n *Node) adopt(calls []Call, within []int64) {
	nodes, order := map[uint64]*Node{n.ID: n}, []*Node{n}
	inside := make(map[uint64]bool, len(within))
	for _, id := range within {
		inside[uint64(id)] = true
	}
	for _, c := range calls {
		parent := nodes[c.ParentID]
		if inside[c.ID] {
			parent = n
		}
		if parent != nil {
			node := &Node{Call: c}
			nodes[c.ID] = node
			order = append(order, node)
			parent.Callees = append(parent.Callees, node)
		}
	}
	for _, node := range order {
		node.Callees = nested(node.Callees)
	}
}

// nested puts below calls that were told late what was called from them: when that began, nobody knew that they would
// be recorded, so that it has the same caller as they have.
func nested(siblings []*Node) (callees []*Node) {
	slices.SortStableFunc(siblings, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(a.TSNS, b.TSNS), cmp.Compare(b.DurationMS, a.DurationMS))
	})
	var open []*Node // each within the one before
	for _, c := range siblings {
		for len(open) > 0 && !open[len(open)-1].toldLateOf(&c.Call) {
			open = open[:len(open)-1]
		}
		if n := len(open); n > 0 {
			open[n-1].Callees = append(open[n-1].Callees, c)
		} else {
			callees = append(callees, c)
		}
		open = append(open, c)
	}
	return callees
}

// toldLateOf says whether another call with the same caller was made within this one, which was told only when it had failed.
func (c *Call) toldLateOf(other *Call) bool {
	return c.Status == trace.StatusErr.String() && (other.ID < c.ID || c.late() || other.late()) && other.TSNS >= c.TSNS && other.end() <= c.end()
}

func (c *Call) late() bool { return strings.Contains(c.Flags, "late") }

// end is when the call ended, ns since 1970.
func (c *Call) end() int64 { return c.TSNS + int64(math.Round(c.DurationMS*1e6)) }

// mostMoments bounds how many moments are looked through for what was called from a call that was told late, the first
// of those within it, and for what a call was made from and was told late, the last before it.
const mostMoments = 1 << 15

// within gives the ids of at most limit calls that were made within a failed call, where it was told late: those of its thread or
// goroutine in its time that have the same caller.
func (d *Database) within(ctx context.Context, c *Call, limit int) ([]int64, error) {
	if c.Status != trace.StatusErr.String() {
		return nil, nil
	}
	rows, err := d.sql.QueryContext(ctx, `SELECT c.id FROM call a CROSS JOIN thread s ON s.id = a.thread_id
		CROSS JOIN (SELECT id, ms, flags FROM moment INDEXED BY moment_time WHERE ts BETWEEN ? AND ? ORDER BY ts LIMIT ?) m
		CROSS JOIN call c ON c.key BETWEEN m.id << 8 AND m.id << 8 | 255
		CROSS JOIN thread t ON t.id = c.thread_id
		WHERE a.key = ? AND c.id <> a.id AND c.id - c.up IS a.id - a.up AND (c.id < a.id OR ? OR m.flags LIKE '%late%')
			AND c.goroutine IS a.goroutine AND t.target_id = s.target_id AND (a.goroutine NOT NULL OR t.tid = s.tid)
			AND m.ms * 1000000 + (c.start & 1048575) >= ? AND m.ms * 1000000 + (c.start & 1048575) + c.duration_ns <= ?
		ORDER BY m.ms, c.start & 1048575, c.duration_ns DESC LIMIT ?`,
		timestamp(time.Unix(0, c.TSNS)), timestamp(time.Unix(0, c.end())), mostMoments, c.key, c.late(), c.TSNS, c.end(), limit)
	if err != nil {
		return nil, d.wrap("read calls", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, d.wrap("read calls", err)
		}
		ids = append(ids, id)
	}
	return ids, d.wrap("read calls", rows.Err())
}

// below gives the ids of at most limit calls below a call, of which some are known to be within it, breadth first, so that the
// limit cuts the deepest. A caller's id is less than its callees', so that there is an end.
func (d *Database) below(ctx context.Context, id int64, within []int64, limit int) (ids []int64, err error) {
	ids = slices.Clone(within)
	level := append([]int64{id}, within...)
	slices.Sort(level)
	for len(level) > 0 && len(ids) < limit {
		if level, err = d.callees(ctx, level, limit-len(ids)); err != nil {
			return nil, err
		}
		ids = append(ids, level...)
	}
	return ids, nil
}

// near is how far behind their caller's id callees are looked for; those that are
// further away have an index (docs/schema.md).
const near = 8191

// callees gives the ids of the first calls, at most limit, that the callers made, all sorted.
func (d *Database) callees(ctx context.Context, callers []int64, limit int) (ids []int64, err error) {
	for rest := callers; len(rest) > 0 && len(ids) < limit; {
		n := 1
		for n < len(rest) && rest[n] <= rest[n-1]+near {
			n++
		}
		if ids, err = d.appendIDs(ctx, ids, limit, callers, "SELECT id, id - up FROM call INDEXED BY call_id WHERE id > ? AND id <= ? AND up BETWEEN 1 AND ? ORDER BY id",
			rest[0], rest[n-1]+near, near); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	for _, caller := range callers {
		if ids, err = d.appendIDs(ctx, ids, len(ids)+limit, callers, "SELECT id, id - up FROM call INDEXED BY call_far WHERE id - up = ? AND up > 8191 ORDER BY id LIMIT ?",
			caller, limit); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)], nil
}

// appendIDs appends ids of a query, up to a length, whose callers are among those given.
func (d *Database) appendIDs(ctx context.Context, ids []int64, length int, callers []int64, query string, args ...any) ([]int64, error) {
	rows, err := d.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, d.wrap("read calls", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	for len(ids) < length && rows.Next() {
		var id, caller int64
		if err := rows.Scan(&id, &caller); err != nil {
			return nil, d.wrap("read calls", err)
		}
		if _, ok := slices.BinarySearch(callers, caller); ok {
			ids = append(ids, id)
		}
	}
	return ids, d.wrap("read calls", rows.Err())
}

// climb finds the callers, those that were told late among them.
func (d *Database) climb(ctx context.Context, t *Tree) error {
	around, err := d.around(ctx, &t.Node.Call)
	if err != nil {
		return err
	}
	for c := &t.Node.Call; len(t.Callers) < maxDepth; c = &t.Callers[len(t.Callers)-1] {
		if i := slices.IndexFunc(around, func(a Call) bool { return a.ParentID == c.ParentID && a.toldLateOf(c) }); i >= 0 {
			t.Callers = append(t.Callers, around[i])
			around = around[i+1:]
			continue
		}
		if c.ParentID == 0 || c.ParentID >= c.ID {
			break
		}
		parent, err := d.Call(ctx, c.ParentID)
		if errors.Is(err, ErrNoCall) {
			t.Unknown = c.ParentID
			break
		}
		if err != nil {
			return err
		}
		t.Callers = append(t.Callers, parent)
	}
	slices.Reverse(t.Callers)
	return nil
}

// around gives the failed calls, the innermost first, that began before a call on its thread or goroutine, and ended after
// it: among them are those that it was made from and that were told late.
func (d *Database) around(ctx context.Context, c *Call) ([]Call, error) {
	return d.calls(ctx, "SELECT"+callColumns+` FROM call a CROSS JOIN thread own ON own.id = a.thread_id
		CROSS JOIN (SELECT id FROM moment INDEXED BY moment_error WHERE status = 'ERR' AND ts <= ? ORDER BY ts DESC LIMIT ?) failed
		CROSS JOIN call c ON c.key BETWEEN failed.id << 8 AND failed.id << 8 | 255`+byCall+`
		WHERE a.key = ? AND c.goroutine IS a.goroutine AND t.target_id = own.target_id AND (a.goroutine NOT NULL OR t.tid = own.tid)
			AND m.ms * 1000000 + (c.start & 1048575) < ? AND m.ms * 1000000 + (c.start & 1048575) + c.duration_ns >= ?
		ORDER BY m.ms DESC, c.start & 1048575 DESC, c.duration_ns`,
		timestamp(time.Unix(0, c.TSNS)), mostMoments, c.key, c.TSNS, c.end())
}

// Call gives one call. Its error wraps ErrNoCall when it isn't there.
func (d *Database) Call(ctx context.Context, id uint64) (Call, error) {
	calls, err := d.calls(ctx, "SELECT"+callColumns+" FROM call c"+byCall+" WHERE c.id = ?", int64(id))
	switch {
	case err != nil:
		return Call{}, err
	case len(calls) == 0:
		return Call{}, &Error{
			Op: "find call", Path: d.path, Err: fmt.Errorf("%w: %d", ErrNoCall, id),
			hint: "a call is written when it ends: one that is still open isn't there yet; one that was sampled out or dropped never is",
		}
	}
	return calls[0], nil
}

// Statuses are the values of the status column.
var Statuses = []string{trace.StatusOK.String(), trace.StatusErr.String(), trace.StatusOpen.String()}

// ParseStatus gives a status in the database's form, whatever its case.
func ParseStatus(text string) (string, error) {
	if s := strings.ToUpper(text); slices.Contains(Statuses, s) {
		return s, nil
	}
	return "", fmt.Errorf("unknown status %q: one of %s", text, strings.Join(Statuses, ", "))
}
