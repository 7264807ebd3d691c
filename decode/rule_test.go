package decode

import (
	"encoding/binary"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

func TestErrorRules(t *testing.T) {
	unsigned32, unsigned64 := typ(trace.KindUint, 4), typ(trace.KindUint, 8)
	pointer, boolean := typ(trace.KindPointer, 8), typ(trace.KindBool, 1)
	signedChar := &trace.Type{Kind: trace.KindChar, Size: 1, Signed: true}
	const anyInt, anyPointer = 0x5555_5555_0000_0000, 0x7f00_1234_5678
	for _, c := range []struct {
		name   string
		typ    *trace.Type
		rule   ErrorRule
		result uint64 // what is in the register
		want   string // "" for none
	}{
		{"negative", int32Type, RuleNegative, anyInt | 0xffff_ffff, "returned -1"},
		{"-ENOENT", int32Type, RuleNegative, 0xffff_fffe, "returned -2 (ENOENT: no such file or directory)"},
		{"-EWOULDBLOCK", typ(trace.KindInt, 8), RuleNegative, ^uint64(10), "returned -11 (EAGAIN: resource temporarily unavailable)"},
		{"no number of an error", int32Type, RuleNegative, 0xffff_f000, "returned -4096"},
		{"least", typ(trace.KindInt, 8), RuleNegative, 1 << 63, "returned -9223372036854775808"},
		{"zero", int32Type, RuleNegative, anyInt, ""},
		{"positive", int32Type, RuleNegative, 7, ""},
		{"char", signedChar, RuleNegative, 0xfb, "returned -5 (EIO: input/output error)"},
		{"never negative", unsigned32, RuleNegative, 0xffff_ffff, ""},
		{"enum", minus, RuleNegative, 0xff, "returned -1"},
		{"NULL", pointer, RuleNull, 0, "returned NULL"},
		{"no NULL", pointer, RuleNull, anyPointer, ""},
		{"C string", typ(trace.KindCString, 8), RuleNull, 0, "returned NULL"},
		{"false", boolean, RuleNull, anyInt, "returned false"},
		{"true", boolean, RuleNull, 1, ""},
		{"nothing done", int32Type, RuleNull, anyInt, "returned 0"},
		{"nonzero", int32Type, RuleNonzero, 3, "returned 3"},
		{"nonzero, above", int32Type, RuleNonzero, anyInt, ""},
		{"nonzero, negative", int32Type, RuleNonzero, 0xffff_ffed, "returned -19 (ENODEV: no such device)"},
		{"nonzero enum", colour, RuleNonzero, 7, "returned BLUE"},
		{"errno", int32Type, RuleErrno, 0xffff_ffff, "returned -1; errno was not read"},
		{"nonzero byte", byteType, RuleNonzero, 0xff, "returned 255"},
		{"errno, byte", byteType, RuleErrno, 0xff, ""},
		{"errno, other", int32Type, RuleErrno, 0xffff_fffe, ""},
		{"errno, 0", int32Type, RuleErrno, 0, ""},
		{"errno, NULL", pointer, RuleErrno, 0, "returned NULL; errno was not read"},
		{"errno, MAP_FAILED", pointer, RuleErrno, ^uint64(0), "returned -1; errno was not read"},
		{"errno, size_t", unsigned64, RuleErrno, ^uint64(0), "returned -1; errno was not read"},
		{"struct", structType(1, trace.Field{Name: "a", Type: int32Type}), RuleNonzero, 1, ""},
		{"none", int32Type, RuleNone, 0xffff_ffff, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ruledCall(t, trace.LangC, trace.Field{Type: c.typ}, c.rule, c.result); got != errorText(c.rule, c.want) {
				t.Errorf("got %q, want %q", got, errorText(c.rule, c.want))
			}
		})
	}
}

// TestErrorRulesRegister holds what is made of a register when the result's type isn't known.
func TestErrorRulesRegister(t *testing.T) {
	rax := trace.Field{Name: "rax", Type: typ(trace.KindUint, 8)}
	for _, c := range []struct {
		rule   ErrorRule
		result uint64
		want   string
	}{
		{RuleNegative, 0xffff_ffff, "returned -1"}, // an int, with zeros above
		{RuleNegative, ^uint64(1), "returned -2 (ENOENT: no such file or directory)"},
		{RuleNegative, 0x7f00_ffff_ffff, ""}, // an address
		{RuleNegative, 5, ""},
		{RuleNull, 0, "returned 0"},
		{RuleNull, 0x7f00_1234_5678, ""},
		{RuleNonzero, 5, "returned 5"},
		{RuleNonzero, 0, ""},
		{RuleErrno, 0xffff_ffff, "returned -1; errno was not read"},
		{RuleErrno, 0, ""}, // success of most, failure of those that return pointers
	} {
		if got := ruledCall(t, trace.LangUnknown, rax, c.rule, c.result); got != errorText(c.rule, c.want) {
			t.Errorf("%v of %#x: got %q, want %q", c.rule, c.result, got, errorText(c.rule, c.want))
		}
	}
}

// TestErrorRulesElsewhere holds that rules are not for languages that have errors.
func TestErrorRulesElsewhere(t *testing.T) {
	for _, lang := range []trace.Language{trace.LangGo, trace.LangRust} {
		if got := ruledCall(t, lang, trace.Field{Type: int32Type}, RuleNonzero, 1); got != "" {
			t.Errorf("%v: %s", lang, got)
		}
	}
	if got := ruledCall(t, trace.LangCPP, trace.Field{Type: int32Type}, RuleNonzero, 1); got == "" {
		t.Error("C++: no error")
	}
	for i, name := range errorRules[1:] {
		if rule, ok := ParseErrorRule(name); !ok || rule != ErrorRule(i+1) || rule.String() != name {
			t.Errorf("%q is %v", name, rule)
		}
	}
	if _, ok := ParseErrorRule(""); ok {
		t.Error("a rule without a name")
	}
}

func errorText(rule ErrorRule, message string) string {
	if message == "" {
		return ""
	}
	return rule.String() + ": " + message
}

// ruledCall gives the error of a call with a result, by a rule; "" when its status is OK.
func ruledCall(t *testing.T, lang trace.Language, result trace.Field, rule ErrorRule, value uint64) string {
	t.Helper()
	f := &trace.Function{ID: 1, Language: lang, ExitPlan: planOf(result)}
	var got *trace.Call
	d := New(Config{
		Function:  func(uint32) *trace.Function { return f },
		Process:   func(uint32) *trace.Process { return &trace.Process{} },
		NextID:    func() uint64 { return 1 },
		Emit:      func(c *trace.Call) { got = c },
		ErrorRule: func(*trace.Function) ErrorRule { return rule },
	})
	e := Event{Kind: EventEntry, Func: 1, TGID: 1, TID: 1, Goid: 1, TS: 1}
	if err := d.Record(appendRecord(nil, &e)); err != nil {
		t.Fatal(err)
	}
	e.Kind, e.TS, e.Root = EventExit, 2, binary.LittleEndian.AppendUint64(nil, value)
	if err := d.Record(appendRecord(nil, &e)); err != nil {
		t.Fatal(err)
	}
	if (got.Status == trace.StatusErr) != (got.Err != nil) {
		t.Errorf("status %v, error %v", got.Status, got.Err)
	}
	if got.Err == nil {
		return ""
	}
	return got.Err.Type + ": " + got.Err.Message
}
