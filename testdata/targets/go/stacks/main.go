// Command stacks fails in known places and prints its stack there: see
// ../../README.md.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
)

var (
	errNo = errors.New("no")
	sink  int
	null  *int
)

// say prints the stack of its caller, as the one of the function of that name.
//
//go:noinline
func say(name string) {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		fmt.Printf("at %s %s %s:%d\n", name, f.Function, f.File, f.Line)
		if !more {
			return
		}
	}
}

//go:noinline
func fails(deep int) error {
	if deep > 0 {
		return between(deep - 1)
	}
	say("main.fails")
	return errNo
}

// between is inlined.
func between(deep int) error { sink++; return fails(deep) }

//go:noinline
func propagates(deep int) (int, error) {
	err := between(deep)
	say("main.propagates")
	return 1, err
}

type machine struct{ parts []int }

//go:noinline
func (m *machine) breaks(i int) int {
	say("main.(*machine).breaks")
	return m.parts[i]
}

//go:noinline
func derefs(i int) int {
	say("main.derefs")
	return *null + i
}

//go:noinline
func panics(i int) {
	say("main.panics")
	panic(i)
}

//go:noinline
func (m machine) value(i int) error {
	say("main.machine.value")
	return fmt.Errorf("part %d: %w", i, errNo)
}

type partial interface{ value(int) error }

// caught runs what panics, in a closure that is inlined or not.
func caught(run func()) {
	defer func() { _ = recover() }()
	run()
}

//go:noinline
func deferred(i int) {
	defer func() { caught(func() { panics(i) }) }()
	sink++
}

//go:noinline
func dies(i int) {
	say("main.dies")
	panic(errNo)
}

//go:noinline
func fatals(m *sync.Mutex) {
	say("main.fatals")
	m.Unlock()
}

func main() {
	wait := flag.Bool("wait", false, "print ready, and wait for a line")
	crash := flag.Bool("crash", false, "die of a panic at the end")
	fatal := flag.Bool("fatal", false, "die of an error of the runtime at the end")
	flag.Parse()
	if *wait {
		fmt.Println("ready")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}
	_, _ = propagates(2)
	m := &machine{}
	caught(func() { sink += m.breaks(7) })
	caught(func() { sink += derefs(1) })
	deferred(3)
	var p partial = m
	_ = p.value(4)
	if *fatal {
		fatals(new(sync.Mutex))
	}
	if *crash {
		done := make(chan bool)
		go func() { dies(5); close(done) }()
		<-done
	}
}
