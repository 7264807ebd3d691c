package decode

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// shortText gives the text that libc++'s std::string keeps in itself; short is
// false when it keeps it elsewhere.
func shortText(t *trace.Type, data []byte) (text []byte, short bool) {
	if t.Form != trace.FormShort || len(data) == 0 || data[0]&1 != 0 {
		return nil, false
	}
	width := max(int(t.Count), 1)
	n := (int(data[0]>>1) + 1) * width
	return data[min(width, len(data)):min(n, len(data))], true
}

// wideString prints a string of n characters of more than one byte each.
func (p *printer) wideString(dst []byte, t *trace.Type, data []byte) []byte {
	width := t.Count
	b, short := shortText(t, data)
	n := uint64(len(b)) / width
	if !short {
		var ptr uint64
		var ok bool
		if ptr, n, ok = header(t, data); !ok {
			return p.unavailable(dst, "string layout not known")
		}
		block := p.find(ptr, typeBytes)
		switch {
		case n == 0:
		case block == nil:
			p.flags |= trace.FlagTruncated
			return appendLen(append(dst, `{"$string":""`...), n)
		case block.Status == BlockFault:
			return p.unavailable(dst, "memory not readable")
		default:
			b = block.Data[:min(n, uint64(len(block.Data))/width)*width]
		}
	}
	b = b[:min(len(b), p.config.MaxString)/int(width)*int(width)]
	whole := uint64(len(b)) == n*width
	text, rule := p.withhold([]byte(wideRunes(b, int(width))), !whole)
	switch {
	case rule != "":
		return p.redacted(dst, rule)
	case whole:
		return appendString(dst, text)
	}
	p.flags |= trace.FlagTruncated
	return appendLen(appendString(append(dst, `{"$string":`...), text), n)
}

// ticks is a number of ticks in nanoseconds; ok is false where those have no room for it.
func ticks(t *trace.Type, data []byte) (ns int64, ok bool) {
	if t.Tick[1] == 0 {
		return 0, false
	}
	v := new(big.Int).Mul(big.NewInt(signed(data)), big.NewInt(int64(t.Tick[0])*int64(time.Second)))
	v.Quo(v, big.NewInt(int64(t.Tick[1])))
	return v.Int64(), v.IsInt64()
}

// time prints a point in time, or, where nanoseconds have no room for it, its number.
func (p *printer) time(dst []byte, t *trace.Type, data []byte) []byte {
	ns, ok := ticks(t, data)
	if !ok {
		return strconv.AppendInt(dst, signed(data), 10)
	}
	return appendString(dst, time.Unix(0, ns).UTC().Format(time.RFC3339Nano))
}

// weak prints a std::weak_ptr: what it leads to as long as that has an owner, else null.
func (p *printer) weak(dst []byte, t *trace.Type, data []byte) []byte {
	addr, _ := word(data, 0)
	if len(t.Links) != 1 || t.Links[0].Target == nil || t.Tag == nil || t.Tag.Type == nil {
		return p.unavailable(dst, "container layout not known")
	}
	at, _ := word(data, t.Links[0].Offset)
	if addr == 0 || at == 0 {
		return append(dst, "null"...)
	}
	b := p.find(at, t.Links[0].Target.ID)
	end := t.Tag.Offset + t.Tag.Type.Size
	if b == nil || uint64(len(b.Data)) < uint64(end) {
		return p.pointer(dst, addr)
	}
	if unsigned(b.Data[t.Tag.Offset:end]) == t.Count {
		return append(dst, "null"...)
	}
	return p.reference(dst, t, data)
}

// chain prints a list that doesn't say how many values it has.
func (p *printer) chain(dst []byte, t *trace.Type, data []byte) []byte {
	if len(t.Links) != 1 || t.Links[0].Target == nil || len(t.Links[0].Target.Fields) != 1 {
		return p.unavailable(dst, "container layout not known")
	}
	l := p.list(dst)
	w := walk{p: p, cell: t.Links[0].Target, left: math.MaxUint64}
	w.visit = func(value []byte) bool { return l.add(w.cell.Fields[0].Type, value) }
	addr, _ := word(data, t.Links[0].Offset)
	for addr != 0 && !w.done {
		b := w.find(addr)
		if b == nil {
			break
		}
		w.take(b)
		addr, _ = word(b, w.cell.Links[0].Offset)
	}
	if addr == 0 && !w.done {
		return l.end(l.shown)
	}
	p.flags |= trace.FlagTruncated
	return append(append(append(l.dst[:l.start:l.start], `{"$items":`...), l.dst[l.start:]...), `]}`...)
}

// bits prints a std::vector<bool>.
func (p *printer) bits(dst []byte, t *trace.Type, data []byte) []byte {
	addr, ok := word(data, t.PtrOff)
	n, ok2 := word(data, t.LenOff)
	if !ok || !ok2 || len(t.Links) != 1 || t.Links[0].Target == nil {
		return p.unavailable(dst, "container layout not known")
	}
	if t.Tag != nil {
		end := uint64(t.Tag.Offset) + uint64(t.Tag.Type.Size)
		if n < addr || (n-addr)>>60 != 0 || end > uint64(len(data)) {
			return p.unavailable(dst, "container layout not known")
		}
		n = 8*(n-addr) + unsigned(data[t.Tag.Offset:end])
	}
	l := p.list(dst)
	if b := p.find(addr, t.Links[0].Target.ID); b != nil {
		for i := range min(n, 8*uint64(len(b.Data))) {
			if !l.add(oneBit, []byte{b.Data[i/8] >> (i % 8) & 1}) {
				break
			}
		}
	}
	return l.end(n)
}

// oneBit is the type of an element of a std::vector<bool>.
var oneBit = &trace.Type{Name: "bool", Kind: trace.KindBool, Size: 1, Lang: trace.LangCPP}

// digits prints a std::bitset as its to_string does: the highest bit first.
func (p *printer) digits(dst []byte, t *trace.Type, data []byte) []byte {
	data = data[min(uint64(t.PtrOff), uint64(len(data))):]
	n := t.Count
	most := min(n, 8*uint64(len(data)), uint64(p.config.MaxString))
	text := make([]byte, most)
	for i := range most {
		bit := n - 1 - i
		if bit/8 >= uint64(len(data)) {
			return p.unavailable(dst, "cut at the limit")
		}
		text[i] = '0' + data[bit/8]>>(bit%8)&1
	}
	return p.appendText(dst, text, n, false)
}

// fixed prints a sequence whose type says how many values it has.
func (p *printer) fixed(dst []byte, t *trace.Type, data []byte) []byte {
	if t.Count == 0 {
		return append(dst, "[]"...)
	}
	addr, ok := word(data, t.PtrOff)
	if !ok || len(t.Links) != 1 || t.Links[0].Target == nil || t.Links[0].Target.Elem == nil {
		return p.unavailable(dst, "container layout not known")
	}
	b := p.find(addr, t.Links[0].Target.ID)
	switch {
	case b == nil:
		p.flags |= trace.FlagTruncated
		return appendLen(append(dst, `{"$items":[]`...), t.Count)
	case b.Status == BlockFault:
		return p.unavailable(dst, "memory not readable")
	}
	return p.items(dst, t.Links[0].Target.Elem, b.Data, t.Count)
}

// deque is a std::deque on its way to be printed.
type deque struct {
	p           *printer
	elem        *trace.Type
	array       *Block // pointers to the blocks, as far as captured
	block       uint32 // capture program of one
	first, n    uint64 // number of the first element in its block; how many there are
	per         uint64 // elements in a block
	lastBlock   uint64 // libstdc++: the last block's number and address
	lastAddress uint64
	last        uint32 // capture program of its elements, 0 for none
}

// doubleEnded prints a std::deque.
func (p *printer) doubleEnded(dst []byte, t *trace.Type, data []byte) []byte {
	d, ok := p.openDeque(t, data)
	if !ok {
		return p.unavailable(dst, "container layout not known")
	}
	l := p.list(dst)
	for i := range d.n {
		b := d.at(i)
		if b == nil || !l.add(d.elem, b) {
			break
		}
	}
	return l.end(d.n)
}

func (p *printer) openDeque(t *trace.Type, data []byte) (*deque, bool) {
	if len(t.Links) != 2 || t.Count == 0 {
		return nil, false
	}
	array := t.Links[0].Target
	var start uint64
	if t.Tag != nil { // libc++
		if start, _ = word(data, t.Tag.Offset); start == 0 {
			array = t.Links[1].Target
		}
	}
	if array == nil || len(array.Links) != 1 {
		return nil, false
	}
	block := array.Links[0].Target
	if block == nil || block.Elem == nil || block.Elem.Size == 0 {
		return nil, false
	}
	at, ok := word(data, t.Links[0].Offset)
	d := &deque{p: p, elem: block.Elem, array: p.find(at, array.ID), block: block.ID, per: t.Count}
	if t.Tag != nil {
		n, ok2 := word(data, t.LenOff)
		d.first, d.n = start, n
		return d, ok && ok2 && start < math.MaxInt64 && n < math.MaxInt64
	}
	// An iterator: element, its block's beginning and end, the pointer to the block.
	if uint64(max(t.PtrOff, t.LenOff))+32 > uint64(len(data)) {
		return nil, false
	}
	size := uint64(block.Elem.Size)
	cur, _ := word(data, t.PtrOff)
	first, _ := word(data, t.PtrOff+8)
	end, _ := word(data, t.LenOff)
	d.lastAddress, _ = word(data, t.LenOff+8)
	node, _ := word(data, t.LenOff+24)
	d.lastBlock = (node - at) / 8
	d.first, d.last = (cur-first)/size, d.elem.ID
	inLast := (end - d.lastAddress) / size
	if cur < first || end < d.lastAddress || node < at || d.lastBlock > math.MaxUint32 || d.first > d.per || inLast > d.per || d.lastBlock*d.per+inLast < d.first {
		return nil, false
	}
	d.n = d.lastBlock*d.per + inLast - d.first
	return d, true
}

// at gives an element's bytes, nil when they weren't captured.
func (d *deque) at(i uint64) []byte {
	number, size := (d.first+i)/d.per, uint64(d.elem.Size)
	off := (d.first + i) % d.per * size
	if d.last != 0 && number == d.lastBlock {
		return d.p.behind(d.lastAddress+off, d.elem)
	}
	if d.array == nil || number >= uint64(len(d.array.Data))/8 {
		return nil
	}
	addr, _ := word(d.array.Data, uint32(8*number))
	b := d.p.find(addr, d.block)
	if b == nil || off+size > uint64(len(b.Data)) {
		return nil
	}
	return b.Data[off : off+size]
}

// callable prints what a std::function calls: a function by its name, of all else the type.
func (p *printer) callable(dst []byte, t *trace.Type, data []byte) []byte {
	code, ok := word(data, t.LenOff)
	target, class, arg := data[min(uint64(t.PtrOff), uint64(len(data))):], "_Function_handler", 1
	if t.Form == trace.FormObject {
		code, ok = word(data, t.PtrOff)
		class, arg = "__func", 0
	}
	switch {
	case !ok:
		return p.unavailable(dst, "container layout not known")
	case code == 0:
		return append(dst, "null"...)
	}
	if t.Form == trace.FormObject {
		var b *Block
		if len(t.Links) == 1 && t.Links[0].Target != nil {
			b = p.find(code, t.Links[0].Target.ID)
		}
		if b == nil || len(b.Data) < 16 {
			return p.unavailable(dst, "memory not readable")
		}
		// The table's first function, which its symbol leads to.
		code, _ = word(b.Data, 0)
		target = b.Data[8:]
	}
	held, ok := templateArgument(p.nameOf(code), class, arg)
	switch {
	case !ok:
		return p.unavailable(dst, "type not known")
	case strings.Contains(held, "(*)("):
		if addr, ok := word(target, 0); ok {
			return p.symbol(dst, addr)
		}
	}
	return appendString(dst, held)
}

// anything prints a std::any: the type of what it holds, and numbers.
func (p *printer) anything(dst []byte, t *trace.Type, data []byte) []byte {
	code, ok := word(data, t.LenOff)
	switch {
	case !ok || uint64(t.PtrOff)+8 > uint64(len(data)):
		return p.unavailable(dst, "container layout not known")
	case code == 0:
		return append(dst, "null"...)
	}
	name := p.nameOf(code)
	held, ok := "", false
	for _, class := range []string{"_Manager_internal", "_Manager_external", "_SmallHandler", "_LargeHandler"} {
		if held, ok = templateArgument(name, class, 0); ok {
			break
		}
	}
	if !ok {
		return p.unavailable(dst, "type not known")
	}
	dst = appendString(append(dst, `{"$type":`...), held)
	dst = append(dst, `,"$value":`...)
	if kind := fundamental[held]; kind != nil {
		dst = p.value(dst, kind, data[t.PtrOff:])
	} else {
		dst = p.unavailable(dst, "type not described")
	}
	return append(dst, '}')
}

// fundamental are C++'s types without parts, by name.
var fundamental = map[string]*trace.Type{
	"bool": {Kind: trace.KindBool, Size: 1}, "char": {Kind: trace.KindChar, Size: 1, Signed: true},
	"short": {Kind: trace.KindInt, Size: 2}, "int": {Kind: trace.KindInt, Size: 4}, "long": {Kind: trace.KindInt, Size: 8},
	"long long": {Kind: trace.KindInt, Size: 8}, "unsigned short": {Kind: trace.KindUint, Size: 2}, "unsigned int": {Kind: trace.KindUint, Size: 4},
	"unsigned long": {Kind: trace.KindUint, Size: 8}, "unsigned long long": {Kind: trace.KindUint, Size: 8},
	"float": {Kind: trace.KindFloat, Size: 4}, "double": {Kind: trace.KindFloat, Size: 8},
}

func (p *printer) nameOf(addr uint64) string {
	if p.config.Symbol == nil {
		return ""
	}
	return p.config.Symbol(p.tgid, addr)
}

// sourceNames leave out of a type's name what programs don't write.
var (
	sourceNames = strings.NewReplacer("std::__1::", "std::", "std::__cxx11::", "std::", " >", ">")
	plainNames  = strings.NewReplacer("std::basic_string<char, std::char_traits<char>, std::allocator<char>>", "std::string")
)

// templateArgument is one of the arguments of the first template of that name in a name.
func templateArgument(name, template string, number int) (string, bool) {
	i := strings.Index(name, template+"<")
	if i < 0 {
		return "", false
	}
	rest := name[i+len(template)+1:]
	depth, start := 0, 0
	for at, c := range rest {
		switch c {
		case '<', '(', '{', '[':
			depth++
			continue
		case ')', '}', ']':
			depth--
			continue
		case '>':
			if at > 0 && rest[at-1] == '-' {
				continue
			}
			if depth > 0 {
				depth--
				continue
			}
		case ',':
			if depth > 0 {
				continue
			}
		default:
			continue
		}
		if number == 0 {
			return plainNames.Replace(sourceNames.Replace(strings.TrimSpace(rest[start:at]))), true
		}
		if c == '>' {
			return "", false
		}
		number--
		start = at + 1
	}
	return "", false
}
