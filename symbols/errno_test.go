package symbols

import (
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestErrnoCode reads forms of __errno_location that compilers have made, and others that tell nothing.
func TestErrnoCode(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       *trace.ErrnoPlace // nil: not of a form that is known
	}{
		{"glibc", "488b0579b71a00 6448030425 00000000 c3", &trace.ErrnoPlace{Slot: 0x1000 + 7 + 0x1ab779}},
		{"glibc with CET", "f30f1efa 488b0579b71a00 6448030425 00000000 c3", &trace.ErrnoPlace{Slot: 0x1000 + 11 + 0x1ab779}},
		{"thread pointer first", "64488b042500000000 48030500010000 c3", &trace.ErrnoPlace{Slot: 0x1000 + 16 + 0x100}},
		{"a word before it", "488b05f8ffffff 6448030425 00000000 c3", &trace.ErrnoPlace{Slot: 0x1000 + 7 - 8}},
		{"glibc, static", "48c7c0b8ffffff 6448030425 00000000 c3", &trace.ErrnoPlace{Offset: -72}},
		{"musl", "64488b042500000000 4883c034 c3", &trace.ErrnoPlace{Offset: 0x34}},
		{"musl, lea", "64488b042500000000 488d4034 c3", &trace.ErrnoPlace{Offset: 0x34}},
		{"musl, lea of another register", "64488b0c2500000000 488d4134 c3", &trace.ErrnoPlace{Offset: 0x34}},
		{"musl, sub", "64488b042500000000 4883e8cc c3", &trace.ErrnoPlace{Offset: 0x34}},
		{"not optimised", "55 4889e5 64488b042500000000 488d80b8ffffff 5d c3", &trace.ErrnoPlace{Offset: -72}},
		{"empty", "", nil},
		{"no return", "64488b042500000000 4883c034", nil},
		{"no thread pointer", "48c7c0b8ffffff c3", nil},
		{"twice the thread pointer", "64488b042500000000 6448030425 00000000 c3", nil},
		{"two words", "488b0579b71a00 48030500010000 6448030425 00000000 c3", nil},
		{"a word and a constant", "488b0579b71a00 6448030425 00000000 4883c034 c3", nil},
		{"another word of the thread", "64488b042510000000 4883c034 c3", nil},
		{"memory", "64488b042500000000 488b4034 c3", nil},
		{"half a register", "64488b042500000000 83c034 c3", nil},
		{"scaled", "64488b0c2500000000 488d044900 c3", nil},
		{"call", "e800000000 c3", nil},
		{"jump", "ebfe c3", nil},
		{"not code", "0606060606", nil},
		{"long", strings.Repeat("90", 64) + "64488b042500000000 4883c034 c3", nil},
	} {
		code, err := hex.DecodeString(strings.ReplaceAll(c.code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := errnoPlace(code, 0x1000)
		if ok != (c.want != nil) || ok && got != *c.want {
			t.Errorf("%s: got %+v, %v", c.name, got, ok)
		}
	}
}

// TestErrnoOfFiles holds that a static program's errno is in one place by its function
// and by its variable, and that what isn't a C library has none.
func TestErrnoOfFiles(t *testing.T) {
	for _, c := range []struct {
		target   testenv.Target
		variable bool
	}{
		{testenv.Target{Source: "c/errors", Static: true}, true},
		{testenv.Target{Source: "c/errors", Static: true, Compiler: "clang-19", Flags: []string{"-static-pie", "-fPIE"}}, true},
		{testenv.Target{Source: "c/errors", Static: true, Compiler: "musl-gcc"}, false},
	} {
		program := testenv.Build(t, c.target)
		place, err := errnoOf(t, program)
		if err != nil || place.Slot != 0 || place.Offset == 0 {
			t.Errorf("%v: got %+v, %v", c.target, place, err)
		}
		other := filepath.Join(t.TempDir(), "errors")
		if out, err := exec.Command("objcopy", "--strip-symbol=__errno_location", "--strip-symbol=___errno_location", program, other).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v\n%s", err, out)
		}
		byVariable, err := errnoOf(t, other)
		if c.variable && (err != nil || byVariable != place) || !c.variable && err == nil {
			t.Errorf("%v: without the function got %+v, %v, with it %+v", c.target, byVariable, err, place)
		}
	}
	if place, err := errnoOf(t, testenv.Build(t, testenv.Target{Source: "c/errors"})); err == nil {
		t.Errorf("a program whose C library is another file: got %+v", place)
	}
}

func errnoOf(t *testing.T, path string) (trace.ErrnoPlace, error) {
	t.Helper()
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Errno()
}
