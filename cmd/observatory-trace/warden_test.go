package main

import (
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
)

// TestNoted holds what a hit of what tells of unwinding is found to cost, with and without the stacks, when a third of the
// hits may have one, and one of four has been told.
func TestNoted(t *testing.T) {
	const each, stack, getting = time.Microsecond, 9 * time.Microsecond, 500 * time.Nanosecond
	var n noted
	n.add(&attach.Unwound{Hits: 800, Took: 800 * each}, getting)
	n.add(&attach.Unwound{Hits: 400, Stacks: 100, Stackless: 300, Took: 300*each + 100*(each+stack), Stacking: 100 * (each + stack)}, getting)
	counted, told := n.costs(attach.Cost{})
	if counted != getting+each || told != counted+stack/3 || n.share() != 0.25 {
		t.Errorf("%v, %v with the stacks, of which %v were told", counted, told, n.share())
	}
	// As long as it is not known what stacks take, that is assumed.
	n = noted{}
	n.add(&attach.Unwound{Hits: 100, Stackless: 100, Took: 100 * each}, getting)
	if _, told := n.costs(attach.Cost{Counted: 2 * each, Told: 2*each + stack}); told != getting+each+stack {
		t.Errorf("%v", told)
	}
}

// TestCompanion holds that what tells of unwinding has its turns together with what fails, and with nothing else.
func TestCompanion(t *testing.T) {
	now := time.Now()
	setting := sample.Setting{Slice: 20 * time.Millisecond, Period: time.Second}
	const fine, fails, failsLater, raises, raised = 1, 2, 3, 4, 5
	s := &slicer{slices: map[uint32]*slice{
		fine:       {setting: setting, due: now},
		fails:      {setting: setting, due: now.Add(time.Second), failed: now},
		failsLater: {setting: setting, due: now.Add(2 * time.Second), failed: now},
		raises:     {setting: setting, due: now.Add(time.Second / 4), unwinding: true},
		raised:     {setting: setting, due: now.Add(time.Second), unwinding: true}, // it has just been in place
	}}
	for id, want := range map[uint32]uint32{fine: 0, fails: raises, failsLater: raises, raises: fails} {
		if got := s.companion(id, now); got != want {
			t.Errorf("with %d goes %d, not %d", id, got, want)
		}
	}
	s.slices[fails].in = true
	if got := s.companion(raises, now); got != failsLater {
		t.Errorf("with what raises goes %d", got)
	}
	if got := s.companion(raises, now.Add(2*memory)); got != 0 {
		t.Errorf("long after anything has failed, %d goes with what raises", got)
	}
}
