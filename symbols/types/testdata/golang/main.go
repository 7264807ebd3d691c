// Command golang has functions whose arguments and results lie in every kind of place.
package main

import (
	"errors"
	"fmt"
	"os"
)

type order struct {
	ID     int
	Name   string
	Amount float64
	next   *order
}

type box[T any] struct{ v T }

type single struct{ one [1]int32 }

type celsius float64

//go:noinline
func blanks(_ int, s string, _ string, b bool) (int, error) {
	if b {
		return len(s), errors.New("too warm")
	}
	return 3, nil
}

//go:noinline
func unused(a int, s string, c []int) (n int) { return len(c) }

//go:noinline
func (b *box[T]) set(v T, k int) (T, error) {
	old := b.v
	b.v = v
	if k < 0 {
		return old, errors.New("negative")
	}
	return old, nil
}

//go:noinline
func generic[T any](v T, k int) string { return fmt.Sprint(v, k) }

//go:noinline
func (o *order) process(id uint64, amount float64, m map[string]int, c chan int, f func(int) error, x any) (*order, error) {
	fmt.Fprintln(os.Stderr, o, id, amount, m, c, f == nil, x)
	return o, nil
}

//go:noinline
func spill(a, b, c, d, e, f, g, h int, s string, i uint8, j [2]int16) (r1 [3]int, r2 string, r3 int8) {
	return [3]int{a + b + c, d + e + f, g + h}, s, int8(i) + int8(j[1])
}

//go:noinline
func ten(a, b, c, d, e int64) (int64, int64, int64, int64, int64, int64, int64, int64, string) {
	return a, b, c, d, e, a, b, c, "nine and ten"
}

//go:noinline
func small(s single, t struct{}, u celsius, o order) (single, celsius, order) {
	o.ID++
	s.one[0]++
	return s, u, o
}

func main() {
	blanks(1, "warm", "z", true)
	unused(1, "a", []int{1, 2})
	b := &box[string]{"old"}
	b.set("new", 3)
	n := &box[int]{4}
	n.set(3, 4)
	fmt.Fprintln(os.Stderr, generic(3, 4), generic("a", 4))
	o := &order{ID: 1, Name: "tea", Amount: 2.5}
	o.process(21, 2, map[string]int{"a": 1}, nil, nil, 3)
	spill(1, 2, 3, 4, 5, 6, 7, 8, "nine", 10, [2]int16{11, 12})
	ten(1, 2, 3, 4, 5)
	small(single{[1]int32{6}}, struct{}{}, 7, *o)
}
