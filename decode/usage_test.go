package decode

import (
	"strings"
	"testing"
)

// TestCPUOfSlewedTime guards against CPU time that a sleeping call gets, or loses, because
// NTP slews the clock of the timestamps and not the scheduler's: here by one in a hundred.
func TestCPUOfSlewedTime(t *testing.T) {
	s := newScript(t)
	s.decoder.config.Raw = func(monotonic uint64) int64 { return int64(monotonic) * 99 / 100 }
	// The scheduler's clock has gone on by 990,000 ns, of which 100 were the thread's.
	out := s.run(`
		func f c ()
		1000000 enter t1 f @64 used=1000000,0,0,0,0
		2000000 exit t1 f @64 used=1010100,0,0,0,0
	`)
	if !strings.Contains(out, " used=100,0,0,0,0\n") {
		t.Errorf("%s", out)
	}
}
