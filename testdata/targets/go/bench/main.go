// Command bench calls one function as often as standard input says: each line is a
// number of calls, answered by the nanoseconds that they took, of time and of the
// thread's CPU time.
package main

import (
	"fmt"
	"runtime"
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

// cpuTime is the thread's CPU time in ns (CLOCK_THREAD_CPUTIME_ID is 3).
func cpuTime() int64 {
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

func main() {
	runtime.LockOSThread()
	fmt.Println("ready")
	sum := 0
	for calls := 0; ; {
		if _, err := fmt.Scan(&calls); err != nil {
			break
		}
		start, cpu := time.Now(), cpuTime()
		for i := range calls {
			sum += add3(i, 2, 3)
		}
		cpu = cpuTime() - cpu
		fmt.Println(time.Since(start).Nanoseconds(), cpu)
	}
	if sum == 42 {
		fmt.Println("sum", sum)
	}
}
