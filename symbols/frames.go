package symbols

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/ehframe"
	"github.com/observatory-trace/observatory-trace/symbols/units"
)

// Frame is a function's place in a stack.
type Frame struct {
	Function string // as NameAt has it; empty when unknown
	File     string // empty when unknown
	Line     int    // 0 when unknown
}

// Frames lists the functions that an instruction at a virtual address belongs
// to, the innermost first: those that were inlined there, by the debug
// information (DW_TAG_inlined_subroutine) or Go's own tables, and at last the
// one whose code it is. It is empty when nothing is known of the address.
func (f *File) Frames(addr uint64) (frames []Frame, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err != nil {
			return err
		}
		name := ""
		if i := t.containing(addr); i >= 0 {
			e := t.entries[i]
			if e.parent >= 0 {
				e = t.entries[e.parent]
			}
			name = t.display(e)
		}
		if frames = f.goFrames(t, addr); frames == nil {
			frames = f.dwarfFrames(addr)
		}
		n := len(frames)
		switch {
		case n == 0 && name != "":
			frames = []Frame{{Function: name}}
		case n > 0 && name != "":
			frames[n-1].Function = name
		}
		for i := range frames {
			frames[i].Function, frames[i].File = strings.Clone(frames[i].Function), strings.Clone(frames[i].File)
		}
		return nil
	})
	return frames, err
}

func (f *File) goFrames(t *table, addr uint64) (frames []Frame) {
	if t.pcln == nil {
		return nil
	}
	i := t.pcln.Find(addr)
	if i < 0 {
		return nil
	}
	fn, ok := t.pcln.Func(i)
	if !ok {
		return nil
	}
	var data func(uint32) []byte
	if base := f.goFuncData(); base != 0 {
		data = func(offset uint32) []byte { return f.img.bytesAt(base + uint64(offset)) }
	}
	for _, p := range t.pcln.Frames(fn, addr, data) {
		frames = append(frames, Frame{Function: goName(p.Name), File: p.File, Line: p.Line})
	}
	return frames
}

func (f *File) dwarfFrames(addr uint64) []Frame {
	p := f.dwarf()
	if p.index == nil {
		return nil
	}
	u := p.index.Find(addr)
	if u == nil {
		return nil
	}
	place := Frame{}
	place.File, place.Line = p.index.Line(u, addr)
	list := f.unitFunctions(u)
	i := slices.IndexFunc(list, func(fn units.Function) bool {
		return slices.ContainsFunc(fn.Ranges, func(r units.Range) bool { return addr >= r.Low && addr < r.High })
	})
	if i < 0 {
		return []Frame{place}
	}
	// Each function is where the next inner one was called.
	frames := []Frame{{Function: dwarfName(list[i])}}
	for _, call := range p.index.Inlined(list[i], addr) {
		frames[0].File, frames[0].Line = call.File, call.CallLine
		frames = slices.Insert(frames, 0, Frame{Function: dwarfName(call.Function)})
	}
	frames[0].File, frames[0].Line = place.File, place.Line
	return frames
}

// dwarfName is a function's name by its debug information.
func dwarfName(fn units.Function) string {
	if fn.LinkageName != "" {
		return demangled(fn.LinkageName)
	}
	return fn.Name
}

// Caller finds the registers of a frame's caller by the file's unwind
// information (.eh_frame); see ehframe.Table.Caller.
func (f *File) Caller(addr uint64, r *ehframe.Registers, memory ehframe.Memory) (next ehframe.Registers, err error) {
	readErr := f.read(func() error {
		next, err = f.frames().Caller(addr, r, memory)
		return nil
	})
	if readErr != nil {
		return next, readErr
	}
	return next, err
}

// GoCode says whether an address belongs to a function of Go, which keeps frame pointers.
func (f *File) GoCode(addr uint64) (is bool) {
	_ = f.read(func() error {
		if f.goInfo() == nil {
			return nil
		}
		t, err := f.functions()
		is = err == nil && t.pcln != nil && t.pcln.Find(addr) >= 0
		return nil
	})
	return is
}

// moduledataGofunc is the offset of runtime.moduledata's gofunc, bytes, since Go 1.20.
const moduledataGofunc = 320

// goFuncData finds the address of go:func.*, which the tables of inlined calls
// are relative to; 0 when it isn't found. Runtime.moduledata has it, which is
// found by what it begins with: the address of the function table.
func (f *File) goFuncData() uint64 {
	p := f.golang
	if p == nil || p.funcDataRead {
		if p == nil {
			return 0
		}
		return p.funcData
	}
	p.funcDataRead = true
	for _, at := range f.pointersTo(p.pclnAddr) {
		text, _ := f.img.uint64At(at + moduledataText)
		base, ok := f.img.uint64At(at + moduledataGofunc)
		if ok && f.inText(text) && f.img.bytesAt(base) != nil {
			p.funcData = base
			break
		}
	}
	return p.funcData
}

// pointersTo finds the words of the file's data that hold an address.
func (f *File) pointersTo(addr uint64) (found []uint64) {
	for at, v := range f.img.relative() {
		if v == addr {
			found = append(found, at)
		}
	}
	for _, s := range f.img.elf.Sections {
		if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_ALLOC == 0 || s.Flags&elf.SHF_EXECINSTR != 0 {
			continue
		}
		b, err := f.img.raw(s)
		if err != nil {
			continue
		}
		for off := 0; off+8 <= len(b); off += 8 {
			if binary.LittleEndian.Uint64(b[off:]) == addr {
				found = append(found, s.Addr+uint64(off))
			}
		}
	}
	return found
}
