// Command orders is the demo: an order service that several customers use at
// once. Some orders fail, some panic, some are slow. It runs until it is stopped.
//
//	orders [-clients N] [-rate N] [-listen ADDR]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Most of what is ordered can be had; a few orders go wrong.
var (
	customers = []string{
		"ada", "grace", "linus", "margaret", "edsger", "barbara", "donald", "radia", "dennis", "frances",
		"ken", "hedy", "tony", "karen", "john", "jean", "niklaus", "adele", "alan", "mallory", "",
	}
	skus = []string{"book", "pen", "lamp", "book", "desk", "pen", "pen", "book", "lamp", "pen", "book", "harp"}
)

func main() {
	clients := flag.Int("clients", 4, "how many clients order at once")
	rate := flag.Int("rate", 100, "orders a second, of each client")
	listen := flag.String("listen", "", "loopback address to take orders at over HTTP, such as 127.0.0.1:8080")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *clients, *rate, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, clients, rate int, listen string) error {
	if clients < 0 || rate <= 0 {
		return errors.New("-clients must not be negative and -rate must be positive")
	}
	audit := make(chan string, 100)
	service := &Service{store: NewStore(), audit: audit}
	if listen != "" {
		if err := serve(ctx, service, listen); err != nil {
			return err
		}
	}
	fmt.Println("ready")

	var work sync.WaitGroup
	work.Add(clients + 1)
	for range clients {
		go func() {
			defer work.Done()
			orderForever(ctx, service, time.Second/time.Duration(rate))
		}()
	}
	go func() {
		defer work.Done()
		keepBooks(ctx, service, audit)
	}()
	work.Wait()
	fmt.Printf("%d orders\n", lastOrder.Load())
	return nil
}

var lastOrder atomic.Int64

// orderForever places an order at each tick.
func orderForever(ctx context.Context, service *Service, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = handleOrder(service, nextOrder())
		}
	}
}

// nextOrder makes up an order from its number.
func nextOrder() *Order {
	id := lastOrder.Add(1)
	order := &Order{
		ID:       id,
		Customer: customers[id%int64(len(customers))],
		Line:     OrderLine{SKU: skus[id/2%int64(len(skus))], Quantity: int(id%3) + 1},
		Express:  id%5 == 0,
	}
	if id%61 == 0 {
		order.Line.Quantity = 0
	}
	return order
}

// handleOrder processes an order and outlives what goes wrong with it.
//
//go:noinline
func handleOrder(service *Service, order *Order) (receipt *Receipt, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("order %d: internal error: %v", order.ID, r)
		}
	}()
	return service.processOrder(order, 49.50)
}

// keepBooks restocks the store and counts what was audited.
func keepBooks(ctx context.Context, service *Service, audit <-chan string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	audited := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-audit:
			audited++
		case <-tick.C:
			service.store.Restock(30)
			audited = writeReport(audited)
		}
	}
}

// writeReport closes the books on what was audited and starts anew.
//
//go:noinline
func writeReport(audited int) int {
	query(time.Duration(audited) * 10 * time.Microsecond)
	return 0
}

// serve takes orders over HTTP: GET /order?sku=book&quantity=2.
func serve(ctx context.Context, service *Service, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("parse -listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("-listen %s: only loopback addresses", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/order", service.handleHTTP)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Println("listening on", listener.Addr())
	return nil
}

// handleHTTP answers with the receipt, or with what went wrong.
func (s *Service) handleHTTP(w http.ResponseWriter, r *http.Request) {
	quantity, err := strconv.Atoi(r.FormValue("quantity"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	order := nextOrder()
	order.Customer, order.Line = "web", OrderLine{SKU: r.FormValue("sku"), Quantity: quantity}
	receipt, err := handleOrder(s, order)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(receipt)
}
