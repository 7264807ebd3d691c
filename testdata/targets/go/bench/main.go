// Command bench calls one function as often as standard input says: each line is a
// number of calls, answered by the nanoseconds that they took, of time and of the
// thread's CPU time. A second number on the line is of goroutines that share the calls, all
// of which have begun one before the first goes on; the CPU time is then the process's.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// add3 has a frame and a stack check, as most functions do.
//
//go:noinline
func add3(a, b, c int) int {
	var room [256]byte
	room[a&255] = byte(b)
	return a + b + c + int(room[c&255])
}

// yield3 lets the others run, too: so many calls are open at once as there are goroutines.
//
//go:noinline
func yield3(a, b, c int) int {
	runtime.Gosched()
	return a + b + c
}

const (
	clockProcess = 2 // CLOCK_PROCESS_CPUTIME_ID
	clockThread  = 3 // CLOCK_THREAD_CPUTIME_ID
)

// cpuTime is a clock's time in ns.
func cpuTime(clock uintptr) int64 {
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

func main() {
	runtime.LockOSThread()
	fmt.Println("ready")
	sum := 0
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		calls, goroutines := 0, 0
		if n, _ := fmt.Sscan(in.Text(), &calls, &goroutines); n == 0 {
			break
		}
		if goroutines > 0 {
			share(calls, goroutines)
			continue
		}
		start, cpu := time.Now(), cpuTime(clockThread)
		for i := range calls {
			sum += add3(i, 2, 3)
		}
		cpu = cpuTime(clockThread) - cpu
		fmt.Println(time.Since(start).Nanoseconds(), cpu)
	}
	if sum == 42 {
		fmt.Println("sum", sum)
	}
}

func share(calls, goroutines int) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			<-begin
			for i := range calls / goroutines {
				yield3(i, 2, 3)
			}
		}()
	}
	runtime.Gosched()
	start, cpu := time.Now(), cpuTime(clockProcess)
	close(begin)
	all.Wait()
	cpu = cpuTime(clockProcess) - cpu
	fmt.Println(time.Since(start).Nanoseconds(), cpu)
}
