package main

import (
	"sync"
	"sync/atomic"
)

type shared struct {
	group   sync.WaitGroup
	cond    *sync.Cond
	pool    sync.Pool
	value   atomic.Value
	none    atomic.Value
	current atomic.Pointer[point]
	absent  atomic.Pointer[point]
	words   atomic.Uint32
	entries sync.Map
	empty   sync.Map
}

//go:noinline
func sharing(s *shared) int { return 1 }

//go:noinline
func syncMap(m *sync.Map) bool {
	_, ok := m.Load("one")
	return ok
}

//go:noinline
func largeSyncMap(m *sync.Map) bool { return m != nil }

func callGuards() {
	s := &shared{cond: sync.NewCond(&sync.Mutex{})}
	s.group.Add(3)
	s.pool.New = func() any { return new(point) }
	s.value.Store(point{1, 2})
	s.current.Store(&point{3, 4})
	s.words.Store(5)
	s.entries.Store("key", "value")
	sink = sharing(s)
	m := &sync.Map{}
	m.Store("one", 1)
	m.Store(2, "two")
	m.Store("password", "hunter2")
	m.Store("gone", 0)
	m.Load("one")
	m.Delete("gone")
	m.Store("late", point{5, 6})
	sink = syncMap(m)
	large := &sync.Map{}
	for i := range 2000 {
		large.Store(i, -i)
	}
	sink = largeSyncMap(large)
	s.group.Add(-3)
}
