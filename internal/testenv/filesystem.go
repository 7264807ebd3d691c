package testenv

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Filesystem mounts an empty file system of its own, in memory, of at most this size ("8m"), for the
// time of the test, and gives where.
func Filesystem(tb testing.TB, size string) string {
	tb.Helper()
	RequireRoot(tb)
	dir := tb.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		tb.Fatalf("mount a file system: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
	return dir
}
