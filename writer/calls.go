package writer

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/observatory-trace/observatory-trace/trace"
)

// momentBits is how many bits of a call's key tell calls of one moment apart;
// the moment's id is above them.
const momentBits = 8

// depthShift is how many bits of a call's start are the ns since its moment's
// millisecond; its depth is above them.
const depthShift = 20

// momentKey is what the calls of a moment have in common.
type momentKey struct {
	ms     int64 // since 1970, in which they began
	rate   float64
	flags  trace.CallFlags
	status trace.Status
}

// moment is a row of its table, with its calls as a list of indexes into a batch.
type moment struct {
	momentKey
	first, last int32
	calls       int32
}

// moments sorts the calls of a batch by moment. It is kept for its memory.
type moments struct {
	all  []moment
	open map[momentKey]int32 // index of the moment that takes calls
	next []int32             // by call: the next one of its moment, or -1
}

// sort gives the moments in the order of their first call.
func (s *moments) sort(calls []*trace.Call) []moment {
	if s.open == nil {
		s.open = make(map[momentKey]int32)
	}
	clear(s.open)
	s.all = s.all[:0]
	s.next = slices.Grow(s.next[:0], len(calls))[:len(calls)]
	var key momentKey
	at := int32(-1) // the moment of the call before
	for i, c := range calls {
		k := momentKey{milliseconds(c.StartNS), c.SampleRate, c.Flags, c.Status}
		if at < 0 || k != key {
			open, ok := s.open[k]
			if !ok {
				open = -1
			}
			key, at = k, open
		}
		s.next[i] = -1
		if at < 0 || s.all[at].calls == 1<<momentBits {
			at = int32(len(s.all))
			s.open[k] = at
			s.all = append(s.all, moment{k, int32(i), int32(i), 1})
			continue
		}
		m := &s.all[at]
		s.next[m.last] = int32(i)
		m.last = int32(i)
		m.calls++
	}
	return s.all
}

// insertCalls writes calls in the order of their moments.
func (d *database) insertCalls(calls []*trace.Call) error {
	all := d.moments.sort(calls)
	id, err := d.reserve("next_moment", len(all))
	if err != nil {
		return err
	}
	number, err := d.reserve("next_seq", len(calls))
	if err != nil {
		return err
	}
	for i := range all {
		m := &all[i]
		if err := d.moment.add(id, d.clock.text(m.ms*1e6), m.ms, m.status.String(), unlessEmpty(m.flags.String()), m.rate, number, int64(m.calls)); err != nil {
			return err
		}
		number += int64(m.calls)
		key := id << momentBits
		for n := m.first; n >= 0; n = d.moments.next[n] {
			if err := d.insertCall(key, m.ms, calls[n]); err != nil {
				return err
			}
			key++
		}
		id++
	}
	for function, n := range d.rows {
		d.beyond.add(int64(function), n)
	}
	clear(d.rows)
	if err := d.call.flush(); err != nil {
		return err
	}
	for _, ins := range []*inserter{d.moment, d.error} {
		if err := ins.flush(); err != nil {
			return err
		}
	}
	return nil
}

// insertCall writes a call that began in the millisecond ms.
func (d *database) insertCall(key, ms int64, c *trace.Call) error {
	row := callRow{
		key: key, id: int64(c.ID), start: c.StartNS - ms*1e6 | int64(c.Depth)<<depthShift, duration: c.DurationNS, overhead: c.OverheadNS,
		goroutine: int64(c.Goroutine), args: c.Args, result: c.Result,
	}
	var err error
	if row.function, err = d.names.function(d, c.Func); err != nil {
		return err
	}
	for int64(len(d.rows)) <= row.function {
		d.rows = append(d.rows, 0)
	}
	d.rows[row.function]++
	if c.Process == nil {
		row.nulls |= nullThread
	} else if row.thread, err = d.names.thread(d, c); err != nil {
		return err
	}
	if c.Goroutine == 0 {
		row.nulls |= nullGoroutine
	}
	// Callers are told by how far their ids are away: that is mostly little.
	caller := row.id
	if c.ParentID != 0 {
		caller = int64(c.ParentID)
		row.up = row.id - caller
	} else {
		row.nulls |= nullUp
	}
	if c.RootID != 0 {
		row.top = caller - int64(c.RootID)
	} else {
		row.nulls |= nullTop
	}
	row.setResources(c.Resources)
	if err := d.call.add(&row); err != nil {
		return err
	}
	if e := c.Err; e != nil {
		return d.error.add(key, unlessEmpty(e.Type), unlessEmpty(e.Message), unlessEmpty(e.Stack))
	}
	return nil
}

// How usage holds four numbers, which are mostly small, in one. Where they
// don't fit it is a JSON array of them.
const (
	usageNoCounts    = 1 << 0
	usageNoRSS       = 1 << 1
	usageSwitches    = 2 // bits to the left
	usageMinorFaults = 12
	usageMajorFaults = 32
	usageRSSDelta    = 40
)

func (row *callRow) setResources(r *trace.Resources) {
	if r == nil || r.NoCPU {
		row.nulls |= nullCPU
	} else {
		row.cpu = r.CPUNS
	}
	if r == nil || r.NoCounts && r.NoRSS {
		row.nulls |= nullUsage
		return
	}
	minor, major, switches, rss := r.MinorFaults, r.MajorFaults, r.Switches, r.RSSDeltaKB
	if r.NoCounts {
		minor, major, switches = 0, 0, 0
		row.usage |= usageNoCounts
	}
	if r.NoRSS {
		rss = 0
		row.usage |= usageNoRSS
	}
	if uint64(switches) < 1<<10 && uint64(minor) < 1<<20 && uint64(major) < 1<<8 && rss<<usageRSSDelta>>usageRSSDelta == rss {
		row.usage |= switches<<usageSwitches | minor<<usageMinorFaults | major<<usageMajorFaults | rss<<usageRSSDelta
		return
	}
	numbers := [4]*int64{&minor, &major, &rss, &switches}
	if r.NoCounts {
		numbers = [4]*int64{2: &rss}
	}
	if r.NoRSS {
		numbers[2] = nil
	}
	text, _ := json.Marshal(numbers) // numbers always have a form
	row.usageText = string(text)
}

// Calls are numbered in the order of writing; a moment has the numbers from its
// first one on, without a gap.

// nextCall gives the number that the next call gets.
func (d *database) nextCall() (int64, error) {
	return d.integer("SELECT value FROM meta WHERE key = 'next_seq'")
}

// firstCall gives the lowest number of a call; io.EOF where there are none.
func (d *database) firstCall() (int64, error) {
	return d.integer("SELECT first FROM moment ORDER BY id LIMIT 1")
}

// newestCall tells when the call that was written last ended, in ns since 1970; io.EOF where there are none.
func (d *database) newestCall() (int64, error) {
	return d.integer(`SELECT m.ms * 1000000 + (c.start & 1048575) + c.duration_ns
		FROM call c CROSS JOIN moment m ON m.id = c.key >> 8 ORDER BY c.key DESC LIMIT 1`)
}

// expireCalls deletes, inside a transaction, the moments all of whose calls have
// numbers below end, and tells how many calls those are: fewer than one moment's
// remain. They are rows at the beginning of their tables, whose pages become free as a whole.
func (d *database) expireCalls(end int64) (deleted int64, err error) {
	last, deleted, err := d.momentsBelow(end)
	if err != nil || deleted == 0 {
		return 0, err
	}
	for _, table := range []string{"error", "call"} {
		if err := d.set("DELETE FROM "+table+" WHERE key <= ?", last<<momentBits|(1<<momentBits-1)); err != nil {
			return 0, fmt.Errorf("delete calls: %w", err)
		}
	}
	if err := d.set("DELETE FROM moment WHERE id <= ?", last); err != nil {
		return 0, fmt.Errorf("delete calls: %w", err)
	}
	return deleted, nil
}

// momentsBelow gives the last moment all of whose calls have numbers below end,
// and how many calls there are up to it.
func (d *database) momentsBelow(end int64) (last, calls int64, err error) {
	rows, err := d.conn.Query("SELECT id, first, calls FROM moment ORDER BY id", nil)
	if err != nil {
		return 0, 0, fmt.Errorf("find the oldest calls: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row := make([]driver.Value, 3)
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return last, calls, nil
		case err != nil:
			return 0, 0, fmt.Errorf("find the oldest calls: %w", err)
		}
		id, _ := row[0].(int64)
		first, _ := row[1].(int64)
		n, _ := row[2].(int64)
		if first+n > end {
			return last, calls, nil
		}
		last, calls = id, calls+n
	}
}
