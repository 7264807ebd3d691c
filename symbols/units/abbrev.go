package units

import (
	"fmt"
	"slices"
)

// Tags, attributes and forms that are looked at (sections 7.5.3 to 7.5.6).
const (
	tagStruct       = 0x13
	tagMember       = 0x0d
	tagCompileUnit  = 0x11
	tagSubprogram   = 0x2e
	tagSkeletonUnit = 0x4a
	tagInlined      = 0x1d
	tagVariable     = 0x34

	attrLocation       = 0x02
	attrName           = 0x03
	attrStmtList       = 0x10
	attrLowPC          = 0x11
	attrHighPC         = 0x12
	attrLanguage       = 0x13
	attrCompDir        = 0x1b
	attrAbstractOrigin = 0x31
	attrMemberLocation = 0x38
	attrDeclFile       = 0x3a
	attrDeclLine       = 0x3b
	attrSpecification  = 0x47
	attrType           = 0x49
	attrRanges         = 0x55
	attrCallFile       = 0x58
	attrCallLine       = 0x59
	attrLinkageName    = 0x6e
	attrStrOffsetsBase = 0x72
	attrAddrBase       = 0x73
	attrRngListsBase   = 0x74
	attrMIPSLinkage    = 0x2007
	attrGNURangesBase  = 0x2132
	attrGNUAddrBase    = 0x2133
	attrGoRuntimeType  = 0x2904

	formAddr          = 0x01
	formBlock2        = 0x03
	formBlock4        = 0x04
	formData2         = 0x05
	formData4         = 0x06
	formData8         = 0x07
	formString        = 0x08
	formBlock         = 0x09
	formBlock1        = 0x0a
	formData1         = 0x0b
	formFlag          = 0x0c
	formSdata         = 0x0d
	formStrp          = 0x0e
	formUdata         = 0x0f
	formRefAddr       = 0x10
	formRef1          = 0x11
	formRef2          = 0x12
	formRef4          = 0x13
	formRef8          = 0x14
	formRefUdata      = 0x15
	formIndirect      = 0x16
	formSecOffset     = 0x17
	formExprloc       = 0x18
	formFlagPresent   = 0x19
	formStrx          = 0x1a
	formAddrx         = 0x1b
	formRefSup4       = 0x1c
	formStrpSup       = 0x1d
	formData16        = 0x1e
	formLineStrp      = 0x1f
	formRefSig8       = 0x20
	formImplicitConst = 0x21
	formLoclistx      = 0x22
	formRnglistx      = 0x23
	formRefSup8       = 0x24
	formStrx1         = 0x25
	formStrx2         = 0x26
	formStrx3         = 0x27
	formStrx4         = 0x28
	formAddrx1        = 0x29
	formAddrx2        = 0x2a
	formAddrx3        = 0x2b
	formAddrx4        = 0x2c
	formGNUAddrIndex  = 0x1f01
	formGNUStrIndex   = 0x1f02
	formGNURefAlt     = 0x1f20
	formGNUStrpAlt    = 0x1f21
)

// abbrev is the shape of an entry (section 7.5.3).
type abbrev struct {
	tag      uint32
	children bool
	fixed    int  // bytes of all attributes, -1 when that varies
	golang   bool // has DW_AT_go_runtime_type
	attrs    []attr
}

type attr struct {
	attr, form uint32
	implicit   int64
}

// abbrevCache keeps the table that was read last: units that share one lie together.
type abbrevCache struct {
	key   abbrevKey
	table []*abbrev // by code; nil where none is declared
}

// abbrevKey names a table, and what decides how long its forms are.
type abbrevKey struct {
	off      uint64
	version  uint16
	dwarf64  bool
	addrSize int
}

// maxCode bounds an abbreviation's code: producers number them from 1.
const maxCode = 1 << 16

// readAbbrev reads one declaration, with its attributes only when they are to be kept.
func readAbbrev(b *buf, keep bool) (code uint64, ab abbrev) {
	if code = b.uleb(); code == 0 {
		return 0, ab
	}
	ab.tag = uint32(b.uleb())
	ab.children = b.u8() != 0
	for !b.bad {
		a := attr{attr: uint32(b.uleb()), form: uint32(b.uleb())}
		if a.form == formImplicitConst {
			a.implicit = b.sleb()
		}
		if a.attr == 0 && a.form == 0 {
			break
		}
		if keep {
			ab.attrs = append(ab.attrs, a)
		}
	}
	return code, ab
}

// checkAbbrevs makes sure that the units' tables don't overlap, so that
// reading each of them once costs no more than the section is long.
func (x *Index) checkAbbrevs() error {
	offs := make([]uint64, 0, len(x.units))
	for _, u := range x.units {
		offs = append(offs, u.abbrevOff)
	}
	slices.Sort(offs)
	offs = slices.Compact(offs)
	for i, off := range offs {
		end := uint64(len(x.sec.Abbrev))
		if off >= end {
			return fmt.Errorf("%w: abbreviation table at %#x lies outside .debug_abbrev", ErrDamaged, off)
		}
		if i+1 < len(offs) {
			end = min(end, offs[i+1])
		}
		b := buf{data: x.sec.Abbrev[:end], off: int(off)}
		for {
			if code, _ := readAbbrev(&b, false); code == 0 || b.bad {
				break
			}
		}
		if b.bad {
			return fmt.Errorf("%w: abbreviation table at %#x has no end", ErrDamaged, off)
		}
	}
	return nil
}

// one returns a single declaration of a table, which is the first one for the
// first entry of nearly every unit.
func (c *abbrevCache) one(section []byte, off, want uint64) (*abbrev, error) {
	b := buf{data: section, off: int(off)}
	for {
		code, ab := readAbbrev(&b, true)
		if code == want && !b.bad {
			return &ab, nil
		}
		if code == 0 || b.bad {
			return nil, fmt.Errorf("%w: abbreviation %d is not declared", ErrDamaged, want)
		}
	}
}

// read returns the whole table of a unit, by code.
func (c *abbrevCache) read(section []byte, u *Unit) ([]*abbrev, error) {
	key := abbrevKey{u.abbrevOff, u.version, u.dwarf64, u.addrSize}
	if c.table != nil && c.key == key {
		return c.table, nil
	}
	table := []*abbrev{nil}
	b := buf{data: section, off: int(u.abbrevOff)}
	for {
		code, ab := readAbbrev(&b, true)
		if b.bad || code > maxCode {
			return nil, fmt.Errorf("%w: abbreviation table at %#x has no end", ErrDamaged, u.abbrevOff)
		}
		if code == 0 {
			break
		}
		ab.measure(u)
		for uint64(len(table)) <= code {
			table = append(table, nil)
		}
		table[code] = &ab
	}
	c.key, c.table = key, table
	return table, nil
}

// measure finds out whether all entries of this shape are equally long.
func (ab *abbrev) measure(u *Unit) {
	for _, a := range ab.attrs {
		if a.attr == attrGoRuntimeType {
			ab.golang = true
		}
		n := formSize(a.form, u)
		if n < 0 || ab.fixed < 0 {
			ab.fixed = -1
			continue
		}
		ab.fixed += n
	}
}

// formSize is the length of an attribute in bytes, -1 when it varies.
func formSize(form uint32, u *Unit) int {
	switch form {
	case formFlagPresent, formImplicitConst:
		return 0
	case formData1, formRef1, formFlag, formStrx1, formAddrx1:
		return 1
	case formData2, formRef2, formStrx2, formAddrx2:
		return 2
	case formStrx3, formAddrx3:
		return 3
	case formData4, formRef4, formStrx4, formAddrx4, formRefSup4:
		return 4
	case formData8, formRef8, formRefSig8, formRefSup8:
		return 8
	case formData16:
		return 16
	case formAddr:
		return u.addrSize
	case formRefAddr:
		if u.version == 2 {
			return u.addrSize
		}
		return u.offsetSize()
	case formStrp, formSecOffset, formLineStrp, formStrpSup, formGNURefAlt, formGNUStrpAlt:
		return u.offsetSize()
	default:
		return -1
	}
}

func (u *Unit) offsetSize() int {
	if u.dwarf64 {
		return 8
	}
	return 4
}
