package decode

import (
	"strconv"

	"github.com/observatory-trace/observatory-trace/trace"
)

// syncMap prints a sync.Map's entries; before Go 1.24 those of its dirty map, which has
// all when there is one, else of the one that is read.
func (p *printer) syncMap(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	if in, b, ok := part(t, data, "m"); ok {
		if in.Kind == trace.KindStruct { // not recognised
			return dst, false
		}
		return p.value(dst, in, b), true
	}
	m, b, ok := part(t, data, "dirty")
	if !ok {
		return dst, false
	}
	if head, _ := word(b, 0); head == 0 {
		read, at, _ := part(t, data, "read")
		if read, at, ok = part(read, at, "v"); !ok {
			return dst, false
		}
		if head, _ = word(at, 0); head == 0 {
			return append(dst, "{}"...), true
		}
		block, out := p.target(dst, read, at)
		if block == nil {
			return out, true
		}
		if m, b, ok = part(read.Elem, block.Data, "m"); !ok {
			return dst, false
		}
	}
	return p.value(dst, m, b), true
}

// deleted says whether an entry of a sync.Map before Go 1.24 has no value any more.
func (p *printer) deleted(t *trace.Type, data []byte) bool {
	addr, _ := word(data, 0)
	b := p.find(addr, t.Elem.ID)
	if b == nil {
		return false
	}
	v, ok := deepMember(t.Elem, b.Data, "p")
	return ok && v == 0
}

// trie prints a sync.Map of Go 1.24 or later. It doesn't know how many entries it has.
func (p *printer) trie(dst []byte, t *trace.Type, data []byte) []byte {
	if len(t.Links) != 1 || t.Links[0].Target == nil || len(t.Links[0].Target.Links) == 0 || len(t.Links[0].Target.Fields) != 2 {
		return p.unavailable(dst, "container layout not known")
	}
	root, _ := word(data, t.Links[0].Offset)
	w := trieWalk{entries: p.newEntries(dst), node: t.Links[0].Target}
	w.visit(root)
	dst = w.entries.print(dst, uint64(len(w.entries.list)))
	if !w.cut {
		return dst
	}
	p.flags |= trace.FlagTruncated
	dst = dst[:len(dst)-1]
	if len(w.entries.list) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, `"$unavailable":"cut at the limit"}`...)
}

// trieWalk visits the captured nodes of a trie.
type trieWalk struct {
	entries *entries
	node    *trace.Type
	steps   int
	cut     bool
}

func (w *trieWalk) visit(addr uint64) {
	links := w.node.Links
	for addr != 0 && !w.cut {
		b := w.entries.p.find(addr, w.node.ID)
		if w.steps++; b == nil || w.steps > maxBlocks || len(b.Data) < int(w.node.Size) {
			w.cut = true
			return
		}
		if unsigned(b.Data[:4]) != 1 {
			for _, l := range links[:len(links)-1] {
				child, _ := word(b.Data, l.Offset)
				w.visit(child)
			}
			return
		}
		key, value := &w.node.Fields[0], &w.node.Fields[1]
		if !w.entries.add(key.Type, value.Type, b.Data[key.Offset:], b.Data[value.Offset:]) {
			w.cut = true
			return
		}
		addr, _ = word(b.Data, links[len(links)-1].Offset)
	}
}

// cond prints a sync.Cond: its lock, and how many wait. (sync.notifyList counts those that
// came, and those that were told.)
func (p *printer) cond(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	lock := field(t, "L")
	list, b, ok := part(t, data, "notify")
	if lock == nil || !ok {
		return dst, false
	}
	came, ok := deepMember(list, b, "wait")
	told, ok2 := member(list, b, "notify")
	if !ok || !ok2 {
		return dst, false
	}
	dst = p.field(append(dst, `{"L":`...), lock, data)
	return append(strconv.AppendUint(append(dst, `,"waiting":`...), uint64(uint32(came-told)), 10), '}'), true
}
