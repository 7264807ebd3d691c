package units

// Vtable is a variable that describes a vtable of a Rust trait object.
type Vtable struct {
	Name    string // "<shop::Circle as shop::Shape>::{vtable}"
	Address uint64 // in the file
	Type    uint64 // offset in .debug_info: its DW_AT_containing_type is the concrete type
}

// Vtables lists the variables of a unit that have a fixed address and whose name
// ends in a suffix.
func (x *Index) Vtables(u *Unit, suffix string) (list []Vtable) {
	x.each(u, func(_ int, ab *abbrev, b *buf) {
		if ab.tag != tagVariable {
			b.pass(ab, u)
			return
		}
		if v, ok := x.vtable(b, ab, u, suffix); ok {
			list = append(list, v)
		}
	})
	return list
}

// vtable reads a variable.
func (x *Index) vtable(b *buf, ab *abbrev, u *Unit, suffix string) (v Vtable, ok bool) {
	var name, typ value
	var place []byte
	for _, a := range ab.attrs {
		from := b.off
		val := b.value(a, u)
		switch {
		case a.attr == attrName:
			name = val
		case a.attr == attrType:
			typ = val
		case a.attr == attrLocation && a.form == formExprloc && !b.bad:
			place = b.data[from:b.off]
		}
	}
	if b.bad || place == nil {
		return v, false
	}
	if v.Address, ok = x.fixedAddress(u, place); !ok {
		return v, false
	}
	v.Name = x.str(u, name)
	if len(v.Name) < len(suffix) || v.Name[len(v.Name)-len(suffix):] != suffix {
		return v, false
	}
	switch v.Type = typ.num; typ.form {
	case formRef1, formRef2, formRef4, formRef8, formRefUdata:
		v.Type += uint64(u.start)
	case formRefAddr:
	default:
		return v, false
	}
	return v, true
}

// Operations of location expressions (section 7.7.1).
const (
	opAddr  = 0x03
	opAddrx = 0xa1
)

// fixedAddress reads an expression, with its length before it, that is just an address.
func (x *Index) fixedAddress(u *Unit, place []byte) (uint64, bool) {
	e := buf{data: place}
	e.uleb()
	switch e.u8() {
	case opAddr:
		addr := e.addr(u.addrSize)
		return addr, !e.bad && e.off == len(place)
	case opAddrx:
		index := e.uleb()
		if e.bad || e.off != len(place) {
			return 0, false
		}
		return x.indexed(u, index)
	}
	return 0, false
}
