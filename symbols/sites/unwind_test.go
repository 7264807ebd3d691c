package sites

import (
	"maps"
	"slices"
	"testing"
)

func TestNeverUnwound(t *testing.T) {
	calls := func(to ...uint64) Result { return Result{Calls: to} }
	funcs := map[uint64]Result{
		1:  calls(),
		2:  calls(1, 100),        // memcpy
		3:  calls(1, 200),        // printf, which may call back
		4:  calls(3),             // through 3
		5:  calls(4, 1),          // through 4 and 3
		6:  calls(7),             // recursion of two
		7:  calls(6),             //
		8:  calls(8),             // recursion of one
		9:  calls(6, 8, 2),       // calls what recurs, but doesn't itself
		10: {UnknownCalls: true}, // through a pointer
		11: calls(10),            //
		12: {ReadsReturn: true},  // would see the trampoline
		13: calls(12),            // but its callers don't
		14: calls(300),           // an address without a name
		15: calls(16),            // recursion of three, entered from 18
		16: calls(17),            //
		17: calls(15, 1),         //
		18: calls(15),            //
		19: {Calls: []uint64{100, 8}, NoReturn: true},
	}
	names := map[uint64]string{100: "memcpy@GLIBC_2.14", 200: "printf"}
	got := NeverUnwound(funcs, func(a uint64) string { return names[a] })
	want := []uint64{1, 2, 9, 13, 18, 19}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	for a, safe := range got {
		if !safe {
			t.Errorf("%d is listed as unsafe", a)
		}
	}
	if got := NeverUnwound(funcs, nil); got[2] || !got[1] {
		t.Error("without names, what is called outside counts as harmless")
	}
	if got := NeverUnwound(nil, nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// TestNeverUnwoundDeep has a call chain that recursion over it could not survive.
func TestNeverUnwoundDeep(t *testing.T) {
	const n = 100_000
	funcs := map[uint64]Result{n: {}}
	for i := uint64(0); i < n; i++ {
		funcs[i] = Result{Calls: []uint64{i + 1}}
	}
	if got := NeverUnwound(funcs, nil); len(got) != n+1 {
		t.Errorf("%d of %d are safe", len(got), n+1)
	}
	funcs[n] = Result{Calls: []uint64{0}}
	if got := NeverUnwound(funcs, nil); len(got) != 0 {
		t.Errorf("%d of a cycle are safe", len(got))
	}
}

func TestHarmlessCallee(t *testing.T) {
	for _, name := range []string{
		"memcpy", "memcpy@plt", "__memcpy_chk", "strlen@@GLIBC_2.2.5", "malloc", "free",
		"realloc", "calloc", "abort", "__stack_chk_fail", "__chk_fail", "_exit", "__errno_location@GLIBC_2.2.5",
	} {
		if !HarmlessCallee(name) {
			t.Errorf("%s is harmful", name)
		}
	}
	for _, name := range []string{
		"", "printf", "qsort", "bsearch", "_Znwm", "__cxa_throw", "longjmp", "setjmp", "_setjmp",
		"pthread_exit", "exit", "read", "write", "fork", "vfork", "pthread_cond_wait", "_Unwind_Resume", "@memcpy", "dlsym",
	} {
		if HarmlessCallee(name) {
			t.Errorf("%s is harmless", name)
		}
	}
}

// TestNeverUnwoundOfRealBinary holds what must be in the set, and what must not.
func TestNeverUnwoundOfRealBinary(t *testing.T) {
	b := openBinary(t, compile(t, "g++", "-O0", "-o", "$OUT", "testdata/program.cpp"))
	funcs := map[uint64]Result{}
	for _, s := range b.funcs {
		if r, err := Analyze(b.input(s, false, nil)); err == nil {
			funcs[s.addr] = r
		}
	}
	safe := NeverUnwound(funcs, nil)
	for name, want := range map[string]bool{
		"_Z11leaf_switchiii":        true,
		"_Z12virtual_tailPK5Shapei": false,
		"_Z7guardedB5cxx11i":        false,
		"_Z8by_arrayiii":            false,
		"_Z5recurmm":                false,
		"_ZNK6Circle4areaEi":        false,
		"_ZNK6Square4areaEi":        true,
		"main":                      false,
	} {
		addr, ok := b.addr[name]
		if !ok {
			t.Fatalf("%s is not in the program", name)
		}
		if safe[addr] != want {
			t.Errorf("%s: %v, want %v (%+v)", name, safe[addr], want, funcs[addr])
		}
	}
}
