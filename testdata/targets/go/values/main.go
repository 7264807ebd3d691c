// Command values calls each function once with known values: golden.json says
// which, and ../../README.md how to start it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type weekday int

const wednesday weekday = 3

type point struct{ X, Y int32 }

type rect struct {
	Min, Max point
	Label    string
	filled   bool
}

type account struct {
	owner string
	cents int64
}

type celsius float64

var sink any

//go:noinline
func nothing() { sink = nil }

//go:noinline
func signed(a int8, b int16, c int32, d int64, e int) int64 {
	return int64(a) + int64(b) + int64(c) + d/2 + int64(e)
}

//go:noinline
func unsigned(a uint8, b uint16, c uint32, d uint64, e uintptr) uint64 {
	return uint64(a) ^ uint64(b) ^ uint64(c) ^ d ^ uint64(e)
}

//go:noinline
func booleans(yes, no bool) (both, either bool) { return yes && no, yes || no }

//go:noinline
func floats(a float32, b float64, t celsius, n int) float64 {
	return float64(a) + b + float64(t) + float64(n)
}

//go:noinline
func text(s, empty, unicode string) string { return strings.ToUpper(s) + empty + unicode }

//go:noinline
func longText(s string) int { return len(s) }

//go:noinline
func binary(s string) int { return len(s) }

//go:noinline
func named(day weekday, wait time.Duration, letter rune, raw byte) weekday {
	return day + weekday(wait) + weekday(letter) + weekday(raw)
}

//go:noinline
func instant(at time.Time) time.Time { return at.Add(time.Hour) }

//go:noinline
func flat(p point, r rect) rect {
	r.Max.X += p.X
	return r
}

//go:noinline
func pointers(p, none *point, n *int, s *string) *point {
	if none != nil {
		return none
	}
	p.X += int32(*n) + int32(len(*s))
	return p
}

//go:noinline
func array(a [4]int16, one [1]string) [2]int32 {
	return [2]int32{int32(a[0]) + int32(len(one[0])), int32(a[3])}
}

//go:noinline
func untyped(p unsafe.Pointer) bool { return p == nil }

// wide has more arguments than there are registers: the last ones are in the caller's frame.
//
//go:noinline
func wide(a, b, c, d, e, f, g, h, i, j int64, s string, p point) (x, y, z int64, out string) {
	return a + b + c + d + e, f + g + h + i + j, int64(p.X), s
}

//go:noinline
func (a *account) deposit(cents int64) int64 {
	a.cents += cents
	return a.cents
}

//go:noinline
func (a account) describe(prefix string) string { return prefix + a.owner }

//go:noinline
func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

var errNotFound = errors.New("not found")

// stockError's message isn't to be had without running its method.
type stockError struct {
	Item string
	Left int
}

func (e *stockError) Error() string { return fmt.Sprintf("only %d of %s left", e.Left, e.Item) }

//go:noinline
func succeed(id int) (string, error) { return "item", nil }

//go:noinline
func fail(id int) (string, error) { return "", errNotFound }

//go:noinline
func failAlone(id int) error { return errNotFound }

//go:noinline
func failWrapped(id int) (n int, err error) {
	return -1, fmt.Errorf("load order %d: %w", id, errNotFound)
}

//go:noinline
func failCustom(item string) (*point, error) { return nil, &stockError{Item: item, Left: 2} }

//go:noinline
func failPath(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
}

//go:noinline
func panicText(why string) int { panic("panic: " + why) }

//go:noinline
func panicError(id int) int { panic(fmt.Errorf("order %d: %w", id, errNotFound)) }

//go:noinline
func panicIndex(values *[3]int, i int) int { return values[i] }

//go:noinline
func maps(byName map[string]int, byID map[int16]point, empty, none map[string]bool, byPoint map[point]string) map[string][]string {
	return map[string][]string{"a": {"x", "yy"}, "b": nil}
}

// manyEntries has more than one group or bucket.
//
//go:noinline
func manyEntries(squares map[uint8]uint16) int { return len(squares) }

//go:noinline
func largeMap(m map[int]int) int { return len(m) }

//go:noinline
func slices(words []string, rows [][]int8, raw, binary []byte, none []int) []point {
	return []point{{1, 2}, {3, 4}}
}

type embedded struct {
	point
	*account
	Tags []string
}

//go:noinline
func nested(e embedded, p **int) string { return e.owner }

type listNode struct {
	Value int
	Next  *listNode
}

//go:noinline
func cycle(l *listNode) int { return l.Value }

type shape interface{ Area() int }

type square struct{ Side int }

func (s square) Area() int { return s.Side * s.Side }

type circle struct{ R int }

func (c *circle) Area() int { return 3 * c.R * c.R }

//go:noinline
func interfaces(a, b shape, c, d, none any) int { return a.Area() + b.Area() }

//go:noinline
func channels(c chan int, none <-chan string, done chan struct{}) int { return len(c) }

//go:noinline
func functions(f func(int) int, none func(), m func() int) int { return f(1) }

func double(n int) int { return 2 * n }

type stack[T any] struct{ Items []T }

//go:noinline
func (s *stack[T]) push(item T) int {
	s.Items = append(s.Items, item)
	return len(s.Items)
}

//go:noinline
func addresses(ip, six net.IP, addr, addr6 netip.Addr, u *url.URL) string { return u.Host }

//go:noinline
func numbers(small, huge *big.Int, zero big.Int) bool { return small.Cmp(huge) < 0 }

type UUID [16]byte

//go:noinline
func encoded(doc, broken json.RawMessage, id UUID) int { return len(doc) }

type guarded struct {
	mu    sync.Mutex
	rw    sync.RWMutex
	once  sync.Once
	count atomic.Int64
	ready atomic.Bool
}

//go:noinline
func guards(g *guarded) int64 { return g.count.Load() }

func recovered(f func()) {
	defer func() { sink = recover() }()
	f()
}

func main() {
	wait := flag.Bool("wait", false, "print ready and wait for the line go")
	flag.Parse()
	if *wait {
		fmt.Println("ready")
		if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil || line != "go\n" {
			os.Exit(0)
		}
	}
	callValues()
	callContainers()
	callErrors()
	callKinds()
	callContexts()
	callGuards()
	callClosures()
	callGenerics()
	callFailures()
	fmt.Println("done")
}

func callValues() {
	nothing()
	sink = signed(-128, -32768, -2147483648, -9223372036854775808, 42)
	sink = unsigned(255, 65535, 4294967295, 18446744073709551615, 4096)
	booleans(true, false)
	sink = floats(1.5, -2.25, 36.6, 7)
	sink = text("plain", "", "grüße, 世界")
	sink = longText(strings.Repeat("0123456789", 10000))
	sink = binary("\x00\x01\xfe\xff")
	sink = named(wednesday, 1500*time.Millisecond, 'ß', 'A')
	sink = instant(time.Date(2024, 2, 29, 12, 30, 45, 123456789, time.UTC))
	sink = flat(point{1, -2}, rect{Min: point{3, 4}, Max: point{5, 6}, Label: "box", filled: true})
	n, s := 5, "five"
	sink = pointers(&point{7, 8}, nil, &n, &s)
	sink = array([4]int16{1, -2, 3, -4}, [1]string{"one"})
	sink = untyped(nil)
	wide(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "on the stack", point{11, 12})
	a := &account{owner: "ada", cents: 100}
	sink = a.deposit(25)
	sink = a.describe("owner: ")
	sink = pick(true, "left", "right")
	sink = pick(false, 1, 2)
	sink = pick(true, &point{1, 2}, nil)
}

func callContainers() {
	sink = maps(map[string]int{"one": 1, "two": 2}, map[int16]point{-7: {1, 2}}, map[string]bool{}, nil, map[point]string{{3, 4}: "corner"})
	squares := map[uint8]uint16{}
	for i := range uint8(20) {
		squares[i] = uint16(i) * uint16(i)
	}
	sink = manyEntries(squares)
	large := map[int]int{}
	for i := range 3000 {
		large[i] = -i
	}
	sink = largeMap(large)
	sink = slices([]string{"a", "", "ccc"}, [][]int8{{1, -2}, nil, {3}}, []byte("some text"), []byte{0, 1, 0xff}, nil)
	n := 5
	p := &n
	sink = nested(embedded{point{1, 2}, &account{"ada", 3}, []string{"new"}}, &p)
	l := &listNode{Value: 1, Next: &listNode{Value: 2}}
	l.Next.Next = l
	sink = cycle(l)
	sink = interfaces(square{3}, &circle{2}, "text", 7, nil)
	c := make(chan int, 4)
	c <- 1
	sink = channels(c, nil, make(chan struct{}))
	sink = functions(double, nil, square{3}.Area)
	s := &stack[string]{Items: []string{"first"}}
	sink = s.push("second")
	u, _ := url.Parse("https://user@example.com:8443/a/b?q=1#frag")
	sink = addresses(net.IPv4(192, 0, 2, 7), net.ParseIP("2001:db8::1"), netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8::2"), u)
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	sink = numbers(big.NewInt(42), huge, big.Int{})
	sink = encoded(json.RawMessage(`{"a": [1, 2.50, null]}`), json.RawMessage(`{"a": `), UUID{0xf8, 0x1d, 0x4f, 0xae, 0x7d, 0xec, 0x11, 0xd0, 0xa7, 0x65, 0, 0xa0, 0xc9, 0x1e, 0x6b, 0xf6})
	g := &guarded{}
	g.count.Store(-9)
	g.ready.Store(true)
	g.mu.Lock()
	g.rw.RLock()
	g.once.Do(func() {})
	sink = guards(g)
}

func callErrors() {
	_, _ = succeed(1)
	_, _ = fail(2)
	_ = failAlone(3)
	_, _ = failWrapped(4)
	_, _ = failCustom("book")
	_ = failPath("/no/such/file")
	recovered(func() { panicText("on purpose") })
	recovered(func() { panicError(5) })
	recovered(func() { panicIndex(&[3]int{1, 2, 3}, 3) })
}
