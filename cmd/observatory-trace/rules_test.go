package main

import (
	"slices"
	"testing"
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
	args := []string{"observatory-trace", "attach", "-s", "pass*", "--", "./server", "--token", "t0p", "--db-password=hunter2", "--api-key", "-v", "postgres://a:b@c/", "x"}
	want := []string{"observatory-trace", "attach", "-s", "pass*", "--", "./server", "--token", "[redacted: token]", "--db-password=[redacted: password]", "--api-key", "-v", "postgres://a:[redacted: password]@c/", "x"}
	if got := (&rules{}).commandLine(args); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := (&rules{showSecrets: true}).commandLine(args); !slices.Equal(got, args) {
		t.Errorf("with redaction off: %q", got)
	}
}
