package types

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// kept are the members of Go's own structures that say something of the value; what
// is beside them would only take the room of others.
var kept = map[string][]string{
	"context.cancelCtx":    {"Context", "err", "cause"},
	"context.timerCtx":     {"cancelCtx", "deadline"},
	"context.afterFuncCtx": {"cancelCtx"},
	"context.stopCtx":      {"Context"},
	"os/signal.signalCtx":  {"Context"},
	"sync.Cond":            {"L", "notify"},
	"sync.Pool":            {"New"},
}

// recogniseGoType finds the structures of Go's standard library that stand for more
// than their members. (Packages context, sync and sync/atomic, Go 1.22 to 1.26.)
func (r *Reader) recogniseGoType(n *node, t *trace.Type) error {
	if names, ok := kept[t.Name]; ok {
		keep(n, t, names...)
		return nil
	}
	switch {
	case strings.HasPrefix(t.Name, "sync/atomic.Pointer["):
		return r.atomicPointer(n, t)
	case t.Name == "internal/sync.HashTrieMap[interface {},interface {}]":
		return r.hashTrie(n, t)
	}
	return nil
}

// atomicPointer gives an atomic.Pointer's v the type that its member [0]*T has.
func (r *Reader) atomicPointer(n *node, t *trace.Type) error {
	var typed *node
	for i, f := range t.Fields {
		if f.Type.Kind == trace.KindArray && f.Type.Count == 0 && i < len(n.inline) && len(n.inline[i].inline) == 1 {
			typed = n.inline[i].inline[0]
		}
	}
	for i, f := range t.Fields {
		if f.Name != "v" || i >= len(n.inline) || typed == nil || typed.t == nil || typed.t.Kind != trace.KindPointer {
			continue
		}
		if carriers[t.Name] {
			whole, pointer := *typed, *typed.t
			whole.t, pointer.Inner = &pointer, true
			whole.level = -1
			typed = &whole
		}
		t.Fields[i].Type, n.inline[i] = typed.t, typed
	}
	return nil
}

// carriers are pointers inside of a sync.Map before Go 1.24, which lead no step deeper.
var carriers = map[string]bool{
	"sync/atomic.Pointer[sync.readOnly]": true,
	"sync/atomic.Pointer[interface {}]":  true,
}

// A node of internal/sync.HashTrieMap[any, any] begins with isEntry; an entry goes on as this
// says, an inner node with its children.
const (
	trieOverflow = 8
	trieKey      = 16
	trieValue    = 32
	trieChildren = 16
)

// hashTrie reads sync.Map's structure (Go 1.24 and later): a root that leads to nodes,
// each of which is an entry or has children.
func (r *Reader) hashTrie(n *node, t *trace.Type) error {
	root, ok := n.part(t, "root")
	if !ok {
		return nil
	}
	pointer, ok := root.node.part(root.node.t, "v")
	if !ok || pointer.node.target == 0 {
		return nil
	}
	inner, err := r.node(pointer.node.target)
	if err != nil {
		return err
	}
	children, ok := inner.part(inner.t, "children")
	if !ok || children.node.t.Count != trieChildren || children.node.t.Size != 8*trieChildren {
		return nil
	}
	anything := &trace.Type{Name: "interface {}", Kind: trace.KindInterface, Size: 16, Empty: true, Lang: trace.LangGo}
	cell := &trace.Type{Kind: trace.KindStruct, Size: children.offset + 8*trieChildren, Lang: trace.LangGo, Fields: []trace.Field{
		{Name: "key", Offset: trieKey, Type: anything}, {Name: "value", Offset: trieValue, Type: anything},
	}}
	for i := range uint32(trieChildren) {
		cell.Links = append(cell.Links, trace.Link{Offset: children.offset + 8*i, Count: trace.CountOne, Target: cell, When: trace.Equal})
	}
	cell.Links = append(cell.Links, trace.Link{Offset: trieOverflow, Count: trace.CountOne, Target: cell, When: trace.Equal, WhenValue: 1})
	t.Kind, t.Form, t.Fields, n.inline = trace.KindMap, trace.FormTrie, nil, nil
	t.Links = []trace.Link{{Offset: root.offset + pointer.offset, Count: trace.CountOne, Target: cell}}
	return nil
}

// isContext says whether a type is context.Context itself.
func isContext(t *trace.Type) bool {
	return t != nil && t.Kind == trace.KindInterface && t.Lang == trace.LangGo && t.Name == "context.Context"
}

// chained says whether what a member of a struct leads to is the next of a chain, and no
// step deeper: the context that a context is derived from, the error that an error of fmt or errors wraps.
func chained(t *trace.Type, f trace.Field) bool {
	switch t.Name {
	case "fmt.wrapError", "fmt.wrapErrors", "errors.joinError", "io/fs.PathError", "os.SyscallError", "os.LinkError", "os/exec.Error",
		"net.OpError", "net/url.Error", "strconv.NumError":
		return true
	}
	return isContext(f.Type) && (f.Embedded || strings.HasPrefix(t.Name, "context."))
}
