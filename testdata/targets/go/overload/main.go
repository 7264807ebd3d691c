// Command overload calls functions from several goroutines as fast as it can, and
// prints how often: see ../../README.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
)

const goroutines = 8

// count is what a function did.
type count struct {
	Calls  int64 `json:"calls"`
	Errors int64 `json:"errors"`
}

// tally is what one goroutine has called.
type tally struct{ scalars, text, inner, outer, fails, panics count }

//go:noinline
func scalars(t *tally, a, b, c int) int {
	t.scalars.Calls++
	return a + b + c
}

//go:noinline
func text(t *tally, s string) int {
	t.text.Calls++
	return len(s)
}

//go:noinline
func inner(t *tally, n int) int {
	t.inner.Calls++
	if n%64 == 0 {
		runtime.Gosched() // the goroutine may go on on another thread
	}
	return n ^ 1
}

//go:noinline
func outer(t *tally, n int) int {
	t.outer.Calls++
	return inner(t, n) + inner(t, n+1)
}

var errSeventh = errors.New("every seventh fails")

//go:noinline
func fails(t *tally, n int) (int, error) {
	t.fails.Calls++
	if n%7 != 0 {
		return n, nil
	}
	t.fails.Errors++
	return 0, errSeventh
}

//go:noinline
func panics(t *tally, n int) int {
	t.panics.Calls++
	if n%50 == 0 {
		t.panics.Errors++
		panic(errSeventh)
	}
	return n
}

func recovers(t *tally, n int) (result int) {
	defer func() {
		if recover() != nil {
			result = -1
		}
	}()
	return panics(t, n)
}

func hurry(t *tally, rounds int) (result int) {
	for i := range rounds {
		result += scalars(t, i, 2, 3)
		result += text(t, "as fast as it can, which is too fast for a small ring buffer")
		result += outer(t, i)
		n, _ := fails(t, i)
		result += n + recovers(t, i)
	}
	return result
}

func (c *count) add(other count) {
	c.Calls += other.Calls
	c.Errors += other.Errors
}

func main() {
	wait := flag.Bool("wait", false, "print ready and wait for a line")
	rounds := flag.Int("n", 2000, "rounds of each goroutine")
	flag.Parse()
	if *wait {
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			os.Exit(0)
		}
	}
	var tallies [goroutines]tally
	var all sync.WaitGroup
	for i := range tallies {
		all.Add(1)
		go func() {
			defer all.Done()
			hurry(&tallies[i], *rounds)
		}()
	}
	all.Wait()
	var sum tally
	for _, t := range tallies {
		sum.scalars.add(t.scalars)
		sum.text.add(t.text)
		sum.inner.add(t.inner)
		sum.outer.add(t.outer)
		sum.fails.add(t.fails)
		sum.panics.add(t.panics)
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"functions": map[string]count{
		"main.scalars": sum.scalars, "main.text": sum.text, "main.inner": sum.inner, "main.outer": sum.outer,
		"main.fails": sum.fails, "main.panics": sum.panics,
	}})
}
