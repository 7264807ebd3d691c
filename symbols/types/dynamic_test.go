package types

import (
	"debug/dwarf"
	"fmt"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

func TestDynamic(t *testing.T) {
	type fact struct {
		kind            trace.Kind // of what the data word leads to
		pointer, direct bool
	}
	want := map[string]fact{
		"string":              {trace.KindString, false, false},
		"int":                 {trace.KindInt, false, false},
		"*errors.errorString": {trace.KindStruct, true, false},
		"*fmt.wrapError":      {trace.KindStruct, true, false},
		"*io/fs.PathError":    {trace.KindStruct, true, false},
		"syscall.Errno":       {trace.KindUint, false, false},
		"runtime.boundsError": {trace.KindStruct, false, false},
		"runtime.plainError":  {trace.KindString, false, false},
		"main.failure":        {trace.KindStruct, false, false},
		"map[string]int":      {trace.KindMap, false, true},
		"func()":              {trace.KindFunc, false, true},
		"unsafe.Pointer":      {trace.KindUnknown, true, false},
	}
	for _, toolchain := range []string{"", "go1.24.6", "go1.22.12"} {
		t.Run(toolchain, func(t *testing.T) {
			f := openFile(t, compileGo(t, toolchain, "testdata/golang/main.go"))
			missing := map[string]bool{}
			for name := range want {
				missing[name] = true
			}
			for _, d := range dynamics(t, f) {
				w, ok := want[d.Name]
				if !ok {
					continue
				}
				delete(missing, d.Name)
				got := fact{pointer: d.Pointer, direct: d.Direct}
				if d.Type != nil {
					got.kind = d.Type.Kind
				}
				if got != w {
					t.Errorf("%s: %+v, want %+v", d.Name, got, w)
				}
			}
			if len(missing) > 0 {
				t.Errorf("not found: %v", missing)
			}
		})
	}
}

// dynamics reads all runtime types of a program.
func dynamics(t *testing.T, f *file) (all []Dynamic) {
	t.Helper()
	symbols, err := f.elf.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "runtime.types" {
			continue
		}
		list, err := runtimeTypes(f.data, s.Value)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range list {
			d, err := f.reader.Dynamic(rt)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
	}
	return all
}

// TestErrorTypes: every error type that the linker made an itab for has a runtime type of that address.
func TestErrorTypes(t *testing.T) {
	f := openFile(t, compileGo(t, "", "testdata/golang/main.go"))
	names := map[uint64]string{}
	for _, d := range dynamics(t, f) {
		names[d.Address] = d.Name
	}
	symbols, err := f.elf.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range symbols {
		name, ok := strings.CutPrefix(s.Name, "go:itab.")
		name, isError := strings.CutSuffix(name, ",error")
		if !ok || !isError {
			continue
		}
		found++
		word := make([]byte, 8)
		section := f.elf.Sections[s.Section]
		if _, err := section.ReadAt(word, int64(s.Value-section.Addr)+ITabType); err != nil {
			t.Fatal(err)
		}
		if got := names[number64(word)]; got != name {
			t.Errorf("%s leads to %q", s.Name, got)
		}
	}
	if found < 5 {
		t.Errorf("%d error types", found)
	}
}

// runtimeTypes lists the types that the runtime of a Go program knows. types
// is the address of the symbol runtime.types, from which DW_AT_go_runtime_type counts.
func runtimeTypes(d *dwarf.Data, types uint64) (list []RuntimeType, err error) {
	defer func() {
		if p := recover(); p != nil {
			list, err = nil, fmt.Errorf("list runtime types: %w: %v", ErrDWARF, p)
		}
	}()
	r := &cursor{Reader: d.Reader()}
	for {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("list runtime types: %w: %w", ErrDWARF, err)
		}
		if e == nil {
			return list, nil
		}
		if t, ok := runtimeType(e, types); ok {
			list = append(list, t)
		}
		if e.Tag != dwarf.TagCompileUnit && e.Children {
			skip(r)
		}
	}
}

// skip leaves an entry's children out, without recursion and only forward.
func skip(c *cursor) {
	for depth := 1; depth > 0; {
		e, err := c.Next()
		if err != nil || e == nil {
			return
		}
		if e.Tag == 0 {
			depth--
		} else if e.Children {
			depth++
		}
	}
}

// attrGoRuntimeType is DW_AT_go_runtime_type.
const attrGoRuntimeType dwarf.Attr = 0x2904

func runtimeType(e *dwarf.Entry, types uint64) (RuntimeType, bool) {
	off, ok := e.Val(attrGoRuntimeType).(uint64)
	if v, isInt := e.Val(attrGoRuntimeType).(int64); isInt {
		off, ok = uint64(v), true
	}
	return RuntimeType{Offset: e.Offset, Address: types + off}, ok && off != 0
}
