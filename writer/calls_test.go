package writer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestMoments holds that calls are put together by what they have in common, at
// most 256 of them, in the order in which they came.
func TestMoments(t *testing.T) {
	var s moments
	at := func(ns int64) *trace.Call { return &trace.Call{StartNS: ns, SampleRate: 1} }
	failed, flagged, sampled := at(5e6+1), at(5e6+2), at(5e6+3)
	failed.Status, flagged.Flags, sampled.SampleRate = trace.StatusErr, trace.FlagTruncated, 0.5
	for range 2 { // the second time nothing of the first is left
		calls := []*trace.Call{at(5e6), failed, at(6e6), flagged, at(6e6 - 1), sampled, at(-1), at(5e6 + 7)}
		var got []string
		for _, m := range s.sort(calls) {
			line := fmt.Sprintf("%d %s %s %g x%d:", m.ms, m.status, m.flags, m.rate, m.calls)
			for i := m.first; i >= 0; i = s.next[i] {
				line += fmt.Sprintf(" %d", i)
			}
			got = append(got, line)
		}
		want := "5 OK  1 x3: 0 4 7\n5 ERR  1 x1: 1\n6 OK  1 x1: 2\n5 OK truncated 1 x1: 3\n5 OK  0.5 x1: 5\n-1 OK  1 x1: 6"
		if strings.Join(got, "\n") != want {
			t.Errorf("moments\n%s\nwant\n%s", strings.Join(got, "\n"), want)
		}
	}
	many := make([]*trace.Call, 600)
	for i := range many {
		many[i] = at(5e6)
	}
	var sizes []int32
	for _, m := range s.sort(many) {
		sizes = append(sizes, m.calls)
	}
	if fmt.Sprint(sizes) != "[256 256 88]" {
		t.Errorf("600 calls of a moment are %v", sizes)
	}
}

// TestExtremes holds that numbers and texts which hardly ever occur arrive whole, too.
func TestExtremes(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	fn := &trace.Function{Name: "f"}
	large := `"` + strings.Repeat("x", 3*packedBytes) + `"`
	for i, c := range []trace.Call{
		{Resources: &trace.Resources{Switches: 1023, MinorFaults: 1<<20 - 1, MajorFaults: 255, RSSDeltaKB: -1 << 23}},
		{Resources: &trace.Resources{Switches: 1024}},
		{Resources: &trace.Resources{MinorFaults: 1 << 20}},
		{Resources: &trace.Resources{MajorFaults: 256}},
		{Resources: &trace.Resources{RSSDeltaKB: 1 << 23}},
		{Resources: &trace.Resources{RSSDeltaKB: -1<<23 - 1}},
		{Resources: &trace.Resources{Switches: -1, RSSDeltaKB: 4}},
		{Resources: &trace.Resources{Switches: 1 << 40, NoRSS: true}},
		{Resources: &trace.Resources{RSSDeltaKB: 1 << 40, NoCounts: true}},
		{Resources: &trace.Resources{NoCounts: true, RSSDeltaKB: 128, Switches: 9}},
		{Args: []byte(large), Result: []byte("1")},
		{Args: []byte{}, Result: []byte{}},
	} {
		c.ID, c.Func, c.SampleRate = uint64(i+1), fn, 1
		c.StartNS = -1 // the last nanosecond before 1970
		write(t, s, &c)
	}
	must(t, s.Close())
	want := strings.Join([]string{
		"1048575|255|-8388608|1023", "0|0|0|1024", "1048576|0|0|0", "0|256|0|0", "0|0|8388608|0", "0|0|-8388609|0",
		"0|0|4|-1", "0|0||1099511627776", "||1099511627776|", "||128|", "|||", "|||",
	}, "\n")
	if got := shell(t, path, "SELECT minor_faults, major_faults, rss_delta_kb, switches FROM process_trace ORDER BY id"); got != want {
		t.Errorf("resources\n%s\nwant\n%s", got, want)
	}
	if got := shell(t, path, "SELECT DISTINCT ts, ts_ns FROM process_trace"); got != "1969-12-31 23:59:59.999|-1" {
		t.Errorf("the time before 1970 is %s", got)
	}
	if got := shell(t, path, "SELECT length(args), typeof(result), length(result) FROM data_trace WHERE id > 10 ORDER BY id"); got != fmt.Sprintf("%d|text|1\n0|text|0", len(large)) {
		t.Errorf("values: %s", got)
	}
}

// TestMalformed holds that packed rows which are not whole are refused, and that
// nothing beyond them is read.
func TestMalformed(t *testing.T) {
	path := newPath(t)
	must(t, open(t, path, Options{}).Close())
	d := &database{path: path}
	must(t, d.connect())
	t.Cleanup(d.abandon)
	must(t, d.prepare())
	for name, spoil := range map[string]func([]byte) []byte{
		"cut in its head":      func(b []byte) []byte { return b[:40] },
		"cut in its texts":     func(b []byte) []byte { return b[:len(b)-8] },
		"size of nothing":      func(b []byte) []byte { b[0] = 0; return b },
		"size beyond the end":  func(b []byte) []byte { b[1]++; return b },
		"size that is odd":     func(b []byte) []byte { b[0]--; return b },
		"text beyond the end":  func(b []byte) []byte { b[8+12*8+1] = 1; return b },
		"text of 4 GB":         func(b []byte) []byte { copy(b[8+12*8:], "\xff\xff\xff\xff"); return b },
		"texts that add up":    func(b []byte) []byte { copy(b[8+12*8+4:], "\xf8\xff\xff\xff"); return b },
		"a second row of zero": func(b []byte) []byte { return append(b, make([]byte, 8)...) },
	} {
		must(t, d.begin())
		must(t, d.call.add(&callRow{key: 1, id: 1, args: []byte(`{"a":1}`), result: []byte("7")}))
		d.call.rows = spoil(d.call.rows)
		if err := d.call.flush(); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%s: error %v", name, err)
		}
		must(t, d.exec("ROLLBACK"))
	}
	must(t, d.begin())
	must(t, d.call.add(&callRow{key: 1, id: 1}))
	must(t, d.call.flush())
	must(t, d.call.add(&callRow{key: 1, id: 2}))
	if err := d.call.flush(); err == nil || !strings.Contains(err.Error(), "UNIQUE constraint failed: call.key") {
		t.Errorf("a key that is taken: %v", err)
	}
	must(t, d.exec("ROLLBACK"))
}

// openRaw makes a database with one session, and opens it without a store.
func openRaw(t *testing.T, path string) *database {
	t.Helper()
	must(t, open(t, path, Options{}).Close())
	d, err := openDatabase(path, time.Second, nil)
	must(t, err)
	t.Cleanup(d.abandon)
	d.session = 1
	return d
}

// TestFailedTransaction holds that nothing of a transaction that failed comes with the next one.
func TestFailedTransaction(t *testing.T) {
	path := newPath(t)
	d := openRaw(t, path)
	must(t, d.exec("CREATE TRIGGER refuse BEFORE INSERT ON function WHEN new.name = 'bad' BEGIN SELECT raise(ABORT, 'refused'); END"))
	call := func(id uint64, name string) *trace.Call {
		return &trace.Call{ID: id, Func: &trace.Function{Name: name}, Status: trace.StatusErr, Err: &trace.Error{Type: "E"}, SampleRate: 1}
	}
	good := call(1, "good")
	if _, err := d.commit(batch{calls: []*trace.Call{good, call(2, "bad")}}, 0); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("the transaction ended with %v", err)
	}
	good.ID = 3
	_, err := d.commit(batch{calls: []*trace.Call{good}}, 0)
	must(t, err)
	if got := shell(t, path, "SELECT id, process, error_type FROM process_trace; SELECT (SELECT count(*) FROM moment), (SELECT count(*) FROM error)"); got != "3|good|E\n1|1" {
		t.Errorf("after the failure: %s", got)
	}
}

// TestExpire holds that the calls that were written first go, with all that
// belongs to them, and that those left are whole.
func TestExpire(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{BatchCalls: 500})
	writeMany(t, s, 5000)
	must(t, s.Close())
	d, err := openDatabase(path, time.Second, nil)
	must(t, err)
	defer d.abandon()
	next, err := d.nextCall()
	must(t, err)
	first, err := d.firstCall()
	must(t, err)
	if first != 1 || next != 5001 {
		t.Fatalf("calls %d to %d", first, next)
	}
	newest, err := d.newestCall()
	must(t, err)
	if ago := time.Since(time.Unix(0, newest)); ago < -time.Minute || ago > time.Minute {
		t.Errorf("the newest call ended %v ago", ago)
	}
	gone := int64(0)
	for _, end := range []int64{1, 300, 300, 2999, 5001, 9999} {
		var deleted int64
		must(t, d.transaction(func() (err error) {
			deleted, err = d.expireCalls(end)
			return err
		}))
		gone += deleted
		if gone > end-1 || gone < min(end, next)-1<<momentBits {
			t.Errorf("below %d, %d calls are deleted", end, gone)
		}
		what := `SELECT (SELECT count(*) FROM call), (SELECT count(*) FROM process_trace p JOIN data_trace d USING (id) WHERE args NOT NULL),
			(SELECT coalesce(sum(calls), 0) FROM moment), (SELECT count(*) FROM error) - (SELECT count(*) FROM process_trace WHERE error NOT NULL), coalesce(min(id), 0)
			FROM process_trace`
		oldest := gone + 1
		if oldest == next {
			oldest = 0
		}
		if got, want := shell(t, path, what), fmt.Sprintf("%d|%[1]d|%[1]d|0|%d", 5000-gone, oldest); got != want {
			t.Errorf("after %d calls expired: %s, want %s", gone, got, want)
		}
	}
	if gone != 5000 {
		t.Errorf("%d calls of 5000 expired", gone)
	}
	if got := shell(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity: %s", got)
	}
}
