package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

var errNotFound = errors.New("not found")

// stockError is an error with fields.
type stockError struct {
	item string
	left int
}

func (e *stockError) Error() string { return fmt.Sprintf("only %d of %s left", e.left, e.item) }

//go:noinline
func find(id int) (string, error) {
	atomic.AddInt64(&tallies[fFind].calls, 1)
	atomic.AddInt64(&tallies[fFind].returns, 1)
	if id%4 == 0 {
		return "", errNotFound
	}
	return "item", nil
}

//go:noinline
func place(id int) error {
	atomic.AddInt64(&tallies[fPlace].calls, 1)
	_, err := find(id)
	atomic.AddInt64(&tallies[fPlace].returns, 1)
	if err != nil {
		return fmt.Errorf("place order %d: %w", id, err)
	}
	return nil
}

//go:noinline
func placeCustom(id int) error {
	atomic.AddInt64(&tallies[fPlaceCustom].calls, 1)
	atomic.AddInt64(&tallies[fPlaceCustom].returns, 1)
	if id%5 == 0 {
		return &stockError{item: "book", left: id}
	}
	return nil
}

func runErrors(n int) int64 {
	var failed int64
	for i := range n {
		if place(i) != nil {
			failed++
		}
		if placeCustom(i) != nil {
			failed++
		}
	}
	return failed
}

//go:noinline
func mayPanic(i int) int {
	atomic.AddInt64(&tallies[fMayPanic].calls, 1)
	if i%3 == 0 {
		panic(fmt.Sprintf("number %d", i))
	}
	atomic.AddInt64(&tallies[fMayPanic].returns, 1)
	return i
}

//go:noinline
func middle(i int) int {
	atomic.AddInt64(&tallies[fMiddle].calls, 1)
	result := mayPanic(i) + 1
	atomic.AddInt64(&tallies[fMiddle].returns, 1)
	return result
}

//go:noinline
func guardRecover() {
	atomic.AddInt64(&tallies[fGuardRecover].calls, 1)
	if recover() != nil {
		atomic.AddInt64(&check, 1)
	}
	atomic.AddInt64(&tallies[fGuardRecover].returns, 1)
}

// guard recovers, and so returns; its caller counts that.
//
//go:noinline
func guard(i int) int {
	atomic.AddInt64(&tallies[fGuard].calls, 1)
	defer guardRecover()
	return middle(i)
}

//go:noinline
func recurseAndPanic(depth int) int {
	atomic.AddInt64(&tallies[fRecurseAndPanic].calls, 1)
	if depth == 0 {
		panic(errNotFound)
	}
	result := recurseAndPanic(depth-1) + 1
	atomic.AddInt64(&tallies[fRecurseAndPanic].returns, 1)
	return result
}

//go:noinline
func deepGuard(depth int) int {
	atomic.AddInt64(&tallies[fDeepGuard].calls, 1)
	defer guardRecover()
	return recurseAndPanic(depth)
}

func runPanics(n int) int64 {
	var total int64
	for i := range n {
		total += int64(guard(i))
		atomic.AddInt64(&tallies[fGuard].returns, 1)
		total += int64(deepGuard(i % 20))
		atomic.AddInt64(&tallies[fDeepGuard].returns, 1)
	}
	return total
}

// panicInDefer panics, and its deferred function panics again.
//
//go:noinline
func panicInDefer(i int) int {
	atomic.AddInt64(&tallies[fPanicInDefer].calls, 1)
	defer deferredPanic()
	return middle(i * 3)
}

//go:noinline
func deferredPanic() {
	atomic.AddInt64(&tallies[fDeferredPanic].calls, 1)
	panic("from a deferred function")
}

//go:noinline
func nestedGuard(i int) int {
	atomic.AddInt64(&tallies[fNestedGuard].calls, 1)
	defer guardRecover()
	return panicInDefer(i)
}

// rethrow recovers and panics anew.
//
//go:noinline
func rethrow(i int) int {
	atomic.AddInt64(&tallies[fRethrow].calls, 1)
	defer rethrowDeferred()
	return middle(i * 3)
}

//go:noinline
func rethrowDeferred() {
	atomic.AddInt64(&tallies[fRethrowDeferred].calls, 1)
	panic(fmt.Errorf("again: %v", recover()))
}

//go:noinline
func rethrowGuard(i int) int {
	atomic.AddInt64(&tallies[fRethrowGuard].calls, 1)
	defer guardRecover()
	return rethrow(i)
}

// recoverInside has a deferred function that panics and recovers by itself
// while the first panic is still under way.
//
//go:noinline
func recoverInside(i int) int {
	atomic.AddInt64(&tallies[fRecoverInside].calls, 1)
	defer recoverInsideDeferred(i)
	return middle(i * 3)
}

//go:noinline
func recoverInsideDeferred(i int) {
	atomic.AddInt64(&tallies[fRecoverInsideDeferred].calls, 1)
	guard(i * 3)
	atomic.AddInt64(&tallies[fGuard].returns, 1)
	if recover() != nil {
		atomic.AddInt64(&check, 1)
	}
	atomic.AddInt64(&tallies[fRecoverInsideDeferred].returns, 1)
}

func runNested(n int) int64 {
	var total int64
	for i := range n {
		total += int64(nestedGuard(i))
		atomic.AddInt64(&tallies[fNestedGuard].returns, 1)
		total += int64(rethrowGuard(i))
		atomic.AddInt64(&tallies[fRethrowGuard].returns, 1)
		total += int64(recoverInside(i))
		atomic.AddInt64(&tallies[fRecoverInside].returns, 1)
	}
	return total
}

// nilDeref panics in the middle of an instruction, through a signal.
//
//go:noinline
func nilDeref(a *account) int64 {
	atomic.AddInt64(&tallies[fNilDeref].calls, 1)
	cents := a.cents
	atomic.AddInt64(&tallies[fNilDeref].returns, 1)
	return cents
}

//go:noinline
func runtimeGuard(a *account) int64 {
	atomic.AddInt64(&tallies[fRuntimeGuard].calls, 1)
	defer guardRecover()
	return nilDeref(a)
}

func runRuntimePanics(n int) int64 {
	accounts := []*account{nil, {owner: "eve", cents: 5}}
	var total int64
	for i := range n {
		total += runtimeGuard(accounts[i%2])
		atomic.AddInt64(&tallies[fRuntimeGuard].returns, 1)
	}
	return total
}

//go:noinline
func goexitDeferred() {
	atomic.AddInt64(&tallies[fGoexitDeferred].calls, 1)
	atomic.AddInt64(&tallies[fGoexitDeferred].returns, 1)
}

//go:noinline
func goexitEntry(recovers bool) {
	atomic.AddInt64(&tallies[fGoexitEntry].calls, 1)
	defer goexitDeferred()
	if recovers {
		atomic.AddInt64(&check, int64(guard(3)))
		atomic.AddInt64(&tallies[fGuard].returns, 1)
		atomic.AddInt64(&check, goexitAfterRecover())
	}
	atomic.AddInt64(&check, goexitMiddle())
	atomic.AddInt64(&tallies[fGoexitEntry].returns, 1)
}

//go:noinline
func goexitAfterRecover() int64 {
	atomic.AddInt64(&tallies[fGoexitAfterRecover].calls, 1)
	atomic.AddInt64(&tallies[fGoexitAfterRecover].returns, 1)
	return 1
}

// goexitMiddle tries to recover, which Goexit ignores.
//
//go:noinline
func goexitMiddle() int64 {
	atomic.AddInt64(&tallies[fGoexitMiddle].calls, 1)
	defer guardRecover()
	goexitInner()
	atomic.AddInt64(&tallies[fGoexitMiddle].returns, 1)
	return 1
}

//go:noinline
func goexitInner() {
	atomic.AddInt64(&tallies[fGoexitInner].calls, 1)
	runtime.Goexit()
}

func runGoexit(n int) int64 {
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			goexitEntry(i%2 == 0)
		}()
		<-done
	}
	return int64(n)
}

// named changes its result in a deferred function.
//
//go:noinline
func named(i int) (result int, err error) {
	atomic.AddInt64(&tallies[fNamed].calls, 1)
	defer namedDeferred(&result, &err)
	if i%2 == 0 {
		panic("even")
	}
	return i, nil
}

//go:noinline
func namedDeferred(result *int, err *error) {
	atomic.AddInt64(&tallies[fNamedDeferred].calls, 1)
	if r := recover(); r != nil {
		*result, *err = -1, fmt.Errorf("recovered: %v", r)
	}
	atomic.AddInt64(&tallies[fNamedDeferred].returns, 1)
}

// loopDefer has more defers than can be compiled into the function's end.
//
//go:noinline
func loopDefer(n int) int {
	atomic.AddInt64(&tallies[fLoopDefer].calls, 1)
	for range n {
		defer guardRecover()
	}
	return middle(n)
}

func runDefers(n int) int64 {
	var total int64
	for i := range n {
		result, err := named(i)
		atomic.AddInt64(&tallies[fNamed].returns, 1)
		total += int64(result)
		if err != nil {
			total++
		}
		total += int64(loopDefer(i%5 + 1))
		atomic.AddInt64(&tallies[fLoopDefer].returns, 1)
	}
	return total
}
