package writer

import (
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestRelease: every call is given back once, and not before it is in the database.
func TestRelease(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{BatchCalls: 10})
	given := map[uint64]int{}
	s.ReleaseTo(func(calls []*trace.Call) {
		for _, c := range calls {
			given[c.ID]++
			copy(c.Args, `{"b":2}`) // its memory is used for something else
		}
	})
	const n = 95
	f := &trace.Function{Name: "f"}
	first := ids(t, s, n)
	for i := range uint64(n) {
		write(t, s, &trace.Call{ID: first + i, Func: f, Args: []byte(`{"a":1}`)})
	}
	must(t, s.Close())
	for i := range uint64(n) {
		if given[first+i] != 1 {
			t.Errorf("call %d was given back %d times", i, given[first+i])
		}
	}
	if got := strings.TrimSpace(shell(t, path, `SELECT count(*) FROM data_trace WHERE args = '{"a":1}'`)); got != strconv.Itoa(n) {
		t.Errorf("%s of %d calls have their arguments", got, n)
	}
}
