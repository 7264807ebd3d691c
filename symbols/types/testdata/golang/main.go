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

//go:noinline
func escaping(a int, s string, b [20]int, c int) (p *int, q *string, r *[20]int) {
	if c > 100 {
		return nil, nil, nil
	}
	return &a, &s, &b
}

//go:noinline
func recovering(a int, s string) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered from %v: %w", r, errors.ErrUnsupported)
		}
	}()
	n = a
	panic(s)
}

// inlined is inlined where it is called by name; its own body is called through a variable.
func inlined(_ int, s string, _ bool, u []int, d int) (int, error) {
	if d > 3 {
		return len(s), os.ErrNotExist
	}
	return d, nil
}

// value is generic, with a receiver by value.
//
//go:noinline
func (b box[T]) value(k T) (T, T) { return b.v, k }

//go:noinline
func closure(a int) func(b int, s string) (int, string) {
	return func(b int, s string) (int, string) {
		a++
		return a + b, s
	}
}

//go:noinline
func genericClosure[T any](v T) func(k T, n int) T {
	return func(k T, n int) T {
		if n > 0 {
			return v
		}
		return k
	}
}

//go:noinline
func pathError(code int) (string, error) {
	if code > 0 {
		return "opened", &os.PathError{Op: "open", Path: "/nowhere", Err: os.ErrPermission}
	}
	return "", nil
}

type failure struct {
	Code  int
	Cause string
}

func (f failure) Error() string { return f.Cause }

//go:noinline
func custom(code int) error { return failure{code, "custom"} }

//go:noinline
func bytes(a []byte, b [][]byte, c [2]string, d *string) []string {
	return append([]string{string(a), string(b[0]), *d}, c[:]...)
}

var (
	callInlined = inlined
	written     any
)

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
	escaping(1, "two", [20]int{3, 4}, 5)
	recovering(1, "panicked")
	i, err := inlined(6, "called", true, []int{7, 8}, 9)
	fmt.Fprintln(os.Stderr, i, err)
	callInlined(6, "called", true, []int{7, 8}, 9)
	box[string]{"held"}.value("given")
	closure(1)(2, "three")
	genericClosure("kept")("given", 1)
	pathError(13)
	custom(14)
	text := "text"
	bytes([]byte("a"), [][]byte{[]byte("b")}, [2]string{"c", "d"}, &text)
	written = custom(15)
}
