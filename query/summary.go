package query

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Summary is what one function did, from its exact statistics. Times that
// were not measured, because no call has ended yet or for lack of resources, are nil.
type Summary struct {
	Process    string   `json:"process"` // the function's name
	Group      string   `json:"group"`
	Calls      uint64   `json:"calls"`
	Errors     uint64   `json:"errors"`
	SampledOut uint64   `json:"sampled_out"`
	Dropped    uint64   `json:"dropped"`
	Recorded   uint64   `json:"recorded"`
	MeanMS     *float64 `json:"mean_ms"`
	P50MS      *float64 `json:"p50_ms"`
	P95MS      *float64 `json:"p95_ms"`
	P99MS      *float64 `json:"p99_ms"`
	MaxMS      *float64 `json:"max_ms"`
	TotalMS    float64  `json:"total_ms"`
	CPUMS      *float64 `json:"cpu_ms"`
	CPUCalls   uint64   `json:"cpu_calls"` // of how many calls CPUMS is the sum
	OverheadMS float64  `json:"overhead_ms"`
	// Coverage is the share of the calls that the figures are of: 1, or less where probes were
	// in place for a part of the time only. All calls are Calls / Coverage, about.
	Coverage float64 `json:"coverage"`
	// CallsError is by how many calls that may be off.
	CallsError float64 `json:"calls_error"`

	Latency trace.Histogram `json:"-"` // of the calls that ended
}

// Range selects statistics and calls. Its zero value selects all.
type Range struct {
	Since   time.Time // zero: from the beginning; statistics are told apart by whole seconds, older ones by minutes and hours
	Process string    // glob of the function's name, with * ? [a-z] {a,b}; empty: all
}

// Summaries gives a row for every function and group that was called, by total time. Older statistics are
// of whole minutes and hours: those that the range begins in count whole.
func (d *Database) Summaries(ctx context.Context, r Range) ([]Summary, error) {
	where, names := r.functions("x.function_id")
	// What can be added up is, before it is handed over: a row at a time that takes five times as long. By day,
	// as histograms of many would be longer than a value may be.
	from := func(condition string) string {
		return `SELECT f.name, f.process_group, g.* FROM (
			SELECT x.function_id, sum(x.calls), sum(x.errors), sum(x.sampled_out), sum(x.dropped), sum(x.recorded),
				sum(x.total_ns), max(x.max_ns), sum(x.cpu_ns), sum(x.overhead_ns),
				sum(CASE WHEN x.cpu_ns IS NULL THEN 0 ELSE coalesce(x.cpu_calls, x.timed) END),
				sum(x.calls / x.coverage), sum(x.calls_error),
				CAST(group_concat(x.histogram, '') AS BLOB), group_concat(length(x.histogram), ' ')
			FROM stat x WHERE ` + condition + where + `
			GROUP BY x.function_id, substr(x.ts, 1, 10)) g
		CROSS JOIN function f ON f.id = g.function_id`
	}
	statement, args := from("x.ts >= ?"), append([]any{r.second()}, names...)
	if !r.Since.IsZero() {
		statement += " UNION ALL " + from("x.ts < ? AND (x.ts = ? AND x.seconds = 60 OR x.ts = ? AND x.seconds = 3600)")
		at := r.Since.UTC()
		args = append(append(args, r.second(), at.Truncate(time.Minute).Format(secondForm), at.Truncate(time.Hour).Format(secondForm)), names...)
	}
	rows, err := d.sql.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, d.wrap("summarize", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	sums := make(map[[2]string]*sum)
	for rows.Next() {
		var key [2]string
		var function int64
		var s sum
		var cpu *int64
		var histograms, lengths sql.RawBytes
		if err := rows.Scan(&key[0], &key[1], &function, &s.Calls, &s.Errors, &s.SampledOut, &s.Dropped, &s.recorded,
			&s.totalNS, &s.maxNS, &cpu, &s.overheadNS,
			&s.CPUCalls, &s.allCalls, &s.CallsError, &histograms, &lengths); err != nil {
			return nil, d.wrap("summarize", err)
		}
		if err := mergeHistograms(&s.Latency, histograms, lengths); err != nil {
			return nil, d.wrap("summarize", fmt.Errorf("%w: %w", ErrDamaged, err))
		}
		if cpu != nil {
			s.cpuNS, s.hasCPU = *cpu, true
		}
		if whole := sums[key]; whole != nil {
			whole.add(&s)
		} else {
			s.Process, s.Group = key[0], key[1]
			sums[key] = &s
		}
	}
	if err := rows.Err(); err != nil {
		return nil, d.wrap("summarize", err)
	}
	summaries := make([]Summary, 0, len(sums))
	for _, s := range sums {
		summaries = append(summaries, s.finish())
	}
	SortSummaries(summaries, SortTotal)
	return summaries, nil
}

// mergeHistograms adds encoded histograms up that stand one behind the other; their lengths are decimal numbers.
func mergeHistograms(into *trace.Histogram, all, lengths []byte) error {
	for text := range bytes.FieldsSeq(lengths) {
		n, err := strconv.Atoi(string(text))
		if err != nil || n > len(all) {
			return fmt.Errorf("length of a histogram: %q", text)
		}
		if err := into.MergeBinary(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// sum adds rows of statistics up.
type sum struct {
	Summary
	totalNS, maxNS, cpuNS, overheadNS int64
	recorded                          int64 // of a row it may be negative: what was taken for recorded, and is not
	hasCPU                            bool
	allCalls                          float64 // those that coverage makes of Calls
}

func (s *sum) add(o *sum) {
	s.Calls += o.Calls
	s.Errors += o.Errors
	s.SampledOut += o.SampledOut
	s.Dropped += o.Dropped
	s.recorded += o.recorded
	s.totalNS += o.totalNS
	s.maxNS = max(s.maxNS, o.maxNS)
	s.cpuNS += o.cpuNS
	s.hasCPU = s.hasCPU || o.hasCPU
	s.CPUCalls += o.CPUCalls
	s.allCalls += o.allCalls
	s.CallsError += o.CallsError
	s.overheadNS += o.overheadNS
	s.Latency.Merge(&o.Latency)
}

func (s *sum) finish() Summary {
	s.TotalMS, s.OverheadMS = ms(s.totalNS), ms(s.overheadNS)
	s.Recorded = uint64(max(s.recorded, 0))
	if n := s.Latency.Count(); n > 0 {
		mean, longest := s.TotalMS/float64(n), ms(s.maxNS)
		s.MeanMS, s.MaxMS = &mean, &longest
		for q, p := range map[float64]**float64{0.5: &s.P50MS, 0.95: &s.P95MS, 0.99: &s.P99MS} {
			at := ms(min(s.Latency.Quantile(q), s.maxNS)) // a bucket's middle may lie above all that is in it
			*p = &at
		}
	}
	s.Coverage = 1
	if s.Calls > 0 && s.allCalls > 0 {
		s.Coverage = float64(s.Calls) / s.allCalls
	}
	if s.hasCPU {
		cpu := ms(s.cpuNS)
		s.CPUMS = &cpu
	}
	return s.Summary
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// Sort is an order of summaries, named as its column.
type Sort string

// The orders; all but SortProcess begin with the most.
const (
	SortTotal   Sort = "total"
	SortCalls   Sort = "calls"
	SortErrors  Sort = "errors"
	SortMean    Sort = "mean"
	SortP50     Sort = "p50"
	SortP95     Sort = "p95"
	SortP99     Sort = "p99"
	SortMax     Sort = "max"
	SortCPU     Sort = "cpu"
	SortProcess Sort = "process"
)

// Sorts are all orders.
var Sorts = []Sort{SortTotal, SortCalls, SortErrors, SortMean, SortP50, SortP95, SortP99, SortMax, SortCPU, SortProcess}

// SortSummaries sorts; equals are sorted by name. An unknown order is the one by total time.
func SortSummaries(summaries []Summary, by Sort) {
	slices.SortFunc(summaries, func(a, b Summary) int {
		order := 0
		if by != SortProcess {
			order = cmp.Compare(by.of(&b), by.of(&a))
		}
		return cmp.Or(order, strings.Compare(a.Process, b.Process), strings.Compare(a.Group, b.Group))
	})
}

func (by Sort) of(s *Summary) float64 {
	optional := func(v *float64) float64 {
		if v == nil {
			return -1
		}
		return *v
	}
	switch by {
	case SortCalls:
		return float64(s.Calls)
	case SortErrors:
		return float64(s.Errors)
	case SortMean:
		return optional(s.MeanMS)
	case SortP50:
		return optional(s.P50MS)
	case SortP95:
		return optional(s.P95MS)
	case SortP99:
		return optional(s.P99MS)
	case SortMax:
		return optional(s.MaxMS)
	case SortCPU:
		return optional(s.CPUMS)
	default:
		return s.TotalMS
	}
}

// Traced is for how long something traced of the time from a range's beginning until now, give or take half a second: so
// long it took to count what Summaries gives. At least a second.
func (d *Database) Traced(ctx context.Context, r Range, now time.Time) (time.Duration, error) {
	var started, ended, last string
	err := d.sql.QueryRowContext(ctx, `SELECT coalesce(min(started), ''), coalesce(max(coalesce(ended, 'not yet')), ''),
		(SELECT coalesce(max(ts), '') FROM stat INDEXED BY stat_second WHERE seconds = 1)
		FROM session WHERE ended IS NULL OR ended >= ?`, timestamp(r.Since)).Scan(&started, &ended, &last)
	if err != nil {
		return 0, d.wrap("read sessions", err)
	}
	// Counts are read once a second, at some moment within it; of the present one that may be still to come.
	const moment = time.Second / 2
	begin, end := r.Since.Truncate(time.Second).Add(-moment), now.Truncate(time.Second).Add(-moment)
	if told, err := time.Parse(secondForm, last); err == nil && told.After(end) {
		end = end.Add(time.Second)
	}
	if at, err := time.Parse(secondForm, started); err == nil && at.After(begin) {
		begin = at
	}
	if at, err := time.Parse(secondForm, ended); err == nil && at.Before(end) {
		end = at
	}
	return max(end.Sub(begin), time.Second), nil
}

// Missing is calls, or parts of them, that are not in the database, for one reason.
type Missing struct {
	Reason string `json:"reason"`
	Hint   string `json:"hint"` // the way out; may be empty
	Count  uint64 `json:"count"`
}

// Steps counts how often something changed in how functions were traced, to stay within the budgets.
func (d *Database) Steps(ctx context.Context, r Range) (n uint64, err error) {
	where, args := r.functions("function_id")
	err = d.sql.QueryRowContext(ctx, `SELECT count(*) FROM gap WHERE ts >= ? AND count = 0 AND reason NOT GLOB 'database *'`+where, append([]any{r.second()}, args...)...).Scan(&n)
	return n, d.wrap("read gaps", err)
}

// Missing adds the gaps up by reason, the most first.
func (d *Database) Missing(ctx context.Context, r Range) ([]Missing, error) {
	where, args := r.functions("function_id")
	rows, err := d.sql.QueryContext(ctx, `SELECT reason, hint, sum(count) FROM gap WHERE ts >= ? AND count > 0`+where+`
		GROUP BY reason, hint ORDER BY 3 DESC, 1, 2`, append([]any{r.second()}, args...)...)
	if err != nil {
		return nil, d.wrap("read gaps", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	var missing []Missing
	for rows.Next() {
		var m Missing
		if err := rows.Scan(&m.Reason, &m.Hint, &m.Count); err != nil {
			return nil, d.wrap("read gaps", err)
		}
		missing = append(missing, m)
	}
	return missing, d.wrap("read gaps", rows.Err())
}

// Uncounted is recorded calls that the statistics don't have.
type Uncounted struct {
	Session int64
	Calls   uint64
}

// Uncounted gives the sessions whose tracer was killed, or could not write their statistics, and of how many of
// the calls that are there these know nothing. While a session runs, its calls of the last second are so; whether the
// tracer of that pid, whose session began then, still runs, is asked of running.
func (d *Database) Uncounted(ctx context.Context, r Range, running func(pid int, began time.Time) bool) (sessions []Uncounted, err error) {
	where, args := r.functions("CAST(j.key AS INTEGER)")
	rows, err := d.sql.QueryContext(ctx, `SELECT s.id, s.tracer_pid, s.started, CAST(j.key AS INTEGER), j.value FROM session s
		CROSS JOIN meta m ON m.key = 'beyond ' || s.id CROSS JOIN json_each(m.value) j
		WHERE s.ended IS NULL AND j.value > 0`+where+` ORDER BY s.id`, args...)
	if err != nil {
		return nil, d.wrap("read sessions", err)
	}
	defer func() { _ = rows.Close() }()      // rows.Err tells what went wrong
	ahead := make(map[int64]map[int64]int64) // by session and function
	for rows.Next() {
		var session, function, calls int64
		var pid int
		var started string
		if err := rows.Scan(&session, &pid, &started, &function, &calls); err != nil {
			return nil, d.wrap("read sessions", err)
		}
		if began, err := time.Parse(time.DateTime, started); err == nil && running(pid, began) {
			continue // it counts them within the second
		}
		if ahead[session] == nil {
			ahead[session] = make(map[int64]int64)
		}
		ahead[session][function] = calls
	}
	if err := rows.Err(); err != nil {
		return nil, d.wrap("read sessions", err)
	}
	for _, session := range slices.Sorted(maps.Keys(ahead)) {
		n, err := d.lastCalls(ctx, session, ahead[session])
		if err != nil {
			return nil, d.wrap("count calls", err)
		}
		if n > 0 {
			sessions = append(sessions, Uncounted{session, n})
		}
	}
	return sessions, nil
}

// lastCalls counts a session's last calls, of each function at most so many: what was deleted to make room is not there.
func (d *Database) lastCalls(ctx context.Context, session int64, of map[int64]int64) (n uint64, err error) {
	left := int64(0)
	for _, calls := range of {
		left += calls
	}
	rows, err := d.sql.QueryContext(ctx, `SELECT c.function_id FROM call c LEFT JOIN thread t ON t.id = c.thread_id LEFT JOIN target p ON p.id = t.target_id
		WHERE c.thread_id IS NULL OR p.session_id = ? ORDER BY c.key DESC LIMIT 2000000`, session)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what went wrong
	for left > 0 && rows.Next() {
		var function int64
		if err := rows.Scan(&function); err != nil {
			return 0, err
		}
		if of[function] > 0 {
			of[function]--
			left--
			n++
		}
	}
	return n, rows.Err()
}

// second is the whole second that the range begins with, as the ts columns have it.
func (r Range) second() string {
	if r.Since.IsZero() {
		return ""
	}
	return r.Since.UTC().Format(secondForm)
}

// secondForm is how statistics have their times.
const secondForm = "2006-01-02 15:04:05"

// functions gives the condition that the range's glob puts on a column of function ids.
func (r Range) functions(column string) (where string, args []any) {
	if r.Process == "" {
		return "", nil
	}
	globs := expandBraces(r.Process)
	for _, g := range globs {
		args = append(args, g)
	}
	return fmt.Sprintf(" AND %s IN (SELECT id FROM function WHERE name GLOB ?%s)", column,
		strings.Repeat(" OR name GLOB ?", len(globs)-1)), args
}

// maxGlobs bounds what braces expand to; what is left over stays unexpanded.
const maxGlobs = 256

// expandBraces gives the globs that {a,b} stands for, of which SQLite's GLOB
// knows nothing. Braces that don't close stand for themselves.
func expandBraces(glob string) []string {
	var done []string
	for todo := []string{glob}; len(todo) > 0; {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		before, parts, after, ok := cutBraces(next)
		if !ok || len(done)+len(todo)+len(parts) > maxGlobs {
			done = append(done, next)
			continue
		}
		for _, part := range slices.Backward(parts) {
			todo = append(todo, before+part+after)
		}
	}
	return done
}

// cutBraces splits at the first pair of braces, and what they hold at its commas.
func cutBraces(glob string) (before string, parts []string, after string, ok bool) {
	open := strings.IndexByte(glob, '{')
	depth, start := 0, open+1
	for i := max(open, 0); i < len(glob) && open >= 0; i++ {
		switch c := glob[i]; {
		case c == '{':
			depth++
		case c == ',' && depth == 1:
			parts, start = append(parts, glob[start:i]), i+1
		case c == '}':
			if depth--; depth == 0 {
				return glob[:open], append(parts, glob[start:i]), glob[i+1:], true
			}
		}
	}
	return glob, nil, "", false
}
