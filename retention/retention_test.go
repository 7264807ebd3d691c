package retention

import (
	"math"
	"testing"
	"time"
)

const (
	second = int64(time.Second)
	minute = 60 * second
	hour   = 60 * minute
)

// at gives the moment a boot's clock shows so many hours, while the wall clock shows those.
func at(boot int64, up, wall float64) Moment {
	return Moment{Wall: int64(wall * float64(hour)), Boot: boot, Up: int64(up * float64(hour))}
}

// line is marks an hour apart, of one boot, their wall clock in step: the first at those hours up, n of them;
// 1000 calls are written between them.
func line(boot int64, up, wall float64, n int) (marks []Mark) {
	for i := range n {
		marks = append(marks, Mark{ID: int64(i + 1), Calls: int64(1000 * (i + 1)), Moment: at(boot, up+float64(i), wall+float64(i))})
	}
	return marks
}

// joined numbers marks anew, in one file.
func joined(parts ...[]Mark) (marks []Mark) {
	for _, part := range parts {
		for _, m := range part {
			m.ID = int64(len(marks) + 1)
			m.Calls = 1000 * m.ID
			marks = append(marks, m)
		}
	}
	return marks
}

// TestLook holds what is over, whatever the clocks did.
func TestLook(t *testing.T) {
	const base = 480_000 // hours since 1970, in 2024
	policy := For(6*time.Hour, 0)
	for name, c := range map[string]struct {
		marks   []Mark
		now     Moment
		calls   int64      // expired below this number
		seconds [2]float64 // that stay by the second from and to, in hours since base, within three minutes; 0: all
	}{
		"empty file":              {nil, at(1, 5, base), 0, [2]float64{}},
		"younger than the window": {line(1, 10, base, 5), at(1, 15, base+5), 0, [2]float64{}},
		"steady":                  {line(1, 10, base, 10), at(1, 19.5, base+9.5), 4000, [2]float64{3, 10.5}},
		"just as old":             {line(1, 10, base, 10), at(1, 19, base+9), 4000, [2]float64{3, 10}},
		// Between two marks calls are as young as the later one.
		"between two marks": {line(1, 10, base, 9), at(1, 18.99, base+8.99), 3000, [2]float64{2, 10}},
		// Set ahead by a hundred hours: no call is older for that, and no statistics are merged for it.
		"set ahead now":            {line(1, 10, base, 10), at(1, 19.5, base+109.5), 4000, [2]float64{3, 110.5}},
		"set ahead an hour ago":    {joined(line(1, 10, base, 9), line(1, 19, base+109, 1)), at(1, 19.5, base+109.5), 4000, [2]float64{3, 110.5}},
		"set ahead seven hours on": {joined(line(1, 10, base, 9), line(1, 19, base+109, 8)), at(1, 26, base+116), 11000, [2]float64{110, 117}},
		// Set back by a hundred hours: what was written before expires when its time has come all the same.
		"set back now":      {line(1, 10, base, 10), at(1, 19.5, base-90.5), 4000, [2]float64{-90.5, 10}},
		"set back for long": {joined(line(1, 10, base, 9), line(1, 19, base-91, 8)), at(1, 26, base-84), 11000, [2]float64{-90, -83}},
		// For an hour it was a year ahead.
		"ahead for a while": {joined(line(1, 10, base, 4), line(1, 14, base+8760, 2), line(1, 16, base+6, 4)), at(1, 19.5, base+9.5), 4000, [2]float64{3, 8762}},
		"ahead, long ago":   {joined(line(1, 10, base, 4), line(1, 14, base+8760, 2), line(1, 16, base+6, 7)), at(1, 23, base+13), 8000, [2]float64{7, 14}},
		// Restarts: another boot of the machine, whose wall clock tells how long it was off.
		"rebooted":                    {line(1, 10, base, 5), at(2, 0.1, base+5), 0, [2]float64{}},
		"rebooted long ago":           {line(1, 10, base, 5), at(2, 7, base+12), 5000, [2]float64{4, 13}},
		"off for a day":               {line(1, 10, base, 5), at(2, 0.1, base+24), 5000, [2]float64{4, 25}},
		"rebooted with a slow clock":  {line(1, 10, base, 5), at(2, 7, base-400_000), 0, [2]float64{}},
		"and six hours later":         {joined(line(1, 10, base, 5), []Mark{{Moment: at(2, 1, base-400_000)}}), at(2, 7, base-399_994), 6000, [2]float64{-400_000, -399_993}},
		"rebooted, and the clock set": {line(1, 10, base, 5), at(2, 1, base-1), 0, [2]float64{}},
		// A file that a program without marks has written: its newest call is all there is.
		"no boot known":                    {[]Mark{{1, 500, at(0, 0, base)}}, at(1, 2000, base+5), 0, [2]float64{}},
		"no boot known, old":               {[]Mark{{1, 500, at(0, 0, base)}}, at(1, 2, base+7), 500, [2]float64{0, 8}},
		"no boot known, from the future":   {[]Mark{{1, 500, at(0, 0, base+50)}}, at(1, 2000, base), 0, [2]float64{}},
		"the future, and six hours behind": {[]Mark{{1, 500, at(0, 0, base+50)}, {2, 900, at(1, 10, base)}}, at(1, 16, base+6), 900, [2]float64{0, 7}},
		// The clock since boot of another machine says nothing of this one.
		"copied from another machine": {line(7, 50, base, 5), at(1, 5000, base+5), 0, [2]float64{}},
		"a copy that is old":          {line(7, 5000, base, 5), at(1, 1, base+11), 5000, [2]float64{4, 12}},
	} {
		t.Run(name, func(t *testing.T) {
			h := Look(c.marks, c.now, policy)
			if h.Calls != c.calls {
				t.Errorf("calls below %d are over, want %d", h.Calls, c.calls)
			}
			got := [2]float64{hours(h.Seconds.From) - base, hours(h.Seconds.To) - base}
			switch {
			case c.seconds == [2]float64{}:
				if h.Seconds != always {
					t.Errorf("seconds stay from %.2f to %.2f, want all", got[0], got[1])
				}
			case math.Abs(got[0]-c.seconds[0]) > 0.05, math.Abs(got[1]-c.seconds[1]) > 0.05:
				t.Errorf("seconds stay from %.2f to %.2f, want %v", got[0], got[1], c.seconds)
			case h.Seconds.From%60 != 0, h.Seconds.To%60 != 0, h.Gaps.From%3600 != 0, h.Gaps.To%3600 != 0:
				t.Errorf("%+v are no whole minutes, or %+v no whole hours", h.Seconds, h.Gaps)
			case h.Gaps.From > h.Seconds.From, h.Gaps.To < h.Seconds.To:
				t.Errorf("gaps stay from %v to %v, statistics from %v to %v", h.Gaps.From, h.Gaps.To, h.Seconds.From, h.Seconds.To)
			}
			if h.Hours.To != math.MaxInt64 {
				t.Error("statistics from the future are deleted")
			}
		})
	}
}

func hours(s int64) float64 { return float64(s) / 3600 }

// TestLookLonger holds what becomes of older statistics and of marks.
func TestLookLonger(t *testing.T) {
	const base = 480_000
	marks := line(1, 100, base, 30)
	now := at(1, 129.5, base+29.5)
	h := Look(marks, now, For(6*time.Hour, 0))
	if want := (Span{(base+23-7*24+6-1)*3600 + 0, 0}); h.Minutes.From != want.From {
		t.Errorf("minutes stay from %v hours on, want %v", hours(h.Minutes.From)-base, hours(want.From)-base)
	}
	if got, want := h.Hours.From, int64((base+23-90*24+6)*3600-60); got != want {
		t.Errorf("hours stay from %v hours on, want %v", hours(got)-base, hours(want)-base)
	}
	if h.Marks != 24 {
		t.Errorf("marks below %d are of no use, want 24", h.Marks)
	}
	// With a longer window marks, seconds and minutes stay as long as calls.
	h = Look(marks, now, For(20*time.Hour, 0))
	if h.Calls != 10_000 || h.Marks != 10 {
		t.Errorf("of a window of 20 hours: calls below %d, marks below %d", h.Calls, h.Marks)
	}
	if got := hours(h.Seconds.From) - base; math.Abs(got-(23-14)) > 0.1 {
		t.Errorf("seconds stay from %v hours on, want 9", got)
	}
	// Nothing is over where everything is kept, but marks.
	h = Look(marks, now, Policy{})
	if h.Calls != 0 || h.Seconds != always || h.Minutes != always || h.Hours != always || h.Gaps != always || h.Marks != 24 {
		t.Errorf("of everything, this is over: %+v", h)
	}
}

// TestDense holds which marks are of no use once calls have gone.
func TestDense(t *testing.T) {
	var marks []Mark
	add := func(boot int64, up, wall time.Duration) {
		marks = append(marks, Mark{ID: int64(len(marks) + 1), Moment: Moment{Boot: boot, Up: int64(up), Wall: int64(wall)}})
	}
	for s := range time.Duration(150) {
		add(1, s*time.Second, s*time.Second)
	}
	add(1, 150*time.Second, 5000*time.Second) // 151: the clock was set
	for s := range time.Duration(30) {
		add(1, (151+s)*time.Second, (5001+s)*time.Second)
	}
	for s := range time.Duration(30) { // from 182 on, another boot
		add(2, s*time.Second, (6000+s)*time.Second)
	}
	left := map[int64]bool{}
	for _, m := range marks {
		left[m.ID] = true
	}
	for _, id := range dense(marks) {
		delete(left, id)
	}
	for _, id := range []int64{1, 61, 121, 150, 151, 181, 182, 211} {
		if !left[id] {
			t.Errorf("mark %d is gone", id)
		}
	}
	if len(left) != 8 {
		t.Errorf("%d marks are left: %v", len(left), left)
	}
	if got := dense(nil); got != nil {
		t.Errorf("of none, %v", got)
	}
	// Those that calls are still reckoned by stay.
	h := Look(marks[:100], Moment{Boot: 1, Up: int64(100 * time.Second), Wall: int64(100 * time.Second)}, For(50*time.Second, 0))
	if len(h.Dense) != 49 || h.Dense[48] != 50 {
		t.Errorf("of marks of 100 seconds, with a window of 50: %v", h.Dense)
	}
	if h := Look(marks[:100], Moment{Boot: 1, Up: int64(100 * time.Second), Wall: int64(100 * time.Second)}, Policy{}); len(h.Dense) != 97 {
		t.Errorf("without a window: %v", h.Dense)
	}
}

func TestStepped(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Moment
		want bool
	}{
		"in step":      {at(1, 1, 50), at(1, 3, 52), false},
		"slewed":       {at(1, 1, 50), Moment{Wall: 52*hour + second/2, Boot: 1, Up: 3 * hour}, false},
		"ahead":        {at(1, 1, 50), at(1, 3, 53), true},
		"back":         {at(1, 1, 50), at(1, 3, 49), true},
		"another boot": {at(1, 1, 50), at(2, 3, 99), false},
	} {
		if got := Stepped(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStart(t *testing.T) {
	for at, want := range map[int64]int64{0: 0, 59: 0, 60: 60, 119: 60, -1: -60, -60: -60, -61: -120} {
		if got := Start(at, 60); got != want {
			t.Errorf("the minute of %d begins at %d, want %d", at, got, want)
		}
	}
}

// TestPlan holds how much is done in one step.
func TestPlan(t *testing.T) {
	const gib, mib = 1 << 30, 1 << 20
	pages := func(bytes int64) int64 { return bytes / 8192 }
	state := State{First: 1, Next: 1_000_001, Pages: pages(300 * mib), PageSize: 8192, Shrinks: true}
	with := func(change func(*State)) State {
		s := state
		change(&s)
		return s
	}
	small := Policy{Bytes: 200 * mib} // its log has 50 MiB, and 25 are left: 125 are for rows
	for name, c := range map[string]struct {
		state    State
		below    int64
		policy   Policy
		inserted int
		want     Step
	}{
		"nothing is over":        {state, 0, Policy{}, 100, Step{}},
		"empty":                  {State{First: 5, Next: 5, PageSize: 8192}, 0, small, 0, Step{}},
		"empty, all over":        {State{First: 5, Next: 5, PageSize: 8192}, 5, small, 0, Step{}},
		"deleted already":        {with(func(s *State) { s.First = 500 }), 400, Policy{}, 10, Step{}},
		"few are over":           {state, 301, Policy{}, 10, Step{Calls: 301}},
		"twice what comes":       {state, 300_001, Policy{}, 10_000, Step{Calls: 20_001, More: true}},
		"some with small ones":   {state, 300_001, Policy{}, 1, Step{Calls: 5_001, More: true}},
		"idle":                   {state, 300_001, Policy{}, 0, Step{Calls: 20_001, More: true}},
		"more than there are":    {with(func(s *State) { s.Next = 11 }), 1000, Policy{}, 0, Step{Calls: 11}},
		"too large":              {state, 0, small, 5_000, Step{Calls: 10_001, Early: 10_000, More: true}},
		"too large, and over":    {state, 4_001, small, 5_000, Step{Calls: 10_001, Early: 6_000, More: true}},
		"a little too large":     {with(func(s *State) { s.Pages, s.Shrinks = pages(126*mib), false }), 0, small, 5_000, Step{Calls: 7_945, Early: 7_944, More: true}},
		"free pages don't count": {with(func(s *State) { s.Free, s.Shrinks = pages(180*mib), false }), 0, small, 0, Step{}},
		"only statistics":        {with(func(s *State) { s.First, s.Shrinks = s.Next, false }), 0, small, 0, Step{Over: 175 * mib}},
		"large ones": {
			State{First: 1, Next: 3_001, Pages: pages(200 * mib), PageSize: 8192},
			0, small, 0,
			Step{Calls: 1_127, Early: 1_126, More: true},
		},
		"a third is free":      {with(func(s *State) { s.Free = pages(100 * mib) }), 0, Policy{}, 0, Step{Pages: 512, More: true}},
		"the last of it":       {State{First: 1, Next: 1, Pages: 10_000, Free: 2_501, PageSize: 8192, Shrinks: true}, 0, Policy{}, 0, Step{Pages: 512, More: true}},
		"a tenth stays":        {with(func(s *State) { s.Free = pages(30 * mib) }), 0, Policy{}, 0, Step{}},
		"too little to give":   {State{First: 1, Next: 1, Pages: 3_000, Free: 1_000, PageSize: 8192, Shrinks: true}, 0, Policy{}, 0, Step{}},
		"it can't":             {with(func(s *State) { s.Free, s.Shrinks = pages(100*mib), false }), 0, Policy{}, 0, Step{}},
		"free, above its size": {with(func(s *State) { s.Free = 100; s.Pages = pages(176 * mib); s.First = s.Next - 1 }), 0, Policy{Bytes: 200 * mib}, 1, Step{Calls: 1_000_001, Early: 1, Pages: 100, More: true}},
		"within ten gigabytes": {with(func(s *State) { s.Pages = pages(9 * gib) }), 0, Policy{Bytes: 10 * gib}, 5_000, Step{}},
		"beyond ten gigabytes": {with(func(s *State) { s.Pages = pages(10*gib - 159*mib) }), 0, Policy{Bytes: 10 * gib}, 5_000, Step{Calls: 1_001, Early: 1_000, More: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Plan(c.state, Horizon{Calls: c.below}, c.policy, c.inserted); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestSettles holds that steps end, below the limit, whatever a call takes.
func TestSettles(t *testing.T) {
	for _, perPage := range []int64{1, 30, 300} {
		s := State{First: 1, Next: 2_000_001, PageSize: 8192, Pages: 2_000_000/perPage + 3_000, Shrinks: true}
		p := Policy{Bytes: 64 << 20}
		steps := 0
		for ; ; steps++ {
			step := Plan(s, Horizon{}, p, 0)
			if step.Calls > 0 {
				s.Free += (s.Next-s.First)/perPage - (s.Next-step.Calls)/perPage
				s.First = step.Calls
			}
			s.Pages, s.Free = s.Pages-step.Pages, s.Free-step.Pages
			if !step.More && step == (Step{Over: step.Over}) || steps > 100_000 {
				break
			}
		}
		if file := s.Pages * s.PageSize; file > p.Bytes-p.LogBytes() || s.Used() > p.room() || steps > 100_000 {
			t.Errorf("with %d calls a page, after %d steps: %d bytes, %d used, of %d", perPage, steps, file, s.Used(), p.Bytes)
		}
		if s.First == s.Next {
			t.Errorf("with %d calls a page all are gone", perPage)
		}
	}
}

func TestPolicy(t *testing.T) {
	if got, want := For(6*time.Hour, DefaultBytes), (Policy{6 * time.Hour, DefaultBytes, DefaultBySecond, DefaultByMinute, DefaultByHour}); got != want {
		t.Errorf("by default %+v, want %+v", got, want)
	}
	if got := For(0, 5); got != (Policy{Bytes: 5}) {
		t.Errorf("without a window %+v", got)
	}
	if got, want := For(time.Minute, 0), (Policy{time.Minute, 0, DefaultBySecond, DefaultByMinute, DefaultByHour}); got != want {
		t.Errorf("a short window gives %+v, want %+v", got, want)
	}
	if got := For(100*24*time.Hour, 0); got.BySecond != got.Calls || got.ByMinute != got.Calls || got.ByHour != got.Calls {
		t.Errorf("a long window gives %+v", got)
	}
	for keep, want := range map[time.Duration]time.Duration{
		0: time.Minute, 6 * time.Hour: time.Minute, time.Second: 100 * time.Millisecond, 30 * 24 * time.Hour: 5 * time.Minute,
	} {
		if got := (Policy{Calls: keep}).MarkInterval(); got != want {
			t.Errorf("of %v, a mark every %v, want %v", keep, got, want)
		}
	}
	if got := (Policy{}).LogBytes(); got != 96<<20 {
		t.Errorf("the log has %d bytes", got)
	}
}
