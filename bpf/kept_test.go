package bpf

import "testing"

// TestKept guards against arguments that keep_piece gives up at the end of a frame's room.
func TestKept(t *testing.T) {
	for _, c := range []struct {
		offset, size uint16
		want         bool
	}{
		{0, 8, true}, {0, 128, true}, {0, 129, false}, {120, 8, true}, {120, 3, true}, {124, 4, false}, {64, 64, true}, {65, 63, false}, {64, 63, true}, {65, 64, false}, {128, 1, false}, {0, 0, false},
	} {
		if got := Kept(c.offset, c.size); got != c.want {
			t.Errorf("%d bytes at %d: %v", c.size, c.offset, got)
		}
	}
}
