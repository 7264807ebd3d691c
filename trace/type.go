package trace

import "strings"

// Kind is how a value's bytes are read.
type Kind uint8

// The kinds. A kind says how bytes are read, not what the language calls them:
// a Go string, a Rust &str and a std::string are all KindString.
const (
	KindUnknown   Kind = iota
	KindBool           // Size bytes, non-zero is true
	KindInt            // signed, little endian
	KindUint           // unsigned, little endian
	KindFloat          // IEEE 754, 4, 8 (or x87 extended in 16) bytes
	KindComplex        // two floats
	KindChar           // a C char: a number, and a string behind a pointer
	KindRune           // a Rust char
	KindEnum           // Enumerators name the values of the integer below
	KindPointer        // Elem, or nil for void*
	KindCString        // a pointer to NUL-terminated characters, of Count bytes each when that is more than 1
	KindStruct         // Fields
	KindUnion          // Fields, all at offset 0
	KindArray          // Count of Elem, inline
	KindString         // pointer at PtrOff, length in characters at LenOff; those have Count bytes each when that is more than 1
	KindSlice          // pointer at PtrOff, length in elements at LenOff, Elem
	KindInterface      // Go: type word at 0 (an itab unless Empty), data word at 8. Rust: a trait object: data word at PtrOff, vtable at LenOff
	KindFunc           // a code pointer; Go: a pointer to one
	KindMap            // Form says how its entries lie
	KindChan           // Go: a pointer to Elem, runtime.hchan
	KindError          // Go's error interface: KindInterface whose message is sought
	KindDuration       // a signed number of ticks, of Tick seconds each
	KindVariant        // Rust enum with payloads: one of Variants, as Tag says
	KindTime           // a signed number of ticks, of Tick seconds each, since 1970 UTC
	KindIOError        // Rust std::io::Error: a word whose lowest two bits say what it is; Links[0] leads to the rest
	KindAny            // C++ std::any: the value or its address at PtrOff, at LenOff the function that manages it
)

// Type is the layout of a value. Types form a graph (pointers may lead back);
// they are immutable once planned and shared between functions.
type Type struct {
	ID     uint32 // index of its capture program in the BPF maps, 0 when it has none
	Name   string // as the language writes it
	Kind   Kind
	Size   uint32 // bytes
	Elem   *Type
	Count  uint64 // KindArray
	Fields []Field
	Enum   []Enumerator
	PtrOff uint32 // KindString, KindSlice
	LenOff uint32 // KindString, KindSlice
	Inner  bool   // KindPointer: what it leads to is a part of the value
	// Dict says of a Go type parameter where its real type is: the word of that number, counted
	// from 1, of the function's dictionary has the runtime's type; 0: it is what it seems.
	Dict  uint32
	Empty bool   // KindInterface: no methods, the first word is the type itself
	Trait string // KindInterface, Rust: the trait, without generic arguments
	Head  uint32 // KindInterface, Rust: bytes before the value where the data word leads (Rc's counts), as far as its alignment needs no more
	// Virtual: KindStruct, C++: a class that has a vtable, whose address is its first word. So it
	// may be of KindUnknown: then nothing else is known of it.
	Virtual bool
	// Exact: KindPointer: it leads to an object of just its class, whatever vtable that has by now.
	Exact  bool
	Signed bool // KindEnum: the integer is signed
	Lang   Language
	// Tag is the integer that says which of Variants a KindVariant is; nil when there is only one.
	Tag      *Field
	Variants []Variant
	// Links lead from a container, or a part of one, to its contents. Fields at their
	// offsets are not pointers to be followed in themselves.
	Links []Link
	Form  Form      // KindMap, KindSlice, KindString, KindPointer, KindFunc
	Tick  [2]uint32 // KindDuration, KindTime: numerator and denominator
}

// Form is how a container keeps its contents.
type Form uint8

// The forms. Elem is what holds the contents, as each says.
const (
	FormPlain   Form = iota // KindSlice: pointer and length
	FormEnd                 // KindSlice: LenOff has the address of the elements' end
	FormSwiss               // Go 1.24 and later: a pointer to Elem, internal/runtime/maps.Map
	FormBuckets             // Go before: a pointer to Elem, runtime.hmap
	// Cells that lead to others: Links[0] is the way to the first, LenOff has the number of
	// values. Cells have the value as their one field, and pairs in maps.
	FormTree // C++ std::map: in a cell, Links[0] leads to the smaller ones, Links[1] to the greater
	FormList // C++ std::list, std::unordered_map: Links[0] leads to the next
	// FormTable is Rust's hash table: LenOff has the number of entries, Links[0] leads to the buckets
	// and Links[1] to their control bytes.
	FormTable
	// FormBTree is Rust's ordered map: LenOff has the number of entries, and one of Links leads to
	// the tree's root: the one whose condition is the tree's height.
	FormBTree
	// FormTrie is Go's sync.Map (1.24 and later): Links[0] leads to the root. A node's first word is
	// 1 when it is an entry, whose fields are key and value and whose last link the next one of the same
	// hash; else the other links lead to more nodes.
	FormTrie
	// FormRing is Rust's VecDeque: as a plain slice, but the values begin at the index that Tag
	// has, and go on at the first after the last that there is room for (Links[0] says how many).
	FormRing
	// FormChain is as FormList, without a number of values: C++ std::forward_list.
	FormChain
	// FormBlocks is C++ std::deque: Count elements in each block, Links[0] leads to an
	// array of pointers to the blocks. libstdc++: at PtrOff and LenOff are iterators (element, its block's
	// beginning and end, the pointer to the block) to the first and behind the last element, and Links[1] leads to
	// those of the last block. libc++: LenOff has the number of elements, Tag the number of the first one in the first block;
	// where that is 0, Links[1] leads to the array, and of each block only a part is copied.
	FormBlocks
	// FormBits is C++ std::vector<bool>: Links[0] leads to words of bits; LenOff has their number or, with Tag,
	// the address of the last word, and Tag the number of bits in it. KindString: std::bitset, Count bits at PtrOff.
	FormBits
	// FormFixed is of Count elements, which the type alone says: Links[0] leads to an array of them.
	FormFixed
	// FormShort is libc++'s std::string: a plain one when the lowest bit of its first byte is set, else
	// its length is in the other bits of that byte and the text one character behind it.
	FormShort
	// FormNUL is a text whose last byte is a NUL that is no part of it: Rust's CString, CStr.
	FormNUL
	// FormShared is Rust's Arc<str>, Rc<str>: two counts of 8 bytes lie before the text.
	FormShared
	// FormWeak is Rust's Weak, which leads to a count of owners with the value behind it; C++ std::weak_ptr: Links[0] leads to the count of owners, in which Tag is Count when there are none.
	FormWeak
	// FormOpaque is a pointer to what is only declared.
	FormOpaque
	// FormUnsized is a Rust pointer with the length of a slice that its target ends in.
	FormUnsized
	// FormInvoker is libstdc++'s std::function: what is called at PtrOff, at LenOff the function that calls it.
	FormInvoker
	// FormObject is libc++'s std::function: Links[0] leads to an object of virtual functions that has what is called behind them.
	FormObject
)

// Count is how many values a Link leads to; the numbers are those of enum count_form in bpf/event.h.
type Count uint8

// The counts.
const (
	CountPlain Count = iota // the integer at LenOffset
	CountMask               // one more than that
	CountShift              // two to the power of the byte there
	CountHalf               // half of that
	CountEnd                // the address of their end is there
	CountOne                // one
)

// When says on what a Link depends; the numbers are those of enum edge_when in bpf/event.h.
type When uint8

// The conditions.
const (
	Always When = iota
	Equal       // the 4 bytes at WhenOffset are WhenValue
	Differs
)

// Link is a pointer in a container's own memory to its contents, or to more of it.
type Link struct {
	Offset     uint32 // of the pointer, bytes
	Target     *Type  // of one value
	Count      Count
	LenOffset  uint32
	When       When
	WhenOffset uint32
	WhenValue  uint32
	Back       bool  // the values end at the address, the first one last
	Untag      bool  // the lowest two bits of the pointer are no part of it
	Per        uint8 // elements of the container in one value, 0 for one
}

// Variant is one of the forms that a value of KindVariant takes.
type Variant struct {
	Name    string // empty: it is shown as what it holds
	Value   uint64 // of the tag, as far as the tag's size goes
	Default bool   // whatever other value the tag has
	Null    bool   // it stands for no value
	Type    *Type  // a struct as large as the whole, with this form's fields
}

// Variant gives the form that a KindVariant's bytes are in, nil when their tag
// is of none, or they are too few.
func (t *Type) Variant(data []byte) *Variant {
	if t.Tag == nil {
		if len(t.Variants) != 1 {
			return nil
		}
		return &t.Variants[0]
	}
	size := uint64(t.Tag.Type.Size)
	if size == 0 || size > 8 || uint64(t.Tag.Offset)+size > uint64(len(data)) {
		return nil
	}
	var tag uint64
	for i := size; i > 0; i-- {
		tag = tag<<8 | uint64(data[uint64(t.Tag.Offset)+i-1])
	}
	mask := ^uint64(0) >> (64 - 8*size)
	var other *Variant
	for i := range t.Variants {
		switch v := &t.Variants[i]; {
		case v.Default:
			other = v
		case v.Value&mask == tag:
			return v
		}
	}
	return other
}

// IsResult says whether a type is Rust's Result.
func (t *Type) IsResult() bool {
	return t.Kind == KindVariant && t.Lang == LangRust && strings.HasPrefix(t.Name, "core::result::Result<")
}

// Field is a member of a struct or union, or a parameter of a Plan's root.
type Field struct {
	Name     string
	Offset   uint32 // bytes
	Type     *Type
	BitSize  uint8 // bits; 0 when it is not a bit-field
	BitShift uint8 // bits from the least significant of the Type.Size bytes at Offset
	Embedded bool
	// Unavailable is the reason why the value can't be had ("in SSE register"); empty when it can.
	Unavailable string
}

// Enumerator is one named value of an enumeration.
type Enumerator struct {
	Name  string
	Value int64
}

// Dictionary is the name of the field of a plan's root that holds the address of the types which
// a generic Go function runs with. It is no parameter of the source's.
const Dictionary = ".dict"

// Plan says what the probe copies on one side of a function's calls, and how
// the copy is read: Root is a struct whose fields are the parameters (or
// results), each in its natural memory layout, and Moves fill it from
// registers and from the caller's frame. Memory behind pointers follows as
// blocks found by (address, type).
type Plan struct {
	Root  *Type
	Moves []Move
}

// Source is where a Move reads.
type Source uint8

// The sources; the numbers are those of enum source in bpf/event.h.
const (
	SourceRegister Source = iota + 1 // Register, DWARF numbering; Offset is the byte within it
	SourceCFA                        // memory at the canonical frame address + Offset
	SourceMemory                     // memory at the address held in Register, + Offset
	SourceSaved                      // at an exit: memory at the address that Register held at the entry, + Offset
)

// Move copies Size bytes to offset Dst of the root.
type Move struct {
	Dst      uint16
	Size     uint16 // at most 8 from a register
	Source   Source
	Register uint8
	Offset   int32
}
