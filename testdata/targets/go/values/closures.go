package main

import "os"

//go:noinline
func closures(captured, changed, nested func() int, none func(int) int) int {
	return captured() + changed() + nested()
}

//go:noinline
func methodValues(value, pointer, dynamic func() int) int { return value() + pointer() + dynamic() }

//go:noinline
func makeAdder(by int) func(int) int { return func(n int) int { return n + by } }

type handler struct {
	Name string
	Run  func(string) string
}

//go:noinline
func handlers(list []handler, lookup map[string]func(string) string) string {
	return list[0].Run("x") + lookup["greet"]("y")
}

func callClosures() {
	offset, total, who := 40+len(os.Args)/9, 0, &account{"eve", 9}
	label := []string{"sum"}[len(os.Args)/9]
	captured := func() int { return offset + len(label) + int(who.cents) }
	changed := func() int { total += offset; return total }
	nested := func() int { return captured() + 1 }
	sink = closures(captured, changed, nested, double)
	sink = total
	var s shape = square{5}
	sink = methodValues(square{3}.Area, (&circle{2}).Area, s.Area)
	sink = makeAdder(6)
	password := []string{"hunter2"}[len(os.Args)/9]
	greet := func(name string) string { return name + label + password }
	sink = handlers([]handler{{"first", greet}}, map[string]func(string) string{"greet": greet})
}
