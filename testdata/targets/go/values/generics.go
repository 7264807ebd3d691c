package main

import (
	"fmt"
	"time"
)

type number interface{ ~int | ~int64 | ~float64 }

// choose runs as one body for all pointer types.
//
//go:noinline
func choose[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

//go:noinline
func add[N number](a, b N) N { return a + b }

//go:noinline
func describeShape[S shape](s S) int { return s.Area() }

//go:noinline
func print[T fmt.Stringer](list []T, byName map[string]T) string { return list[0].String() }

type pair[K comparable, V any] struct {
	Key   K
	Value V
}

//go:noinline
func (p *pair[K, V]) set(v V) K {
	p.Value = v
	return p.Key
}

//go:noinline
func (p pair[K, V]) get() V { return p.Value }

// holder has its type argument's pointers inside of it.
type holder[T any] struct {
	Item *T
	Next *holder[T]
}

//go:noinline
func (h *holder[T]) push(item T) *holder[T] { return &holder[T]{&item, h} }

//go:noinline
func mapped[T, U any](list []T, f func(T) U) []U {
	var out []U
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

type cents int64

//go:noinline
func spill[T any](a, b, c, d, e, f, g, h int, last T) T { return last }

func callGenerics() {
	sink = choose(true, &point{1, 2}, nil)
	sink = choose(false, nil, &account{"bob", 3})
	sink = choose(true, time.Second, time.Minute)
	sink = choose(true, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Time{})
	sink = choose[shape](true, square{2}, &circle{1})
	sink = choose[error](false, nil, errNotFound)
	sink = choose(true, account{"dan", 4}, account{})
	sink = add(cents(3), cents(4))
	sink = describeShape(square{4})
	sink = describeShape(&circle{3})
	sink = print([]time.Duration{time.Second}, map[string]time.Duration{"a": time.Minute})
	sink = (&pair[string, *point]{Key: "k"}).set(&point{5, 6})
	sink = pair[weekday, []string]{3, []string{"x"}}.get()
	sink = (&holder[account]{}).push(account{"fay", 5})
	sink = mapped([]*point{{7, 8}, nil}, func(p *point) string { return "mapped" })
	sink = mapped([]string{"one"}, func(s string) cents { return 5 })
	sink = spill(1, 2, 3, 4, 5, 6, 7, 8, &point{9, 10})
}
