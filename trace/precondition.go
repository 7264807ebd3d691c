package trace

// Precondition is what is known of a function's calls that are recorded, as far as a probe can
// tell: a call that does not satisfy it is only counted. The zero value says nothing.
type Precondition struct {
	// LeastNS is how long a call takes at least, unless it fails.
	LeastNS int64
	// Checks are what holds for the arguments: all of them.
	Checks []Check
	// Failed says that calls which fail are recorded whatever Checks say.
	Failed bool
}

// Check compares an argument, an integer, with a constant.
type Check struct {
	Param string
	Op    Op
	Value int64
}

// Op is how two numbers compare; the numbers are those of enum check_op in bpf/event.h.
type Op uint8

// The comparisons.
const (
	OpEqual Op = iota + 1
	OpDiffers
	OpLess
	OpMore
	OpAtMost
	OpAtLeast
)

// Reversed gives the comparison with its sides exchanged.
func (o Op) Reversed() Op {
	switch o {
	case OpLess:
		return OpMore
	case OpMore:
		return OpLess
	case OpAtMost:
		return OpAtLeast
	case OpAtLeast:
		return OpAtMost
	}
	return o
}
