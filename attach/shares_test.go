package attach

import (
	"strconv"
	"testing"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

// TestShares holds that the probes tell how many of a function's calls each process makes. The two functions
// take turns, so that a sample of each so many-th call would only see one of them.
func TestShares(t *testing.T) {
	testenv.RequireBPF(t)
	path := testenv.Build(t, testenv.Target{Source: "c/counts"})
	calls := map[uint32]int{}
	var processes []*testenv.Process
	o := Options{MaxDepth: 1, StatsOnly: true, Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("{ints,doubles}")}}}
	for _, n := range []int{200 * bpf.ShareEvery, 50 * bpf.ShareEvery} {
		p := testenv.Start(t, path, "-wait", "-n", strconv.Itoa(n), "calls").Ready()
		processes = append(processes, p)
		o.PIDs = append(o.PIDs, p.PID)
		calls[uint32(p.PID)] = n
	}
	s := start(t, o)
	for _, p := range processes {
		p.Go()
	}
	for _, p := range processes {
		p.Wait()
	}
	of := func(ended uint32) map[uint32]map[string]uint64 {
		shares, err := s.objs.Shares(func(tgid uint32) bool { return tgid != ended })
		if err != nil {
			t.Fatal(err)
		}
		by := map[uint32]map[string]uint64{}
		for _, share := range shares {
			if by[share.TGID] == nil {
				by[share.TGID] = map[string]uint64{}
			}
			by[share.TGID][s.Function(share.Func).Name] += share.Calls
		}
		return by
	}
	ended := uint32(processes[0].PID)
	shares := of(ended)
	for pid, n := range calls {
		ints, doubles := shares[pid]["ints"], shares[pid]["doubles"]
		want := uint64(n / bpf.ShareEvery)
		if ints+doubles != 2*want || len(shares[pid]) != 2 {
			t.Errorf("process %d: %v, of %d calls of each", pid, shares[pid], n)
		}
		// Its standard deviation is at most the square root of half of want: these are seven.
		if d := int64(ints) - int64(want); d*d > 25*int64(want) {
			t.Errorf("process %d: ints %d, doubles %d, of %d calls of each", pid, ints, doubles, n)
		}
	}
	if len(shares) != len(calls) {
		t.Errorf("shares of other processes: %v", shares)
	}
	if left := of(0); len(left) != len(calls)-1 || left[ended] != nil {
		t.Errorf("after process %d has ended: %v", ended, left)
	}
}
