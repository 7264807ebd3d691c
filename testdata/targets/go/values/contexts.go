package main

import (
	"context"
	"errors"
	"time"
)

type (
	requestKey struct{}
	userKey    string
	authToken  struct{}
)

// label is a key that is told from others of its type by its address.
type label struct{ name string }

var traceLabel = &label{"trace"}

// requestContext is a context of the program's own.
type requestContext struct {
	context.Context
	Path string
}

type contextHolder struct{ ctx context.Context }

//go:noinline
func background(ctx, todo, none context.Context) bool { return ctx != todo && none == nil }

// contextValues has more contexts behind one another than pointers are followed.
//
//go:noinline
func contextValues(ctx context.Context) any { return ctx.Value(requestKey{}) }

//go:noinline
func deadlines(ctx, gone context.Context) bool { return ctx.Err() == nil && gone.Err() != nil }

//go:noinline
func cancelled(ctx, caused, detached context.Context) error { return context.Cause(caused) }

//go:noinline
func ownContext(ctx *requestContext, child context.Context) string { return ctx.Path }

//go:noinline
func contextHeld(holder contextHolder, held any) bool { return holder.ctx == held }

func callContexts() {
	sink = background(context.Background(), context.TODO(), nil)

	ctx := context.WithValue(context.Background(), requestKey{}, "r-1")
	ctx = context.WithValue(ctx, userKey("tenant"), &account{"ada", 7})
	ctx = context.WithValue(ctx, userKey("password"), "hunter2")
	ctx = context.WithValue(ctx, authToken{}, "not to be shown")
	ctx = context.WithValue(ctx, traceLabel, 42)
	ctx = context.WithValue(ctx, userKey("tenant"), "shadowed no more")
	ctx = context.WithValue(ctx, weekday(3), point{1, 2})
	sink = contextValues(ctx)

	at := time.Date(2100, 1, 2, 3, 4, 5, 600, time.UTC)
	soon, stop := context.WithDeadline(ctx, at)
	defer stop()
	gone, stop := context.WithDeadline(context.Background(), at.AddDate(-100, 0, 0))
	defer stop()
	sink = deadlines(context.WithValue(soon, requestKey{}, "r-2"), gone)

	ended, end := context.WithCancel(context.WithValue(context.Background(), requestKey{}, 3))
	end()
	caused, because := context.WithCancelCause(context.Background())
	because(&stockError{Item: "pen", Left: 1})
	sink = cancelled(ended, caused, context.WithoutCancel(ended))

	own := &requestContext{Context: context.WithValue(context.Background(), requestKey{}, "r-4"), Path: "/own"}
	child, stop := context.WithCancel(own)
	defer stop()
	sink = ownContext(own, child)
	sink = contextHeld(contextHolder{child}, ended)
	if !errors.Is(ended.Err(), context.Canceled) {
		panic("not cancelled")
	}
}
