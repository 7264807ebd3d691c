//	raises SECONDS RATE
//	raises SECONDS panics [inside]
//
// Raises panics and recovers from them so many times a second, prints how many, and ends by one that nothing recovers. Or
// does so as fast as it can, and prints each half second how many there were: with inside in a call of the function of that
// name. never is not called.
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

func busy(seconds int) (sum int) {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for n, next := 0, time.Now().Add(time.Second/2); time.Now().Before(end); {
		for range 100 {
			sum += recovers(n)
			n++
		}
		if time.Now().After(next) {
			fmt.Println(n)
			next = next.Add(time.Second / 2)
			n = 0
		}
	}
	return sum
}

//go:noinline
func inside(seconds int) int { return busy(seconds) + 1 }

//go:noinline
func never(n int) int { return n + 1 }

func main() {
	if len(os.Args) > 2 && os.Args[2] == "panics" {
		run := busy
		if len(os.Args) > 3 {
			run = inside
		}
		if run(number(1, 3)) < 0 {
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
