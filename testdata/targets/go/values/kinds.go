package main

import "time"

type measured struct {
	F32  float32
	F64  float64
	C64  complex64
	C128 complex128
	At   celsius
}

// measures has its floats in memory, where they can be had.
//
//go:noinline
func measures(m *measured) *measured {
	return &measured{F32: m.F32 * 2, F64: m.F64 / 2, C64: m.C64 + 1, C128: -m.C128, At: m.At}
}

//go:noinline
func anonymous(p *nameless) int { return p.B.D }

type nameless struct {
	A int
	B struct {
		C string
		D int
	}
}

type embedder struct {
	shape
	*point
	error
	time.Duration
}

//go:noinline
func embeddings(e embedder) int { return e.Area() }

//go:noinline
func mixed(list []any, table map[string]any, keyed map[any]int, grid [2][2]int8) int {
	return len(list)
}

//go:noinline
func moments(waits []time.Duration, at *time.Time, byName map[string]time.Time, zero time.Time) int {
	return len(waits)
}

type word string

type level uint8

type words []word

//go:noinline
func namedKinds(w word, all words, l level, held []any) int { return len(all) }

//go:noinline
func channelsOf(c <-chan point, s chan<- error, held any) int { return cap(c) }

func callKinds() {
	sink = measures(&measured{1.5, -2.25, 1 + 2i, 3 - 4i, 36.5})
	var p nameless
	p.A, p.B.C, p.B.D = 1, "inner", 2
	sink = anonymous(&p)
	sink = embeddings(embedder{square{2}, &point{3, 4}, errNotFound, time.Second})
	sink = mixed([]any{1, "two", nil, []int{3}, map[string]bool{"four": true}, point{5, 5}, 6.5, true}, map[string]any{"a": 1, "b": []string{"c"}},
		map[any]int{point{1, 2}: 3, "k": 4}, [2][2]int8{{1, 2}, {-3, 4}})
	at := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	sink = moments([]time.Duration{time.Second, -time.Millisecond}, &at, map[string]time.Time{"end": at}, time.Time{})
	sink = namedKinds("one", words{"two", "three"}, 4, []any{word("five"), level(6), words{"seven"}})
	c := make(chan point, 2)
	sink = channelsOf(c, make(chan error, 1), c)
}
