package writer

import (
	"os"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

func fileSize(tb testing.TB, path string) int64 {
	tb.Helper()
	st, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return st.Size()
}

func TestFillTemporary(t *testing.T) {
	path := os.Getenv("FILL")
	if path == "" {
		t.Skip()
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	src := newCallSource(97)
	src.now = time.Now().Add(-10 * time.Second).UnixNano()
	var acc Accumulator
	for range 4000 {
		first, err := s.NextIDs(500)
		if err != nil {
			t.Fatal(err)
		}
		var b []*trace.Call
		for i := range 500 {
			c := src.next(first + uint64(i))
			acc.Add(c)
			b = append(b, c)
		}
		if err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	s.Stats(acc.Take(time.Now()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
