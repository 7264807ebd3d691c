// Command bench calls one function as often as standard input says: each line is a
// number of calls, answered by the nanoseconds that they took.
package main

import (
	"fmt"
	"time"
)

// add3 has a frame and a stack check, as most functions do.
//
//go:noinline
func add3(a, b, c int) int {
	var room [256]byte
	room[a&255] = byte(b)
	return a + b + c + int(room[c&255])
}

func main() {
	fmt.Println("ready")
	sum := 0
	for calls := 0; ; {
		if _, err := fmt.Scan(&calls); err != nil {
			break
		}
		start := time.Now()
		for i := range calls {
			sum += add3(i, 2, 3)
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
	if sum == 42 {
		fmt.Println("sum", sum)
	}
}
