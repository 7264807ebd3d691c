package units

// value is an attribute as it was read; form is 0 when it is absent.
type value struct {
	form uint32
	num  uint64
	str  string // formString
}

// value reads an attribute.
func (b *buf) value(a attr, u *Unit) value {
	v := value{form: a.form}
	for hops := 0; v.form == formIndirect; hops++ {
		if v.form = uint32(b.uleb()); hops > 4 || v.form == formImplicitConst {
			b.bad = true
			return v
		}
	}
	switch n := formSize(v.form, u); n {
	case 1:
		v.num = uint64(b.u8())
	case 2:
		v.num = uint64(b.u16())
	case 3:
		v.num = uint64(b.u24())
	case 4:
		v.num = uint64(b.u32())
	case 8:
		v.num = b.u64()
	case 16:
		b.skip(16)
	case 0:
		v.num = 1
		if v.form == formImplicitConst {
			v.num = uint64(a.implicit)
		}
	default:
		b.variable(&v)
	}
	return v
}

// variable reads the forms whose length varies.
func (b *buf) variable(v *value) {
	switch v.form {
	case formUdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx, formGNUAddrIndex, formGNUStrIndex:
		v.num = b.uleb()
	case formSdata:
		v.num = uint64(b.sleb())
	case formString:
		v.str = b.cstring()
	case formBlock1:
		b.skip(int(b.u8()))
	case formBlock2:
		b.skip(int(b.u16()))
	case formBlock4:
		b.skip64(uint64(b.u32()))
	case formBlock, formExprloc:
		b.skip64(b.uleb())
	default:
		b.bad = true // an unknown form: nothing behind it can be found
	}
}

// str resolves a string attribute; empty when absent or elsewhere.
func (x *Index) str(u *Unit, v value) string {
	switch v.form {
	case formString:
		return v.str
	case formStrp:
		return cstringAt(x.sec.Str, v.num)
	case formLineStrp:
		return cstringAt(x.sec.LineStr, v.num)
	case formStrx, formStrx1, formStrx2, formStrx3, formStrx4, formGNUStrIndex:
		size := uint64(u.offsetSize())
		base := u.strBase
		if base == 0 && u.version >= 5 {
			base = 2 * size // behind the header
		}
		if v.num > uint64(len(x.sec.StrOffsets)) || base > uint64(len(x.sec.StrOffsets)) {
			return ""
		}
		b := buf{data: x.sec.StrOffsets}
		b.skip64(base + v.num*size)
		off := b.offset(u.dwarf64)
		if b.bad {
			return ""
		}
		return cstringAt(x.sec.Str, off)
	default:
		return ""
	}
}

// address resolves an attribute of class address.
func (x *Index) address(u *Unit, v value) (uint64, bool) {
	switch v.form {
	case formAddr:
		return v.num, true
	case formAddrx, formAddrx1, formAddrx2, formAddrx3, formAddrx4, formGNUAddrIndex:
		return x.indexed(u, v.num)
	default:
		return 0, false
	}
}

// indexed reads an address of .debug_addr (section 7.27).
func (x *Index) indexed(u *Unit, index uint64) (uint64, bool) {
	base := u.addrBase
	if base == 0 && u.version >= 5 {
		base = uint64(u.offsetSize()) + 4
	}
	if index > uint64(len(x.sec.Addr)) || base > uint64(len(x.sec.Addr)) {
		return 0, false
	}
	b := buf{data: x.sec.Addr}
	b.skip64(base + index*uint64(u.addrSize))
	addr := b.addr(u.addrSize)
	return addr, !b.bad
}

// rangeList resolves DW_AT_ranges.
func (x *Index) rangeList(u *Unit, v value) []Range {
	if u.version < 5 {
		return x.rangesV4(u, v.num)
	}
	off := v.num
	if v.form == formRnglistx {
		if v.num > uint64(len(x.sec.RngLists)) || u.rngBase > uint64(len(x.sec.RngLists)) {
			return nil
		}
		base := u.rngBase
		if base == 0 {
			base = uint64(u.offsetSize()) + 8
		}
		b := buf{data: x.sec.RngLists}
		b.skip64(base + v.num*uint64(u.offsetSize()))
		off = base + b.offset(u.dwarf64)
		if b.bad {
			return nil
		}
	}
	return x.rangesV5(u, off)
}

// rangesV4 reads .debug_ranges (DWARF 4, section 2.17.3).
func (x *Index) rangesV4(u *Unit, off uint64) (out []Range) {
	b := buf{data: x.sec.Ranges}
	b.skip64(off)
	base := u.low
	highest := ^uint64(0) >> (64 - 8*uint(u.addrSize))
	for x.spend() {
		lo, hi := b.addr(u.addrSize), b.addr(u.addrSize)
		switch {
		case b.bad || lo == 0 && hi == 0:
			return out
		case lo == highest:
			base = hi
		default:
			out = append(out, Range{base + lo, base + hi})
		}
	}
	return out
}

// Range list entries (section 7.25).
const (
	rleEnd          = 0
	rleBaseAddressx = 1
	rleStartxEndx   = 2
	rleStartxLength = 3
	rleOffsetPair   = 4
	rleBaseAddress  = 5
	rleStartEnd     = 6
	rleStartLength  = 7
)

// rangesV5 reads .debug_rnglists.
func (x *Index) rangesV5(u *Unit, off uint64) (out []Range) {
	b := buf{data: x.sec.RngLists}
	b.skip64(off)
	base := u.low
	for x.spend() {
		kind := b.u8()
		if b.bad {
			return out
		}
		var lo, hi uint64
		ok := true
		switch kind {
		case rleBaseAddressx:
			base, _ = x.indexed(u, b.uleb())
			continue
		case rleStartxEndx:
			var ok2 bool
			lo, ok = x.indexed(u, b.uleb())
			hi, ok2 = x.indexed(u, b.uleb())
			ok = ok && ok2
		case rleStartxLength:
			lo, ok = x.indexed(u, b.uleb())
			hi = lo + b.uleb()
		case rleOffsetPair:
			lo, hi = base+b.uleb(), base+b.uleb()
		case rleBaseAddress:
			base = b.addr(u.addrSize)
			continue
		case rleStartEnd:
			lo, hi = b.addr(u.addrSize), b.addr(u.addrSize)
		case rleStartLength:
			lo = b.addr(u.addrSize)
			hi = lo + b.uleb()
		default: // rleEnd, or unknown
			return out
		}
		if b.bad {
			return out
		}
		if ok {
			out = append(out, Range{lo, hi})
		}
	}
	return out
}
