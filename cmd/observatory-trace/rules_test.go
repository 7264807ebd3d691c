package main

import (
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/decode"
	"github.com/observatory-trace/observatory-trace/trace"
)

func TestRedactFlags(t *testing.T) {
	checkFails(t, 2, "--no-redact", "attach", "-p", "1", "--redact", "a", "--no-redact")
	checkFails(t, 2, "pattern", "attach", "-p", "1", "--redact", "/(/")
	r, err := (&ruleFlags{redact: []string{"customer*", "/^x.*y$/"}}).compile()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"customerEmail": "customer*", "CustomerEmail": "customer*", "the_customer": "", "xly": "/^x.*y$/", "password": "password",
	} {
		if got := r.redact.Name(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	args := []string{"./server", "--token", "t0p"}
	if got := (&rules{}).commandLine(args); !slices.Equal(got, []string{"./server", "--token", "[redacted: token]"}) {
		t.Errorf("got %q", got)
	}
	if got := (&rules{showSecrets: true}).commandLine(args); !slices.Equal(got, args) {
		t.Errorf("with redaction off: %q", got)
	}
}

func TestErrorFlags(t *testing.T) {
	for _, text := range []string{"store*", "store*=maybe", "=null", "a=", "/(/=null"} {
		checkFails(t, 2, "", "attach", "-p", "1", "--error", text)
	}
	r, err := (&ruleFlags{errors: []string{"operator==null", "store_open=errno", "store*=negative"}}).compile()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]decode.ErrorRule{
		"operator=": decode.RuleNull, "store_open": decode.RuleErrno, "store_close": decode.RuleNegative, "restore": decode.RuleNone,
	} {
		result := &trace.Type{Kind: trace.KindInt, Size: 4}
		f := &trace.Function{Name: name, RawName: name, ExitPlan: &trace.Plan{
			Root:  &trace.Type{Kind: trace.KindStruct, Size: 4, Fields: []trace.Field{{Type: result}}},
			Moves: []trace.Move{{Size: 4, Source: trace.SourceRegister}},
		}}
		if got, want := r.failure(f), want.Failure(f); (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestFilterFlags(t *testing.T) {
	checkFails(t, 2, "(1:8)", "attach", "-p", "1", "--filter", "amount >")
	checkFails(t, 2, "neither true nor false", "attach", "-p", "1", "--filter", "amount + 1")
	checkFails(t, 2, "min-duration", "attach", "-p", "1", "--min-duration", "-1s")
	checkFails(t, 2, "min-duration", "attach", "-p", "1", "--min-duration", "long")
	r, err := (&ruleFlags{filter: "n > 1", minimum: 1000}).compile()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		call trace.Call
		want bool
	}{
		{trace.Call{DurationNS: 1000, Args: []byte(`{"n":2}`)}, true},
		{trace.Call{DurationNS: 1000, Args: []byte(`{"n":1}`)}, false},
		{trace.Call{DurationNS: 999, Args: []byte(`{"n":2}`)}, false},
		{trace.Call{DurationNS: 999, Args: []byte(`{"n":2}`), Status: trace.StatusErr}, true},
		{trace.Call{DurationNS: 999, Args: []byte(`{"n":2}`), Status: trace.StatusOpen}, true},
		{trace.Call{DurationNS: 1000}, false},
	} {
		if got := r.wants(&c.call); got != c.want {
			t.Errorf("%+v: %v", c.call, got)
		}
	}
	functions := []*trace.Function{{Traceable: true, Params: []trace.Param{{Name: "m"}}}, {Params: []trace.Param{{Name: "n"}}}}
	if got := r.idle(functions); len(got) != 1 {
		t.Errorf("said: %q", got)
	}
}
