package types

import (
	"debug/dwarf"
	"errors"
	"fmt"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Limits that bound what damaged or hostile debug information can cost.
const (
	maxDIEs    = 1 << 18 // entries read for one signature
	maxTypes   = 1 << 20 // types of one Reader
	maxNesting = 48      // types inside one another
	maxMembers = 4096    // members of one type that are kept
	maxWeight  = 1 << 16 // members of one type and of its members, all in all
	maxName    = 512     // bytes of a type's name
)

// DWARF attributes that debug/dwarf has no names for.
const (
	attrGoKind     dwarf.Attr = 0x2900 // cmd/internal/dwarf: reflect.Kind
	attrGoElem     dwarf.Attr = 0x2902
	attrGoEmbedded dwarf.Attr = 0x2903
	// cmd/internal/dwarf: the place of a type parameter's real type in the dictionary, in words (since Go 1.18).
	attrGoDictIndex dwarf.Attr = 0x2906
	// cmd/internal/dwarf: where a closure has a captured variable, bytes (since Go 1.23).
	attrGoClosureOffset dwarf.Attr = 0x2907
	attrGNUVector       dwarf.Attr = 0x2107
	attrDefaulted       dwarf.Attr = 0x8b
	attrAlignment       dwarf.Attr = 0x88
	tagGNUCallSite      dwarf.Tag  = 0x4109
)

// ErrDWARF is wrapped by every error about damaged debug information.
var ErrDWARF = errors.New("damaged debug information")

// cursor walks entries. debug/dwarf doesn't move on from a number that is cut
// off at a unit's end, and takes it for the end of a list again and again.
type cursor struct {
	*dwarf.Reader
	ends int // of lists, in a row
}

// Next returns the next entry, nil at the end of all.
func (c *cursor) Next() (*dwarf.Entry, error) {
	e, err := c.Reader.Next()
	switch {
	case err != nil:
		return nil, err
	case e == nil || e.Tag != 0:
		c.ends = 0
	case c.ends > 1024:
		return nil, errors.New("a unit is cut off")
	default:
		c.ends++
	}
	return e, nil
}

// Sections are the raw (decompressed) sections that location lists need.
// All may be nil; then values are placed by the calling convention alone.
type Sections struct {
	Info     []byte // .debug_info: tells each unit's DWARF version
	Loc      []byte // .debug_loc, DWARF 2 to 4
	LocLists []byte // .debug_loclists, DWARF 5
	Addr     []byte // .debug_addr, DWARF 5
}

// Reader reads the signatures of one file's functions. Types are read when
// they are first needed, and each once.
//
// Types returned by one Reader share their graph, which later Signature calls
// may extend behind pointers: hand them to a Compiler only after the batch's
// last call, and use a new Reader for a later batch. Not safe for concurrent use.
type Reader struct {
	data   *dwarf.Data
	die    *cursor
	arch   Arch
	sec    Sections
	depth  int
	nodes  map[dwarf.Offset]*node
	names  map[dwarf.Offset]string
	scope  map[dwarf.Offset]*scope
	units  []unit
	signed map[uint64]dwarf.Offset // type units' types, by signature
	lang   trace.Language
	left   int // entries that the current call may still read
	nest   int // types being read, one inside the other
	reach  Reached
	define func(class string) (dwarf.Offset, bool)
	// derived says whether the file has classes derived from one; strangers are those that
	// it has, and doesn't describe.
	derived   func(class string) bool
	strangers map[string]*trace.Type
}

// NewReader makes a Reader. d must not be used by others while it reads.
func NewReader(d *dwarf.Data, arch Arch, sections Sections) *Reader {
	return &Reader{
		data:  d,
		die:   &cursor{Reader: d.Reader()},
		arch:  arch,
		sec:   sections,
		depth: 2,
		nodes: map[dwarf.Offset]*node{},
		names: map[dwarf.Offset]string{},
		scope: map[dwarf.Offset]*scope{},
	}
}

// SetDepth sets how many pointers one behind the other have their targets'
// types read; 2 unless told. Call it before the first Signature.
func (r *Reader) SetDepth(pointers int) { r.depth = pointers }

// SetClasses sets what finds the entry that describes a C++ class, by its name with its
// namespaces, where another only declares it; and what says whether classes are
// derived from one that is described nowhere. Call it before the first Signature.
func (r *Reader) SetClasses(find func(class string) (dwarf.Offset, bool), derived func(class string) bool) {
	r.define, r.derived = find, derived
}

// damaged makes an error about the entry at off.
func damaged(off dwarf.Offset, format string, args ...any) error {
	return fmt.Errorf("%w: entry at %#x: %s", ErrDWARF, uint32(off), fmt.Sprintf(format, args...))
}

// entry reads the entry at off.
func (r *Reader) entry(off dwarf.Offset) (*dwarf.Entry, error) {
	if r.left--; r.left < 0 {
		return nil, fmt.Errorf("%w: more than %d entries behind one function", ErrDWARF, maxDIEs)
	}
	if off == elsewhere {
		return &dwarf.Entry{Offset: elsewhere, Tag: dwarf.TagUnspecifiedType, Field: []dwarf.Field{{Attr: dwarf.AttrName, Val: "?"}}}, nil
	}
	r.die.Seek(off)
	e, err := r.die.Next()
	if err != nil {
		return nil, damaged(off, "%v", err)
	}
	if e == nil || e.Tag == 0 || e.Offset != off {
		return nil, damaged(off, "no entry there")
	}
	if sig, ok := e.Val(dwarf.AttrSignature).(uint64); ok { // the description is in a type unit
		r.readUnits()
		if whole, ok := r.signed[sig]; ok && whole != off {
			r.die.Seek(whole)
			if e, err = r.die.Next(); err != nil || e == nil || e.Val(dwarf.AttrSignature) != nil {
				return nil, damaged(whole, "no type there")
			}
		}
	}
	return e, nil
}

// children returns e's children that have one of the tags, in order.
func (r *Reader) children(e *dwarf.Entry, tags ...dwarf.Tag) ([]*dwarf.Entry, error) {
	if !e.Children {
		return nil, nil
	}
	r.die.Seek(e.Offset)
	if _, err := r.die.Next(); err != nil {
		return nil, damaged(e.Offset, "%v", err)
	}
	var found []*dwarf.Entry
	for depth := 0; ; {
		c, err := r.die.Next()
		if err != nil {
			return nil, damaged(e.Offset, "read children: %v", err)
		}
		if r.left--; r.left < 0 {
			return nil, fmt.Errorf("%w: more than %d entries behind one function", ErrDWARF, maxDIEs)
		}
		if c == nil || isUnit(c.Tag) {
			return nil, damaged(e.Offset, "its children have no end")
		}
		if c.Tag == 0 {
			if depth == 0 {
				return found, nil
			}
			depth--
			continue
		}
		if depth == 0 && hasTag(tags, c.Tag) && len(found) < maxMembers {
			found = append(found, c)
		}
		if !c.Children {
			continue
		}
		// Only ever forward, so that a forged sibling can't make a loop.
		if s, ok := c.Val(dwarf.AttrSibling).(dwarf.Offset); ok && s > c.Offset {
			r.die.Seek(s)
		} else {
			depth++
		}
	}
}

// isUnit tells the entries that units begin with.
func isUnit(tag dwarf.Tag) bool {
	return tag == dwarf.TagCompileUnit || tag == dwarf.TagPartialUnit || tag == dwarf.TagTypeUnit
}

func hasTag(tags []dwarf.Tag, tag dwarf.Tag) bool {
	for _, t := range tags {
		if t == tag {
			return true
		}
	}
	return false
}

// number reads a constant attribute; negative ones are refused.
func number(e *dwarf.Entry, attr dwarf.Attr) (uint64, bool) {
	switch v := e.Val(attr).(type) {
	case int64:
		return uint64(v), v >= 0
	case uint64:
		return v, true
	case []byte:
		return plusConst(v)
	}
	return 0, false
}

func flag(e *dwarf.Entry, attr dwarf.Attr) bool {
	switch v := e.Val(attr).(type) {
	case bool:
		return v
	case int64:
		return v != 0
	}
	return false
}

func text(e *dwarf.Entry, attr dwarf.Attr) string {
	s, _ := e.Val(attr).(string)
	if len(s) > maxName {
		s = s[:maxName]
	}
	return s
}

// elsewhere stands for an entry that isn't in the file at hand.
const elsewhere = ^dwarf.Offset(0)

// reference reads a reference to another entry: in the same section, or to a
// type unit by its signature. Others lead elsewhere: to a file that dwz has
// made of what several have in common, or to a DWARF 4 type section.
func (r *Reader) reference(e *dwarf.Entry, attr dwarf.Attr) (dwarf.Offset, bool) {
	switch v := e.Val(attr).(type) {
	case dwarf.Offset:
		return v, true
	case nil:
		return 0, false
	case uint64:
		r.readUnits()
		if off, ok := r.signed[v]; ok {
			return off, true
		}
	}
	return elsewhere, true
}
