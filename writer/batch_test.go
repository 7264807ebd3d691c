package writer

import (
	"fmt"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestDrops holds that dropped calls are taken off the seconds that have them
// as recorded, and told in gaps, once.
func TestDrops(t *testing.T) {
	f, other := &trace.Function{Name: "f"}, &trace.Function{Name: "g"}
	var d drops
	d.add(f, 4, "away", "help")
	d.add(f, 1, "away", "help")
	d.add(other, 7, "full", "")
	seconds := []FunctionSecond{{Recorded: 3}, {Recorded: 10}, {Recorded: 10}}
	for i := range seconds {
		seconds[i].Func = f
		d.correct(&seconds[i])
	}
	if got := fmt.Sprint(seconds[0].Recorded, seconds[0].Dropped, seconds[1].Recorded, seconds[1].Dropped, seconds[2].Recorded, seconds[2].Dropped); got != "0 3 8 2 10 0" {
		t.Errorf("recorded and dropped: %s", got)
	}
	if gaps := d.gaps(); len(gaps) != 2 || gaps[0].Count+gaps[1].Count != 12 {
		t.Errorf("gaps %+v", gaps)
	}
	if rest := d.corrections(); len(rest) != 1 || rest[0].Func != other || int64(rest[0].Recorded) != -7 || rest[0].Dropped != 7 {
		t.Errorf("corrections %+v", rest)
	}
	if len(d.gaps())+len(d.corrections()) != 0 {
		t.Error("it tells them again")
	}
	if all := d.byReason(); all["away"] != 5 || all["full"] != 7 {
		t.Errorf("by reason: %v", all)
	}
}

// TestCompact holds that a long absence needs no more memory than a bound, and
// loses nothing but when exactly it was.
func TestCompact(t *testing.T) {
	var b batch
	functions := make([]*trace.Function, 100)
	for i := range functions {
		functions[i] = &trace.Function{Name: fmt.Sprint(i)}
	}
	for second := range 1000 {
		for _, f := range functions {
			s := FunctionSecond{Second: int64(second), Recorded: 2}
			s.Func = f
			s.Add(trace.StatusOK, 1000)
			b.stats = append(b.stats, s)
			b.gaps = append(b.gaps, trace.Gap{TimeNS: int64(second), Func: f, PID: second % 50, Count: 3, Reason: "r"})
		}
		b.compact()
		if len(b.stats) > maxSeconds || len(b.gaps) > maxGaps {
			t.Fatalf("after %d seconds: %d seconds, %d gaps", second, len(b.stats), len(b.gaps))
		}
	}
	var calls, recorded, timed, missing uint64
	for i := range b.stats {
		calls += b.stats[i].Calls
		recorded += b.stats[i].Recorded
		timed += b.stats[i].Latency.Count()
	}
	for i := range b.gaps {
		missing += b.gaps[i].Count
	}
	if calls != 100_000 || timed != 100_000 || recorded != 200_000 || missing != 300_000 {
		t.Errorf("%d calls, %d timed, %d recorded, %d missing", calls, timed, recorded, missing)
	}
}

// TestHalves holds that a batch taken apart is put together again.
func TestHalves(t *testing.T) {
	for _, n := range [][3]int{{1, 0, 0}, {0, 1, 0}, {1, 1, 0}, {5, 3, 2}, {0, 0, 9}, {2, 0, 1}} {
		b := batch{calls: make([]*trace.Call, n[0]), stats: make([]FunctionSecond, n[1]), gaps: make([]trace.Gap, n[2]), attached: &attached{}}
		one, other, ok := b.halves()
		total := n[0] + n[1] + n[2]
		if ok != (total > 1) {
			t.Errorf("%v: halves %v", n, ok)
		}
		if !ok {
			continue
		}
		size := func(b *batch) int { return len(b.calls) + len(b.stats) + len(b.gaps) }
		if size(&one) != total/2 || size(&other) != total-total/2 || one.attached == nil || other.attached != nil {
			t.Errorf("%v: %d and %d", n, size(&one), size(&other))
		}
		one.append(other)
		if len(one.calls) != n[0] || len(one.stats) != n[1] || len(one.gaps) != n[2] {
			t.Errorf("%v: together %d, %d, %d", n, len(one.calls), len(one.stats), len(one.gaps))
		}
	}
}
