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
	if t == nil || t.Size == 0 || t.Size > 8 {
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

// outcome is a result as rules see it.
type outcome struct {
	bits   uint64 // extended without the sign
	value  int64  // with the sign, also where the type has none
	signed bool
	// register: the type isn't known, and this is all of the register.
	register bool
}

// outcomeOf reads a result. Where nothing is known of its type, C's results being
// without names, the register may hold an int, with zeros above: what would be negative
// as an int is taken for one, since addresses aren't that low.
func outcomeOf(f *trace.Field, data []byte) outcome {
	t := f.Type
	o := outcome{bits: unsigned(data), value: signed(data), register: f.Name != ""}
	switch {
	case o.register:
		o.signed = true
		if o.bits>>31 == 1 {
			o.value = int64(int32(o.bits))
		}
	case t.Kind == trace.KindInt, (t.Kind == trace.KindChar || t.Kind == trace.KindEnum) && t.Signed:
		o.signed = true
	}
	return o
}

func (r ErrorRule) broken(t *trace.Type, o outcome) bool {
	switch r {
	case RuleNegative:
		return o.signed && o.value < 0
	case RuleNull:
		return o.bits == 0
	case RuleNonzero:
		return o.bits != 0
	case RuleErrno:
		return o.value == -1 && t.Size >= 4 || o.bits == 0 && isPointer(t)
	}
	return false
}

// ruleError gives the error that a result is by the function's rule, nil when it is none.
func (d *Decoder) ruleError(e *Event, fn *function) *trace.Error {
	p := &fn.results[0]
	t := p.field.Type
	if !p.readable(e) {
		return nil
	}
	data := e.Root[p.field.Offset:][:t.Size]
	o := outcomeOf(&p.field, data)
	if !fn.rule.broken(t, o) {
		return nil
	}
	err := &trace.Error{Type: fn.rule.String(), Message: "returned "}
	if p.secret != "" {
		err.Message += "[redacted: " + p.secret + "]"
		return err
	}
	switch {
	case isPointer(t) && o.bits == 0:
		err.Message += "NULL"
	case o.signed && o.value < 0, fn.rule == RuleErrno:
		err.Message += strconv.FormatInt(o.value, 10)
	case o.register:
		err.Message += strconv.FormatUint(o.bits, 10)
	default:
		flags := d.printer.flags
		d.printer.begin(nil)
		err.Message += string(bytes.Trim(d.printer.value(nil, t, data), `"`))
		d.printer.flags = flags // the result tells of what is missing
	}
	switch n := uint64(-o.value); {
	// -1 is what functions return that have no number to tell.
	case o.signed && n > 1 && n < uint64(len(errnoNames)) && errnoNames[n].name != "":
		err.Message += " (" + errnoNames[n].name + ": " + errnoNames[n].text + ")"
	case fn.rule == RuleErrno:
		err.Message += "; errno was not read"
	}
	return err
}
