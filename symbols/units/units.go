// Package units indexes a program's DWARF by compile unit and finds the
// functions with code in one unit, without reading any other: that is what
// keeps selecting a few functions of a large program cheap.
//
// Bytes in, offsets and names out. It leaves types and parameters to whoever
// reads the entries at the offsets it gives. It must not import anything of
// this module, and it must not trust a byte of its input.
//
// References are to the DWARF 5 standard; versions 2 to 4 and GNU's extensions
// to them are read too.
package units

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ErrDamaged is wrapped by every error about debug information that contradicts itself.
var ErrDamaged = errors.New("damaged debug information")

// Sections are the uncompressed sections of a file; those it lacks are nil.
type Sections struct {
	Info, Abbrev, Str, LineStr, Ranges, RngLists, Addr, StrOffsets []byte
	// Line reads .debug_line, which only the names of files need.
	Line func() []byte
}

// Index knows a file's compile units by their addresses. It refers to the
// sections. It is not safe for concurrent use.
type Index struct {
	sec     Sections
	units   []*Unit
	ranges  []unitRange // by Low, for Find
	abbrev  abbrevCache // of the unit being read
	foreign abbrevCache // of a unit that it refers to
	lines   []byte      // .debug_line, once read
	rows    rowCache
	left    int // pieces of range lists that may still be read
	found   int // functions with code so far
}

// Range is a run of addresses: Low is the first, High the first beyond.
type Range struct{ Low, High uint64 }

type unitRange struct {
	Range
	unit *Unit
}

// Unit is one compile unit. Its strings refer to the sections.
type Unit struct {
	Language uint16 // DW_LANG_… (section 7.12)
	Name     string // the primary source file
	CompDir  string // the directory it was compiled in

	start, root, end int // offsets in Info: of the header, of the first entry, of the next unit
	version          uint16
	dwarf64          bool
	addrSize         int
	abbrevOff        uint64

	addrBase, rngBase, strBase uint64
	low                        uint64
	stmtList                   uint64
	hasLines                   bool
	files                      []sourceFile // once read
	filesRead                  bool
}

// New reads the headers and the first entry of all units. Addresses outside
// text, the addresses of the program's code, belong to functions that the
// linker discarded and are ignored.
func New(sec Sections, text Range) (*Index, error) {
	x := &Index{sec: sec}
	for off := 0; off < len(sec.Info); {
		u, err := x.header(off)
		if err != nil {
			return nil, err
		}
		off = u.end
		if u.root > 0 {
			x.units = append(x.units, u)
		}
	}
	if err := x.checkAbbrevs(); err != nil {
		return nil, err
	}
	x.refill()
	for _, u := range x.units {
		if err := x.readRoot(u, text); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(x.ranges, func(a, b unitRange) int { return cmp.Compare(a.Low, b.Low) })
	return x, nil
}

// Units are all units in the order of the file.
func (x *Index) Units() []*Unit { return x.units }

// Find returns the unit whose code includes an address, or nil.
func (x *Index) Find(addr uint64) *Unit {
	i, ok := slices.BinarySearchFunc(x.ranges, addr, func(r unitRange, addr uint64) int { return cmp.Compare(r.Low, addr) })
	if ok {
		return x.ranges[i].unit
	}
	// Ranges of different units don't overlap, but empty or damaged ones may
	// lie between: look a few back.
	for back := 0; i > 0 && back < 4; back++ {
		if i--; addr < x.ranges[i].High {
			return x.ranges[i].unit
		}
	}
	return nil
}

// Unit types (section 7.5.1).
const (
	utType         = 2
	utSkeleton     = 4
	utSplitCompile = 5
	utSplitType    = 6
)

// header reads the header of the unit at off (section 7.5.1.1).
func (x *Index) header(off int) (*Unit, error) {
	b := buf{data: x.sec.Info, off: off}
	u := &Unit{start: off}
	length := uint64(b.u32())
	if length == 0xffffffff {
		u.dwarf64 = true
		length = b.u64()
	}
	if b.bad || length > uint64(len(x.sec.Info)-b.off) {
		return nil, fmt.Errorf("%w: unit at %#x runs past the end of .debug_info", ErrDamaged, off)
	}
	u.end = b.off + int(length)
	if length == 0 {
		return u, nil
	}
	u.version = b.u16()
	kind := uint8(0)
	switch {
	case u.version >= 2 && u.version <= 4:
		u.abbrevOff = b.offset(u.dwarf64)
		u.addrSize = int(b.u8())
	case u.version == 5:
		kind = b.u8()
		u.addrSize = int(b.u8())
		u.abbrevOff = b.offset(u.dwarf64)
	default:
		return nil, fmt.Errorf("%w: unit at %#x has DWARF version %d; 2 to 5 can be read", ErrDamaged, off, u.version)
	}
	switch kind {
	case utType, utSplitType:
		b.skip(8)
		b.offset(u.dwarf64)
	case utSkeleton, utSplitCompile:
		b.skip(8)
	}
	if b.bad || b.off > u.end || u.addrSize != 8 && u.addrSize != 4 {
		return nil, fmt.Errorf("%w: unit at %#x has a broken header", ErrDamaged, off)
	}
	u.root = b.off
	return u, nil
}

// readRoot reads a unit's first entry.
func (x *Index) readRoot(u *Unit, text Range) error {
	b := buf{data: x.sec.Info[:u.end], off: u.root}
	code := b.uleb()
	if code == 0 {
		return nil
	}
	ab, err := x.abbrev.one(x.sec.Abbrev, u.abbrevOff, code)
	if err != nil {
		return fmt.Errorf("unit at %#x: %w", u.start, err)
	}
	var name, dir, low, high, ranges value
	for _, a := range ab.attrs {
		v := b.value(a, u)
		switch a.attr {
		case attrName:
			name = v
		case attrCompDir:
			dir = v
		case attrLanguage:
			u.Language = uint16(v.num)
		case attrLowPC:
			low = v
		case attrHighPC:
			high = v
		case attrRanges:
			ranges = v
		case attrStmtList:
			u.stmtList, u.hasLines = v.num, true
		case attrAddrBase, attrGNUAddrBase:
			u.addrBase = v.num
		case attrStrOffsetsBase:
			u.strBase = v.num
		case attrRngListsBase, attrGNURangesBase:
			u.rngBase = v.num
		}
	}
	if b.bad {
		return fmt.Errorf("%w: unit at %#x: its first entry runs past its end", ErrDamaged, u.start)
	}
	if ab.tag != tagCompileUnit && ab.tag != tagSkeletonUnit {
		return nil
	}
	u.Name, u.CompDir = x.str(u, name), x.str(u, dir)
	u.low, _ = x.address(u, low)
	for _, r := range x.extent(u, low, high, ranges) {
		if r.Low >= text.Low && r.High <= text.High && r.Low < r.High {
			x.ranges = append(x.ranges, unitRange{r, u})
		}
	}
	return nil
}

// refill allows one pass over the range lists: lists that don't share their
// pieces can't have more, since a piece takes two bytes at least.
func (x *Index) refill() { x.left = (len(x.sec.Ranges) + len(x.sec.RngLists)) / 2 }

func (x *Index) spend() bool {
	x.left--
	return x.left >= 0
}

// extent resolves the addresses of an entry: DW_AT_ranges, else DW_AT_low_pc
// and DW_AT_high_pc.
func (x *Index) extent(u *Unit, low, high, ranges value) []Range {
	if ranges.form != 0 {
		return x.rangeList(u, ranges)
	}
	lo, ok := x.address(u, low)
	if !ok || high.form == 0 {
		return nil
	}
	hi, ok := x.address(u, high)
	if !ok { // a constant: a length
		hi = lo + high.num
	}
	return []Range{{lo, hi}}
}
