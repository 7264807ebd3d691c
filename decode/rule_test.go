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
		{"negative", int32Type, RuleNegative, anyInt | 0xffff_ffff, "returned -1; errno was ENOENT: no such file or directory"},
		{"-ENOENT", int32Type, RuleNegative, 0xffff_fffe, "returned -2 (ENOENT: no such file or directory)"},
		{"-EWOULDBLOCK", typ(trace.KindInt, 8), RuleNegative, ^uint64(10), "returned -11 (EAGAIN: resource temporarily unavailable)"},
		{"no number of an error", int32Type, RuleNegative, 0xffff_f000, "returned -4096"},
		{"least", typ(trace.KindInt, 8), RuleNegative, 1 << 63, "returned -9223372036854775808"},
		{"zero", int32Type, RuleNegative, anyInt, ""},
		{"positive", int32Type, RuleNegative, 7, ""},
		{"char", signedChar, RuleNegative, 0xfb, "returned -5 (EIO: input/output error)"},
		{"never negative", unsigned32, RuleNegative, 0xffff_ffff, ""},
		{"enum", minus, RuleNegative, 0xff, "returned -1; errno was ENOENT: no such file or directory"},
		{"NULL", pointer, RuleNull, 0, "returned NULL; errno was ENOENT: no such file or directory"},
		{"no NULL", pointer, RuleNull, anyPointer, ""},
		{"C string", typ(trace.KindCString, 8), RuleNull, 0, "returned NULL; errno was ENOENT: no such file or directory"},
		{"false", boolean, RuleNull, anyInt, "returned false; errno was ENOENT: no such file or directory"},
		{"true", boolean, RuleNull, 1, ""},
		{"nothing done", int32Type, RuleNull, anyInt, "returned 0; errno was ENOENT: no such file or directory"},
		{"nonzero", int32Type, RuleNonzero, 3, "returned 3"},
		{"nonzero, above", int32Type, RuleNonzero, anyInt, ""},
		{"nonzero, negative", int32Type, RuleNonzero, 0xffff_ffed, "returned -19 (ENODEV: no such device)"},
		{"nonzero enum", colour, RuleNonzero, 7, "returned BLUE"},
		{"errno", int32Type, RuleErrno, 0xffff_ffff, "returned -1 (errno ENOENT: no such file or directory)"},
		{"nonzero byte", byteType, RuleNonzero, 0xff, "returned 255"},
		{"errno, byte", byteType, RuleErrno, 0xff, ""},
		{"errno, other", int32Type, RuleErrno, 0xffff_fffe, ""},
		{"errno, 0", int32Type, RuleErrno, 0, ""},
		{"errno, NULL", pointer, RuleErrno, 0, "returned NULL (errno ENOENT: no such file or directory)"},
		{"errno, MAP_FAILED", pointer, RuleErrno, ^uint64(0), "returned -1 (errno ENOENT: no such file or directory)"},
		{"errno, size_t", unsigned64, RuleErrno, ^uint64(0), "returned -1 (errno ENOENT: no such file or directory)"},
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
		{RuleNegative, 0xffff_ffff, "returned -1; errno was ENOENT: no such file or directory"}, // an int, with zeros above
		{RuleNegative, ^uint64(1), "returned -2 (ENOENT: no such file or directory)"},
		{RuleNegative, 0x7f00_ffff_ffff, ""}, // an address
		{RuleNegative, 5, ""},
		{RuleNull, 0, "returned 0; errno was ENOENT: no such file or directory"},
		{RuleNull, 0x7f00_1234_5678, ""},
		{RuleNonzero, 5, "returned 5"},
		{RuleNonzero, 0, ""},
		{RuleErrno, 0xffff_ffff, "returned -1 (errno ENOENT: no such file or directory)"},
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

// ruledCall gives the error of a call with a result, by a rule; "" when its status is OK. When
// it returned, errno was ENOENT.
func ruledCall(t *testing.T, lang trace.Language, result trace.Field, rule ErrorRule, value uint64) string {
	t.Helper()
	return ruledCallWith(t, lang, result, rule, value, nil, Block{Type: typeErrno, Want: 8, Data: []byte{2, 0, 0, 0, 0, 0, 0, 0}})
}

func ruledCallWith(t *testing.T, lang trace.Language, result trace.Field, rule ErrorRule, value uint64, errno func(uint32, bool) string, blocks ...Block) string {
	t.Helper()
	f := &trace.Function{ID: 1, Language: lang, ExitPlan: planOf(result)}
	f.Failure = rule.Failure(f)
	var got *trace.Call
	d := New(Config{
		Function: func(uint32) *trace.Function { return f },
		Process:  func(uint32) *trace.Process { return &trace.Process{} },
		NextID:   func() uint64 { return 1 },
		Emit:     func(c *trace.Call) bool { got = c; return true },
		Errno:    errno,
	})
	e := Event{Kind: EventEntry, Func: 1, TGID: 1, TID: 1, Goid: 1, TS: 1}
	if err := d.Record(appendRecord(nil, &e)); err != nil {
		t.Fatal(err)
	}
	e.Kind, e.TS, e.Root = EventExit, 2, binary.LittleEndian.AppendUint64(nil, value)
	if err := d.Record(appendRecord(nil, &e, blocks...)); err != nil {
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

// TestNoErrno holds that an errno which is not to be had is never shown, but why.
func TestNoErrno(t *testing.T) {
	of := func(n byte) Block { return Block{Type: typeErrno, Want: 8, Data: []byte{n, 0, 0, 0, 0, 0, 0, 0}} }
	known := func(_ uint32, known bool) string {
		if known {
			return ""
		}
		return "it was early"
	}
	doubtful := func(uint32, bool) string { return "there are two" }
	for _, c := range []struct {
		name        string
		errno       func(uint32, bool) string
		blocks      []Block
		want, other string // by the rules errno and negative
	}{
		{"read", known, []Block{of(5)}, "returned -1 (errno EIO: input/output error)", "returned -1; errno was EIO: input/output error"},
		{"0", known, []Block{of(0)}, "returned -1 (errno 0)", "returned -1"},
		{"no error's", known, []Block{of(200)}, "returned -1 (errno 200)", "returned -1; errno was 200"},
		{"in doubt", doubtful, []Block{of(5)}, "returned -1 (errno unavailable: there are two)", "returned -1"},
		{"place unknown", known, []Block{{Type: typeErrno, Status: BlockFault, Want: uint32(errnoPlace)}}, "returned -1 (errno unavailable: it was early)", "returned -1"},
		{"not readable", known, []Block{{Type: typeErrno, Status: BlockFault, Want: uint32(errnoMemory)}}, "returned -1 (errno unavailable: memory not readable)", "returned -1"},
		{"cut", known, []Block{{Type: typeErrno, Want: 8, Data: []byte{5}}}, "returned -1 (errno unavailable: memory not readable)", "returned -1"},
		{"several", known, []Block{{Type: typeErrno, Status: BlockFault, Want: uint32(errnoSeveral)}}, "returned -1 (errno unavailable: the process has several C libraries, each with an errno of its own)", "returned -1"},
		{"none", known, nil, "returned -1 (errno unavailable: it was early)", "returned -1"},
		{"nobody to ask", nil, nil, "returned -1 (errno unavailable: nobody knew where it is)", "returned -1"},
	} {
		for rule, want := range map[ErrorRule]string{RuleErrno: c.want, RuleNegative: c.other} {
			if got := ruledCallWith(t, trace.LangC, trace.Field{Type: int32Type}, rule, 0xffff_ffff, c.errno, c.blocks...); got != errorText(rule, want) {
				t.Errorf("%s: got %q, want %q", c.name, got, want)
			}
		}
	}
}
