package attach

import (
	"testing"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestUnwoundUnseen holds that calls which end while nobody sees what they are unwound by are counted as failed, and don't
// pile up as open ones: here there is room for few.
func TestUnwoundUnseen(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "cpp/raises"}), "3", "2000")
	s := start(t, Options{
		PIDs: []int{p.PID}, MaxDepth: 1, frames: 64, RingBytes: 1 << 26,
		Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("passes"), pattern.MustCompile("thrower"), pattern.MustCompile("jumper")}},
	})
	throw, jump := s.unwindings.of(trace.RoleThrow), s.unwindings.of(trace.RoleLongjmp)
	if throw == nil || jump == nil {
		t.Fatalf("what tells of exceptions: %v, of jumps: %v", throw, jump)
	}
	if _, err := s.Pause([]uint32{s.Lead(throw).ID, s.Lead(jump).ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Counts(); err != nil { // what was before that
		t.Fatal(err)
	}
	p.Wait()
	if events := drain(t, s); events[bpf.EventEntry] == 0 {
		t.Error("nothing was called")
	}
	counts, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for _, tally := range counts.Tallies {
		if open := tally.Calls - tally.Errors; tally.Errors == 0 || open > 1 {
			t.Errorf("%s: %d of %d calls failed", tally.Func.Name, tally.Errors, tally.Calls)
		}
	}
	for _, u := range counts.Unwound {
		t.Errorf("%s was seen %d times", u.Func.Name, u.Hits)
	}
	if blind, err := s.Blind(); err != nil || blind.Untracked > 0 {
		t.Errorf("%d calls found no room: %v", blind.Untracked, err)
	}
}
