package units

// MemberOffset returns the offset in bytes of a structure's member: of the
// first structure of that name in a unit.
func (x *Index) MemberOffset(u *Unit, structure, member string) (uint64, bool) {
	table, err := x.abbrev.read(x.sec.Abbrev, u)
	if err != nil {
		return 0, false
	}
	inside := false
	b := buf{data: x.sec.Info[:u.end], off: u.root}
	for b.off < u.end && !b.bad {
		code := b.uleb()
		if code == 0 {
			if inside {
				return 0, false
			}
			continue
		}
		if code >= uint64(len(table)) || table[code] == nil {
			return 0, false
		}
		ab := table[code]
		if ab.tag != tagStruct && (ab.tag != tagMember || !inside) {
			b.pass(ab, u)
			continue
		}
		name, location := x.member(&b, ab, u)
		switch {
		case inside && name == member && location.form != 0:
			return location.num, !b.bad
		case ab.tag == tagStruct && name == structure && ab.children:
			inside = true
		}
	}
	return 0, false
}

// Structures lists the structures of that name in a unit that have members, by the
// offsets of their entries in .debug_info, wherever they are declared.
func (x *Index) Structures(u *Unit, name string) (list []uint64) {
	x.each(u, func(off int, ab *abbrev, b *buf) {
		if ab.tag != tagStruct || !ab.children {
			b.pass(ab, u)
			return
		}
		if got, _ := x.member(b, ab, u); got == name && !b.bad {
			list = append(list, uint64(off))
		}
	})
	return list
}

// each visits a unit's entries with their offsets in .debug_info. b stands at an
// entry's first value; visit takes it past the last.
func (x *Index) each(u *Unit, visit func(off int, ab *abbrev, b *buf)) {
	table, err := x.abbrev.read(x.sec.Abbrev, u)
	if err != nil {
		return
	}
	b := buf{data: x.sec.Info[:u.end], off: u.root}
	for b.off < u.end && !b.bad {
		off := b.off
		code := b.uleb()
		if code == 0 {
			continue
		}
		if code >= uint64(len(table)) || table[code] == nil {
			return
		}
		visit(off, table[code], &b)
	}
}

// member reads the name and the place of a structure or member. Places given
// as expressions are read as 0-form values, which are none.
func (x *Index) member(b *buf, ab *abbrev, u *Unit) (name string, location value) {
	for _, a := range ab.attrs {
		v := b.value(a, u)
		switch a.attr {
		case attrName:
			name = x.str(u, v)
		case attrMemberLocation:
			switch v.form {
			case formData1, formData2, formData4, formData8, formUdata, formSdata, formImplicitConst:
				location = v
			}
		}
	}
	return name, location
}

// RuntimeType is a Go type that the runtime has a description of.
type RuntimeType struct {
	Offset  uint64 // of the type's entry in .debug_info
	Address uint64 // of the description, in bytes from runtime.types
}

// RuntimeTypes lists the types of a unit that say where the runtime describes
// them (DW_AT_go_runtime_type). The Go linker puts all types in one unit.
func (x *Index) RuntimeTypes(u *Unit) (list []RuntimeType) {
	x.each(u, func(off int, ab *abbrev, b *buf) {
		if !ab.golang {
			b.pass(ab, u)
			return
		}
		for _, a := range ab.attrs {
			if v := b.value(a, u); a.attr == attrGoRuntimeType && v.num != 0 && !b.bad {
				list = append(list, RuntimeType{uint64(off), v.num})
			}
		}
	})
	return list
}
