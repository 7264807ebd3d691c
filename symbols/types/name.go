package types

import (
	"debug/dwarf"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// name spells the type at off as its language writes it.
func (r *Reader) name(off dwarf.Offset, nesting int) (string, error) {
	if s, ok := r.names[off]; ok {
		return s, nil
	}
	if nesting > maxNesting {
		return "…", nil
	}
	e, err := r.entry(off)
	if err != nil {
		return "", err
	}
	s, err := r.spell(e, nesting+1)
	if err != nil {
		return "", err
	}
	if len(s) > maxName {
		s = s[:maxName] + "…"
	}
	r.names[off] = s
	return s, nil
}

func (r *Reader) spell(e *dwarf.Entry, nesting int) (string, error) {
	name := text(e, dwarf.AttrName)
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType, dwarf.TagInterfaceType:
		return r.spellTagged(e, name)
	case dwarf.TagTypedef:
		if name != "" && r.lang == trace.LangCPP {
			return r.qualified(e.Offset, name)
		}
		if off, ok := r.reference(e, dwarf.AttrType); ok && strings.HasPrefix(name, ".param") {
			return r.name(off, nesting) // Go: a generic function's type parameter
		}
	case dwarf.TagSubroutineType:
		if name == "" {
			return r.spellFunction(e, "", nesting)
		}
	}
	if name != "" {
		return goName(name), nil
	}
	return r.spellDerived(e, nesting)
}

// anonymous ends the name of a struct, union or enumeration that has none.
const anonymous = " {...}"

func (r *Reader) spellTagged(e *dwarf.Entry, name string) (string, error) {
	at := e.Offset
	if off, ok := r.reference(e, dwarf.AttrSpecification); ok { // declared in its scope, described outside
		declared, err := r.entry(off)
		if err != nil {
			return "", err
		}
		at = off
		if name == "" {
			name = text(declared, dwarf.AttrName)
		}
	}
	keyword := map[dwarf.Tag]string{
		dwarf.TagUnionType: "union", dwarf.TagEnumerationType: "enum",
		dwarf.TagClassType: "class",
	}[e.Tag]
	if keyword == "" {
		keyword = "struct"
	}
	if name == "" {
		return keyword + anonymous, nil
	}
	switch r.lang {
	case trace.LangGo:
		return goName(name), nil
	case trace.LangCPP, trace.LangRust:
		return r.qualified(at, name)
	default:
		return keyword + " " + name, nil
	}
}

// spellDerived names the types that C has no names for.
func (r *Reader) spellDerived(e *dwarf.Entry, nesting int) (string, error) {
	off, ok := r.reference(e, dwarf.AttrType)
	inner := "void"
	if ok {
		target, err := r.entry(off)
		if err != nil {
			return "", err
		}
		if e.Tag == dwarf.TagPointerType && target.Tag == dwarf.TagSubroutineType && text(target, dwarf.AttrName) == "" {
			return r.spellFunction(target, "(*)", nesting)
		}
		if inner, err = r.name(off, nesting); err != nil {
			return "", err
		}
	}
	switch e.Tag {
	case dwarf.TagPointerType:
		return suffixed(inner, "*"), nil
	case dwarf.TagReferenceType:
		return suffixed(inner, "&"), nil
	case dwarf.TagRvalueReferenceType:
		return suffixed(inner, "&&"), nil
	case dwarf.TagConstType:
		return qualify(inner, "const"), nil
	case dwarf.TagVolatileType:
		return qualify(inner, "volatile"), nil
	case dwarf.TagRestrictType:
		return inner + " restrict", nil
	case dwarf.TagAtomicType:
		return "_Atomic " + inner, nil
	case dwarf.TagPtrToMemberType:
		return inner + " ::*", nil
	case dwarf.TagArrayType:
		return r.spellArray(e, inner)
	default:
		return "?", nil
	}
}

func suffixed(inner, mark string) string {
	if i := strings.IndexByte(inner, '['); i > 0 && strings.HasSuffix(inner, "]") {
		return inner[:i] + " (" + mark + ")" + inner[i:] // to an array
	}
	if strings.HasSuffix(inner, "*") {
		return inner + mark
	}
	return inner + " " + mark
}

// qualify puts the qualifier where C writes it: behind a pointer, before anything else.
func qualify(inner, word string) string {
	if strings.HasSuffix(inner, "*") {
		return inner + " " + word
	}
	return word + " " + inner
}

func (r *Reader) spellArray(e *dwarf.Entry, inner string) (string, error) {
	dims, err := r.children(e, dwarf.TagSubrangeType)
	if err != nil {
		return "", err
	}
	for _, d := range dims {
		inner += "["
		if n := extent(d); n > 0 {
			inner += strconv.FormatUint(n, 10)
		}
		inner += "]"
	}
	return inner, nil
}

// spellFunction spells a function's type, declarator between result and parameters.
func (r *Reader) spellFunction(e *dwarf.Entry, declarator string, nesting int) (string, error) {
	result := "void"
	if off, ok := r.reference(e, dwarf.AttrType); ok {
		var err error
		if result, err = r.name(off, nesting); err != nil {
			return "", err
		}
	}
	params, err := r.children(e, dwarf.TagFormalParameter, dwarf.TagUnspecifiedParameters)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range params {
		name := "..."
		if off, ok := r.reference(p, dwarf.AttrType); ok {
			if name, err = r.name(off, nesting); err != nil {
				return "", err
			}
		}
		names = append(names, name)
	}
	return result + " " + declarator + "(" + strings.Join(names, ", ") + ")", nil
}

// scope is a namespace or class (or a whole unit) and those directly in it.
type scope struct {
	inside []span
}

// span is where a nested scope's entries lie.
type span struct {
	begin, end dwarf.Offset
	name       string
}

// qualified puts the enclosing namespaces and classes before the name.
func (r *Reader) qualified(off dwarf.Offset, name string) (string, error) {
	at, ok := r.unitEntry(off)
	if !ok {
		return name, nil
	}
	prefix := ""
	for i := 0; i < maxNesting; i++ {
		s, err := r.scopeAt(at)
		if err != nil {
			return "", err
		}
		in := s.find(off)
		if in == nil {
			break
		}
		if in.name != "" {
			prefix += in.name + "::"
		}
		at = in.begin
	}
	return prefix + name, nil
}

// find returns the nested scope that off lies strictly inside of.
func (s *scope) find(off dwarf.Offset) *span {
	lo, hi := 0, len(s.inside)
	for lo < hi {
		mid := (lo + hi) / 2
		if s.inside[mid].end <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(s.inside) && s.inside[lo].begin < off {
		return &s.inside[lo]
	}
	return nil
}

// scopeAt reads which scopes lie directly inside the entry at off. It is bounded
// by the unit's size, not by the call's budget: each entry is read once in all.
func (r *Reader) scopeAt(off dwarf.Offset) (*scope, error) {
	if s, ok := r.scope[off]; ok {
		return s, nil
	}
	r.die.Seek(off)
	e, err := r.die.Next()
	if err != nil || e == nil {
		return nil, damaged(off, "no scope there")
	}
	s := &scope{}
	r.scope[off] = s
	if !e.Children {
		return s, nil
	}
	open := -1
	for depth := 0; ; {
		c, err := r.die.Next()
		if err != nil {
			return nil, damaged(off, "read scope: %v", err)
		}
		if c == nil || isUnit(c.Tag) {
			return s, nil
		}
		if c.Tag == 0 {
			if depth == 0 { // the last scope inside ends with this one
				return s, nil
			}
			depth--
			continue
		}
		if depth == 0 && open >= 0 {
			s.inside[open].end, open = c.Offset, -1
		}
		if depth == 0 && c.Children && isScope(c.Tag) {
			open = len(s.inside)
			s.inside = append(s.inside, span{begin: c.Offset, end: ^dwarf.Offset(0), name: scopeName(c)})
		}
		if !c.Children {
			continue
		}
		if sib, ok := c.Val(dwarf.AttrSibling).(dwarf.Offset); ok && sib > c.Offset {
			r.die.Seek(sib)
		} else {
			depth++
		}
	}
}

// scopeName is what a scope puts before the names in it.
func scopeName(e *dwarf.Entry) string {
	name := text(e, dwarf.AttrName)
	if name == "" && e.Tag == dwarf.TagNamespace {
		return "(anonymous namespace)"
	}
	return name
}

func isScope(tag dwarf.Tag) bool {
	switch tag {
	case dwarf.TagNamespace, dwarf.TagModule, dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType:
		return true
	}
	return false
}
