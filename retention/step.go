package retention

// State is what a database has at the moment.
type State struct {
	First, Next int64 // the lowest number of a call, and the one that the next call gets; equal: there are none
	Pages, Free int64 // of the file; Free of these hold nothing
	PageSize    int64 // bytes
	Shrinks     bool  // free pages can be given back while it is in use
}

// Used is what is in use of the file, in bytes.
func (s State) Used() int64 { return (s.Pages - s.Free) * s.PageSize }

// Step is what one transaction is to do.
type Step struct {
	Calls int64 // delete the calls with lower numbers; 0: none
	Early int64 // how many of these before their time, for the sake of the size
	Pages int64 // give back so many free pages
	Over  int64 // bytes above the policy's size, which deleting calls can't help: there are none
	More  bool  // another step is to follow
}

const (
	leastEarly = 1_000  // calls that go for the size's sake, when any do
	leastRows  = 5_000  // that a step deletes beside a batch, however small: some milliseconds
	idleRows   = 20_000 // that it deletes when there is nothing to write
	stepPages  = 512    // that a step gives back, at most
	// Pages are given back when more than a quarter of the file is free, until it is a tenth: what
	// is free is soon used again, and moving pages costs as much as writing them.
	freeShare, keepShare = 4, 10
	leastFree            = 16 << 20 // bytes that are not worth it
)

// Rows gives how many rows a step may delete beside so many that its transaction inserts: twice as many, so that
// what has piled up becomes less, and in proportion, so that no transaction takes much longer than without.
func Rows(inserted int) int64 {
	if inserted == 0 {
		return idleRows
	}
	return max(2*int64(inserted), leastRows)
}

// Plan gives the next step, in a transaction that inserts so many calls.
func Plan(s State, h Horizon, p Policy, inserted int) Step {
	var step Step
	calls := s.Next - s.First
	over := min(max(h.Calls, s.First), s.Next) // up to here
	target := over
	if excess := s.Used() - p.room(); p.Bytes > 0 && excess > 0 {
		if calls > 0 {
			each := max(s.Used()/calls, 1) // all else counts as calls' too: then it takes a step more
			target = max(target, min(s.First+max((excess+each-1)/each, leastEarly), s.Next))
		} else {
			step.Over = excess
		}
	}
	if end := min(target, s.First+Rows(inserted)); end > s.First {
		step.Calls = end
		step.Early = max(end-over, 0)
		step.More = end < target || step.Early > 0 // what calls take is only reckoned
	}
	if s.Shrinks {
		surplus := int64(0)
		if s.Free > s.Pages/freeShare && s.Free*s.PageSize > leastFree {
			surplus = s.Free - s.Pages/keepShare
		}
		if beyond := s.Pages*s.PageSize - (p.Bytes - p.LogBytes()); p.Bytes > 0 && beyond > 0 {
			surplus = max(surplus, min(s.Free, (beyond+s.PageSize-1)/s.PageSize))
		}
		most := min(p.LogBytes()/16/max(s.PageSize, 1), stepPages) // each is in the log then
		step.Pages = min(surplus, most)
		step.More = step.More || surplus > most
	}
	return step
}
