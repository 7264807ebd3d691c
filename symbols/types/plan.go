package types

import (
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Limits of one plan (bpf/event.h).
const (
	maxMoves = 32
	maxRoot  = 1024
)

// plan gathers one side of a function.
type plan struct {
	arch   Arch
	root   trace.Type
	moves  []trace.Move
	params []trace.Param
}

// result returns the plan, nil when there is nothing to copy or to say.
func (p *plan) result() *trace.Plan {
	if len(p.root.Fields) == 0 {
		return nil
	}
	p.root.Kind = trace.KindStruct
	return &trace.Plan{Root: &p.root, Moves: p.moves}
}

// add appends one parameter.
func (p *plan) add(name string, n *node, at placed) {
	param := trace.Param{Name: name, Type: n.t, Location: p.location(at)}
	f := trace.Field{Name: name, Type: n.t, Offset: p.root.Size}
	if at.reference {
		f.Type, at = p.follow(n, at)
	}
	if at.reason == "" {
		f, at.reason = p.copy(f, at)
	}
	if at.reason != "" {
		f.Unavailable, param.Location = at.reason, at.reason
		f.Offset = 0
	}
	p.root.Fields = append(p.root.Fields, f)
	p.params = append(p.params, param)
}

// hide appends a word that is no parameter of the source's, if there is room for it.
func (p *plan) hide(name string, at placed) {
	f := trace.Field{Name: name, Offset: p.root.Size, Type: &trace.Type{Name: "uintptr", Kind: trace.KindUint, Size: 8, Lang: trace.LangGo}}
	if f, reason := p.copy(f, at); reason == "" {
		p.root.Fields = append(p.root.Fields, f)
	}
}

// follow turns a value given by its address into one that the moves read, or,
// when the address is itself in memory, into a pointer.
func (p *plan) follow(n *node, at placed) (*trace.Type, placed) {
	if len(at.pieces) != 1 || at.reason != "" {
		return n.t, at
	}
	addr := at.pieces[0]
	if addr.source == trace.SourceRegister && p.root.Size+n.t.Size <= maxRoot {
		return n.t, placed{pieces: []piece{{size: n.t.Size, source: trace.SourceMemory, reg: addr.reg}}}
	}
	pointer := &trace.Type{Name: n.t.Name, Kind: trace.KindPointer, Size: 8, Elem: n.t, Lang: n.t.Lang}
	return pointer, placed{pieces: at.pieces}
}

// copy adds the moves for one field. It gives a reason when the field can't be
// had at all; parts that can't are marked inside the field's type.
func (p *plan) copy(f trace.Field, at placed) (trace.Field, string) {
	if f.Type.Size > maxRoot || p.root.Size+f.Type.Size > maxRoot {
		return f, "too large to copy"
	}
	var moves []trace.Move
	var holes []piece
	for _, c := range at.pieces {
		switch {
		case c.size == 0:
		case c.reason != "":
			holes = append(holes, c)
		default:
			moves = append(moves, trace.Move{
				Dst: uint16(f.Offset + c.off), Size: uint16(c.size), Source: c.source, Register: c.reg, Offset: c.at,
			})
		}
	}
	if len(p.moves)+len(moves) > maxMoves {
		return f, "in too many pieces"
	}
	if len(holes) > 0 && (len(moves) == 0 || f.Type.Kind != trace.KindStruct) {
		return f, holes[0].reason
	}
	if len(holes) > 0 {
		f.Type = withHoles(f.Type, holes, 0)
	}
	p.moves = append(p.moves, moves...)
	p.root.Size = alignUp(f.Offset+f.Type.Size, 8)
	return f, ""
}

// withHoles is a copy of t whose parts in the holes are marked as unavailable.
func withHoles(t *trace.Type, holes []piece, at uint32) *trace.Type {
	c := *t
	if t.Kind != trace.KindStruct && t.Kind != trace.KindUnion {
		return &c
	}
	c.Fields = make([]trace.Field, len(t.Fields))
	copy(c.Fields, t.Fields)
	for i := range c.Fields {
		f := &c.Fields[i]
		begin, end := at+f.Offset, at+f.Offset+f.Type.Size
		for _, h := range holes {
			if begin >= h.off+h.size || end <= h.off || f.Unavailable != "" {
				continue
			}
			if f.Type.Kind != trace.KindStruct || begin >= h.off && end <= h.off+h.size {
				f.Unavailable = h.reason
				break
			}
			f.Type = withHoles(f.Type, holes, begin)
			break
		}
	}
	return &c
}

// location spells where a value is read, for list.
func (p *plan) location(at placed) string {
	if at.reason != "" {
		return at.reason
	}
	var parts []string
	for _, c := range at.pieces {
		parts = append(parts, p.spell(c))
	}
	s := strings.Join(parts, ":")
	if at.reference {
		return "[" + s + "]"
	}
	return s
}

func (p *plan) spell(c piece) string {
	switch {
	case c.reason != "":
		return c.reason
	case c.source == trace.SourceCFA:
		return "cfa" + signed(c.at)
	case c.source == trace.SourceSaved:
		return "[" + p.arch.registerName(c.reg) + " at entry]"
	case c.source == trace.SourceMemory:
		return "[" + p.arch.registerName(c.reg) + signed(c.at) + "]"
	default:
		return p.arch.registerName(c.reg)
	}
}

func signed(n int32) string {
	if n < 0 {
		return strconv.Itoa(int(n))
	}
	return "+" + strconv.Itoa(int(n))
}
