package decode

import (
	"bytes"
	"strconv"

	"github.com/observatory-trace/observatory-trace/trace"
)

// ErrorRule says which results of a C or C++ function mean that it failed: those
// languages don't.
type ErrorRule uint8

// The rules.
const (
	RuleNone     ErrorRule = iota
	RuleNegative           // an integer below 0
	RuleNull               // NULL, 0 or false
	RuleNonzero            // anything but that
	RuleErrno              // -1, or of pointers NULL, too, as of functions that set errno
)

var errorRules = [...]string{"", "negative", "null", "nonzero", "errno"}

// String gives the rule's name.
func (r ErrorRule) String() string { return errorRules[r] }

// ParseErrorRule finds a rule by its name.
func ParseErrorRule(name string) (ErrorRule, bool) {
	for i, rule := range errorRules {
		if i > 0 && rule == name {
			return ErrorRule(i), true
		}
	}
	return RuleNone, false
}

// Ruled says whether rules apply to a function: it has one result, which is a number or a
// pointer, and its language has no errors of its own.
func Ruled(f *trace.Function) bool {
	if f.Language == trace.LangGo || f.Go != nil || f.Language == trace.LangRust {
		return false
	}
	if f.ExitPlan == nil || f.ExitPlan.Root == nil || len(f.ExitPlan.Root.Fields) != 1 {
		return false
	}
	t := f.ExitPlan.Root.Fields[0].Type
	if t == nil {
		return false
	}
	switch t.Size {
	case 1, 2, 4, 8:
	default:
		return false
	}
	switch t.Kind {
	case trace.KindBool, trace.KindInt, trace.KindUint, trace.KindChar, trace.KindEnum:
		return true
	}
	return isPointer(t)
}

func isPointer(t *trace.Type) bool {
	return t.Kind == trace.KindPointer || t.Kind == trace.KindCString || t.Kind == trace.KindFunc
}

func isSigned(t *trace.Type) bool {
	return t.Kind == trace.KindInt || (t.Kind == trace.KindChar || t.Kind == trace.KindEnum) && t.Signed
}

// unknownType says whether nothing is known of a result's type, C's results being without
// names: all of the register is there.
func unknownType(f *trace.Field) bool { return f.Name != "" }

// Failure compiles the rule for a function; nil when by its type no result is an error, or
// rules don't apply.
func (r ErrorRule) Failure(f *trace.Function) *trace.Failure {
	if r == RuleNone || !Ruled(f) {
		return nil
	}
	field := &f.ExitPlan.Root.Fields[0]
	if field.Unavailable != "" || movesOf(f.ExitPlan, *field) == 0 {
		return nil
	}
	t, register := field.Type, unknownType(field)
	all := ^uint64(0) >> (64 - 8*t.Size)
	test := &trace.Failure{Rule: r.String(), Offset: field.Offset, Size: uint8(t.Size)}
	switch {
	case r == RuleNegative && (register || isSigned(t)):
		test.Low, test.Span, test.Int = all/2+1, all/2, register
	case r == RuleNull: // 0
	case r == RuleNonzero:
		test.Low, test.Span = 1, all-1
	case r == RuleErrno && isPointer(t): // -1 and 0
		test.Low, test.Span = all, 1
	case r == RuleErrno && t.Size >= 4: // -1
		test.Low, test.Int = all, register
	default:
		return nil
	}
	return test
}

// outcome is a result as messages tell it.
type outcome struct {
	bits   uint64 // extended without the sign
	value  int64  // with the sign, also where the type has none
	signed bool
}

// outcomeOf reads a result. Where nothing is known of its type, the register may hold an
// int, with zeros above: what would be negative as an int is taken for one, since addresses
// aren't that low.
func outcomeOf(f *trace.Field, data []byte) outcome {
	o := outcome{bits: unsigned(data), value: signed(data), signed: unknownType(f) || isSigned(f.Type)}
	if unknownType(f) && o.bits>>31 == 1 {
		o.value = int64(int32(o.bits))
	}
	return o
}

// ruleError gives the error that a result is by the function's rule, nil when it is none.
func (p *printer) ruleError(e *Event, fn *function) *trace.Error {
	r := &fn.results[0]
	if !r.readable(e) || !fn.Failure.Holds(e.Root) {
		return nil
	}
	err := &trace.Error{Type: fn.Failure.Rule, Message: "returned "}
	if r.secret != "" {
		err.Message += "[redacted: " + r.secret + "]"
		return err
	}
	t := r.field.Type
	data := e.Root[r.field.Offset:][:t.Size]
	o := outcomeOf(&r.field, data)
	errno := err.Type == RuleErrno.String()
	switch {
	case isPointer(t) && o.bits == 0:
		err.Message += "NULL"
	case o.signed && o.value < 0, errno:
		err.Message += strconv.FormatInt(o.value, 10)
	case unknownType(&r.field):
		err.Message += strconv.FormatUint(o.bits, 10)
	default:
		flags := p.flags
		p.begin(nil)
		err.Message += string(bytes.Trim(p.value(nil, t, data), `"`))
		p.flags = flags // the result tells of what is missing
	}
	// -1, NULL and 0 are what functions return that have no number to tell.
	switch n := uint64(-o.value); {
	case o.signed && n > 1 && n < uint64(len(errnoNames)) && errnoNames[n].name != "":
		err.Message += " (" + describeErrno(n) + ")"
	case errno:
		n, why := p.errno(e)
		if why != "" {
			err.Message += " (errno unavailable: " + why + ")"
		} else {
			err.Message += " (errno " + describeErrno(n) + ")"
		}
	case o.bits == 0 || o.signed && o.value == -1:
		// Whether it was this call that has set it, only the function knows.
		if n, why := p.errno(e); why == "" && n != 0 {
			err.Message += "; errno was " + describeErrno(n)
		}
	}
	return err
}

// errno gives what errno was when a call returned, or why that isn't known.
func (p *printer) errno(e *Event) (n uint64, why string) {
	value, lack := e.errno()
	switch {
	case lack == errnoMemory:
		return 0, "memory not readable"
	case lack == errnoSeveral:
		return 0, "the process has several C libraries, each with an errno of its own"
	case p.config.Errno != nil:
		why = p.config.Errno(e.TGID, lack == errnoTold)
	}
	if lack == errnoPlace && why == "" {
		why = "nobody knew where it is"
	}
	return uint64(value), why
}
