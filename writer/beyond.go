package writer

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/observatory-trace/observatory-trace/trace"
)

// beyond is by how many rows of calls, by function, a session is ahead of its
// statistics, which are written once a second. It is written in the transactions
// that change it: when the tracer is killed, it tells what is not counted.
type beyond struct {
	session int64 // whose; 0: it is to be read
	calls   map[int64]int64
	changed bool
}

func beyondKey(session int64) string { return fmt.Sprintf("beyond %d", session) }

// readBeyond gives what the database has of the session in whose name it is written.
func (d *database) readBeyond(session int64) (map[int64]int64, error) {
	row, err := d.query(context.Background(), "SELECT value FROM meta WHERE key = ?", beyondKey(session))
	if errors.Is(err, io.EOF) {
		return make(map[int64]int64), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read meta: %w", err)
	}
	var texts map[string]int64
	if err := json.Unmarshal([]byte(textOf(row[0])), &texts); err != nil {
		return nil, fmt.Errorf("read meta: %w: %w", ErrCorrupt, err)
	}
	calls := make(map[int64]int64, len(texts))
	for text, n := range texts {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil {
			calls[id] = n
		}
	}
	return calls, nil
}

// begin makes it the account of a session, inside a transaction.
func (b *beyond) begin(d *database) (err error) {
	if b.session == d.session {
		return nil
	}
	if b.calls, err = d.readBeyond(d.session); err == nil {
		b.session = d.session
	}
	return err
}

// add takes note of rows of a function that were written, or, negative, of
// such that statistics count.
func (b *beyond) add(function, n int64) {
	if n == 0 {
		return
	}
	b.changed = true
	if b.calls[function] += n; b.calls[function] == 0 {
		delete(b.calls, function)
	}
}

// write writes it where it has changed.
func (b *beyond) write(d *database) error {
	if !b.changed {
		return nil
	}
	b.changed = false
	if len(b.calls) == 0 {
		return d.setMarks([]mark{{beyondKey(b.session), 0}})
	}
	text, _ := json.Marshal(b.calls) // numbers always have a form
	if err := d.set("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", beyondKey(b.session), string(text)); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}

// recountRows bounds how many calls are looked at to find those that were not counted.
const recountRows = 2_000_000

// transactionRows is how many calls a transaction holds at most, as a rule.
const transactionRows = 10_000

// GapKilled is the reason of the gap that counts calls that the probes had
// counted, and that had not come into the database when the tracer was killed.
const GapKilled = "tracing ended abruptly: calls on their way are lost"

// recount has the statistics of a session that was killed, or could not write
// them, agree with its calls, and tells how many of these they did not have. They are its last ones of each
// function; the first of these may have been counted by the probes, and not as recorded. Why is the reason
// of the gap for those that never came.
func (d *database) recount(session int64, why string) (counted uint64, err error) {
	err = d.transaction(func() error {
		counted = 0
		rest, err := d.readBeyond(session)
		if err != nil {
			return err
		}
		flying, err := d.flying(session)
		if err != nil {
			return err
		}
		type key struct{ function, second int64 }
		seconds := make(map[key]*FunctionSecond)
		at := func(function, second int64) *FunctionSecond {
			k := key{function, second}
			if seconds[k] == nil {
				seconds[k] = &FunctionSecond{Second: second}
			}
			return seconds[k]
		}
		calls, err := d.lastCalls(session, rest)
		if err != nil {
			return fmt.Errorf("count calls: %w", err)
		}
		for _, c := range calls {
			if rest[c.function] <= 0 {
				continue
			}
			rest[c.function]--
			var f *FunctionSecond
			if o := flying[c.function]; o != nil && rest[c.function] < o.calls { // the first ones
				f = at(c.function, o.take())
			} else {
				f = at(c.function, c.ended/1e9)
				f.Add(c.status, c.duration)
				f.OverheadNS += c.overhead
			}
			f.Recorded++
			counted++
			if c.cpu != nil {
				f.CPUNS += numberOf(c.cpu)
				f.CPUCalls++
			}
		}
		lost := int64(0)
		for function, o := range flying {
			for ; o.calls > 0; lost++ {
				at(function, o.take()).Dropped++
			}
		}
		for k, f := range seconds {
			if err := d.addStat(secondText(k.second), k.function, session, 1, f); err != nil {
				return err
			}
		}
		if lost > 0 {
			own := d.session
			d.session = session
			err := d.insertGap(&trace.Gap{TimeNS: nowNS(), Count: uint64(lost), Reason: why})
			d.session = own
			if err != nil {
				return err
			}
		}
		return d.setMarks([]mark{{beyondKey(session), 0}})
	})
	return counted, err
}

// onTheWay is calls of a function that the probes have counted, and that its
// statistics have neither as recorded nor as anything else.
type onTheWay struct {
	calls   int64
	seconds []second // that have some of them, the latest first
}

type second struct{ at, calls int64 } // Unix time, s

// take gives the second that has one of them, and takes it off.
func (o *onTheWay) take() (at int64) {
	o.calls--
	if at = o.seconds[0].at; o.seconds[0].calls == 1 && len(o.seconds) > 1 {
		o.seconds = o.seconds[1:]
	} else {
		o.seconds[0].calls--
	}
	return at
}

// flying gives what of a session's calls is on the way, by function.
func (d *database) flying(session int64) (map[int64]*onTheWay, error) {
	flying := make(map[int64]*onTheWay)
	err := d.each(context.Background(), func(row []driver.Value) error {
		function, n := numberOf(row[0]), numberOf(row[2])
		if flying[function] == nil {
			flying[function] = new(onTheWay)
		}
		o := flying[function]
		if o.calls += n; n > 0 {
			o.seconds = append(o.seconds, second{numberOf(row[1]), n})
		}
		return nil
	}, `SELECT function_id, unixepoch(ts), calls - recorded - sampled_out - dropped AS n FROM stat WHERE session_id = ? AND n <> 0 ORDER BY ts DESC`, session)
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	return flying, nil
}

// lastCall is a call as it is to be counted; times are in ns, ended since 1970.
type lastCall struct {
	function                  int64
	status                    trace.Status
	ended, duration, overhead int64
	cpu                       driver.Value
}

// lastCalls gives the last calls of a session, the one that ended last first: of each function at least
// so many. Rows of one transaction are not in that order, so that those of one more are read.
func (d *database) lastCalls(session int64, of map[int64]int64) (calls []lastCall, err error) {
	left, more := int64(0), transactionRows
	of = maps.Clone(of)
	for _, n := range of {
		left += max(n, 0)
	}
	if left == 0 {
		return nil, nil
	}
	threads := make(map[int64]bool)
	err = d.each(context.Background(), func(row []driver.Value) error {
		threads[numberOf(row[0])] = true
		return nil
	}, "SELECT t.id FROM target p CROSS JOIN thread t ON t.target_id = p.id WHERE p.session_id = ?", session)
	if err != nil {
		return nil, err
	}
	statuses := make(map[string]trace.Status)
	for _, s := range []trace.Status{trace.StatusOK, trace.StatusErr, trace.StatusOpen} {
		statuses[s.String()] = s
	}
	err = d.each(context.Background(), func(row []driver.Value) error {
		if left == 0 {
			if more--; more < 0 {
				return io.EOF
			}
		}
		function := numberOf(row[0])
		n, counts := of[function]
		if !counts || row[1] != nil && !threads[numberOf(row[1])] {
			return nil
		}
		if n > 0 {
			of[function]--
			left--
		}
		c := lastCall{function: function, status: statuses[textOf(row[5])], duration: numberOf(row[2]), overhead: numberOf(row[3]), cpu: row[4]}
		c.ended = numberOf(row[6])*1e6 + numberOf(row[7])&(1<<depthShift-1) + c.duration
		calls = append(calls, c)
		return nil
	}, `SELECT c.function_id, c.thread_id, c.duration_ns, c.overhead_ns, c.cpu_ns, m.status, m.ms, c.start
		FROM call c CROSS JOIN moment m ON m.id = c.key >> 8 ORDER BY c.key DESC LIMIT ?`, int64(recountRows))
	slices.SortStableFunc(calls, func(a, b lastCall) int { return cmp.Compare(b.ended, a.ended) })
	return calls, err
}
