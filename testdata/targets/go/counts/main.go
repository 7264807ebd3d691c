// Command counts makes known numbers of calls and prints how many of each
// function: see ../../README.md for its arguments and output.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
)

// A scenario runs n rounds and returns something that depends on every result.
type scenario struct {
	name string
	run  func(n int) int64
}

var scenarios = []scenario{
	{"plain", runPlain},
	{"methods", runMethods},
	{"closures", runClosures},
	{"generics", runGenerics},
	{"results", runResults},
	{"wide", runWide},
	{"deep", runDeep},
	{"naps", runNaps},
	{"recursion", runRecursion},
	{"goroutines", runGoroutines},
	{"assembly", runAssembly},
	{"wrappers", runWrappers},
	{"errors", runErrors},
	{"panics", runPanics},
	{"nested", runNested},
	{"runtime-panics", runRuntimePanics},
	{"goexit", runGoexit},
	{"defers", runDefers},
}

var input = bufio.NewReader(os.Stdin)

func main() {
	wait := flag.Bool("wait", false, "print ready and wait for the line go")
	n := flag.Int("n", 100, "rounds of each scenario")
	crash := flag.String("crash", "", "how to end after printing the counts")
	flag.Parse()
	if *wait {
		awaitGo()
	}
	if err := run(*n, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "counts:", err)
		os.Exit(2)
	}
	report()
	if *crash != "" {
		crashOuter(*crash)
	}
}

func awaitGo() {
	fmt.Println("ready")
	if line, err := input.ReadString('\n'); err != nil || line != "go\n" {
		os.Exit(0)
	}
}

// run runs the named scenarios, or all but open when there are none.
func run(n int, chosen []string) error {
	want := map[string]bool{}
	for _, name := range chosen {
		want[name] = true
	}
	for _, s := range scenarios {
		if len(chosen) == 0 || want[s.name] {
			atomic.AddInt64(&check, s.run(n))
		}
		delete(want, s.name)
	}
	if want["open"] {
		atomic.AddInt64(&check, held(7, "open"))
		delete(want, "open")
	}
	for name := range want {
		return fmt.Errorf("no scenario %q", name)
	}
	return nil
}

// held stays open until another line arrives.
//
//go:noinline
func held(number int64, why string) int64 {
	atomic.AddInt64(&tallies[fHeld].calls, 1)
	fmt.Println("held")
	_, _ = input.ReadString('\n')
	atomic.AddInt64(&tallies[fHeld].returns, 1)
	return number + int64(len(why))
}

// crashOuter and crashInner end the program within two calls that stay open.
//
//go:noinline
func crashOuter(kind string) int {
	return crashInner(kind, 1) + 1
}

//go:noinline
func crashInner(kind string, code int) int {
	switch kind {
	case "panic":
		panic("crash: " + kind)
	case "error":
		panic(fmt.Errorf("crash: %w", errNotFound))
	case "nil":
		return *(*int)(nil)
	case "goroutine":
		go crashOuter("panic")
		select {}
	case "repanic":
		defer repanic()
		panic("crash: first")
	case "goexit":
		runtime.Goexit()
	case "exit":
		os.Exit(code + 2)
	}
	fmt.Fprintf(os.Stderr, "counts: no crash %q\n", kind)
	os.Exit(2)
	return 0
}

//go:noinline
func repanic() {
	panic(fmt.Sprint("crash: again after ", recover()))
}
