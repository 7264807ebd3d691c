package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrUnknownItem means that the catalogue has no such item.
var ErrUnknownItem = errors.New("unknown item")

// StockError says that there is less of an item than was ordered.
type StockError struct {
	SKU    string
	Wanted int
	Left   int
}

func (e *StockError) Error() string {
	return fmt.Sprintf("%s: %d wanted, %d left", e.SKU, e.Wanted, e.Left)
}

// Store holds what can be ordered. It is safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	prices map[string]int64
	stock  map[string]int
}

// NewStore returns a store with some of everything.
func NewStore() *Store {
	return &Store{
		prices: map[string]int64{"book": 1999, "lamp": 4950, "desk": 24900, "pen": 149},
		stock:  map[string]int{"book": 50_000, "lamp": 20_000, "desk": 60, "pen": 100_000},
	}
}

// Price is what one piece of the item costs, in cents.
//
//go:noinline
func (s *Store) Price(sku string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cents, ok := s.prices[sku]
	if !ok {
		return 0, fmt.Errorf("price of %q: %w", sku, ErrUnknownItem)
	}
	return cents, nil
}

// Reserve takes the line's items out of the stock.
//
//go:noinline
func (s *Store) Reserve(line OrderLine) error {
	query(300 * time.Microsecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.stock[line.SKU]
	if left < line.Quantity {
		return &StockError{SKU: line.SKU, Wanted: line.Quantity, Left: left}
	}
	s.stock[line.SKU] = left - line.Quantity
	return nil
}

// Release puts the line's items back.
//
//go:noinline
func (s *Store) Release(line OrderLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stock[line.SKU] += line.Quantity
}

// Restock fills up what has run low and returns how many items it ordered.
//
//go:noinline
func (s *Store) Restock(minimum int) (ordered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sku, left := range s.stock {
		if left < minimum {
			s.stock[sku] += minimum
			ordered += minimum
		}
	}
	return ordered
}
