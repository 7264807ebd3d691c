package attach

import (
	"errors"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

func TestPauseTimes(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/bench"})
	p := testenv.Start(t, program, "-wait").Ready()
	_ = errors.Is
	s, err := Start(Options{PIDs: []int{p.PID}, MaxDepth: 1, Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("*")}}})
	if err != nil {
		t.Fatal(err)
	}
	f, _ := s.Attached()
	t.Log(f)
	var id uint32
	for _, f := range s.Functions() {
		if f.Traceable {
			id = f.ID
		}
	}
	for range 5 {
		a := time.Now()
		if err := s.Pause([]uint32{id}); err != nil {
			t.Fatal(err)
		}
		b := time.Now()
		if err := s.Resume([]uint32{id}); err != nil {
			t.Fatal(err)
		}
		t.Log(b.Sub(a), time.Since(b))
	}
	s.Close()
}
