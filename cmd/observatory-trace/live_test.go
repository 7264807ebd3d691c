package main

import (
	"strings"
	"testing"
)

// TestFit holds that a report which is higher than the screen loses the end of
// its table, and says so.
func TestFit(t *testing.T) {
	report := []string{"PROCESS", "a", "b", "c", "d", "", "4 functions", "missing: 1"}
	for height, want := range map[int]string{
		20: "PROCESS a b c d  4 functions missing: 1",
		8:  "PROCESS a b c d  4 functions missing: 1",
		7:  "PROCESS a b … 2 more  4 functions missing: 1",
		6:  "PROCESS a … 3 more  4 functions missing: 1",
		4:  "PROCESS … 4 more  4 functions",
		2:  "PROCESS … 4 more",
	} {
		if got := strings.Join(fit(report, height), " "); got != want {
			t.Errorf("%d lines: %q, want %q", height, got, want)
		}
	}
}
