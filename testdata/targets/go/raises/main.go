//	raises SECONDS RATE
//	raises SECONDS panics [inside]
//
// Raises panics and recovers from them so many times a second, prints how many, and ends by one that nothing recovers. Or
// does so as fast as it can, and prints each half second how many there were: with inside in calls of the function of that
// name, a thousand in each. never is not called.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

var errThing = errors.New("no such thing")

//go:noinline
func raise(i int) int {
	if i >= 0 {
		panic(errThing)
	}
	return i
}

//go:noinline
func recovers(i int) (n int) {
	defer func() {
		if recover() != nil {
			n = i + 1
		}
	}()
	return raise(i)
}

//go:noinline
func seldom(n int) int { return n + 1 }

//go:noinline
func last(n int) int {
	if n > 0 {
		panic(fmt.Errorf("nobody takes %w", errThing))
	}
	return n
}

func raised() (sum int) {
	for n := range 1000 {
		sum += recovers(n)
	}
	return sum
}

//go:noinline
func inside() int { return raised() + 1 }

func busy(seconds int, call func() int) (sum int) {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for n, next := 0, time.Now().Add(time.Second/2); time.Now().Before(end); {
		sum += call()
		n += 1000
		if time.Now().After(next) {
			fmt.Println(n)
			next = next.Add(time.Second / 2)
			n = 0
		}
	}
	return sum
}

//go:noinline
func never(n int) int { return n + 1 }

func main() {
	if len(os.Args) > 2 && os.Args[2] == "panics" {
		call := raised
		if len(os.Args) > 3 {
			call = inside
		}
		if busy(number(1, 3), call) < 0 {
			never(1)
		}
		return
	}
	seconds, rate, sum := number(1, 3), number(2, 20000), 0
	start := time.Now()
	for n := range seconds * rate {
		sum += recovers(n)
		if n%(rate/100) == 0 { // a hundred times a second
			sum += seldom(n)
			time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		}
	}
	fmt.Println("recovers", seconds*rate, "sum", sum)
	last(sum)
}

func number(i, otherwise int) int {
	if len(os.Args) <= i {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		panic(err)
	}
	return n
}
