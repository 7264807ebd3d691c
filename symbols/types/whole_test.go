package types

import (
	"os"
	"strings"
	"testing"
)

// TestWholeProgram reads every signature of a program, runtime included.
// TYPES_PROGRAM names another program, TYPES_MATCH symbols to be printed.
func TestWholeProgram(t *testing.T) {
	path := os.Getenv("TYPES_PROGRAM")
	if path == "" {
		path = compileGo(t, "", "./testdata/golang")
	}
	f := openFile(t, path)
	c := NewCompiler(2)
	for _, symbol := range sortedSymbols(f) {
		sig, err := f.reader.Signature(f.funcs[symbol])
		if err != nil {
			t.Errorf("%s: %v", symbol, err)
			continue
		}
		c.Add(sig.Entry)
		c.Add(sig.Exit)
		if match := os.Getenv("TYPES_MATCH"); match != "" && strings.Contains(symbol, match) {
			t.Log(symbol, describe(sig))
		}
	}
	progs, edges := c.Programs()
	t.Logf("%d functions, %d types, %d programs, %d edges, %d not followed", len(f.funcs), len(f.reader.nodes), len(progs), len(edges), c.Dropped())
	if len(f.funcs) < 1000 || len(edges) < 100 {
		t.Error("too few functions or pointers")
	}
}
