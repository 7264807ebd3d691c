package pclntab

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

// toolchains are one of each release of Go that is supported.
var toolchains = []string{"go1.22.12", "go1.23.12", "go1.24.6", "go1.25.3", "go"}

func section(t testing.TB, path string) (table []byte, text uint64) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".gopclntab")
	if s == nil {
		t.Fatalf("%s has no .gopclntab", path)
	}
	if table, err = s.Data(); err != nil {
		t.Fatal(err)
	}
	return table, f.Section(".text").Addr
}

// TestAgainstGosym compares every function with the standard library's reader.
func TestAgainstGosym(t *testing.T) {
	for _, compiler := range toolchains {
		t.Run(compiler, func(t *testing.T) {
			data, text := section(t, testenv.Build(t, testenv.Target{Source: "go/minimal", Compiler: compiler, Strip: testenv.StripAll}))
			table, err := New(data, text)
			if err != nil {
				t.Fatal(err)
			}
			want, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
			if err != nil {
				t.Fatal(err)
			}
			if table.Len() != len(want.Funcs) || table.Len() < 1000 {
				t.Fatalf("%d functions, want %d", table.Len(), len(want.Funcs))
			}
			for i, w := range want.Funcs {
				f, ok := table.Func(i)
				if !ok || f.Name != w.Name || f.Addr != w.Entry || f.Addr+f.Size != w.End {
					t.Fatalf("function %d: %+v, %v; want %s at %#x to %#x", i, f, ok, w.Name, w.Entry, w.End)
				}
				file, line, _ := want.PCToLine(w.Entry)
				if got := table.File(f); got != file {
					t.Errorf("%s: file %q, want %q", f.Name, got, file)
				}
				// The first instruction's line is the declaration's, or (where the
				// prologue is empty or inlined code comes first) one behind it.
				if f.Line > line && file == table.File(f) && f.Line != 0 {
					t.Errorf("%s: line %d, but its first instruction is on line %d", f.Name, f.Line, line)
				}
				if f.Size > 0 && (table.Find(f.Addr) != i || table.Find(f.Addr+f.Size-1) != i) {
					t.Errorf("%s: found as %d and %d, want %d", f.Name, table.Find(f.Addr), table.Find(f.Addr+f.Size-1), i)
				}
			}
			if table.Find(text-1) != -1 || table.Find(want.Funcs[len(want.Funcs)-1].End) != -1 {
				t.Error("addresses outside of the text are found")
			}
		})
	}
}

func TestNewErrors(t *testing.T) {
	good := make([]byte, headerSize+64)
	binary.LittleEndian.PutUint32(good, magic120)
	good[6], good[7] = 1, 8
	for i := range 8 {
		binary.LittleEndian.PutUint64(good[8+8*i:], headerSize)
	}
	binary.LittleEndian.PutUint64(good[8:], 1)
	for name, change := range map[string]func([]byte) []byte{
		"short":          func(b []byte) []byte { return b[:headerSize-1] },
		"old magic":      func(b []byte) []byte { binary.LittleEndian.PutUint32(b, magic118); return b },
		"unknown magic":  func(b []byte) []byte { b[0] = 0; return b },
		"pointer size":   func(b []byte) []byte { b[7] = 4; return b },
		"quantum":        func(b []byte) []byte { b[6] = 3; return b },
		"functions":      func(b []byte) []byte { binary.LittleEndian.PutUint64(b[8:], 1<<62); return b },
		"names outside":  func(b []byte) []byte { binary.LittleEndian.PutUint64(b[8+3*8:], 1<<40); return b },
		"table outside":  func(b []byte) []byte { binary.LittleEndian.PutUint64(b[8+7*8:], 1<<63); return b },
		"too many funcs": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[8:], 100); return b },
	} {
		if _, err := New(change(append([]byte(nil), good...)), 0x401000); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(good, 0x401000); err != nil {
		t.Errorf("a sound header: %v", err)
	}
}

// FuzzTable reads all there is in damaged tables.
func FuzzTable(f *testing.F) {
	data, text := section(f, testenv.Build(f, testenv.Target{Source: "go/minimal", Strip: testenv.StripAll}))
	f.Add(data[:1<<12], text)
	f.Add(data[:1<<16], text)
	broken, err := damaged.Go(testenv.Build(f, testenv.Target{Source: "go/minimal"}))
	if err != nil {
		f.Fatal(err)
	}
	for _, program := range broken {
		file, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			f.Fatal(err)
		}
		data, err := file.Section(".gopclntab").Data()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:1<<14], text)
	}
	f.Fuzz(func(t *testing.T, data []byte, text uint64) {
		table, err := New(data, text)
		if err != nil {
			return
		}
		for i := range min(table.Len(), 1<<12) {
			if fn, ok := table.Func(i); ok {
				table.File(fn)
				table.Find(fn.Addr)
				table.Frames(fn, fn.Addr+fn.Size/2, func(offset uint32) []byte { return data[uint64(offset)%uint64(len(data)):] })
			}
		}
	})
}
