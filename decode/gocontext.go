package decode

import (
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// maxContexts bounds how many contexts behind one another are looked at.
const maxContexts = 64

// contextChain is what the contexts say that one was derived from, the nearest first
// (package context, Go 1.22 to 1.26).
type contextChain struct {
	p        *printer
	deadline []byte // JSON; nil: none
	decided  bool   // a context was met that knows itself whether it has ended
	detached bool   // what lies behind is told of neither end nor deadline
	err      []byte
	cause    []byte
	values   []contextValue
	rest     []byte // where the chain goes on with a context of another package, or can't be followed
	entered  int
	room     int // bytes that what is printed beforehand may have
}

// inner prints a part of what the chain says, ahead of its place.
func (c *contextChain) inner(print func() []byte) []byte {
	limit := c.p.limit
	c.p.limit = max(c.room, 0)
	out := print()
	c.p.limit = limit
	c.room -= len(out)
	return out
}

// iface prints an interface so.
func (c *contextChain) iface(t *trace.Type, data []byte) []byte {
	return c.inner(func() []byte {
		if c.p.full(nil) {
			return appendUnavailable(nil, "value too large")
		}
		return c.p.iface(nil, t, data)
	})
}

// contextValue is the key and the value of a context.WithValue.
type contextValue struct {
	key       dynamic
	typ       *trace.Type
	data      []byte
	name      string
	duplicate bool // a context nearer by has the same key
}

// isContext says whether a type is context.Context.
func isContext(t *trace.Type) bool {
	return t.Kind == trace.KindInterface && t.Lang == trace.LangGo && t.Name == "context.Context"
}

// contextOf prints a context as what it says; ok is false for contexts of other packages.
func (p *printer) contextOf(dst []byte, d dynamic) (out []byte, ok bool) {
	if !knownContext(d.name) {
		return dst, false
	}
	if d.block != nil {
		if !p.enter(d.block) {
			return appendAddress(dst, "$ref", d.block.Addr), true
		}
		defer p.leave()
	}
	c := contextChain{p: p, room: p.limit - len(dst)}
	c.follow(d)
	dst = c.print(dst)
	for range c.entered {
		p.leave()
	}
	return dst, true
}

// knownContext tells the contexts of the standard library by their type's name.
func knownContext(name string) bool {
	switch strings.TrimPrefix(name, "*") {
	case "context.backgroundCtx", "context.todoCtx", "context.cancelCtx", "context.timerCtx", "context.valueCtx",
		"context.withoutCancelCtx", "context.afterFuncCtx", "context.stopCtx", "signal.signalCtx":
		return true
	}
	return false
}

// part finds a struct's member, with its bytes.
func part(t *trace.Type, data []byte, name string) (*trace.Type, []byte, bool) {
	if t == nil {
		return nil, nil, false
	}
	f := field(t, name)
	if f == nil || f.Type == nil || uint64(f.Offset)+uint64(f.Type.Size) > uint64(len(data)) {
		return nil, nil, false
	}
	return f.Type, data[f.Offset:][:f.Type.Size], true
}

// follow looks at one context after the other.
func (c *contextChain) follow(d dynamic) {
	for range maxContexts {
		t, data, more := c.take(d)
		if !more {
			return
		}
		next, ok := c.p.resolve(t, data)
		if !ok { // WithValue and the others refuse a nil parent
			c.rest = appendUnavailable(nil, "memory not readable")
			return
		}
		if !knownContext(next.name) {
			c.rest = c.iface(t, data)
			return
		}
		if next.block != nil {
			if !c.p.enter(next.block) {
				c.rest = appendAddress(nil, "$ref", next.block.Addr)
				return
			}
			c.entered++
		}
		d = next
	}
	c.p.flags |= trace.FlagTruncated
	c.rest = appendUnavailable(nil, "nested too deep")
}

// take takes what one context says, and gives the interface that holds its parent.
func (c *contextChain) take(d dynamic) (parent *trace.Type, data []byte, more bool) {
	name := strings.TrimPrefix(d.name, "*")
	if name == "context.backgroundCtx" || name == "context.todoCtx" {
		return nil, nil, false
	}
	if d.typ == nil || uint64(len(d.bytes)) < uint64(d.typ.Size) {
		c.rest = c.inner(func() []byte { return c.p.dynamicValue(nil, d) })
		c.p.flags |= trace.FlagTruncated
		return nil, nil, false
	}
	t, data := d.typ, d.bytes
	if at, b, ok := part(t, data, "deadline"); ok && c.deadline == nil && !c.detached {
		c.deadline = c.inner(func() []byte { return c.p.value(nil, at, b) })
	}
	if name == "context.valueCtx" {
		c.takeValue(t, data)
	}
	if in, b, ok := part(t, data, "cancelCtx"); ok {
		t, data = in, b
	}
	if at, b, ok := part(t, data, "err"); ok && !c.decided && !c.detached {
		c.decided = true
		c.takeError(at, b, t, data)
	}
	member := "Context"
	if name == "context.withoutCancelCtx" {
		member, c.detached = "c", true
	}
	return c.parent(t, data, member)
}

func (c *contextChain) parent(t *trace.Type, data []byte, member string) (*trace.Type, []byte, bool) {
	t, data, ok := part(t, data, member)
	if !ok {
		c.rest = c.p.unavailable(nil, "context layout not known")
	}
	return t, data, ok
}

// anyError is an error that is kept as an `any`.
var anyError = &trace.Type{Name: "error", Kind: trace.KindError, Size: 16, Empty: true, Lang: trace.LangGo}

// takeError takes why a context has ended, if it has: an error, which since Go 1.25 is in an
// atomic.Value, and its cause, which is the same unless something else was given.
func (c *contextChain) takeError(t *trace.Type, data []byte, of *trace.Type, whole []byte) {
	if in, b, ok := part(t, data, "v"); ok {
		t, data = anyError, b[:in.Size]
	}
	err, ok := c.p.resolve(t, data)
	if !ok {
		return
	}
	c.err = c.iface(t, data)
	if t, data, ok = part(of, whole, "cause"); !ok {
		return
	}
	if cause, ok := c.p.resolve(t, data); ok && (cause.name != err.name || cause.word != err.word) {
		c.cause = c.iface(t, data)
	}
}

func (c *contextChain) takeValue(t *trace.Type, data []byte) {
	kt, kb, ok := part(t, data, "key")
	vt, vb, ok2 := part(t, data, "val")
	if !ok || !ok2 {
		return
	}
	key, ok := c.p.resolve(kt, kb)
	if !ok {
		return
	}
	v := contextValue{key: key, typ: vt, data: vb, name: c.p.keyName(key)}
	for i := range c.values {
		if c.values[i].name != v.name {
			continue
		}
		// Pointers are keys by their address, others by what they are, as far as that was captured.
		byValue := key.typ != nil && !strings.HasPrefix(key.name, "*")
		if byValue || c.values[i].key.word == key.word {
			v.duplicate = true
		} else if !v.duplicate {
			v.name += " 0x" + strconv.FormatUint(key.word, 16)
		}
	}
	c.values = append(c.values, v)
}

// keyName is the name of a context value's key: its type, and its value if that is a text or
// a number, also as the one member of a struct: main.userKey(tenant).
func (p *printer) keyName(key dynamic) string {
	name := key.name
	if name == "" {
		name = "?"
	}
	if text := p.keyText(key); text != "" {
		return name + "(" + text + ")"
	}
	return name
}

func (p *printer) keyText(key dynamic) string {
	t, data := key.typ, key.bytes
	if t != nil && t.Kind == trace.KindStruct && len(t.Fields) == 1 {
		t, data, _ = part(t, data, t.Fields[0].Name)
	}
	if t == nil || uint64(len(data)) < uint64(t.Size) {
		return ""
	}
	switch t.Kind {
	case trace.KindString:
		s, _ := p.goString(t, data)
		return s
	case trace.KindInt, trace.KindUint:
		return strings.Trim(string(p.integer(nil, t, data[:t.Size])), `"`)
	}
	return ""
}

// secretKey gives the rule by which the value of a context is secret: by its key's
// type, or by the text that the key is.
func (c *contextChain) secretKey(v *contextValue) string {
	typ, text, _ := strings.Cut(v.name, "(")
	if rule := c.p.config.secretName(typ[strings.LastIndexByte(typ, '.')+1:]); rule != "" {
		return rule
	}
	return c.p.config.secretName(strings.TrimSuffix(text, ")"))
}

// print appends what the chain says.
func (c *contextChain) print(dst []byte) []byte {
	dst = append(dst, '{')
	first := len(dst)
	add := func(name string, value []byte) {
		if value == nil {
			return
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(append(appendString(dst, name), ':'), value...)
	}
	add("deadline", c.deadline)
	add("error", c.err)
	add("cause", c.cause)
	if len(c.values) > 0 {
		add("values", []byte{'{'})
		before := len(dst)
		for i := range c.values {
			v := &c.values[i]
			if v.duplicate {
				continue
			}
			if len(dst) > before {
				dst = append(dst, ',')
			}
			if c.p.full(dst) {
				dst = append(dst, `"$unavailable":"value too large"`...)
				break
			}
			dst = append(appendString(dst, v.name), ':')
			if rule := c.secretKey(v); rule != "" {
				dst = c.p.redacted(dst, rule)
			} else {
				dst = c.p.value(dst, v.typ, v.data)
			}
		}
		dst = append(dst, '}')
	}
	add("parent", c.rest)
	return append(dst, '}')
}
