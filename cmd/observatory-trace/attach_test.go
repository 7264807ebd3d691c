package main

import (
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestShowUsage: -o json has what a call used, without what is not known.
func TestShowUsage(t *testing.T) {
	for _, c := range []struct {
		used *trace.Resources
		want string
	}{
		{nil, `"depth":0}`},
		{
			&trace.Resources{CPUNS: 1_500_000, MinorFaults: 0, MajorFaults: 1, RSSDeltaKB: -4, Switches: 2},
			`"depth":0,"cpu_ms":1.5,"minor_faults":0,"major_faults":1,"rss_delta_kb":-4,"switches":2}`,
		},
		{&trace.Resources{NoCPU: true, NoCounts: true, RSSDeltaKB: 8}, `"depth":0,"rss_delta_kb":8}`},
		{&trace.Resources{CPUNS: 1000, NoRSS: true}, `"depth":0,"cpu_ms":0.001,"minor_faults":0,"major_faults":0,"switches":0}`},
	} {
		var out strings.Builder
		call := &trace.Call{Func: &trace.Function{Name: "f"}, Process: &trace.Process{}, Resources: c.used}
		must(t, shower("json", &out)(call))
		if !strings.HasSuffix(strings.TrimSpace(out.String()), c.want) {
			t.Errorf("%+v: %s, which should end in %s", c.used, out.String(), c.want)
		}
	}
}

// TestShowWithoutProcess: a process may have ended before anybody could look at it.
func TestShowWithoutProcess(t *testing.T) {
	for _, form := range []string{"json", "tree"} {
		var out strings.Builder
		must(t, shower(form, &out)(&trace.Call{Func: &trace.Function{Name: "f"}, TID: 7}))
		if !strings.Contains(out.String(), "f") {
			t.Errorf("%s: %q", form, out.String())
		}
	}
}
