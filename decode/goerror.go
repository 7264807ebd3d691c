package decode

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/observatory-trace/observatory-trace/trace"
)

// dynamic is what an interface value holds.
type dynamic struct {
	name string      // the dynamic type's name as %T prints it; "" when unknown
	typ  *trace.Type // of bytes; nil when nothing was captured
	word uint64      // the data word
	// bytes are the value, or what the pointer leads to.
	bytes []byte
	block *Block // where bytes come from; nil when the data word is the value
}

// resolve finds the dynamic value of a Go interface; ok is false when it is nil.
func (p *printer) resolve(t *trace.Type, data []byte) (d dynamic, ok bool) {
	head, ok := word(data, 0)
	value, ok2 := word(data, 8)
	if !ok || !ok2 || head == 0 {
		return dynamic{}, false
	}
	d.word = value
	if p.config.Dynamic != nil {
		if known, ok := p.config.Dynamic(p.tgid, head, t.Empty); ok {
			d.name = shortName(known.Name)
			p.capture(&d, known, data[8:16])
			return d, true
		}
	}
	if !t.Empty {
		d.name = p.itabName(head)
	}
	return d, true
}

// capture finds the bytes of a dynamic value whose type is known.
func (p *printer) capture(d *dynamic, known Dynamic, data []byte) {
	if known.Type == nil {
		return
	}
	if known.Direct {
		d.typ, d.bytes = known.Type, data
		return
	}
	if b := p.find(d.word, known.Type.ID); b != nil {
		d.typ, d.bytes, d.block = known.Type, b.Data, b
	}
}

// itabName names the type of an itab that the linker made. Those have a
// symbol: go:itab.*os.PathError,error; before Go 1.20 with a dot.
func (p *printer) itabName(itab uint64) string {
	if p.config.Symbol == nil {
		return ""
	}
	name := p.config.Symbol(p.tgid, itab)
	for _, prefix := range []string{"go:itab.", "go.itab."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return shortName(firstOfPair(rest))
		}
	}
	return ""
}

// firstOfPair cuts "a,b" at its first comma outside of brackets.
func firstOfPair(s string) string {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[', '(', '{':
			depth++
		case ']', ')', '}':
			depth--
		case ',':
			if depth == 0 {
				return s[:i]
			}
		}
	}
	return s
}

// shortName takes the directories from a Go type's package path, as %T does:
// *io/fs.PathError is *fs.PathError.
func shortName(name string) string {
	i := 0
	for i < len(name) && (name[i] == '*' || name[i] == '[' || name[i] == ']') {
		i++
	}
	end := len(name)
	if j := strings.IndexAny(name[i:], "[({ "); j >= 0 {
		end = i + j
	}
	slash := strings.LastIndexByte(name[i:end], '/')
	if slash < 0 {
		return name
	}
	return name[:i] + name[i+slash+1:]
}

// iface prints a Go interface: its dynamic type and value; an error's message
// too, where it is known how its type makes it.
func (p *printer) iface(dst []byte, t *trace.Type, data []byte) []byte {
	if t.Lang == trace.LangRust {
		return p.traitObject(dst, t, data)
	}
	head, ok := word(data, 0)
	if !ok {
		return p.unavailable(dst, "interface layout not known")
	}
	if head == 0 {
		return append(dst, "null"...)
	}
	d, ok := p.resolve(t, data)
	if !ok {
		return p.unavailable(dst, "interface layout not known")
	}
	if isContext(t) {
		if out, ok := p.contextOf(dst, d); ok {
			return out
		}
	}
	dst = append(dst, '{')
	if d.name != "" {
		dst = append(dst, `"$type":`...)
		dst = appendString(dst, d.name)
		dst = append(dst, ',')
	}
	if t.Kind == trace.KindError {
		if msg, ok := p.message(d, 0); ok {
			dst = append(dst, `"$message":`...)
			dst = appendString(dst, msg)
			if d.leaf() {
				return append(dst, '}')
			}
			dst = append(dst, ',')
		}
	}
	dst = append(dst, `"$value":`...)
	return append(p.dynamicValue(dst, d), '}')
}

func (p *printer) dynamicValue(dst []byte, d dynamic) []byte {
	switch {
	case d.name == "*reflect.rtype" && p.config.Dynamic != nil:
		if of, ok := p.config.Dynamic(p.tgid, d.word, true); ok {
			return appendString(dst, shortName(of.Name))
		}
		return p.pointer(dst, d.word)
	case d.typ != nil && d.block == nil:
		return p.value(dst, d.typ, d.bytes)
	case d.word == 0:
		return append(dst, "null"...)
	case d.typ == nil:
		return p.pointer(dst, d.word)
	case d.block.Status == BlockFault:
		return p.unavailable(dst, "memory not readable")
	}
	return p.pointed(dst, d.block, d.typ)
}

// leaf says whether an error's message says all that its value would.
func (d dynamic) leaf() bool {
	switch strings.TrimPrefix(d.name, "*") {
	case "errors.errorString", "runtime.errorString", "runtime.plainError", "runtime.boundsError",
		"context.deadlineExceededError":
		return true
	}
	return d.typ != nil && d.typ.Kind == trace.KindString
}

// maxWraps bounds how many wrapped errors a message is put together from.
const maxWraps = 16

// message is what an error's Error method would say, for the types whose
// method is known.
func (p *printer) message(d dynamic, wraps int) (string, bool) {
	if wraps > maxWraps || len(d.name) == 0 {
		return "", false
	}
	name := strings.TrimPrefix(d.name, "*")
	if msg, ok := constantErrors[name]; ok {
		return msg, true
	}
	if d.typ == nil || uint64(len(d.bytes)) < uint64(d.typ.Size) {
		return "", false
	}
	v := errorValue{p: p, typ: d.typ, data: d.bytes, wraps: wraps}
	if msg, ok := v.say(name); ok {
		return msg, !v.missing
	}
	return "", false
}

// panicNil is how the message of a *runtime.PanicNilError begins; Go 1.22 to
// 1.25 go on with the setting that turns it off.
const panicNil = "panic called with nil argument"

// constantErrors are the types whose Error method returns a constant.
var constantErrors = map[string]string{
	"context.deadlineExceededError": "context deadline exceeded",
	"poll.DeadlineExceededError":    "i/o timeout",
	"poll.errNetClosing":            "use of closed network connection",
	"net.timeoutError":              "i/o timeout",
	"net.canceledError":             "operation was canceled",
	"runtime.PanicNilError":         panicNil,
}

// say is what the Error method of a type returns, by the sources of Go 1.22
// to 1.26; false when that isn't known.
func (v *errorValue) say(name string) (string, bool) {
	switch name {
	case "errors.errorString":
		return v.str("s"), true
	case "fmt.wrapError", "fmt.wrapErrors", "json.SyntaxError":
		return v.str("msg"), true
	case "json.UnmarshalTypeError":
		return v.unmarshalType(), true
	case "errors.joinError":
		return v.joined(), true
	case "fs.PathError":
		return v.str("Op") + " " + v.str("Path") + ": " + v.err("Err"), true
	case "os.SyscallError":
		return v.str("Syscall") + ": " + v.err("Err"), true
	case "os.LinkError":
		return v.str("Op") + " " + v.str("Old") + " " + v.str("New") + ": " + v.err("Err"), true
	case "exec.Error":
		return "exec: " + strconv.Quote(v.str("Name")) + ": " + v.err("Err"), true
	case "url.Error":
		return v.str("Op") + " " + strconv.Quote(v.str("URL")) + ": " + v.err("Err"), true
	case "url.InvalidHostError":
		return "invalid character " + strconv.Quote(v.self()) + " in host name", true
	case "url.EscapeError":
		return "invalid URL escape " + strconv.Quote(v.self()), true
	case "strconv.NumError":
		return "strconv." + v.str("Func") + ": parsing " + strconv.Quote(v.str("Num")) + ": " + v.err("Err"), true
	case "net.OpError":
		return v.netOp(), true
	case "net.DNSError":
		return v.dns(), true
	case "net.AddrError":
		return v.netAddr(), true
	case "syscall.Errno":
		return errnoText(v.number()), true
	case "runtime.errorString":
		return "runtime error: " + v.self(), true
	case "runtime.errorAddressString":
		return "runtime error: " + v.str("msg"), true
	case "runtime.plainError":
		return v.self(), true
	case "runtime.boundsError":
		return v.bounds(), true
	}
	return v.sayOther(name)
}

// sayOther is say for github.com/pkg/errors.
func (v *errorValue) sayOther(name string) (string, bool) {
	switch name {
	case "errors.fundamental":
		return v.str("msg"), true
	case "errors.withMessage":
		return v.str("msg") + ": " + v.err("cause"), true
	case "errors.withStack":
		return v.err("error"), true
	}
	return "", false
}

// errorValue reads the fields that an Error method reads.
type errorValue struct {
	p       *printer
	typ     *trace.Type
	data    []byte
	wraps   int
	missing bool // something that the message needs was not captured
}

func (v *errorValue) field(name string) (*trace.Type, []byte) {
	i := slices.IndexFunc(v.typ.Fields, func(f trace.Field) bool { return f.Name == name })
	if v.typ.Kind != trace.KindStruct || i < 0 {
		return nil, nil
	}
	if v.p.secretFields(v.typ).rule(i) != "" {
		v.p.flags |= trace.FlagRedacted
		return nil, nil
	}
	f := &v.typ.Fields[i]
	if f.Type == nil || f.Unavailable != "" || uint64(f.Offset)+uint64(f.Type.Size) > uint64(len(v.data)) {
		return nil, nil
	}
	return f.Type, v.data[f.Offset:][:f.Type.Size]
}

// str is a string field.
func (v *errorValue) str(name string) string {
	t, data := v.field(name)
	s, ok := v.p.goString(t, data)
	v.missing = v.missing || !ok
	return s
}

// self is the value itself, being a string.
func (v *errorValue) self() string {
	s, ok := v.p.goString(v.typ, v.data)
	v.missing = v.missing || !ok
	return s
}

// number is the value itself, being an integer.
func (v *errorValue) number() uint64 {
	if v.typ.Size == 0 || v.typ.Size > 8 || uint64(len(v.data)) < uint64(v.typ.Size) {
		v.missing = true
		return 0
	}
	return unsigned(v.data[:v.typ.Size])
}

// err is the message of an error field.
func (v *errorValue) err(name string) string {
	t, data := v.field(name)
	if t == nil {
		v.missing = true
		return ""
	}
	return v.wrapped(t, data)
}

func (v *errorValue) wrapped(t *trace.Type, data []byte) string {
	if head, ok := word(data, 0); ok && head == 0 {
		return "<nil>"
	}
	d, ok := v.p.resolve(t, data)
	if !ok {
		v.missing = true
		return ""
	}
	msg, ok := v.p.message(d, v.wraps+1)
	if ok {
		return msg
	}
	if d.name == "" {
		v.missing = true
	}
	return "<" + d.name + ">" // it is known what says something there, but not what
}

func (v *errorValue) joined() string {
	t, data := v.field("errs")
	if t == nil || t.Kind != trace.KindSlice || t.Elem == nil || t.Elem.Size == 0 {
		v.missing = true
		return ""
	}
	ptr, n, ok := header(t, data)
	b := v.p.find(ptr, t.Elem.ID)
	if !ok || b == nil {
		v.missing = true
		return ""
	}
	size := uint64(t.Elem.Size)
	have := min(n, uint64(len(b.Data))/size, maxWraps)
	lines := make([]string, 0, have)
	for i := range have {
		lines = append(lines, v.wrapped(t.Elem, b.Data[i*size:][:size]))
	}
	if have < n {
		lines = append(lines, "…")
	}
	return strings.Join(lines, "\n")
}

func (v *errorValue) unmarshalType() string {
	s := "json: cannot unmarshal " + v.str("Value") + " into Go "
	if of, name := v.str("Struct"), v.str("Field"); of != "" || name != "" {
		s += "struct field " + of + "." + name + " of type "
	} else {
		s += "value of type "
	}
	t, data := v.field("Type")
	if t == nil {
		v.missing = true
		return ""
	}
	d, ok := v.p.resolve(t, data)
	if !ok || d.name != "*reflect.rtype" || v.p.config.Dynamic == nil {
		v.missing = true
		return ""
	}
	of, ok := v.p.config.Dynamic(v.p.tgid, d.word, true)
	v.missing = v.missing || !ok
	return s + shortName(of.Name)
}

// netOp leaves out addresses of types that it doesn't know.
func (v *errorValue) netOp() string {
	s := v.str("Op")
	if network := v.str("Net"); network != "" {
		s += " " + network
	}
	source, to := v.netEnd("Source"), v.netEnd("Addr")
	switch {
	case source != "" && to != "":
		s += " " + source + "->" + to
	case source != "" || to != "":
		s += " " + source + to
	}
	return s + ": " + v.err("Err")
}

// netEnd is a net.Addr member's text, "" when it is nil, or of a type that isn't known.
func (v *errorValue) netEnd(name string) string {
	t, data := v.field(name)
	if t == nil {
		return ""
	}
	d, ok := v.p.resolve(t, data)
	if !ok || d.typ == nil || d.block == nil || d.block.Status == BlockFault {
		return ""
	}
	end := errorValue{p: v.p, typ: d.typ, data: d.bytes}
	switch d.name {
	case "*net.UnixAddr":
		return end.str("Name")
	case "*net.TCPAddr", "*net.UDPAddr":
		_, port := end.field("Port")
		if len(port) != 8 {
			return ""
		}
		return net.JoinHostPort(end.ip(), strconv.FormatUint(unsigned(port), 10))
	case "*net.IPAddr":
		return end.ip()
	}
	return ""
}

// ip is the text of the members IP and Zone.
func (v *errorValue) ip() string {
	t, data := v.field("IP")
	if t == nil || t.Kind != trace.KindSlice {
		return ""
	}
	ptr, n, ok := header(t, data)
	b := v.p.find(ptr, typeBytes)
	if !ok || n == 0 || b == nil || uint64(len(b.Data)) < n {
		return ""
	}
	s := net.IP(b.Data[:n]).String()
	if zone := v.str("Zone"); zone != "" {
		s += "%" + zone
	}
	return s
}

func (v *errorValue) dns() string {
	s := "lookup " + v.str("Name")
	if server := v.str("Server"); server != "" {
		s += " on " + server
	}
	return s + ": " + v.str("Err")
}

func (v *errorValue) netAddr() string {
	s := v.str("Err")
	if addr := v.str("Addr"); addr != "" {
		s = "address " + addr + ": " + s
	}
	return s
}

// boundsFormats are runtime.boundsErrorFmts, by code: %x is the index, %y the
// length or capacity.
var boundsFormats = [...]string{
	"index out of range [%x] with length %y",
	"slice bounds out of range [:%x] with length %y",
	"slice bounds out of range [:%x] with capacity %y",
	"slice bounds out of range [%x:%y]",
	"slice bounds out of range [::%x] with length %y",
	"slice bounds out of range [::%x] with capacity %y",
	"slice bounds out of range [:%x:%y]",
	"slice bounds out of range [%x:%y:]",
	convertFormat,
}

// convertFormat is the one whose %x and %y changed places in Go 1.26: the
// slice is the shorter one, else there were no panic.
const convertFormat = "cannot convert slice with length %x to array or pointer to array with length %y"

// boundsNegative are runtime.boundsNegErrorFmts.
var boundsNegative = [...]string{
	"index out of range [%x]",
	"slice bounds out of range [:%x]",
	"slice bounds out of range [:%x]",
	"slice bounds out of range [%x:]",
	"slice bounds out of range [::%x]",
	"slice bounds out of range [::%x]",
	"slice bounds out of range [:%x:]",
	"slice bounds out of range [%x::]",
	convertFormat,
}

func (v *errorValue) bounds() string {
	_, x := v.field("x")
	_, y := v.field("y")
	_, sign := v.field("signed")
	_, code := v.field("code")
	if len(x) != 8 || len(y) != 8 || len(sign) != 1 || len(code) != 1 || int(code[0]) >= len(boundsFormats) {
		v.missing = true
		return ""
	}
	format := boundsFormats[code[0]]
	index := strconv.FormatUint(unsigned(x), 10)
	if sign[0] != 0 {
		index = strconv.FormatInt(signed(x), 10)
		if signed(x) < 0 {
			format = boundsNegative[code[0]]
		}
	}
	length := strconv.FormatInt(signed(y), 10)
	if format == convertFormat && signed(x) > signed(y) {
		index, length = length, index
	}
	return "runtime error: " + strings.NewReplacer("%x", index, "%y", length).Replace(format)
}

// goString is the captured text of a string value, for a message: its secrets are
// replaced. What was cut ends in "…".
func (p *printer) goString(t *trace.Type, data []byte) (string, bool) {
	if t == nil || t.Kind != trace.KindString || t.Count > 1 || t.Form == trace.FormBits || t.Form == trace.FormShared {
		return "", false
	}
	if text, ok := shortText(t, data); ok {
		return strings.ToValidUTF8(string(p.replaceSecrets(text, false)), "\ufffd"), true
	}
	ptr, n, ok := header(t, data)
	if !ok || n == 0 {
		return "", ok
	}
	b := p.find(ptr, typeBytes)
	if b == nil || b.Status == BlockFault {
		return "", false
	}
	text := b.Data[:min(n, uint64(len(b.Data)), uint64(p.config.MaxString))]
	whole := uint64(len(text)) == n
	text = p.replaceSecrets(text, !whole)
	if whole {
		return strings.ToValidUTF8(string(text), "\ufffd"), true
	}
	p.flags |= trace.FlagTruncated
	return strings.ToValidUTF8(string(trimRune(text)), "\ufffd") + "…", true
}

// errorOf is the type and message of a Go error value; nil when it is nil.
func (p *printer) errorOf(t *trace.Type, data []byte) *trace.Error {
	if head, ok := word(data, 0); !ok || head == 0 {
		return nil
	}
	e := &trace.Error{Type: "error"}
	if d, ok := p.resolve(t, data); ok {
		if d.name != "" {
			e.Type = d.name
		}
		var known bool
		if e.Message, known = p.message(d, 0); !known && d.typ != nil {
			e.Message = p.asMessage(func() []byte { return p.dynamicValue(nil, d) })
		}
	}
	return e
}

// panicOf is the type and message of a panic's value, an `any`. Values of the
// predeclared types are what a panic says, not what it is: their type is "panic".
func (p *printer) panicOf(t *trace.Type, data []byte) *trace.Error {
	e := &trace.Error{Type: "panic"}
	d, ok := p.resolve(t, data)
	if !ok {
		// gopanic makes a *runtime.PanicNilError of nil after its entry.
		return &trace.Error{Type: "*runtime.PanicNilError", Message: panicNil}
	}
	if strings.Contains(d.name, ".") {
		e.Type = d.name
		if msg, ok := p.message(d, 0); ok {
			e.Message = msg
			return e
		}
	}
	e.Message = p.plain(d)
	return e
}

// plain is a value as a panic would print it: text as it is, others as JSON.
func (p *printer) plain(d dynamic) string {
	if d.typ == nil {
		return d.name
	}
	if s, ok := p.goString(d.typ, d.bytes); ok && utf8.ValidString(s) {
		return s
	}
	p.limit, p.nesting, p.path = maxPanicText, 0, p.path[:0]
	return string(p.dynamicValue(nil, d))
}

// maxPanicText is about how long a panic's value is shown as JSON, in bytes.
const maxPanicText = 1024
