package sites

import "strings"

// NeverUnwound returns those functions that nothing can unwind through, and
// that may therefore be given a uretprobe. A uretprobe replaces the return
// address on the stack: an exception, a panic or a thread's cancellation that
// meets it there ends the process.
//
// funcs are the analysed functions by address, without Go's, which must never be
// given one: its runtime walks the stack whenever it grows. external names the
// functions that funcs lacks, by the address that a call has (its PLT stub); it
// may be nil.
//
// A function is safe when everything it calls is known and safe in turn, when it
// does not use its return address itself, and when it does not recur (the kernel
// keeps at most 64 uretprobes a thread, and drops the rest). Signal handlers are
// not considered: one that throws, or leaves by siglongjmp, can unwind through
// any function.
func NeverUnwound(funcs map[uint64]Result, external func(addr uint64) string) map[uint64]bool {
	safe := make(map[uint64]bool, len(funcs))
	callers := map[uint64][]uint64{}
	var lost []uint64
	for addr, r := range funcs {
		safe[addr] = !r.UnknownCalls
		for _, to := range r.Calls {
			if _, ok := funcs[to]; ok {
				callers[to] = append(callers[to], addr)
			} else if external == nil || !HarmlessCallee(external(to)) {
				safe[addr] = false
			}
		}
		if !safe[addr] {
			lost = append(lost, addr)
		}
	}
	for len(lost) > 0 {
		addr := lost[len(lost)-1]
		lost = lost[:len(lost)-1]
		for _, c := range callers[addr] {
			if safe[c] {
				safe[c] = false
				lost = append(lost, c)
			}
		}
	}
	recur := recursive(funcs, safe)
	for addr, r := range funcs {
		if !safe[addr] || r.ReadsReturn || recur[addr] {
			delete(safe, addr)
		}
	}
	return safe
}

// recursive returns the members of call cycles among the functions in set, by
// Tarjan's algorithm without recursion.
func recursive(funcs map[uint64]Result, set map[uint64]bool) map[uint64]bool {
	type frame struct {
		addr uint64
		next int
	}
	cyclic := map[uint64]bool{}
	index, low := map[uint64]int{}, map[uint64]int{}
	onStack := map[uint64]bool{}
	var stack []uint64
	for root := range set {
		if index[root] != 0 || !set[root] {
			continue
		}
		work := []frame{{addr: root}}
		for len(work) > 0 {
			top := &work[len(work)-1]
			a := top.addr
			if top.next == 0 {
				index[a] = len(index) + 1
				low[a] = index[a]
				stack, onStack[a] = append(stack, a), true
			}
			if calls := funcs[a].Calls; top.next < len(calls) {
				to := calls[top.next]
				top.next++
				switch {
				case !set[to]:
				case to == a:
					cyclic[a] = true
				case index[to] == 0:
					work = append(work, frame{addr: to})
				case onStack[to]:
					low[a] = min(low[a], index[to])
				}
				continue
			}
			work = work[:len(work)-1]
			if len(work) > 0 {
				parent := work[len(work)-1].addr
				low[parent] = min(low[parent], low[a])
			}
			if low[a] != index[a] {
				continue
			}
			start := len(stack) - 1
			for stack[start] != a {
				start--
			}
			for _, m := range stack[start:] {
				onStack[m] = false
				if len(stack)-start > 1 {
					cyclic[m] = true
				}
			}
			stack = stack[:start]
		}
	}
	return cyclic
}

// HarmlessCallee reports whether a library function of this name, as in the
// symbol table with or without its version, can neither be unwound through nor
// call back nor return twice.
//
// The list is kept to what needs no argument: memory and string primitives,
// the allocator and what errno is reached by, which run no code of the program's and are no cancellation
// points (POSIX.1-2017, XSH 2.9.5.2), and functions that end the process.
func HarmlessCallee(name string) bool {
	name, _, _ = strings.Cut(name, "@")
	name = strings.TrimSuffix(strings.TrimPrefix(name, "__"), "_chk")
	return harmless[name]
}

var harmless = map[string]bool{
	"memcpy": true, "memmove": true, "memset": true, "memcmp": true, "memchr": true, "memrchr": true,
	"mempcpy": true, "rawmemchr": true, "memmem": true, "bcmp": true,
	"strlen": true, "strnlen": true, "strcmp": true, "strncmp": true, "strcpy": true, "strncpy": true,
	"stpcpy": true, "strcat": true, "strncat": true, "strchr": true, "strrchr": true, "strchrnul": true,
	"strstr": true, "strspn": true, "strcspn": true, "strpbrk": true,
	"malloc": true, "free": true, "calloc": true, "realloc": true, "errno_location": true,
	"abort": true, "_exit": true, "_Exit": true, "stack_chk_fail": true, "chk_fail": true, "fortify_fail": true,
}
