package decode

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// entry is one entry of a map, as JSON.
type entry struct{ key, value []byte }

// entries gathers what is printed of a map.
type entries struct {
	p    *printer
	list []entry
	size int // bytes of what is gathered
	room int // bytes that it may have
	// text: all keys are strings or numbers, so that it can be an object.
	text bool
	// several: a key may come more than once, so that it can't be an object.
	several bool
	gone    uint64 // entries that were taken for deleted
}

func (p *printer) newEntries(dst []byte) *entries {
	return &entries{p: p, text: true, room: p.limit - len(dst)}
}

// add takes an entry; false when there is no room for more.
func (e *entries) add(key, value *trace.Type, k, v []byte) bool {
	if len(e.list) >= e.p.config.MaxItems || e.size >= e.room {
		return false
	}
	if value.Kind == trace.KindPointer && value.Elem != nil && value.Elem.Name == "sync.entry" && e.p.deleted(value, v) {
		e.gone++
		return true
	}
	limit := e.p.limit
	e.p.limit = e.room - e.size
	var one entry
	one.key = e.p.value(nil, key, k)
	if rule := e.p.secretKey(one.key); rule != "" {
		one.value = e.p.redacted(nil, rule)
	} else {
		one.value = e.p.value(nil, value, v)
	}
	e.p.limit = limit
	c := one.key[0]
	e.text = e.text && (c == '"' || c == '-' || c >= '0' && c <= '9')
	e.size += len(one.key) + len(one.value)
	e.list = append(e.list, one)
	return true
}

// print appends the entries in order of their keys: an object where JSON has
// keys for them. n is how many the map has.
func (e *entries) print(dst []byte, n uint64) []byte {
	slices.SortFunc(e.list, func(a, b entry) int {
		if len(a.key) != len(b.key) && a.key[0] != '"' && b.key[0] != '"' {
			return len(a.key) - len(b.key) // numbers
		}
		return bytes.Compare(a.key, b.key)
	})
	e.text = e.text && !e.several
	n -= min(n, e.gone)
	cut := uint64(len(e.list)) < n
	if cut {
		e.p.flags |= trace.FlagTruncated
	}
	dst = append(dst, '{')
	if !e.text {
		dst = append(dst, `"$entries":[`...)
	}
	for i, one := range e.list {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case !e.text:
			dst = append(append(append(append(append(dst, '['), one.key...), ','), one.value...), ']')
		case one.key[0] == '"':
			dst = append(append(append(dst, one.key...), ':'), one.value...)
		default:
			dst = append(append(append(append(dst, '"'), one.key...), `":`...), one.value...)
		}
	}
	if !e.text {
		dst = append(dst, ']')
	}
	if !cut {
		return append(dst, '}')
	}
	if len(e.list) > 0 || !e.text {
		dst = append(dst, ',')
	}
	dst = append(dst, `"$len":`...)
	return append(strconv.AppendUint(dst, n, 10), '}')
}

// container prints a map.
func (p *printer) container(dst []byte, t *trace.Type, data []byte) []byte {
	switch t.Form {
	case trace.FormTree, trace.FormList:
		return p.cells(dst, t, data)
	case trace.FormTrie:
		return p.trie(dst, t, data)
	case trace.FormTable:
		return p.table(dst, t, data)
	case trace.FormBTree:
		return p.btree(dst, t, data)
	}
	return p.goMap(dst, t, data)
}

// goMap prints a Go map: what a pointer to the runtime's structure leads to.
func (p *printer) goMap(dst []byte, t *trace.Type, data []byte) []byte {
	head, out := p.target(dst, t, data)
	switch {
	case head == nil:
		return out
	case t.Form == trace.FormPlain:
		return p.pointer(dst, head.Addr)
	case !p.enter(head):
		return appendAddress(dst, "$ref", head.Addr)
	}
	defer p.leave()
	e := p.newEntries(dst)
	var n uint64
	if t.Form == trace.FormSwiss {
		n = e.swiss(t.Elem, head.Data)
	} else {
		n = e.buckets(t.Elem, head.Data)
	}
	return e.print(dst, n)
}

// member reads an integer member.
func member(t *trace.Type, data []byte, name string) (uint64, bool) {
	f := field(t, name)
	if f == nil || f.Type == nil || uint64(f.Offset)+uint64(f.Type.Size) > uint64(len(data)) {
		return 0, false
	}
	return unsigned(data[f.Offset : f.Offset+f.Type.Size]), true
}

func field(t *trace.Type, name string) *trace.Field {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

// swiss gathers the entries of an internal/runtime/maps.Map, of which it gives the number.
func (e *entries) swiss(head *trace.Type, data []byte) uint64 {
	n, _ := member(head, data, "used")
	dir, ok := member(head, data, "dirPtr")
	length, ok2 := member(head, data, "dirLen")
	if !ok || !ok2 || len(head.Links) != 2 || n == 0 {
		return n
	}
	if length == 0 {
		e.groups(head.Links[0].Target, dir, 1)
		return n
	}
	// The directory: pointers to tables, several of which may be the same.
	array := head.Links[1].Target
	block := e.p.find(dir, array.ID)
	if block == nil || len(array.Links) != 1 {
		return n
	}
	table := array.Links[0].Target
	seen := map[uint64]bool{}
	for rest := block.Data; len(rest) >= 8; rest = rest[8:] {
		addr := binary.LittleEndian.Uint64(rest)
		b := e.p.find(addr, table.ID)
		if b == nil || seen[addr] {
			continue
		}
		seen[addr] = true
		ref := field(table, "groups")
		if ref == nil || ref.Type == nil || len(ref.Type.Links) != 1 || uint64(ref.Offset) > uint64(len(b.Data)) {
			return n
		}
		at := b.Data[ref.Offset:]
		groups, ok := member(ref.Type, at, "data")
		mask, ok2 := member(ref.Type, at, "lengthMask")
		if !ok || !ok2 || !e.groups(ref.Type.Links[0].Target, groups, mask+1) {
			return n
		}
	}
	return n
}

// groups gathers the entries of n groups at an address: eight control bytes, of
// which the full ones have no high bit, and eight slots. False when there is no room for more.
func (e *entries) groups(group *trace.Type, addr, n uint64) bool {
	b := e.p.find(addr, group.ID)
	slots := field(group, "slots")
	if b == nil || slots == nil || slots.Type == nil || slots.Type.Elem == nil || len(slots.Type.Elem.Fields) < 2 || group.Size < 8 {
		return true
	}
	slot := slots.Type.Elem
	key, value := &slot.Fields[0], &slot.Fields[1]
	for data := b.Data; n > 0 && len(data) >= int(group.Size); n, data = n-1, data[group.Size:] {
		for i := range uint32(8) {
			at := slots.Offset + i*slot.Size
			if data[i]&0x80 != 0 || at+slot.Size > group.Size {
				continue
			}
			one := data[at : at+slot.Size]
			if !e.add(key.Type, value.Type, one[min(key.Offset, slot.Size):], one[min(value.Offset, slot.Size):]) {
				return false
			}
		}
	}
	return true
}

// The marks of a bucket's tophash (runtime/map.go before Go 1.24): from
// minTopHash on a slot is full.
const minTopHash = 5

// buckets gathers the entries of a runtime.hmap, of which it gives the number.
// While it grows, some are still in the old buckets.
func (e *entries) buckets(head *trace.Type, data []byte) uint64 {
	n, _ := member(head, data, "count")
	shift, _ := member(head, data, "B")
	if n == 0 || shift > 31 {
		return n
	}
	for _, l := range head.Links {
		addr, ok := word(data, l.Offset)
		if !ok || addr == 0 || l.Target == nil {
			continue
		}
		if b := e.p.find(addr, l.Target.ID); b != nil && !e.chains(l.Target, b.Data) {
			break
		}
	}
	return n
}

// chains gathers the entries of buckets and of those that they overflow to.
func (e *entries) chains(bucket *trace.Type, data []byte) bool {
	top, keys, values := field(bucket, "tophash"), field(bucket, "keys"), field(bucket, "values")
	overflow := field(bucket, "overflow")
	if top == nil || keys == nil || values == nil || keys.Type == nil || values.Type == nil || keys.Type.Elem == nil || values.Type.Elem == nil || bucket.Size < 8 {
		return true
	}
	for ; len(data) >= int(bucket.Size); data = data[bucket.Size:] {
		one := data[:bucket.Size]
		for steps := 0; one != nil && steps < maxBlocks; steps++ {
			for i := range uint32(8) {
				k, v := keys.Offset+i*keys.Type.Elem.Size, values.Offset+i*values.Type.Elem.Size
				if one[i] < minTopHash || max(k, v) > bucket.Size {
					continue
				}
				if !e.add(keys.Type.Elem, values.Type.Elem, one[k:], one[v:]) {
					return false
				}
			}
			one = e.next(bucket, overflow, one)
		}
	}
	return true
}

// next is the bucket that one overflows to, or nil.
func (e *entries) next(bucket *trace.Type, overflow *trace.Field, one []byte) []byte {
	if overflow == nil {
		return nil
	}
	addr, ok := word(one, overflow.Offset)
	if !ok || addr == 0 {
		return nil
	}
	b := e.p.find(addr, bucket.ID)
	if b == nil || len(b.Data) < int(bucket.Size) {
		return nil
	}
	return b.Data[:bucket.Size]
}

// channel prints a Go channel: how many values wait in it, and how many may.
func (p *printer) channel(dst []byte, t *trace.Type, data []byte) []byte {
	b, out := p.target(dst, t, data)
	if b == nil {
		return out
	}
	n, ok := member(t.Elem, b.Data, "qcount")
	most, ok2 := member(t.Elem, b.Data, "dataqsiz")
	if !ok || !ok2 {
		return p.unavailable(dst, "memory not readable")
	}
	dst = append(dst, `{"$len":`...)
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, `,"$cap":`...)
	return append(strconv.AppendUint(dst, most, 10), '}')
}

// cells prints a container whose values lie in cells that lead to one another.
func (p *printer) cells(dst []byte, t *trace.Type, data []byte) []byte {
	n, ok := word(data, t.LenOff)
	if !ok || len(t.Links) != 1 || t.Links[0].Target == nil || len(t.Links[0].Target.Fields) != 1 {
		return p.unavailable(dst, "container layout not known")
	}
	first, _ := word(data, t.Links[0].Offset)
	w := walk{p: p, cell: t.Links[0].Target, left: n}
	if t.Kind != trace.KindMap {
		l := p.list(dst)
		w.visit = func(value []byte) bool { return l.add(w.cell.Fields[0].Type, value) }
		w.run(t.Form, first)
		return l.end(n)
	}
	pair := w.cell.Fields[0].Type
	key, value := field(pair, "first"), field(pair, "second")
	if key == nil || value == nil {
		return p.unavailable(dst, "container layout not known")
	}
	e := p.newEntries(dst)
	e.several = strings.Contains(t.Name, "multimap<")
	w.visit = func(b []byte) bool {
		return max(key.Offset, value.Offset) <= uint32(len(b)) && e.add(key.Type, value.Type, b[key.Offset:], b[value.Offset:])
	}
	w.run(t.Form, first)
	return e.print(dst, n)
}

// walk visits the captured cells of a container, each once.
type walk struct {
	p     *printer
	cell  *trace.Type
	left  uint64 // how many there are at most
	steps int
	visit func(value []byte) bool // false: enough
	done  bool
}

func (w *walk) run(form trace.Form, first uint64) {
	if form == trace.FormTree {
		w.tree(first)
		return
	}
	for addr := first; addr != 0 && w.left > 0 && !w.done; {
		b := w.find(addr)
		if b == nil {
			return
		}
		w.take(b)
		addr, _ = word(b, w.cell.Links[0].Offset)
	}
}

// tree visits a subtree in order.
func (w *walk) tree(addr uint64) {
	if addr == 0 || w.done || w.left == 0 {
		return
	}
	b := w.find(addr)
	if b == nil || len(w.cell.Links) != 2 {
		return
	}
	smaller, _ := word(b, w.cell.Links[0].Offset)
	greater, _ := word(b, w.cell.Links[1].Offset)
	w.tree(smaller)
	if !w.done {
		w.take(b)
	}
	w.tree(greater)
}

// find gives a captured cell's bytes, nil when it wasn't captured whole, or
// when more were looked at than can have been.
func (w *walk) find(addr uint64) []byte {
	if w.steps++; w.steps > 2*maxBlocks {
		return nil
	}
	b := w.p.find(addr, w.cell.ID)
	if b == nil || len(b.Data) < int(w.cell.Size) {
		return nil
	}
	return b.Data
}

func (w *walk) take(b []byte) {
	if !w.visit(b[w.cell.Fields[0].Offset:]) {
		w.done = true
		return
	}
	w.left--
}

// rustEntries prints a Rust map, whose entries each walks; a set's have no values.
func (p *printer) rustEntries(dst []byte, n uint64, key, value *trace.Type, each func(add func(k, v []byte) bool)) []byte {
	if value.Size > 0 {
		e := p.newEntries(dst)
		each(func(k, v []byte) bool { return e.add(key, value, k, v) })
		return e.print(dst, n)
	}
	l := p.list(dst)
	each(func(k, _ []byte) bool { return l.add(key, k) })
	return l.end(n)
}

// table prints a Rust hash table: bucket i lies i+1 strides before the control
// bytes, and is full when the high bit of its own is 0 (hashbrown::raw).
func (p *printer) table(dst []byte, t *trace.Type, data []byte) []byte {
	n, ok := word(data, t.LenOff)
	if !ok || len(t.Links) != 2 || t.Links[0].Target == nil || len(t.Links[0].Target.Fields) != 2 {
		return p.unavailable(dst, "container layout not known")
	}
	tuple := t.Links[0].Target
	key, value := field(tuple, "__0"), field(tuple, "__1")
	if key == nil || value == nil || tuple.Size == 0 {
		return p.unavailable(dst, "container layout not known")
	}
	at, _ := word(data, t.Links[0].Offset)
	control := p.find(at, typeBytes)
	return p.rustEntries(dst, n, key.Type, value.Type, func(add func(k, v []byte) bool) {
		if control == nil || n == 0 {
			return
		}
		for i, c := range control.Data {
			if c&0x80 != 0 {
				continue
			}
			b := p.behind(at-uint64(i+1)*uint64(tuple.Size), tuple)
			if b != nil && !add(b[key.Offset:], b[value.Offset:]) {
				return
			}
		}
	})
}

// behind finds a value in the middle of a captured block of several of its type.
func (p *printer) behind(addr uint64, t *trace.Type) []byte {
	for i := range p.blocks {
		b := &p.blocks[i]
		if b.Type != t.ID || addr < b.Addr || addr-b.Addr+uint64(t.Size) > uint64(len(b.Data)) {
			continue
		}
		at := addr - b.Addr
		return b.Data[at : at+uint64(t.Size)]
	}
	return nil
}

// btree prints a Rust BTreeMap.
func (p *printer) btree(dst []byte, t *trace.Type, data []byte) []byte {
	n, ok := word(data, t.LenOff)
	if !ok || len(t.Links) == 0 || t.Links[0].Target == nil {
		return p.unavailable(dst, "container layout not known")
	}
	leaf := t.Links[0].Target
	keys, values := field(leaf, "keys"), field(leaf, "vals")
	if keys == nil || values == nil || keys.Type.Elem == nil || values.Type.Elem == nil {
		return p.unavailable(dst, "container layout not known")
	}
	return p.rustEntries(dst, n, keys.Type.Elem, values.Type.Elem, func(add func(k, v []byte) bool) {
		if n == 0 {
			return
		}
		w := bwalk{p: p, leaf: leaf, keys: keys, values: values, add: add}
		for _, l := range t.Links {
			height, ok := word(data, l.WhenOffset)
			if addr, ok2 := word(data, l.Offset); ok && ok2 && height == uint64(l.WhenValue) && l.Target != nil {
				w.node(addr, l.Target, int(height))
			}
		}
	})
}

// bwalk visits a B-tree in order.
type bwalk struct {
	p            *printer
	leaf         *trace.Type
	keys, values *trace.Field
	add          func(k, v []byte) bool
	steps        int
	done         bool
}

func (w *bwalk) node(addr uint64, t *trace.Type, height int) {
	b := w.p.find(addr, t.ID)
	if w.steps++; b == nil || w.steps > maxBlocks || len(b.Data) < int(t.Size) {
		return
	}
	own := b.Data
	if height > 0 {
		if len(t.Fields) != 1 {
			return
		}
		own = own[t.Fields[0].Offset:]
	}
	n, _ := member(w.leaf, own, "len")
	size, valueSize := w.keys.Type.Elem.Size, w.values.Type.Elem.Size
	for i := range uint32(min(n, w.keys.Type.Count)) {
		w.child(b.Data, t, i, height)
		k, v := w.keys.Offset+i*size, w.values.Offset+i*valueSize
		if w.done || uint64(max(k, v)) > uint64(len(own)) {
			return
		}
		if !w.add(own[k:], own[v:]) {
			w.done = true
			return
		}
	}
	w.child(b.Data, t, uint32(n), height)
}

func (w *bwalk) child(data []byte, t *trace.Type, i uint32, height int) {
	if height == 0 || w.done || int(i) >= len(t.Links) {
		return
	}
	if addr, ok := word(data, t.Links[i].Offset); ok {
		w.node(addr, t.Links[i].Target, height-1)
	}
}

// ring prints a Rust VecDeque.
func (p *printer) ring(dst []byte, t *trace.Type, data []byte) []byte {
	n, ok := word(data, t.LenOff)
	addr, ok2 := word(data, t.PtrOff)
	if !ok || !ok2 || len(t.Links) != 1 || t.Links[0].Target == nil || t.Tag == nil {
		return p.unavailable(dst, "container layout not known")
	}
	head, _ := word(data, t.Tag.Offset)
	capacity, _ := word(data, t.Links[0].LenOffset)
	elem := t.Links[0].Target
	l := p.list(dst)
	for i := uint64(0); i < n && head < capacity; i++ {
		at := head + i
		if at >= capacity {
			at -= capacity
		}
		b := p.behind(addr+at*uint64(elem.Size), elem)
		if b == nil || !l.add(elem, b) {
			break
		}
	}
	return l.end(n)
}
