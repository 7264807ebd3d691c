package decode

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ianlancetaylor/demangle"

	"github.com/observatory-trace/observatory-trace/trace"
)

// unwindHeader is the size of struct _Unwind_Exception, which lies right
// before the thrown object (Itanium C++ ABI, 2.2.1).
const unwindHeader = 32

// thrownHeader is the address of the header before the object that
// __cxa_throw(object, type_info, destructor) throws.
func (d *Decoder) thrownHeader(e *Event, fn *function) uint64 {
	if object := d.firstWord(e, fn); object > unwindHeader {
		return object - unwindHeader
	}
	return 0
}

// exception is the type and message of what __cxa_throw throws. Its first
// parameter is the object, as symbols plans it; the second one is the type_info,
// in which the first C string is the mangled name.
func (d *Decoder) exception(e *Event, fn *function) trace.Error {
	err := trace.Error{Type: "exception"}
	if len(fn.args) < 2 {
		return err
	}
	object, info := &fn.args[0], &fn.args[1]
	standard := false
	if info.readable(e) {
		names := d.typeInfoNames(info.field.Type, e.Root[info.field.Offset:])
		for i, name := range names {
			standard = standard || standardException[nested(name)]
			if i == 0 {
				err.Type = name
			}
		}
	}
	if !object.readable(e) || object.field.Type == nil || object.field.Type.Elem == nil {
		return err
	}
	addr, _ := word(e.Root, object.field.Offset)
	if b := d.printer.find(addr, object.field.Type.Elem.ID); b != nil && b.Status != BlockFault {
		err.Message = d.thrownMessage(object.field.Type.Elem, b.Data, err.Type, standard)
	}
	return err
}

// thrownMessage is what a thrown object says: of the standard exceptions their message, of
// numbers and texts what they are.
func (d *Decoder) thrownMessage(t *trace.Type, data []byte, name string, standard bool) string {
	part := ""
	switch {
	case standard:
		part = "what"
	case name == "char const*" || name == "char*":
		part = "text"
	case strings.HasPrefix(name, "std::__cxx11::basic_string<char,") || name == "std::string":
		part = "string"
	}
	if f := field(t, part); f != nil && uint64(f.Offset) <= uint64(len(data)) {
		s, _ := d.printer.firstText(f.Type, data[f.Offset:], 0)
		return s
	}
	if n := thrownNumbers[name]; n.size > 0 && n.size <= len(data) {
		if n.signed {
			return strconv.FormatInt(signed(data[:n.size]), 10)
		}
		return strconv.FormatUint(unsigned(data[:n.size]), 10)
	}
	return ""
}

// thrownNumbers are the integers of the x86-64 and AArch64 ABIs for Linux.
var thrownNumbers = map[string]struct {
	size   int
	signed bool
}{
	"int": {4, true}, "long": {8, true}, "long long": {8, true}, "short": {2, true},
	"unsigned int": {4, false}, "unsigned long": {8, false}, "unsigned long long": {8, false}, "unsigned short": {2, false},
}

// nested is the exception that std::throw_with_nested was given, which comes first in what it throws.
func nested(name string) string {
	if inner, ok := strings.CutPrefix(name, "std::_Nested_exception<"); ok {
		return strings.TrimSpace(strings.TrimSuffix(inner, ">"))
	}
	return name
}

// standardException are the types that keep a C string right behind their
// table of virtual functions: std::logic_error, std::runtime_error and those
// that derive from them (libstdc++ and libc++).
var standardException = map[string]bool{
	"std::logic_error": true, "std::domain_error": true, "std::invalid_argument": true, "std::length_error": true,
	"std::out_of_range": true, "std::future_error": true, "std::runtime_error": true, "std::range_error": true,
	"std::overflow_error": true, "std::underflow_error": true, "std::system_error": true, "std::regex_error": true,
	"std::ios_base::failure": true, "std::ios_base::failure[abi:cxx11]": true,
	"std::filesystem::filesystem_error": true, "std::filesystem::__cxx11::filesystem_error": true,
	"std::format_error": true,
}

// maxBases bounds how many base classes are looked at.
const maxBases = 8

// typeInfoNames gives the demangled names of a thrown type and, as far as
// they were captured, of the bases that it derives from singly: the type_info
// of such a type (__si_class_type_info) has its base's address behind its
// name. Of other types something else is there, which is hardly ever the
// address of a type_info.
func (d *Decoder) typeInfoNames(t *trace.Type, data []byte) []string {
	var names []string
	for range maxBases {
		addr, ok := word(data, 0)
		if !ok || t == nil || t.Kind != trace.KindPointer || t.Elem == nil {
			return names
		}
		b := d.printer.find(addr, t.Elem.ID)
		if b == nil || b.Status == BlockFault {
			return names
		}
		var name string
		var base *trace.Field
		for i := range t.Elem.Fields {
			f := &t.Elem.Fields[i]
			switch {
			case f.Type == nil || uint64(f.Offset)+8 > uint64(len(b.Data)):
			case f.Type.Kind == trace.KindCString && name == "":
				name, _ = d.printer.firstText(f.Type, b.Data[f.Offset:], 0)
			case f.Type.Kind == trace.KindPointer && f.Name == "base":
				base = f
			}
		}
		if name == "" {
			return names
		}
		names = append(names, demangled(name))
		if base == nil {
			return names
		}
		t, data = base.Type, b.Data[base.Offset:]
	}
	return names
}

// demangled is the source's form of a type's mangled name (St13runtime_error).
func demangled(name string) string {
	// Names that are local to a file start with a star.
	name = strings.TrimPrefix(name, "*")
	if len(name) > 1024 {
		return name
	}
	s, err := demangle.ToString("_ZTS"+name, demangle.NoClones)
	if err != nil {
		return name
	}
	return strings.TrimPrefix(s, "typeinfo name for ")
}

// firstText finds the first captured text in a value, following pointers and
// members a few steps. Secrets in it are replaced.
func (p *printer) firstText(t *trace.Type, data []byte, steps int) (string, bool) {
	if t == nil || steps > 4 || uint64(len(data)) < uint64(t.Size) {
		return "", false
	}
	switch t.Kind {
	case trace.KindString:
		s, ok := p.goString(t, data)
		return s, ok && s != ""
	case trace.KindCString:
		addr, ok := word(data, 0)
		if !ok {
			return "", false
		}
		text, whole, ok := p.cText(addr)
		if !ok || !utf8.Valid(text) {
			return "", false
		}
		text = p.replaceSecrets(text, !whole)
		if !whole {
			return string(trimRune(text)) + "…", true
		}
		return string(text), true
	case trace.KindPointer:
		addr, ok := word(data, 0)
		if !ok || t.Elem == nil {
			return "", false
		}
		if b := p.find(addr, t.Elem.ID); b != nil {
			return p.firstText(t.Elem, b.Data, steps+1)
		}
	case trace.KindStruct:
		for i := range t.Fields {
			f := &t.Fields[i]
			if f.Type == nil || uint64(f.Offset) > uint64(len(data)) {
				continue
			}
			if s, ok := p.firstText(f.Type, data[f.Offset:], steps+1); ok {
				return s, true
			}
		}
	}
	return "", false
}
