// Serves so many requests as its argument says, each of three queries. Every 97th query fails, every
// 1009th request panics and is recovered. It prints what was called how often.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

type request struct {
	ID   int
	Name string
}

var errQuery = errors.New("no such row")

//go:noinline
func query(id int, text string) (int, error) {
	if id%97 == 0 {
		return 0, errQuery
	}
	return id + len(text), nil
}

//go:noinline
func serve(r *request) int {
	sum := 0
	for i := range 3 {
		n, _ := query(3*r.ID+i, "query of "+r.Name)
		sum += n
	}
	return sum
}

//go:noinline
func risky(r *request) int {
	if r.ID%1009 == 0 {
		panic("request " + strconv.Itoa(r.ID))
	}
	return serve(r)
}

//go:noinline
func handle(r *request) (n int) {
	defer func() { _ = recover() }()
	return risky(r)
}

func main() {
	if len(os.Args) > 2 {
		fmt.Println("ready")
		fmt.Scanln()
	}
	requests, _ := strconv.Atoi(os.Args[1])
	sum := 0
	for i := 1; i <= requests; i++ {
		sum += handle(&request{i, "r" + strconv.Itoa(i)})
	}
	fmt.Println(requests, sum)
}
