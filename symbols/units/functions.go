package units

import "fmt"

// Function is a subprogram with code of its own. Its strings refer to the sections.
type Function struct {
	Offset uint64 // of its entry in .debug_info
	Low    uint64 // address of its first instruction
	Ranges []Range
	Unit   *Unit

	Name        string // DW_AT_name, its scope left out
	LinkageName string // as in the symbol table; empty where Name is that
	Line        int    // where it is declared, in the file that Index.File names; 0 when unknown
	Language    uint16 // DW_LANG_… of the unit that declares it: link-time optimisation mixes units

	declared *Unit // whose line table has the file; nil when it isn't told
	file     uint64
}

// shape is what the entries of a function, its declaration and its abstract
// instance say of it together.
type shape struct {
	low, high, ranges value
	name, linkage     value
	file, line        value
	origin            value // DW_AT_abstract_origin or DW_AT_specification
	callFile          value // of an inlined call
	callLine          value
}

// Functions reads the functions that have code in a unit, in the order of the
// file. It reads no other unit, but for declarations that lie there.
func (x *Index) Functions(u *Unit) ([]Function, error) {
	table, err := x.abbrev.read(x.sec.Abbrev, u)
	if err != nil {
		return nil, fmt.Errorf("unit at %#x: %w", u.start, err)
	}
	x.refill()
	var out []Function
	var around scopes
	depth := 0 // of the entry whose siblings are being read
	b := buf{data: x.sec.Info[:u.end], off: u.root}
	for b.off < u.end {
		off := b.off
		code := b.uleb()
		if code == 0 { // the end of some entry's children, or padding
			depth--
			continue
		}
		if b.bad || code >= uint64(len(table)) || table[code] == nil {
			return out, fmt.Errorf("%w: entry at %#x has an undeclared abbreviation", ErrDamaged, off)
		}
		ab := table[code]
		if ab.tag != tagSubprogram {
			b.pass(ab, u)
		} else {
			s := x.shape(&b, ab, u)
			f := Function{Unit: u}
			if ranges := x.extent(u, s.low, s.high, s.ranges); len(ranges) > 0 {
				f = x.function(u, off, s, ranges)
			} else if s.file.form != 0 {
				f.declared, f.file = u, s.file.num
			}
			around.enter(depth, &f)
			if f.Ranges != nil {
				out = append(out, f)
				x.found++
			}
			if x.found > maxFunctions {
				return out, fmt.Errorf("%w: more than %d functions", ErrDamaged, maxFunctions)
			}
		}
		if b.bad {
			return out, fmt.Errorf("%w: entry at %#x runs past its unit", ErrDamaged, off)
		}
		if ab.children {
			depth++
		}
	}
	return out, nil
}

// maxFunctions bounds the functions of one file: twice those of the largest programs.
const maxFunctions = 1 << 21

// scopes are the functions that an entry is nested in, innermost last.
type scopes []scope

type scope struct {
	depth    int
	declared *Unit
	file     uint64
}

// enter goes to a function's entry, and tells its file if only the function
// around it does: that of a lambda.
func (s *scopes) enter(depth int, f *Function) {
	around := *s
	for len(around) > 0 && around[len(around)-1].depth >= depth {
		around = around[:len(around)-1]
	}
	if f.declared == nil && len(around) > 0 {
		f.declared, f.file = around[len(around)-1].declared, around[len(around)-1].file
	}
	*s = append(around, scope{depth, f.declared, f.file})
}

// pass goes over an entry's attributes.
func (b *buf) pass(ab *abbrev, u *Unit) {
	if ab.fixed >= 0 {
		b.skip(ab.fixed)
		return
	}
	for _, a := range ab.attrs {
		b.value(a, u)
	}
}

// shape reads the attributes of a subprogram.
func (x *Index) shape(b *buf, ab *abbrev, u *Unit) (s shape) {
	for _, a := range ab.attrs {
		v := b.value(a, u)
		switch a.attr {
		case attrName:
			s.name = v
		case attrLinkageName, attrMIPSLinkage:
			s.linkage = v
		case attrLowPC:
			s.low = v
		case attrHighPC:
			s.high = v
		case attrRanges:
			s.ranges = v
		case attrDeclFile:
			s.file = v
		case attrDeclLine:
			s.line = v
		case attrCallFile:
			s.callFile = v
		case attrCallLine:
			s.callLine = v
		case attrAbstractOrigin, attrSpecification:
			s.origin = v
		}
	}
	return s
}

// maxOrigins is how many declarations a function may have one behind the other.
const maxOrigins = 4

// function puts together what a function's entry and those it refers to say.
func (x *Index) function(u *Unit, off int, s shape, ranges []Range) Function {
	f := Function{Offset: uint64(off), Low: ranges[0].Low, Ranges: ranges, Unit: u, Language: u.Language}
	if low, ok := x.address(u, s.low); ok && s.ranges.form == 0 {
		f.Low = low
	}
	at := u
	for hops := 0; ; hops++ {
		if f.Name == "" {
			f.Name = x.str(at, s.name)
		}
		if f.LinkageName == "" {
			f.LinkageName = x.str(at, s.linkage)
		}
		if f.Line == 0 && s.line.num < 1<<31 {
			f.Line = int(s.line.num)
		}
		if f.declared == nil && s.file.form != 0 {
			f.declared, f.file = at, s.file.num
		}
		if s.origin.form == 0 || hops == maxOrigins {
			return f
		}
		next, ok := x.follow(at, s.origin)
		if !ok {
			return f
		}
		at, s = next.unit, next.shape
		f.Language = at.Language
	}
}

type origin struct {
	unit  *Unit
	shape shape
}

// follow reads the subprogram that a reference leads to.
func (x *Index) follow(u *Unit, ref value) (origin, bool) {
	off := ref.num
	switch ref.form {
	case formRef1, formRef2, formRef4, formRef8, formRefUdata:
		off += uint64(u.start)
	case formRefAddr:
		if u = x.unitAt(off); u == nil {
			return origin{}, false
		}
	default:
		return origin{}, false
	}
	if off < uint64(u.root) || off >= uint64(u.end) {
		return origin{}, false
	}
	b := buf{data: x.sec.Info[:u.end], off: int(off)}
	code := b.uleb()
	ab := x.declared(u, code)
	if ab == nil {
		return origin{}, false
	}
	s := x.shape(&b, ab, u)
	return origin{u, s}, !b.bad
}

// declared returns the shape of a code in a unit's table, nil when there is
// none. A table other than the one in use is read for this one entry only.
func (x *Index) declared(u *Unit, code uint64) *abbrev {
	key := abbrevKey{u.abbrevOff, u.version, u.dwarf64, u.addrSize}
	if x.abbrev.table != nil && x.abbrev.key == key {
		if code < uint64(len(x.abbrev.table)) {
			return x.abbrev.table[code]
		}
		return nil
	}
	if x.foreign.table == nil || x.foreign.key != key {
		if _, err := x.foreign.read(x.sec.Abbrev, u); err != nil {
			return nil
		}
	}
	if code < uint64(len(x.foreign.table)) {
		return x.foreign.table[code]
	}
	return nil
}

// unitAt returns the unit that an offset in .debug_info lies in, or nil.
func (x *Index) unitAt(off uint64) *Unit {
	lo, hi := 0, len(x.units)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if uint64(x.units[mid].end) <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(x.units) && off >= uint64(x.units[lo].start) {
		return x.units[lo]
	}
	return nil
}
