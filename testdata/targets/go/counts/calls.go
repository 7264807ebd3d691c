package main

import (
	"sync"
	"sync/atomic"
	"time"
)

//go:noinline
func plain(a, b int) int {
	atomic.AddInt64(&tallies[fPlain].calls, 1)
	atomic.AddInt64(&tallies[fPlain].returns, 1)
	return a*3 + b
}

//go:noinline
func floats(a float64, n int, b float32) float64 {
	atomic.AddInt64(&tallies[fFloats].calls, 1)
	atomic.AddInt64(&tallies[fFloats].returns, 1)
	return a*float64(n) + float64(b)
}

// leaf is too small to need a stack check, as are the other functions here that call nothing.
//
//go:noinline
//go:nosplit
func leaf(a int) int {
	atomic.AddInt64(&tallies[fLeaf].calls, 1)
	atomic.AddInt64(&tallies[fLeaf].returns, 1)
	return a ^ 0x55
}

func runPlain(n int) int64 {
	var total int64
	for i := range n {
		total += int64(plain(i, 1)) + int64(floats(1.5, i, 0.25)) + int64(leaf(i))
	}
	return total
}

type account struct {
	owner string
	cents int64
}

type depositor interface{ deposit(cents int64) int64 }

// derived gets deposit promoted: called through an interface, it is a wrapper
// that the compiler makes and that jumps to the account's method.
type derived struct {
	*account
	note string
}

//go:noinline
func (a *account) deposit(cents int64) int64 {
	atomic.AddInt64(&tallies[fDeposit].calls, 1)
	a.cents += cents
	atomic.AddInt64(&tallies[fDeposit].returns, 1)
	return a.cents
}

//go:noinline
func (a account) balance() int64 {
	atomic.AddInt64(&tallies[fBalance].calls, 1)
	atomic.AddInt64(&tallies[fBalance].returns, 1)
	return a.cents
}

func runMethods(n int) int64 {
	a := &account{owner: "ada"}
	for range n {
		a.deposit(2)
	}
	return a.balance()
}

//go:noinline
func asDepositor(d *derived) depositor { return d }

func runWrappers(n int) int64 {
	d := asDepositor(&derived{account: &account{owner: "bob"}, note: "promoted"})
	var total int64
	for range n {
		total += d.deposit(3)
	}
	caller(fDerivedDeposit, int64(n))
	return total
}

//go:noinline
func makeAdder(step int) func(int) int {
	return func(x int) int {
		atomic.AddInt64(&tallies[fAdder].calls, 1)
		atomic.AddInt64(&tallies[fAdder].returns, 1)
		return x + step
	}
}

func runClosures(n int) int64 {
	adders := []func(int) int{makeAdder(1), makeAdder(10)}
	total := 0
	for i := range n {
		total += adders[i%2](i)
	}
	return int64(total)
}

type number interface{ ~int | ~float64 }

//go:noinline
func sum[T number](values []T) T {
	f := fSumInt
	var zero T
	if _, ok := any(zero).(float64); ok {
		f = fSumFloat
	}
	atomic.AddInt64(&tallies[f].calls, 1)
	var total T
	for _, v := range values {
		total += v
	}
	atomic.AddInt64(&tallies[f].returns, 1)
	return total
}

type pair[T any] struct{ first, second T }

//go:noinline
func (p *pair[T]) swap() {
	atomic.AddInt64(&tallies[fPair].calls, 1)
	p.first, p.second = p.second, p.first
	atomic.AddInt64(&tallies[fPair].returns, 1)
}

func runGenerics(n int) int64 {
	ints, reals := []int{1, 2, 3}, []float64{0.5, 1.5}
	p := &pair[string]{"left", "right"}
	var total int64
	for range n {
		total += int64(sum(ints)) + int64(sum(reals))
		p.swap()
	}
	return total + int64(len(p.first))
}

//go:noinline
func results(n int) (half int, text string, even bool) {
	atomic.AddInt64(&tallies[fResults].calls, 1)
	atomic.AddInt64(&tallies[fResults].returns, 1)
	if n%2 == 0 {
		return n / 2, "even", true
	}
	return n / 2, "odd", false
}

func runResults(n int) int64 {
	var total int64
	for i := range n {
		half, text, even := results(i)
		total += int64(half + len(text))
		if even {
			total++
		}
	}
	return total
}

// wide has more words of arguments than there are registers for them.
//
//go:noinline
func wide(a, b, c, d, e, f, g, h, i, j, k, l int, s string) int {
	atomic.AddInt64(&tallies[fWide].calls, 1)
	atomic.AddInt64(&tallies[fWide].returns, 1)
	return a + b + c + d + e + f + g + h + i + j + k + l + len(s)
}

type block struct{ words [12]int64 }

//go:noinline
func wideStruct(b block, scale int64) (block, int64) {
	atomic.AddInt64(&tallies[fWideStruct].calls, 1)
	var total int64
	for i := range b.words {
		b.words[i] *= scale
		total += b.words[i]
	}
	atomic.AddInt64(&tallies[fWideStruct].returns, 1)
	return b, total
}

func runWide(n int) int64 {
	var total int64
	for i := range n {
		total += int64(wide(i, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "text"))
		b, words := wideStruct(block{words: [12]int64{1, 2, 3}}, int64(i))
		total += words + b.words[0]
	}
	return total
}

const descent = 300

// descend needs about 100 KB of stack by its deepest call, so that a fresh
// goroutine's stack is copied several times while calls are open.
//
//go:noinline
func descend(depth int) int {
	atomic.AddInt64(&tallies[fDescend].calls, 1)
	var pad [256]byte
	pad[depth%len(pad)] = 1
	total := 0
	if depth > 0 {
		total = descend(depth - 1)
	}
	for _, b := range pad {
		total += int(b)
	}
	atomic.AddInt64(&tallies[fDescend].returns, 1)
	return total
}

//go:noinline
func deepWorker(rounds int) int {
	atomic.AddInt64(&tallies[fDeepWorker].calls, 1)
	total := 0
	for range rounds {
		total += descend(descent)
	}
	atomic.AddInt64(&tallies[fDeepWorker].returns, 1)
	return total
}

func runDeep(n int) int64 {
	out := make(chan int)
	rounds := n/10 + 1
	total := 0
	for range rounds {
		go func() { out <- deepWorker(2) }()
		total += <-out
	}
	return int64(total)
}

//go:noinline
func nap(d time.Duration) time.Duration {
	atomic.AddInt64(&tallies[fNap].calls, 1)
	time.Sleep(d)
	atomic.AddInt64(&tallies[fNap].returns, 1)
	return d
}

//go:noinline
func napWorker(n int) {
	atomic.AddInt64(&tallies[fNapWorker].calls, 1)
	for range n {
		nap(50 * time.Microsecond)
	}
	atomic.AddInt64(&tallies[fNapWorker].returns, 1)
}

func runNaps(n int) int64 {
	var done sync.WaitGroup
	const workers = 8
	done.Add(workers)
	for range workers {
		go func() {
			defer done.Done() // after napWorker has been left, so that the program doesn't end in it
			napWorker(n)
		}()
	}
	done.Wait()
	return int64(workers * n)
}

//go:noinline
func fib(n int) int {
	atomic.AddInt64(&tallies[fFib].calls, 1)
	result := n
	if n > 1 {
		result = fib(n-1) + fib(n-2)
	}
	atomic.AddInt64(&tallies[fFib].returns, 1)
	return result
}

//go:noinline
func selfRecursion(n int, path string) string {
	atomic.AddInt64(&tallies[fSelfRecursion].calls, 1)
	if n > 0 {
		path = selfRecursion(n-1, path+"/")
	}
	atomic.AddInt64(&tallies[fSelfRecursion].returns, 1)
	return path
}

func runRecursion(n int) int64 {
	var total int64
	for range n/10 + 1 {
		total += int64(fib(10)) + int64(len(selfRecursion(20, "")))
	}
	return total
}

//go:noinline
func spawned(id int, out *int64) {
	atomic.AddInt64(&tallies[fSpawned].calls, 1)
	atomic.AddInt64(out, int64(plain(id, 2)))
	atomic.AddInt64(&tallies[fSpawned].returns, 1)
}

func runGoroutines(n int) int64 {
	var done sync.WaitGroup
	var total int64
	done.Add(n)
	for i := range n {
		go func() {
			defer done.Done()
			spawned(i, &total)
		}()
	}
	done.Wait()
	return total
}

// asmAdd is called through function values, and so through the wrapper that
// takes its arguments from registers to the stack.
func asmAdd(a, b int64) int64

func asmFramed(a, b int64) int64

func runAssembly(n int) int64 {
	var total int64
	viaWrapper := [2]func(a, b int64) int64{asmAdd, asmAdd}
	for i := range n {
		total += viaWrapper[i%2](int64(i), 1) + asmFramed(int64(i), 2)
	}
	for _, f := range []function{fAsmAdd, fAsmAddABI0, fAsmFramed} {
		caller(f, int64(n))
	}
	return total
}
