package decode

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/observatory-trace/observatory-trace/trace"
)

// maxNesting bounds how deep one value's JSON nests, whatever its type says.
const maxNesting = 48

// printer renders the captured values of one event after the other as JSON.
// The forms are those of the design's "Values as JSON".
type printer struct {
	config  *Config
	tgid    uint32
	blocks  []Block
	flags   trace.CallFlags // what was missing from what was printed
	limit   int             // length of the output at which values end
	nesting int
	path    []pathStep // the pointers being printed
	// inMessage: what is printed becomes part of a message, in which only the secret
	// itself is replaced.
	inMessage bool
	secrets   map[*trace.Type]*secretFields // decided once
	dict      uint64                        // the dictionary of the generic function whose values are printed, or 0
}

type pathStep struct {
	addr uint64
	typ  uint32
}

// load takes over an event's blocks.
func (p *printer) load(e *Event) {
	p.tgid = e.TGID
	p.flags = 0
	p.blocks = p.blocks[:0]
	if e.Flags&EventTruncated != 0 {
		p.flags |= trace.FlagTruncated
	}
	if len(e.blocks) == 0 {
		return
	}
	it := e.Blocks()
	for b, ok := it.Next(); ok; b, ok = it.Next() {
		p.blocks = append(p.blocks, b)
	}
}

// find gives the block of a value of the given capture program at an address:
// the longest one.
func (p *printer) find(addr uint64, typ uint32) *Block {
	var best *Block
	for i := range p.blocks {
		b := &p.blocks[i]
		if b.Addr == addr && b.Type == typ && (best == nil || len(b.Data) > len(best.Data)) {
			best = b
		}
	}
	return best
}

func (p *printer) unavailable(dst []byte, reason string) []byte {
	p.flags |= trace.FlagUnavailable
	return appendUnavailable(dst, reason)
}

// pointer prints a pointer that is not followed.
func (p *printer) pointer(dst []byte, addr uint64) []byte {
	return appendAddress(dst, "$ptr", addr)
}

// place prints a pointer that has nothing to be followed to: where it leads, if that
// has a name, and whether anything is known of what is there.
func (p *printer) place(dst []byte, t *trace.Type, addr uint64) []byte {
	dst = p.pointer(dst, addr)
	if name := p.nameOf(addr); name != "" {
		dst = appendString(append(dst[:len(dst)-1], `,"$symbol":`...), name)
		dst = append(dst, '}')
	}
	reason := ""
	switch t.Form {
	case trace.FormOpaque:
		reason = "type not described"
	case trace.FormUnsized:
		reason = "unsized value"
	default:
		return dst
	}
	p.flags |= trace.FlagUnavailable
	dst = appendString(append(dst[:len(dst)-1], `,"$unavailable":`...), reason)
	return append(dst, '}')
}

func (p *printer) full(dst []byte) bool {
	if len(dst) < p.limit {
		return false
	}
	p.flags |= trace.FlagTruncated
	return true
}

// value appends the JSON of the value of type t that data starts with. It
// bounds what it appends: past the limit, values are left out.
func (p *printer) value(dst []byte, t *trace.Type, data []byte) []byte {
	if t == nil {
		return p.unavailable(dst, "type not known")
	}
	if p.full(dst) {
		return appendUnavailable(dst, "value too large")
	}
	if p.nesting >= maxNesting {
		p.flags |= trace.FlagTruncated
		return appendUnavailable(dst, "nested too deep")
	}
	p.nesting++
	dst = p.kind(dst, t, data)
	p.nesting--
	return dst
}

func (p *printer) kind(dst []byte, t *trace.Type, data []byte) []byte {
	switch t.Kind {
	case trace.KindStruct:
		return p.structure(dst, t, data)
	case trace.KindUnion:
		return p.fields(dst, t, data)
	case trace.KindArray:
		return p.array(dst, t, data)
	}
	if uint64(len(data)) < uint64(t.Size) {
		p.flags |= trace.FlagTruncated
		return appendUnavailable(dst, "cut at the limit")
	}
	data = data[:t.Size]
	switch t.Kind {
	case trace.KindBool:
		return strconv.AppendBool(dst, slices.ContainsFunc(data, func(b byte) bool { return b != 0 }))
	case trace.KindInt, trace.KindUint, trace.KindChar:
		return p.integer(dst, t, data)
	case trace.KindFloat:
		f, bits, ok := float(data)
		if !ok {
			return p.unavailable(dst, "floating-point format not known")
		}
		return appendFloat(dst, f, bits)
	case trace.KindComplex:
		return p.complex(dst, data)
	case trace.KindRune:
		return p.rune(dst, data)
	case trace.KindEnum:
		return p.enum(dst, t, data)
	case trace.KindPointer:
		switch {
		case t.Form != trace.FormWeak:
		case t.Lang == trace.LangRust:
			return p.rustWeak(dst, t, data)
		default:
			return p.weak(dst, t, data)
		}
		return p.reference(dst, t, data)
	case trace.KindCString:
		return p.cString(dst, t, data)
	case trace.KindString:
		return p.string(dst, t, data)
	case trace.KindSlice:
		switch t.Form {
		case trace.FormTree, trace.FormList:
			return p.cells(dst, t, data)
		case trace.FormRing:
			return p.ring(dst, t, data)
		case trace.FormChain:
			return p.chain(dst, t, data)
		case trace.FormBlocks:
			return p.doubleEnded(dst, t, data)
		case trace.FormBits:
			return p.bits(dst, t, data)
		case trace.FormFixed:
			return p.fixed(dst, t, data)
		}
		return p.slice(dst, t, data)
	case trace.KindInterface, trace.KindError:
		return p.iface(dst, t, data)
	case trace.KindFunc:
		if t.Form == trace.FormInvoker || t.Form == trace.FormObject {
			return p.callable(dst, t, data)
		}
		return p.function(dst, t, data)
	case trace.KindMap:
		return p.container(dst, t, data)
	case trace.KindChan:
		return p.channel(dst, t, data)
	case trace.KindDuration:
		return p.duration(dst, t, data)
	case trace.KindTime:
		return p.time(dst, t, data)
	case trace.KindIOError:
		return p.ioError(dst, t, data)
	case trace.KindAny:
		return p.anything(dst, t, data)
	case trace.KindVariant:
		return p.variant(dst, t, data)
	}
	return p.unavailable(dst, "type not known")
}

// word reads 8 bytes at an offset.
func word(data []byte, off uint32) (uint64, bool) {
	if uint64(off)+8 > uint64(len(data)) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(data[off:]), true
}

// unsigned reads a little-endian integer of 0 to 8 bytes.
func unsigned(data []byte) uint64 {
	switch len(data) {
	case 8:
		return binary.LittleEndian.Uint64(data)
	case 4:
		return uint64(binary.LittleEndian.Uint32(data))
	}
	var v uint64
	for i := min(len(data), 8) - 1; i >= 0; i-- {
		v = v<<8 | uint64(data[i])
	}
	return v
}

// signed reads a little-endian two's complement integer of 1 to 8 bytes.
func signed(data []byte) int64 { return extend(unsigned(data), 8*len(data)) }

// extend spreads the sign of an integer of so many bits.
func extend(v uint64, bits int) int64 {
	if bits <= 0 || bits >= 64 {
		return int64(v)
	}
	return int64(v<<(64-bits)) >> (64 - bits)
}

func (p *printer) integer(dst []byte, t *trace.Type, data []byte) []byte {
	switch {
	case len(data) == 0:
		return p.unavailable(dst, "no bytes")
	case len(data) > 8:
		return appendBig(dst, data, t.Kind == trace.KindInt)
	case t.Kind == trace.KindInt && t.Lang == trace.LangGo && t.Name == "time.Duration":
		return appendString(dst, time.Duration(signed(data)).String())
	case t.Lang == trace.LangGo && t.Name == "syscall.Errno":
		return appendString(dst, errnoName(unsigned(data)))
	case t.Kind == trace.KindInt || t.Kind == trace.KindChar && t.Signed:
		return strconv.AppendInt(dst, signed(data), 10)
	}
	return strconv.AppendUint(dst, unsigned(data), 10)
}

// appendBig appends an integer wider than 64 bits (__int128, u128).
func appendBig(dst, data []byte, isSigned bool) []byte {
	if len(data) > 64 {
		data = data[:64]
	}
	be := slices.Clone(data)
	slices.Reverse(be)
	v := new(big.Int).SetBytes(be)
	if isSigned && be[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return v.Append(dst, 10)
}

// float reads an IEEE 754 number of 2, 4 or 8 bytes, or an x87 extended one
// in 10, 12 or 16; the precision is the number of bits to print it with.
func float(data []byte) (f float64, precision int, ok bool) {
	switch len(data) {
	case 4:
		return float64(math.Float32frombits(uint32(unsigned(data)))), 32, true
	case 8:
		return math.Float64frombits(unsigned(data)), 64, true
	case 10, 12, 16:
		return extended(data), 64, true
	}
	return 0, 0, false
}

// extended reads an x87 80-bit number: 64 bits of mantissa with an explicit
// leading bit, 15 of exponent, the sign.
func extended(data []byte) float64 {
	mantissa := unsigned(data[:8])
	head := uint16(unsigned(data[8:10]))
	exponent := int(head & 0x7fff)
	var f float64
	switch {
	case exponent == 0x7fff && mantissa<<1 != 0:
		return math.NaN()
	case exponent == 0x7fff:
		f = math.Inf(1)
	default:
		f = math.Ldexp(float64(mantissa), exponent-16383-63)
	}
	if head>>15 != 0 {
		f = -f
	}
	return f
}

func (p *printer) complex(dst, data []byte) []byte {
	half := len(data) / 2
	re, bits, ok := float(data[:half])
	im, _, ok2 := float(data[half : 2*half])
	if !ok || !ok2 {
		return p.unavailable(dst, "complex format not known")
	}
	return appendString(dst, strconv.FormatComplex(complex(re, im), 'g', -1, 2*bits))
}

func (p *printer) rune(dst, data []byte) []byte {
	v := unsigned(data)
	if v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
		return strconv.AppendUint(dst, v, 10)
	}
	return appendString(dst, string(rune(v)))
}

func (p *printer) enum(dst []byte, t *trace.Type, data []byte) []byte {
	if len(data) == 0 || len(data) > 8 {
		return p.unavailable(dst, "enumeration of a strange size")
	}
	return appendEnum(dst, t, unsigned(data), 8*len(data))
}

// appendEnum appends an enumerator's name, several joined by "|" when they are
// flags, or the number.
func appendEnum(dst []byte, t *trace.Type, raw uint64, bits int) []byte {
	v := int64(raw)
	if t.Signed {
		v = extend(raw, bits)
	}
	mask := uint64(math.MaxUint64)
	if bits < 64 {
		mask = 1<<bits - 1
	}
	for i := range t.Enum {
		if uint64(t.Enum[i].Value)&mask == raw&mask {
			return appendString(dst, t.Enum[i].Name)
		}
	}
	if names := enumFlags(t, raw&mask); names != "" {
		return appendString(dst, names)
	}
	if t.Signed {
		return strconv.AppendInt(dst, v, 10)
	}
	return strconv.AppendUint(dst, uint64(v), 10)
}

// enumFlags names the bits of a value, if every enumerator is one bit (or
// none) and they make up the whole value.
func enumFlags(t *trace.Type, v uint64) string {
	if v == 0 {
		return ""
	}
	var names []string
	rest := v
	for _, e := range t.Enum {
		bit := uint64(e.Value)
		if bit&(bit-1) != 0 {
			return ""
		}
		if rest&bit != 0 {
			names = append(names, e.Name)
			rest &^= bit
		}
	}
	if rest != 0 {
		return ""
	}
	return strings.Join(names, "|")
}

func (p *printer) reference(dst []byte, t *trace.Type, data []byte) []byte {
	if addr, ok := word(data, 0); ok && addr != 0 && t.Elem != nil {
		switch {
		case t.Elem.Kind == trace.KindChar:
			return p.textAt(dst, addr)
		case t.Elem.Kind == trace.KindFunc && t.Elem.Form == trace.FormPlain && t.Lang != trace.LangGo:
			return p.symbol(dst, addr)
		case t.Elem.Virtual && !t.Exact:
			return p.virtual(dst, t, data)
		case t.Elem.Size == 0 && t.Lang == trace.LangRust:
			return p.value(dst, t.Elem, nil)
		}
	}
	b, out := p.target(dst, t, data)
	if b == nil {
		return out
	}
	return p.pointed(dst, b, t.Elem)
}

// target finds the block of t.Elem that a pointer leads to. Where there is none
// that can be read, it prints what there is instead.
func (p *printer) target(dst []byte, t *trace.Type, data []byte) (*Block, []byte) {
	addr, ok := word(data, 0)
	switch {
	case !ok:
		return nil, p.unavailable(dst, "pointer of a strange size")
	case addr == 0:
		return nil, append(dst, "null"...)
	case t.Elem == nil || t.Elem.ID == 0:
		return nil, p.place(dst, t, addr)
	}
	b := p.find(addr, t.Elem.ID)
	switch {
	case b == nil:
		return nil, p.pointer(dst, addr)
	case b.Status == BlockFault:
		return nil, p.unavailable(dst, "memory not readable")
	}
	return b, dst
}

// pointed prints what a pointer leads to, or that it leads back.
func (p *printer) pointed(dst []byte, b *Block, t *trace.Type) []byte {
	if !p.enter(b) {
		return appendAddress(dst, "$ref", b.Addr)
	}
	dst = p.value(dst, t, b.Data)
	p.leave()
	return dst
}

// enter takes note that a block is being printed: false when it already is. leave ends it.
func (p *printer) enter(b *Block) bool {
	step := pathStep{b.Addr, b.Type}
	if slices.Contains(p.path, step) {
		return false
	}
	p.path = append(p.path, step)
	return true
}

func (p *printer) leave() { p.path = p.path[:len(p.path)-1] }

func (p *printer) cString(dst []byte, t *trace.Type, data []byte) []byte {
	addr, ok := word(data, 0)
	switch {
	case !ok:
		return p.unavailable(dst, "pointer of a strange size")
	case addr == 0:
		return append(dst, "null"...)
	case t.Count > 1:
		return p.wideText(dst, addr, int(t.Count))
	}
	return p.textAt(dst, addr)
}

// wideText prints a string of characters of 2 (UTF-16) or 4 bytes (UTF-32).
func (p *printer) wideText(dst []byte, addr uint64, width int) []byte {
	b := p.find(addr, typeBytes)
	switch {
	case b == nil:
		return p.pointer(dst, addr)
	case b.Status == BlockFault:
		return p.unavailable(dst, "memory not readable")
	}
	data, whole := b.Data[:len(b.Data)/width*width], false
	for i := 0; i < len(data) && !whole; i += width {
		if unsigned(data[i:i+width]) == 0 {
			data, whole = data[:i], true
		}
	}
	text, rule := p.withhold([]byte(wideRunes(data, width)), !whole)
	switch {
	case rule != "":
		return p.redacted(dst, rule)
	case whole:
		return appendString(dst, text)
	}
	p.flags |= trace.FlagTruncated
	dst = append(dst, `{"$string":`...)
	return append(appendString(dst, text), '}')
}

// wideRunes reads characters of 2 (UTF-16) or 4 bytes (UTF-32).
func wideRunes(data []byte, width int) string {
	var units []uint16
	var runes []rune
	for ; len(data) >= width; data = data[width:] {
		switch c := unsigned(data[:width]); {
		case width == 2:
			units = append(units, uint16(c))
		case c > utf8.MaxRune:
			runes = append(runes, utf8.RuneError)
		default:
			runes = append(runes, rune(c))
		}
	}
	if width == 2 {
		runes = utf16.Decode(units)
	}
	return string(runes)
}

// textAt prints the C string at an address. How long a cut one is nobody
// knows, so that form is without its length.
func (p *printer) textAt(dst []byte, addr uint64) []byte {
	text, whole, ok := p.cText(addr)
	switch {
	case !ok && p.faulted(addr):
		return p.unavailable(dst, "memory not readable")
	case !ok:
		return p.pointer(dst, addr)
	}
	n := uint64(len(text))
	text, rule := p.withhold(text, !whole)
	switch {
	case rule != "":
		return p.redacted(dst, rule)
	case whole && utf8.Valid(text):
		return appendString(dst, text)
	case whole:
		return appendBytes(dst, text, n)
	}
	p.flags |= trace.FlagTruncated
	text = trimRune(text)
	if !utf8.Valid(text) {
		return appendBytes(dst, text, uint64(len(text)))
	}
	dst = append(dst, `{"$string":`...)
	dst = appendString(dst, text)
	return append(dst, '}')
}

// cText gives the captured part of the C string at an address, and whether it
// reaches to the NUL.
func (p *printer) cText(addr uint64) (text []byte, whole, ok bool) {
	b := p.find(addr, typeBytes)
	if b == nil || b.Status == BlockFault {
		return nil, false, false
	}
	text, whole = b.Data, b.Status == BlockOK && int(b.Want) == len(b.Data)
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text, whole = text[:i], true
	}
	if len(text) > p.config.MaxString {
		text, whole = text[:p.config.MaxString], false
	}
	return text, whole, true
}

func (p *printer) faulted(addr uint64) bool {
	b := p.find(addr, typeBytes)
	return b != nil && b.Status == BlockFault
}

// header reads the pointer and the length of a string or slice.
func header(t *trace.Type, data []byte) (ptr, n uint64, ok bool) {
	ptr, ok = word(data, t.PtrOff)
	if !ok || uint64(t.LenOff)+4 > uint64(len(data)) {
		return 0, 0, false
	}
	// A length of 4 bytes is known by what is left of the value.
	n = unsigned(data[t.LenOff:min(int(t.LenOff)+8, len(data))])
	if t.PtrOff == t.LenOff+4 {
		n &= math.MaxUint32
	}
	if t.Form == trace.FormNUL && n > 0 {
		n--
	}
	if t.Form == trace.FormEnd {
		if n < ptr || t.Elem == nil || t.Elem.Size == 0 {
			return 0, 0, n == ptr
		}
		n = (n - ptr) / uint64(t.Elem.Size)
	}
	return ptr, n, true
}

func (p *printer) string(dst []byte, t *trace.Type, data []byte) []byte {
	switch t.Form {
	case trace.FormBits:
		return p.digits(dst, t, data)
	case trace.FormShared:
		return p.sharedText(dst, t, data)
	}
	if t.Count > 1 {
		return p.wideString(dst, t, data)
	}
	if text, ok := shortText(t, data); ok {
		return p.appendText(dst, text, uint64(len(text)), false)
	}
	ptr, n, ok := header(t, data)
	if !ok {
		return p.unavailable(dst, "string layout not known")
	}
	return p.text(dst, ptr, n, false)
}

// text prints n bytes at an address as text. Bytes that were not declared as
// text (strict) are only taken for it when they have no control characters.
func (p *printer) text(dst []byte, ptr, n uint64, strict bool) []byte {
	if n == 0 {
		return append(dst, `""`...)
	}
	b := p.find(ptr, typeBytes)
	if b == nil {
		p.flags |= trace.FlagTruncated
		return appendLen(append(dst, `{"$string":""`...), n)
	}
	if b.Status == BlockFault {
		return p.unavailable(dst, "memory not readable")
	}
	return p.appendText(dst, b.Data, n, strict)
}

// appendText prints the first bytes of a text of n bytes.
func (p *printer) appendText(dst, b []byte, n uint64, strict bool) []byte {
	if uint64(len(b)) > n {
		b = b[:n]
	}
	if len(b) > p.config.MaxString {
		b = b[:p.config.MaxString]
	}
	whole := uint64(len(b)) == n
	b, rule := p.withhold(b, !whole)
	if rule != "" {
		return p.redacted(dst, rule)
	}
	text := b
	if !whole {
		p.flags |= trace.FlagTruncated
		text = trimRune(b)
	}
	switch {
	case !utf8.Valid(text) || strict && slices.ContainsFunc(text, control):
		return appendBytes(dst, b, n)
	case whole:
		return appendString(dst, text)
	}
	dst = append(dst, `{"$string":`...)
	dst = appendString(dst, text)
	return appendLen(dst, n)
}

func control(c byte) bool {
	return c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f
}

// trimRune takes a rune that was cut in two from the end of a text.
func trimRune(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			return b
		}
	}
	return b
}

// isByte says whether arrays of the type may be text.
func isByte(t *trace.Type) bool {
	return t != nil && t.Size == 1 && (t.Kind == trace.KindUint || t.Kind == trace.KindChar)
}

func (p *printer) slice(dst []byte, t *trace.Type, data []byte) []byte {
	if t.Elem == nil { // nothing was planned for so many pointers
		p.flags |= trace.FlagTruncated
		return appendUnavailable(dst, "nested too deep")
	}
	ptr, n, ok := header(t, data)
	switch {
	case !ok:
		return p.unavailable(dst, "slice layout not known")
	case ptr == 0 && t.Lang == trace.LangGo:
		return append(dst, "null"...)
	case n == 0 && isByte(t.Elem):
		return append(dst, `""`...)
	case n == 0:
		return append(dst, "[]"...)
	}
	b := p.find(ptr, t.Elem.ID)
	if t.Elem.ID == 0 || b == nil && isByte(t.Elem) {
		b = p.find(ptr, typeBytes)
	}
	switch {
	case b == nil && t.Elem.Size == 0:
		// Elements without bytes: struct{}.
		return p.items(dst, t.Elem, nil, n)
	case b == nil:
		p.flags |= trace.FlagTruncated
		return appendLen(append(dst, `{"$items":[]`...), n)
	case b.Status == BlockFault:
		return p.unavailable(dst, "memory not readable")
	case isByte(t.Elem):
		if out, ok := p.goBytes(dst, t, b.Data, n); ok {
			return out
		}
		return p.appendText(dst, b.Data, n, true)
	}
	return p.items(dst, t.Elem, b.Data, n)
}

func (p *printer) array(dst []byte, t *trace.Type, data []byte) []byte {
	if t.Elem == nil {
		return p.unavailable(dst, "array layout not known")
	}
	if t.Count == 0 && (t.Lang == trace.LangC || t.Lang == trace.LangCPP) {
		return p.unavailable(dst, "flexible array: its length is not known")
	}
	if uint64(len(data)) > uint64(t.Size) && t.Size > 0 {
		data = data[:t.Size]
	}
	if !isByte(t.Elem) {
		return p.items(dst, t.Elem, data, t.Count)
	}
	n := min(t.Count, math.MaxUint32)
	data = data[:min(uint64(len(data)), n)]
	if t.Elem.Kind == trace.KindChar {
		// A buffer of chars ends at its NUL, like a C string.
		if i := bytes.IndexByte(data, 0); i >= 0 {
			data, n = data[:i], uint64(i)
		}
	}
	if n == 0 {
		return append(dst, `""`...)
	}
	if out, ok := p.goBytes(dst, t, data, n); ok {
		return out
	}
	return p.appendText(dst, data, n, true)
}

// items prints as many of n elements as data and the limits allow.
func (p *printer) items(dst []byte, t *trace.Type, data []byte, n uint64) []byte {
	have := n
	if t.Size > 0 {
		have = min(have, uint64(len(data))/uint64(t.Size))
	}
	l := p.list(dst)
	for i := range have {
		if !l.add(t, data[i*uint64(t.Size):]) {
			break
		}
	}
	return l.end(n)
}

// lister prints a list, element by element.
type lister struct {
	p     *printer
	dst   []byte
	start int
	shown uint64
	named string // the rule by which the element before is the name of a secret
}

func (p *printer) list(dst []byte) lister {
	return lister{p: p, dst: append(dst, '['), start: len(dst)}
}

// add prints one more element; false when there is no room for it.
func (l *lister) add(t *trace.Type, data []byte) bool {
	p := l.p
	if l.shown >= uint64(p.config.MaxItems) || p.full(l.dst) {
		return false
	}
	if l.shown > 0 {
		l.dst = append(l.dst, ',')
	}
	l.shown++
	if l.named != "" {
		l.dst, l.named = p.redacted(l.dst, l.named), ""
		return true
	}
	at := len(l.dst)
	l.dst = p.value(l.dst, t, data)
	l.named = p.namesNext(t, l.dst[at:])
	return true
}

// end gives what was printed of a list of n elements.
func (l *lister) end(n uint64) []byte {
	l.dst = append(l.dst, ']')
	if l.shown == n {
		return l.dst
	}
	l.p.flags |= trace.FlagTruncated
	return appendLen(slices.Insert(l.dst, l.start, []byte(`{"$items":`)...), n)
}

func (p *printer) structure(dst []byte, t *trace.Type, data []byte) []byte {
	if t.Lang == trace.LangGo {
		if out, ok := p.goStandard(dst, t, data); ok {
			return out
		}
	}
	if t.Lang == trace.LangRust {
		if out, ok := rustStandard(dst, t, data); ok {
			return out
		}
	}
	if len(t.Fields) > 0 && t.Fields[0].Name == "__0" {
		return p.payload(dst, t, data)
	}
	return p.fields(dst, t, data)
}

// duration prints a number of ticks in Go's form, or, where that has no room for
// it, as the number.
func (p *printer) duration(dst []byte, t *trace.Type, data []byte) []byte {
	ns, ok := ticks(t, data)
	if !ok {
		return strconv.AppendInt(dst, signed(data), 10)
	}
	return appendString(dst, time.Duration(ns).String())
}

// rustDuration is a core::time::Duration in Go's form, as far as that has room for it.
func rustDuration(t *trace.Type, data []byte) (string, bool) {
	secs, ok := member(t, data, "secs")
	nanos, ok2 := member(t, data, "nanos")
	if !ok || !ok2 || secs > math.MaxInt64/uint64(time.Second)-1 || nanos >= uint64(time.Second) {
		return "", false
	}
	return (time.Duration(secs)*time.Second + time.Duration(nanos)).String(), true
}

// goTime reads a time.Time: its wall word has, when bit 63 is set, the seconds
// since 1885 in bits 30 to 62; else ext has the seconds since year 1. The low
// 30 bits are nanoseconds. (Package time, since Go 1.9.)
func goTime(t *trace.Type, data []byte) (string, bool) {
	if len(t.Fields) < 2 || t.Fields[0].Name != "wall" || t.Fields[1].Name != "ext" {
		return "", false
	}
	wall, ok := word(data, t.Fields[0].Offset)
	ext, ok2 := word(data, t.Fields[1].Offset)
	if !ok || !ok2 {
		return "", false
	}
	const (
		yearOneToUnix = 62135596800
		wallToUnix    = yearOneToUnix - 59453308800 // 1885 to 1970
	)
	seconds := int64(ext) - yearOneToUnix
	if wall>>63 != 0 {
		seconds = int64(wall<<1>>31) - wallToUnix
	}
	at := time.Unix(seconds, int64(wall&(1<<30-1))).UTC()
	if y := at.Year(); y < 0 || y > 9999 {
		return "", false
	}
	return at.Format(time.RFC3339Nano), true
}

// fields prints a struct's members, or a union's alternatives.
func (p *printer) fields(dst []byte, t *trace.Type, data []byte) []byte {
	dst = append(dst, '{')
	dst, whole := p.members(dst, len(dst), t, data)
	if !whole {
		dst = append(dst, `"$unavailable":"value too large"`...)
	}
	return append(dst, '}')
}

// members prints members into an object that begins at first; whole is false when
// there was no room for all.
func (p *printer) members(dst []byte, first int, t *trace.Type, data []byte) (out []byte, whole bool) {
	secrets := p.secretFields(t)
	var name string // the rule by which the name is a secret's, in a pair of name and value
	for i := range t.Fields {
		f, form := &t.Fields[i], &secrets.fields[i]
		if form.embedded && len(f.Type.Fields) == 0 {
			continue // a base class without members
		}
		if form.embedded && f.Name == "" && uint64(f.Offset) <= uint64(len(data)) && p.nesting < maxNesting {
			// Members of a member without a name are the struct's.
			p.nesting++
			dst, whole = p.members(dst, first, f.Type, data[f.Offset:])
			if p.nesting--; !whole {
				return dst, false
			}
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		if p.full(dst) {
			return dst, false
		}
		dst = append(dst, form.key...)
		rule := secrets.rule(i)
		if i == secrets.value {
			rule = cmp.Or(rule, name)
		}
		if rule != "" {
			dst = p.redacted(dst, rule)
			continue
		}
		if form.scalar != notScalar {
			if out, ok := form.scalar.print(dst, f, data); ok {
				dst = out
				continue
			}
		}
		start := len(dst)
		dst = p.field(dst, f, data)
		if i == secrets.name {
			name = p.secretKey(dst[start:])
		}
	}
	return dst, true
}

// fieldForm is how a field is printed.
type fieldForm struct {
	key      []byte // `"name":`
	scalar   scalar
	embedded bool // a base class, or a member whose members are the struct's
}

func fieldFormOf(f *trace.Field) fieldForm {
	return fieldForm{
		key:      append(appendString(nil, f.Name), ':'),
		scalar:   scalarOf(f),
		embedded: f.Embedded && f.Type != nil && f.Unavailable == "" && (f.Type.Kind == trace.KindStruct || f.Type.Kind == trace.KindUnion),
	}
}

// variant prints a Rust enum: its variant's name, and what that holds.
func (p *printer) variant(dst []byte, t *trace.Type, data []byte) []byte {
	v := t.Variant(data)
	switch {
	case v == nil:
		return p.unavailable(dst, "variant not known")
	case v.Null:
		return append(dst, "null"...)
	case (v.Name == "" || transparentEnum(t)) && v.Type != nil && len(v.Type.Fields) > 0:
		return p.payload(dst, v.Type, data)
	case v.Type == nil || len(v.Type.Fields) == 0:
		return appendString(dst, v.Name)
	}
	dst = append(dst, `{"$type":`...)
	dst = appendString(dst, v.Name)
	dst = append(dst, `,"$value":`...)
	if rule := p.secretVariant(t, v); rule != "" {
		return append(p.redacted(dst, rule), '}')
	}
	return append(p.payload(dst, v.Type, data), '}')
}

// payload prints what a tuple or a variant holds: the value itself when it is one without
// a name (Rust calls those __0, __1), else an array of them, or an object.
func (p *printer) payload(dst []byte, t *trace.Type, data []byte) []byte {
	switch {
	case t.Fields[0].Name != "__0":
		return p.fields(dst, t, data)
	case len(t.Fields) == 1:
		return p.field(dst, &t.Fields[0], data)
	}
	dst = append(dst, '[')
	for i := range t.Fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = p.field(dst, &t.Fields[i], data)
	}
	return append(dst, ']')
}

// field prints one member of the struct whose bytes are data.
func (p *printer) field(dst []byte, f *trace.Field, data []byte) []byte {
	switch {
	case f.Unavailable != "":
		return p.unavailable(dst, f.Unavailable)
	case f.Type == nil:
		return p.unavailable(dst, "type not known")
	case uint64(f.Offset) > uint64(len(data)):
		p.flags |= trace.FlagTruncated
		return appendUnavailable(dst, "cut at the limit")
	}
	data = data[f.Offset:]
	if f.BitSize != 0 {
		return p.bitField(dst, f, data)
	}
	return p.value(dst, f.Type, data)
}

func (p *printer) bitField(dst []byte, f *trace.Field, data []byte) []byte {
	size, bits := f.Type.Size, int(f.BitSize)
	if size == 0 || size > 8 || bits+int(f.BitShift) > 8*int(size) {
		return p.unavailable(dst, "bit-field layout not known")
	}
	if uint64(len(data)) < uint64(size) {
		p.flags |= trace.FlagTruncated
		return appendUnavailable(dst, "cut at the limit")
	}
	v := unsigned(data[:size]) >> f.BitShift
	if bits < 64 {
		v &= 1<<bits - 1
	}
	switch f.Type.Kind {
	case trace.KindBool:
		return strconv.AppendBool(dst, v != 0)
	case trace.KindEnum:
		return appendEnum(dst, f.Type, v, bits)
	case trace.KindInt:
		return strconv.AppendInt(dst, extend(v, bits), 10)
	}
	return strconv.AppendUint(dst, v, 10)
}

// function prints a function by its symbol. A Go function value points to a
// closure whose first word is the code's address.
func (p *printer) function(dst []byte, t *trace.Type, data []byte) []byte {
	addr, ok := word(data, 0)
	switch {
	case !ok:
		return p.unavailable(dst, "pointer of a strange size")
	case addr == 0:
		return append(dst, "null"...)
	case t.Lang != trace.LangGo:
		return p.symbol(dst, addr)
	}
	for i := range p.blocks {
		b := &p.blocks[i]
		code, ok := word(b.Data, 0)
		if b.Addr != addr || !ok {
			continue
		}
		if p.config.Dynamic != nil {
			if of, ok := p.config.Dynamic(p.tgid, code, true); ok && of.Type != nil && of.Type.ID == b.Type {
				return p.closure(dst, code, b, of.Type)
			}
		}
		if b.Type == elemID(t) || b.Type == typeBytes {
			return p.symbol(dst, code)
		}
	}
	return p.symbol(dst, addr)
}

// closure prints a Go function value with what it has captured.
func (p *printer) closure(dst []byte, code uint64, b *Block, t *trace.Type) []byte {
	if !p.enter(b) {
		return appendAddress(dst, "$ref", b.Addr)
	}
	defer p.leave()
	dst = p.symbol(append(dst, `{"$func":`...), code)
	at := len(dst)
	dst = p.fields(dst, t, b.Data)
	dst[at] = ','
	return dst
}

func elemID(t *trace.Type) uint32 {
	if t.Elem == nil {
		return 0
	}
	return t.Elem.ID
}

func (p *printer) symbol(dst []byte, addr uint64) []byte {
	name := strings.TrimSuffix(p.nameOf(addr), "·f")
	if name == "" {
		return p.pointer(dst, addr)
	}
	return appendString(dst, name)
}
