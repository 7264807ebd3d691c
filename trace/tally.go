package trace

// Tally is what was counted of a function's calls, whether or not they were recorded.
type Tally struct {
	Func    *Function
	Calls   uint64 // that ended, or were found open at the end
	Errors  uint64 // of Calls, those whose status is ERR
	LeftOut uint64 // of Calls, those that were not recorded by choice
	Dropped uint64 // those that were lost before they could be recorded
	TotalNS int64  // sum of the durations in Latency
	// OverheadNS is the tracer's estimated share in TotalNS.
	OverheadNS int64
	MaxNS      int64 // longest of them
	// OutermostNS is the part of TotalNS that is of calls which no traced call has made.
	OutermostNS int64
	// CopyingNS is how long the probes took to copy values that are not all in registers.
	CopyingNS int64
	Latency   Histogram // of the calls that ended
}

// Add counts a call.
func (t *Tally) Add(status Status, ns int64) {
	t.Calls++
	if status == StatusErr {
		t.Errors++
	}
	if status != StatusOpen {
		t.TotalNS += ns
		t.MaxNS = max(t.MaxNS, ns)
		t.Latency.Add(ns)
	}
}

// Merge adds what other counted of the same function.
func (t *Tally) Merge(other *Tally) {
	t.Calls += other.Calls
	t.Errors += other.Errors
	t.LeftOut += other.LeftOut
	t.Dropped += other.Dropped
	t.TotalNS += other.TotalNS
	t.OverheadNS += other.OverheadNS
	t.CopyingNS += other.CopyingNS
	t.OutermostNS += other.OutermostNS
	t.MaxNS = max(t.MaxNS, other.MaxNS)
	t.Latency.Merge(&other.Latency)
}
