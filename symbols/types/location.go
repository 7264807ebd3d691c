package types

import (
	"debug/dwarf"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// unit is what location lists need to know of a compilation unit.
type unit struct {
	off, end  dwarf.Offset // of its entry; of the first byte behind the unit
	version   uint16       // 0 when .debug_info was not given
	read      bool
	lowpc     uint64
	addrBase  uint64
	listBase  uint64
	llvm      bool // made by LLVM, which changes local functions' conventions without renaming them
	marks     bool // by one that marks the functions so changed
	old       bool // by a Rust before 1.62, which passed larger aggregates in registers
	optimised bool // and optimised
}

// readUnits finds the units' headers (DWARF 5, section 7.5.1).
func (r *Reader) readUnits() {
	if r.signed != nil {
		return
	}
	r.signed = map[uint64]dwarf.Offset{}
	info := r.sec.Info
	for off := uint64(0); off+12 <= uint64(len(info)); {
		length, head, wide := uint64(binary.LittleEndian.Uint32(info[off:])), uint64(4), uint64(4)
		if length == 0xffffffff {
			length, head, wide = binary.LittleEndian.Uint64(info[off+4:]), 12, 8
		}
		if length < 7 || length > uint64(len(info))-off-min(head, uint64(len(info))-off) || off+head+length > uint64(len(info)) {
			return
		}
		u := unit{version: binary.LittleEndian.Uint16(info[off+head:]), end: dwarf.Offset(off + head + length)}
		at := off + head + 2 + wide + 1
		if u.version >= 5 {
			at++
			switch info[off+head+2] {
			case 2, 6: // DW_UT_type, DW_UT_split_type
				r.readSignature(off, at, wide)
				at += 8 + wide
			case 4, 5: // DW_UT_skeleton, DW_UT_split_compile
				at += 8
			}
		}
		u.off = dwarf.Offset(at)
		r.units = append(r.units, u)
		off += head + length
	}
}

// readSignature notes where the type of the type unit at off is. The signature lies at at.
func (r *Reader) readSignature(off, at, wide uint64) {
	if at+8+wide > uint64(len(r.sec.Info)) {
		return
	}
	d := data{r.sec.Info[at:], false}
	signature, in := d.u64(), uint64(0)
	if wide == 8 {
		in = d.u64()
	} else {
		in = uint64(d.u16()) | uint64(d.u16())<<16
	}
	if in < uint64(len(r.sec.Info))-off {
		r.signed[signature] = dwarf.Offset(off + in)
	}
}

// unit returns the unit that the entry at off is in, nil when it can't be told.
func (r *Reader) unit(off dwarf.Offset) *unit {
	r.readUnits()
	lo, hi := 0, len(r.units)
	for lo < hi {
		mid := (lo + hi) / 2
		if r.units[mid].end <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r.units) || r.units[lo].off > off {
		return nil
	}
	u := &r.units[lo]
	if !u.read {
		r.readUnit(u)
	}
	return u
}

func (r *Reader) readUnit(u *unit) {
	u.read = true
	r.die.Seek(u.off)
	e, err := r.die.Next()
	if err != nil || e == nil {
		return
	}
	u.lowpc, _ = e.Val(dwarf.AttrLowpc).(uint64)
	if v, ok := e.Val(dwarf.AttrAddrBase).(int64); ok {
		u.addrBase = uint64(v)
	}
	if v, ok := e.Val(dwarf.AttrLoclistsBase).(int64); ok {
		u.listBase = uint64(v)
	}
	u.producer(text(e, dwarf.AttrProducer))
	if u.llvm {
		u.optimised = r.keepsRegisters(u)
	}
}

// producer reads what a compiler says of itself: "clang version 14.0.6",
// "clang LLVM (rustc version 1.95.0 (…))".
func (u *unit) producer(s string) {
	if minor, ok := version(s, "rustc version 1."); ok {
		u.llvm, u.marks, u.old = true, minor >= 78, minor < 62 // Rust 1.78 has LLVM 18
		return
	}
	if major, ok := version(s, "clang version "); ok {
		u.llvm, u.marks = true, major >= 18
		return
	}
	u.llvm = strings.Contains(s, "LLVM") || strings.Contains(s, "clang")
}

// version reads the number behind a prefix.
func version(s, prefix string) (int, bool) {
	_, rest, ok := strings.Cut(s, prefix)
	end := 0
	for end < len(rest) && end < 6 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	return n, ok && err == nil
}

// keepsRegisters says whether some function of the unit leaves a parameter in
// the register that it came in: without optimisation each is stored at once.
func (r *Reader) keepsRegisters(u *unit) bool {
	r.die.Seek(u.off)
	if e, err := r.die.Next(); err != nil || e == nil {
		return false
	}
	var lowpc any // of the function that the walk is in, nil when it has no code
	for {
		e, err := r.die.Next()
		if err != nil || e == nil || isUnit(e.Tag) {
			return false
		}
		switch e.Tag {
		case dwarf.TagSubprogram:
			lowpc = e.Val(dwarf.AttrLowpc)
		case dwarf.TagInlinedSubroutine:
			lowpc = nil
		case dwarf.TagFormalParameter:
			f := e.AttrField(dwarf.AttrLocation)
			if pc, ok := lowpc.(uint64); ok && f != nil && r.startsInRegister(u, f, pc) {
				return true
			}
		}
	}
}

func (r *Reader) startsInRegister(u *unit, f *dwarf.Field, pc uint64) bool {
	expr, whole := f.Val.([]byte)
	if !whole {
		expr, _ = r.lookup(u, f, pc)
	}
	return len(expr) > 0 && (expr[0] >= opReg0 && expr[0] < opReg0+32 || expr[0] == opRegx)
}

// unitEntry returns the offset of the unit's own entry.
func (r *Reader) unitEntry(off dwarf.Offset) (dwarf.Offset, bool) {
	u := r.unit(off)
	if u == nil {
		return 0, false
	}
	return u.off, true
}

// piece is one run of a value's bytes and where it lies.
type piece struct {
	off, size uint32 // bytes, within the value
	source    trace.Source
	reg       uint8
	at        int32  // see trace.Move.Offset
	reason    string // why it can't be had; then the source says nothing
	uses      uint32 // the registers that a value without a place is computed from
}

// known says how much the debug information tells about a place at the function's first instruction.
type known uint8

const (
	unknown  known = iota // nothing that is valid there
	absent                // locations elsewhere, but none at the first instruction
	computed              // not in the caller's registers or memory any more
	located
)

// entryLocation reads where a parameter lies at lowpc. Only answers that hold
// there are given: an unoptimised function's stack slot is not filled yet.
func (r *Reader) entryLocation(fn *function, p *parameter) ([]piece, known) {
	field := p.entry.AttrField(dwarf.AttrLocation)
	if field == nil {
		return nil, unknown
	}
	expr, whole := field.Val.([]byte)
	if !whole {
		u := r.unit(p.entry.Offset)
		if u == nil {
			return nil, unknown
		}
		var ok bool
		if expr, ok = r.lookup(u, field, fn.LowPC); !ok {
			return nil, unknown
		}
		if expr == nil {
			return nil, absent
		}
	}
	pieces, ok := r.expression(expr, p.node.t.Size)
	switch {
	case ok && r.rebase(fn, pieces, whole) && r.plausible(pieces, whole):
		return pieces, judge(pieces, whole)
	case whole:
		return nil, unknown
	default:
		return nil, computed
	}
}

// judge says what pieces tell. What one expression for the whole function
// computes from the frame tells nothing: the frame isn't set up yet.
func judge(pieces []piece, whole bool) known {
	k := computed
	for _, c := range pieces {
		if c.reason != optimisedOut {
			return located
		}
		if whole && c.uses != 0 {
			k = unknown
		}
	}
	return k
}

// rebase turns offsets from the frame base into offsets from the CFA, as far
// as the frame base is known at the first instruction.
func (r *Reader) rebase(fn *function, pieces []piece, whole bool) bool {
	for i := range pieces {
		p := &pieces[i]
		if p.source != trace.SourceCFA || p.reason != "" {
			continue
		}
		switch {
		case fn.base == opCallFrameCFA:
		case fn.base == opReg0+7 && r.arch == AMD64 && !whole: // rsp, while the return address is on top
			p.at -= 8
		case fn.base == opReg0+31 && r.arch == ARM64 && !whole:
		default:
			return false
		}
	}
	return true
}

// plausible refuses locations that no caller can have filled: registers that
// carry no arguments, and (outside a list) words of the callee's own frame.
func (r *Reader) plausible(pieces []piece, whole bool) bool {
	for _, p := range pieces {
		switch {
		case p.reason != "":
		case p.source == trace.SourceRegister:
			if !r.carries(p.reg) {
				return false
			}
		case p.source == trace.SourceCFA:
			if p.at < 0 {
				return false
			}
		default:
			if whole || !r.carries(p.reg) {
				return false
			}
		}
	}
	return true
}

func (r *Reader) carries(reg uint8) bool {
	conv := r.arch.cConvention()
	if r.lang == trace.LangGo {
		conv = r.arch.goConvention(false)
	}
	for _, n := range conv.ints {
		if n == reg {
			return true
		}
	}
	return false
}

// lookup finds the expression that covers pc in a location list; ok is false
// when the list can't be read, the expression nil when none covers pc.
func (r *Reader) lookup(u *unit, field *dwarf.Field, pc uint64) (expr []byte, ok bool) {
	switch v := field.Val.(type) {
	case int64: // DW_FORM_sec_offset
		if u.version >= 5 {
			return r.list5(u, uint64(v), pc)
		}
		return r.list4(u, uint64(v), pc)
	case uint64: // DW_FORM_loclistx
		at := u.listBase + v*4
		if v > 1<<32 || at+4 < at || at+4 > uint64(len(r.sec.LocLists)) {
			return nil, false
		}
		return r.list5(u, u.listBase+uint64(binary.LittleEndian.Uint32(r.sec.LocLists[at:])), pc)
	}
	return nil, false
}

// list4 walks a list of .debug_loc (DWARF 4, section 2.6.2).
func (r *Reader) list4(u *unit, off, pc uint64) ([]byte, bool) {
	if off > uint64(len(r.sec.Loc)) {
		return nil, false
	}
	d := data{r.sec.Loc[off:], false}
	base := u.lowpc
	for !d.bad {
		begin, end := d.u64(), d.u64()
		if begin == 0 && end == 0 {
			return nil, !d.bad
		}
		if begin == ^uint64(0) {
			base = end
			continue
		}
		expr := d.bytes(uint64(d.u16()))
		if pc >= base+begin && pc < base+end && !d.bad {
			return expr, true
		}
	}
	return nil, false
}

// Kinds of location list entries (DWARF 5, section 7.7.3).
const (
	lleEnd          = 0x00
	lleBaseAddressx = 0x01
	lleStartxEndx   = 0x02
	lleStartxLength = 0x03
	lleOffsetPair   = 0x04
	lleDefault      = 0x05
	lleBaseAddress  = 0x06
	lleStartEnd     = 0x07
	lleStartLength  = 0x08
	lleViewPair     = 0x09 // GNU
)

// list5 walks a list of .debug_loclists.
func (r *Reader) list5(u *unit, off, pc uint64) ([]byte, bool) {
	if off > uint64(len(r.sec.LocLists)) {
		return nil, false
	}
	d := data{r.sec.LocLists[off:], false}
	base := u.lowpc
	for !d.bad {
		var begin, end uint64
		switch d.u8() {
		case lleEnd:
			return nil, !d.bad
		case lleBaseAddressx:
			base = r.address(u, d.uleb(), &d)
			continue
		case lleBaseAddress:
			base = d.u64()
			continue
		case lleViewPair:
			d.uleb()
			d.uleb()
			continue
		case lleStartxEndx:
			begin = r.address(u, d.uleb(), &d)
			end = r.address(u, d.uleb(), &d)
		case lleStartxLength:
			begin = r.address(u, d.uleb(), &d)
			end = begin + d.uleb()
		case lleOffsetPair:
			begin = base + d.uleb()
			end = base + d.uleb()
		case lleDefault:
			end = ^uint64(0)
		case lleStartEnd:
			begin, end = d.u64(), d.u64()
		case lleStartLength:
			begin = d.u64()
			end = begin + d.uleb()
		default:
			return nil, false
		}
		expr := d.bytes(d.uleb())
		if pc >= begin && pc < end && !d.bad {
			return expr, true
		}
	}
	return nil, false
}

// address is an entry of .debug_addr.
func (r *Reader) address(u *unit, index uint64, d *data) uint64 {
	at := u.addrBase + index*8
	if index > 1<<32 || at+8 < at || at+8 > uint64(len(r.sec.Addr)) {
		d.bad = true
		return 0
	}
	return binary.LittleEndian.Uint64(r.sec.Addr[at:])
}

// data reads little-endian values; past the end it reads zeros and turns bad.
type data struct {
	b   []byte
	bad bool
}

func (d *data) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *data) u8() uint8 {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *data) u16() uint16 {
	if b := d.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *data) u64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *data) uleb() uint64 {
	var v uint64
	for shift := 0; shift < 64 && !d.bad; shift += 7 {
		b := d.u8()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	d.bad = true
	return 0
}

func (d *data) sleb() int64 {
	var v int64
	for shift := 0; shift < 64 && !d.bad; shift += 7 {
		b := d.u8()
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift < 57 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	d.bad = true
	return 0
}
