package decode

import (
	"context"
	"errors"
	"os"
	ossignal "os/signal"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/observatory-trace/observatory-trace/trace"
)

type (
	plainKey    struct{}
	contextName string
	contextMark struct{ name string }
	userContext struct{ context.Context }
)

// valueContext is how context.valueCtx lies in memory.
type valueContext struct {
	context.Context
	key, val any
}

// TestContext pins how contexts are shown, with this toolchain's own.
func TestContext(t *testing.T) {
	background := context.Background()
	named := func(ctx context.Context, name string, value any) context.Context {
		return context.WithValue(ctx, contextName(name), value)
	}
	ended, end := context.WithCancelCause(named(background, "a", 1))
	end(errors.New("enough"))
	late, stop := context.WithDeadline(ended, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	defer stop()
	notified, stop := ossignal.NotifyContext(named(background, "a", 1), os.Interrupt)
	defer stop()
	notified.Done() // or its goroutine makes that, at any time
	deep := background
	for range maxContexts + 1 {
		deep = context.WithValue(deep, plainKey{}, 1)
	}
	loop := named(background, "a", 1)
	(*valueContext)((*[2]unsafe.Pointer)(unsafe.Pointer(&loop))[1]).Context = context.WithValue(loop, plainKey{}, 2)
	inItself := named(background, "a", nil)
	(*valueContext)((*[2]unsafe.Pointer)(unsafe.Pointer(&inItself))[1]).val = inItself
	one, two := &contextMark{"same"}, &contextMark{"same"}

	for name, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"nil":        {nil, `null`},
		"background": {background, `{}`},
		"todo":       {context.TODO(), `{}`},
		"value":      {named(background, "a", "x"), `{"values":{"decode.contextName(a)":{"$type":"string","$value":"x"}}}`},
		"shadowed":   {named(named(background, "a", 1), "a", 2), `{"values":{"decode.contextName(a)":{"$type":"int","$value":2}}}`},
		"pointers": {
			context.WithValue(context.WithValue(context.WithValue(background, one, 1), two, 2), one, 3),
			`{"values":{"*decode.contextMark(same)":{"$type":"int","$value":3},"*decode.contextMark(same) 0x…":{"$type":"int","$value":2}}}`,
		},
		"secret": {named(context.WithValue(background, plainKey{}, nil), "api_key", "x"), `{"values":{"decode.contextName(api_key)":{"$redacted":"api key"},"decode.plainKey":null}}`},
		"ended": {
			late, `{"deadline":"2100-01-01T00:00:00Z","error":{"$type":"*errors.errorString","$message":"context canceled"},` +
				`"cause":{"$type":"*errors.errorString","$message":"enough"},"values":{"decode.contextName(a)":{"$type":"int","$value":1}}}`,
		},
		"detached": {context.WithoutCancel(late), `{"values":{"decode.contextName(a)":{"$type":"int","$value":1}}}`},
		"notified": {notified, `{"values":{"decode.contextName(a)":{"$type":"int","$value":1}}}`},
		"own": {
			named(userContext{named(background, "a", 1)}, "b", 2),
			`{"values":{"decode.contextName(b)":{"$type":"int","$value":2}},"parent":{"$type":"decode.userContext","$value":{"Context":{"values":{"decode.contextName(a)":{"$type":"int","$value":1}}}}}}`,
		},
		"deep":      {deep, `{"values":{"decode.plainKey":{"$type":"int","$value":1}},"parent":{"$unavailable":"nested too deep"}}`},
		"loop":      {loop, `{"values":{"decode.contextName(a)":{"$type":"int","$value":1},"decode.plainKey":{"$type":"int","$value":2}},"parent":{"$ref":"0x…"}}`},
		"in itself": {inItself, `{"values":{"decode.contextName(a)":{"$type":"*context.valueCtx","$value":{"$ref":"0x…"}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			typ, data := captured(m, &c.ctx)
			got, _ := printed(m.config(), typ, data, m.blocks...)
			if got = withoutDigits(got); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// withoutDigits takes the digits of addresses out.
func withoutDigits(s string) string {
	parts := strings.Split(s, "0x")
	for i, p := range parts[1:] {
		parts[i+1] = "…" + strings.TrimLeft(p, "0123456789abcdef")
	}
	return strings.Join(parts, "0x")
}

// TestContextCut: of a chain that was captured in part, what is missing says so.
func TestContextCut(t *testing.T) {
	ctx := context.WithValue(context.WithValue(context.Background(), plainKey{}, 1), contextName("a"), 2)
	m := newMemory()
	typ, data := captured(m, &ctx)
	parent := uint64(uintptr((*[2]unsafe.Pointer)(unsafe.Pointer(&(*valueContext)((*[2]unsafe.Pointer)(unsafe.Pointer(&ctx))[1]).Context))[1]))
	kept := m.blocks[:0]
	for _, b := range m.blocks {
		if b.Addr != parent {
			kept = append(kept, b)
		}
	}
	got, flags := printed(m.config(), typ, data, kept...)
	if want := `{"values":{"decode.contextName(a)":{"$type":"int","$value":2}},"parent":{"$ptr":"0x…"}}`; withoutDigits(got) != want || flags&trace.FlagTruncated == 0 {
		t.Errorf("got %s [%s], want %s", got, flags, want)
	}
}
