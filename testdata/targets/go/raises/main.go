// Raises panics and recovers from them so many times a second, for so many seconds, as its arguments say. Then it
// prints how many, and ends by one that nothing recovers.
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

func main() {
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
