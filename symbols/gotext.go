package symbols

import (
	"errors"

	"github.com/observatory-trace/observatory-trace/symbols/pclntab"
)

// Offsets in runtime.moduledata that have been the same from Go 1.18 on, bytes.
const (
	moduledataMinPC = 160
	moduledataText  = 176
)

// goTextStart finds the address of runtime.text, which Go's function table
// counts from: by its symbol, by the table's header (up to Go 1.25), or by
// moduledata.
func (f *File) goTextStart(t *table) (uint64, error) {
	for _, s := range t.syms {
		if cstringAt(t.names, uint64(s.name)) == "runtime.text" {
			return s.addr, nil
		}
	}
	p := f.golang
	if start, ok := f.img.uint64At(p.pclnAddr + pclntab.TextStartOffset); ok && f.inText(start) {
		return start, nil
	}
	if start := f.moduledataText(); f.inText(start) {
		return start, nil
	}
	return 0, errors.New("read Go function table: runtime.text not found (a stripped program of an unknown kind)")
}

func (f *File) inText(addr uint64) bool {
	_, ok := f.FileOffset(addr)
	return ok && addr != 0
}

// moduledataText reads the text field of runtime.firstmoduledata, which has a
// section of its own from Go 1.26 on.
func (f *File) moduledataText() uint64 {
	s := f.img.elf.Section(".go.module")
	if s == nil {
		return 0
	}
	if header, ok := f.img.uint64At(s.Addr); !ok || header != f.golang.pclnAddr {
		return 0
	}
	minPC, _ := f.img.uint64At(s.Addr + moduledataMinPC)
	start, _ := f.img.uint64At(s.Addr + moduledataText)
	if minPC < start {
		return 0
	}
	return start
}
