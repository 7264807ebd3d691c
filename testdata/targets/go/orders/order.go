package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Status is how far an order has got.
type Status int

// The statuses.
const (
	Received Status = iota
	Reserved
	Paid
	Rejected
)

// String is the status in words.
func (s Status) String() string {
	return [...]string{"received", "reserved", "paid", "rejected"}[s]
}

// OrderLine is so many pieces of one item.
type OrderLine struct {
	SKU      string
	Quantity int
}

// Order is what a customer wants.
type Order struct {
	ID       int64
	Customer string
	Line     OrderLine
	Express  bool
	Status   Status
}

// Receipt is what a customer gets.
type Receipt struct {
	OrderID int64
	Cents   int64
	Card    string
}

// ErrCardDeclined means that the bank said no.
var ErrCardDeclined = errors.New("card declined")

// Service processes orders. It is safe for concurrent use.
type Service struct {
	store *Store
	audit chan<- string
}

// processOrder takes an order all the way to its receipt.
//
//go:noinline
func (s *Service) processOrder(order *Order, amount float64) (*Receipt, error) {
	if err := validate(order); err != nil {
		return nil, fmt.Errorf("order %d: %w", order.ID, err)
	}
	cents, err := s.store.Price(order.Line.SKU)
	if err != nil {
		return nil, fmt.Errorf("order %d: %w", order.ID, err)
	}
	if err := s.store.Reserve(order.Line); err != nil {
		order.Status = Rejected
		return nil, fmt.Errorf("order %d: %w", order.ID, err)
	}
	order.Status = Reserved
	total := discount(cents*int64(order.Line.Quantity), amount)
	receipt, err := chargeCard(order, total)
	if err != nil {
		s.store.Release(order.Line)
		order.Status = Rejected
		return nil, fmt.Errorf("order %d: %w", order.ID, err)
	}
	order.Status = Paid
	s.notify(order, receipt)
	return receipt, nil
}

//go:noinline
func validate(order *Order) error {
	switch {
	case order.Customer == "":
		return errors.New("no customer")
	case order.Line.Quantity <= 0:
		return fmt.Errorf("bad quantity %d", order.Line.Quantity)
	}
	return nil
}

// discount takes a tenth off what costs more than the amount.
//
//go:noinline
func discount(cents int64, amount float64) int64 {
	if float64(cents) > amount*100 {
		return cents - cents/10
	}
	return cents
}

// chargeCard asks the bank, whose network is slow now and then.
//
//go:noinline
func chargeCard(order *Order, cents int64) (*Receipt, error) {
	latency := time.Millisecond + rand.N(2*time.Millisecond)
	if order.ID%40 == 0 {
		latency *= 10
	}
	query(latency)
	if order.ID%47 == 0 {
		return nil, ErrCardDeclined
	}
	return &Receipt{OrderID: order.ID, Cents: cents, Card: maskCard(order.Customer, order.ID)}, nil
}

// maskCard shows the last digits of the customer's card. Some customers have none on file.
//
//go:noinline
func maskCard(customer string, id int64) string {
	number := fmt.Sprintf("4929%012d", id)
	if customer == "mallory" {
		number = number[:2]
	}
	return "****" + number[len(number)-4:]
}

//go:noinline
func (s *Service) notify(order *Order, receipt *Receipt) {
	for attempt := 1; ; attempt++ {
		if err := sendMail(order.Customer, receipt, attempt); err == nil {
			break
		}
	}
	select {
	case s.audit <- fmt.Sprintf("order %d %s", order.ID, order.Status):
	default:
	}
}

//go:noinline
func sendMail(to string, receipt *Receipt, attempt int) error {
	query(200 * time.Microsecond)
	if receipt.OrderID%31 == 0 && attempt == 1 {
		return fmt.Errorf("mail to %s: %w", to, errTimeout)
	}
	return nil
}

var errTimeout = errors.New("timeout")

// query stands for a round trip to some other service.
//
//go:noinline
func query(latency time.Duration) {
	time.Sleep(latency)
}
