package trace

// Status is how a call ended.
type Status uint8

// The statuses.
const (
	StatusOK   Status = iota // it returned
	StatusErr                // it returned an error, or was unwound
	StatusOpen               // the process or the tracing ended inside it
)

// String gives the database's form.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "OK"
	case StatusErr:
		return "ERR"
	default:
		return "OPEN"
	}
}

// CallFlags say what is missing from a call's record.
type CallFlags uint32

// The flags; their names, comma-separated, are the database's flags column.
const (
	FlagTruncated   CallFlags = 1 << iota // a value was cut at a limit
	FlagUnavailable                       // a value could not be had
	FlagRedacted                          // a value was withheld
	FlagTailCall                          // it left by a tail jump: the result is its callee's
	FlagNoEntry                           // its entry was not seen: no arguments
	FlagLostExit                          // its exit was lost: the duration is a lower bound
	FlagLate                              // kept because it failed: what its arguments point to was read then
)

var callFlagNames = [...]string{"truncated", "unavailable", "redacted", "tail-call", "no-entry", "lost-exit", "late"}

// String lists the names of the flags that are set.
func (f CallFlags) String() string {
	s := ""
	for i, name := range callFlagNames {
		if f&(1<<i) != 0 {
			if s != "" {
				s += ","
			}
			s += name
		}
	}
	return s
}

// Process is one process being traced. It is immutable; an exec makes a new one.
type Process struct {
	PID       int    // in the tracer's pid namespace
	Exe       string // path as the process sees it
	Comm      string // command name
	StartNS   int64  // wall clock, ns; when the process (or its image) started
	Container string
	Pod       string
	Namespace string
}

// Call is one recorded call. Whoever receives it owns it.
type Call struct {
	ID       uint64 // unique in the database, assigned at entry in order of entry
	ParentID uint64 // the innermost traced call that was open; 0 for a root
	RootID   uint64 // the outermost traced call that was open: ID for a root; 0 when it can't be told
	Depth    int    // 0 for a root
	Func     *Function
	Process  *Process
	TID      int
	// Goroutine is the goid, 0 when not Go.
	Goroutine  uint64
	Thread     string
	StartNS    int64 // wall clock, UTC, ns since 1970
	DurationNS int64 // until the return, the unwinding, or (OPEN) the end of tracing
	OverheadNS int64 // the tracer's estimated share of DurationNS
	Status     Status
	Err        *Error // nil unless Status is StatusErr
	// Args is a JSON object by parameter name, Result a JSON value; nil when there are none.
	Args   []byte
	Result []byte
	Flags  CallFlags
	// SampleRate is the share of such calls that are recorded, 0 < rate <= 1; of failed ones it is 1.
	SampleRate float64
	Resources  *Resources // nil when not measured
}

// Error is why a call's status is ERR.
type Error struct {
	Type    string // "*errors.errorString", "std::runtime_error", "panic", …
	Message string
	Stack   string // a frame a line: "function file:line"
}

// RawStack is what a probe copied of a thread's stack, frames yet to be found:
// registers and memory, to be unwound, or return addresses.
type RawStack struct {
	// IP is an instruction of the innermost function; 0 leaves that function out.
	IP uint64
	// Registers are words, little endian: those of the innermost function's caller as it goes on
	// (Interrupted: of the innermost function itself), in DWARF's numbering up to the stack
	// pointer's, then the program counter.
	Registers   []byte
	Interrupted bool
	SP          uint64 // where Memory begins
	Memory      []byte
	Returns     []byte // return addresses, words, little endian, the innermost first
}

// Resources is what a call used between its entry and its exit, by what the
// kernel counts of its thread and, for RSSDeltaKB, of its process.
type Resources struct {
	CPUNS                    int64 // on-CPU time
	MinorFaults, MajorFaults int64 // page faults
	RSSDeltaKB               int64 // change of resident memory, KiB
	Switches                 int64 // context switches, voluntary and not
	// What is not known and hence 0. NoCounts is of faults and switches.
	NoCPU, NoCounts, NoRSS bool
}

// Gap is calls, or parts of them, that are missing.
type Gap struct {
	TimeNS int64     // wall clock, ns
	Func   *Function // nil when it can't be told
	PID    int       // 0 when it can't be told
	Count  uint64
	Reason string // "ring buffer full", "pairing lost", …
	Hint   string // the way out: the flag to raise
}
