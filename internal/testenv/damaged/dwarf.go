package damaged

import (
	"bytes"
	"debug/dwarf"
	"fmt"
)

// Forms (DWARF 5, section 7.5.6) and attributes that debug/dwarf has no names for.
const (
	formAddr      = 0x01
	formData2     = 0x05
	formData4     = 0x06
	formData8     = 0x07
	formString    = 0x08
	formData1     = 0x0b
	formSdata     = 0x0d
	formStrp      = 0x0e
	formUdata     = 0x0f
	formRefAddr   = 0x10
	formRef4      = 0x13
	formIndirect  = 0x16
	formSecOffset = 0x17
	formExprloc   = 0x18
	formStrx      = 0x1a
	formAddrx     = 0x1b
	formRefSig8   = 0x20
	formRnglistx  = 0x23
)

const (
	goKind        dwarf.Attr = 0x2900
	goRuntimeType dwarf.Attr = 0x2904
)

// Languages (section 7.12).
const (
	langC99 = 0x0c
	langCPP = 0x21
	langGo  = 0x16
)

// attr is an attribute of an entry. Its value is a number, a text, bytes, or
// (a reference) the label of an entry.
type attr struct {
	at    dwarf.Attr
	form  uint64
	value any
}

// label names an entry that attributes refer to.
type label string

// info writes .debug_info and .debug_abbrev.
type info struct {
	out, abbrev bytes.Buffer
	codes       map[string]uint64
	labels      map[label]int
	fixups      map[int]label
	unit        int
	version     int
}

func newInfo() *info {
	return &info{codes: map[string]uint64{}, labels: map[label]int{}, fixups: map[int]label{}}
}

func uleb(v uint64) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// begin starts a unit; its length is set by close.
func (i *info) begin(version int) {
	i.unit, i.version = i.out.Len(), version
	i.out.Write(le.AppendUint16(make([]byte, 4), uint16(version)))
	if version >= 5 {
		i.out.Write([]byte{1, 8, 0, 0, 0, 0}) // DW_UT_compile, address size, abbreviations
	} else {
		i.out.Write([]byte{0, 0, 0, 0, 8})
	}
}

func (i *info) close() {
	le.PutUint32(i.out.Bytes()[i.unit:], uint32(i.out.Len()-i.unit-4))
}

// label gives the next entry a name.
func (i *info) label(l label) { i.labels[l] = i.out.Len() }

// entry writes one entry.
func (i *info) entry(tag dwarf.Tag, children bool, attrs ...attr) {
	shape := uleb(uint64(tag))
	if children {
		shape = append(shape, 1)
	} else {
		shape = append(shape, 0)
	}
	for _, a := range attrs {
		shape = append(append(shape, uleb(uint64(a.at))...), uleb(a.form)...)
	}
	shape = append(shape, 0, 0)
	code, ok := i.codes[string(shape)]
	if !ok {
		code = uint64(len(i.codes) + 1)
		i.codes[string(shape)] = code
		i.abbrev.Write(uleb(code))
		i.abbrev.Write(shape)
	}
	i.out.Write(uleb(code))
	for _, a := range attrs {
		i.value(a)
	}
}

func (i *info) end() { i.out.WriteByte(0) }

func (i *info) value(a attr) {
	switch v := a.value.(type) {
	case string:
		i.out.WriteString(v + "\x00")
	case []byte:
		if a.form == formExprloc {
			i.out.Write(uleb(uint64(len(v))))
		}
		i.out.Write(v)
	case label:
		i.fixups[i.out.Len()] = v
		i.out.Write([]byte{0, 0, 0, 0})
		if a.form == formRef4 {
			i.fixups[i.out.Len()-4] = v
		}
	case int:
		i.number(a.form, uint64(v))
	case uint64:
		i.number(a.form, v)
	default:
		panic(fmt.Sprintf("a value of type %T", v))
	}
}

func (i *info) number(form, v uint64) {
	switch form {
	case formData1:
		i.out.WriteByte(byte(v))
	case formData2:
		i.out.Write(le.AppendUint16(nil, uint16(v)))
	case formData4, formRef4, formRefAddr, formStrp, formSecOffset:
		i.out.Write(le.AppendUint32(nil, uint32(v)))
	case formAddr, formData8, formRefSig8:
		i.out.Write(le.AppendUint64(nil, v))
	case formUdata, formStrx, formAddrx, formRnglistx:
		i.out.Write(uleb(v))
	case formSdata:
		for more := true; more; v = uint64(int64(v) >> 7) {
			more = int64(v) >= 64 || int64(v) < -64
			c := byte(v) & 0x7f
			if more {
				c |= 0x80
			}
			i.out.WriteByte(c)
		}
	default:
		panic(fmt.Sprintf("a number of form %#x", form))
	}
}

// finish resolves the references and returns the sections. References are from
// the beginning of the section: programs whose entries refer to another have one unit, or use formRefAddr.
func (i *info) finish() (sections map[string][]byte) {
	b := i.out.Bytes()
	for off, l := range i.fixups {
		to, ok := i.labels[l]
		if !ok {
			panic("no label " + string(l))
		}
		le.PutUint32(b[off:], uint32(to))
	}
	return map[string][]byte{".debug_info": b, ".debug_abbrev": append(i.abbrev.Bytes(), 0)}
}

// compile begins a unit of the program's code.
func (i *info) compile(p *program, version, language int, more ...attr) {
	text := p.section(".text")
	i.begin(version)
	attrs := append([]attr{
		{dwarf.AttrName, formString, "made.c"},
		{dwarf.AttrLanguage, formData1, language},
		{dwarf.AttrLowpc, formAddr, text.Addr},
		{dwarf.AttrHighpc, formData8, text.Size},
	}, more...)
	if version < 4 { // DW_AT_high_pc is an address
		attrs[3] = attr{dwarf.AttrHighpc, formAddr, text.Addr + text.Size}
	}
	i.entry(dwarf.TagCompileUnit, true, attrs...)
}

// function writes the function of a symbol, whose parameter has the type at a label.
func (i *info) function(p *program, symbol string, typ label, more ...attr) {
	addr, size := p.symbol(symbol)
	high := attr{dwarf.AttrHighpc, formData8, size}
	if i.version < 4 {
		high = attr{dwarf.AttrHighpc, formAddr, addr + size}
	}
	i.entry(dwarf.TagSubprogram, true, append([]attr{
		{dwarf.AttrName, formString, symbol}, {dwarf.AttrLowpc, formAddr, addr}, high,
	}, more...)...)
	i.entry(dwarf.TagFormalParameter, false, attr{dwarf.AttrName, formString, "p"}, attr{dwarf.AttrType, formRefAddr, typ})
	i.end()
}

// integer writes the type long.
func (i *info) integer(l label) {
	i.label(l)
	i.entry(dwarf.TagBaseType, false, attr{dwarf.AttrName, formString, "long"}, attr{dwarf.AttrByteSize, formData1, 8}, attr{dwarf.AttrEncoding, formData1, 5})
}
