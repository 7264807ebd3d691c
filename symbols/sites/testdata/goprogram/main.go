// Command goprogram has the shapes of Go functions that matter to probes:
// small, big and huge frames, closures, defers that recover, generics, switches.
package main

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

type number interface{ ~int | ~float64 }

//go:noinline
func sum[T number](xs ...T) (t T) {
	for _, x := range xs {
		t += x
	}
	return t
}

//go:noinline
func big(n int) int {
	var buf [3000]byte
	for i := range buf {
		buf[i] = byte(i * n)
	}
	return int(buf[n%len(buf)]) + len(fmt.Sprint(n))
}

//go:noinline
func huge(n int) int {
	var buf [80000]byte
	for i := range buf {
		buf[i] = byte(i * n)
	}
	return int(buf[n%len(buf)]) + len(fmt.Sprint(n))
}

//go:noinline
func recovers(s string) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	n, err = strconv.Atoi(s)
	if n > 3 {
		panic("too big")
	}
	return n, err
}

//go:noinline
func choose(op string, a, b int) (int, error) {
	switch op {
	case "add":
		return a + b, nil
	case "sub":
		return a - b, nil
	case "mul":
		return a * b, nil
	case "div":
		return a / b, nil
	case "and":
		return a & b, nil
	case "or":
		return a | b, nil
	case "xor":
		return a ^ b, nil
	case "shl":
		return a << b, nil
	case "shr":
		return a >> b, nil
	}
	return 0, errors.New("no operation " + op)
}

//go:noinline
func table(i int) int {
	switch i {
	case 0:
		return 7
	case 1:
		return big(i)
	case 2:
		return 3
	case 3:
		return huge(i)
	case 4:
		return -1
	case 5:
		return sum(i, 2)
	case 6:
		return 12
	case 7:
		return big(2)
	case 8:
		return 99
	case 9:
		return i * i
	}
	return 0
}

func main() {
	total := 0.0
	add := func(x int) { total += float64(x) }
	words := strings.Fields("add sub mul div and or xor shl shr none")
	sort.Strings(words)
	for i, w := range words {
		n, err := choose(w, 12, 3)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		add(n + table(i))
		n, _ = recovers(strconv.Itoa(i))
		add(n)
	}
	fmt.Println(sum(total, 1.5))
}
