// Command usage uses known amounts of what a tracer tells of a call: see
// ../../README.md. Each of the functions looks at its thread's clock and
// counters first and last, and so does its caller.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// usage is what a thread has used, or a call did.
type usage struct {
	CPU      int64 `json:"cpu_ns"`
	Minor    int64 `json:"minor"`
	Major    int64 `json:"major"`
	Switches int64 `json:"switches"`
	tid      int
}

// call is what is told of a call.
type call struct {
	Function string `json:"function"`
	Inside   usage  `json:"inside"`
	Outside  usage  `json:"outside"`
	RSS      int64  `json:"rss_kb"` // change of resident memory
	Moved    bool   `json:"moved"`  // it ended on another thread than it began on
}

var told call

const (
	rusageThread  = 1
	threadCPUTime = 3 // CLOCK_THREAD_CPUTIME_ID
	pageSize      = 4096
)

//go:noinline
func cpuNow() int64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

//go:noinline
func usageNow() usage {
	var r syscall.Rusage
	syscall.RawSyscall(syscall.SYS_GETRUSAGE, rusageThread, uintptr(unsafe.Pointer(&r)), 0)
	return usage{CPU: cpuNow(), Minor: r.Minflt, Major: r.Majflt, Switches: r.Nvcsw + r.Nivcsw, tid: syscall.Gettid()}
}

func (start usage) since() usage {
	now := usageNow()
	return usage{now.CPU - start.CPU, now.Minor - start.Minor, now.Major - start.Major, now.Switches - start.Switches, now.tid}
}

// ends is what each of the functions says last.
func ends(start usage, rss int64) {
	u := start.since()
	told = call{Inside: u, RSS: rss, Moved: u.tid != start.tid}
}

//go:noinline
func burn(ms int) int {
	start := usageNow()
	spin(ms)
	ends(start, 0)
	return ms
}

func spin(ms int) {
	for end := cpuNow() + int64(ms)*1e6; cpuNow() < end; {
	}
}

//go:noinline
func nap(times int, d time.Duration) int {
	start := usageNow()
	for range times {
		sleep(d)
	}
	ends(start, 0)
	return times
}

// sleep has the thread sleep, not only the goroutine.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}

// grow touches fresh pages, which stay.
//
//go:noinline
func grow(pages int) int {
	start := usageNow()
	memory, err := syscall.Mmap(-1, 0, pages*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	for i := range pages {
		memory[i*pageSize] = 1
	}
	ends(start, int64(pages)*pageSize/1024)
	return pages
}

// move goes on until its goroutine is on another thread: while it sleeps, the
// only processor is given to a goroutine that keeps it.
//
//go:noinline
func move(pages int) int {
	start := usageNow()
	for syscall.Gettid() == start.tid {
		sleep(time.Millisecond)
	}
	memory, err := syscall.Mmap(-1, 0, pages*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	for i := range pages {
		memory[i*pageSize] = 1
	}
	ends(start, int64(pages)*pageSize/1024)
	return pages
}

// crowded runs a function while another goroutine keeps the only processor.
func crowded(run func()) {
	var stop atomic.Bool
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	go func() {
		for !stop.Load() {
		}
	}()
	run()
	stop.Store(true)
}

var out = json.NewEncoder(os.Stdout)

// tell runs a function that calls the named one, and tells what it used.
func tell(function string, run func()) {
	start := usageNow()
	run()
	outside := start.since()
	told.Function, told.Outside = function, outside
	_ = out.Encode(told)
}

func main() {
	wait := flag.Bool("wait", false, "print ready and wait for the line go")
	flag.Parse()
	if *wait {
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			os.Exit(1)
		}
	}
	crowded(func() { tell("main.move", func() { move(3000) }) })
	runtime.LockOSThread()
	tell("main.burn", func() { burn(2) })
	tell("main.burn", func() { burn(150) })
	tell("main.nap", func() { nap(25, 2*time.Millisecond) })
	tell("main.grow", func() { grow(5000) })
}
