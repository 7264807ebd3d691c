package decode

import (
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
)

// TestErrnoNames compares with the kernel's headers, and with Go's texts.
func TestErrnoNames(t *testing.T) {
	known := map[uint64]string{}
	for _, header := range []string{"errno-base.h", "errno.h"} {
		raw, err := os.ReadFile("/usr/include/asm-generic/" + header)
		if err != nil {
			t.Fatalf("read the kernel's errors (scripts/setup.sh generate installs linux-libc-dev): %v", err)
		}
		// Second names of an error have the first one for a number.
		for _, m := range regexp.MustCompile(`(?m)^#define\s+(E\w+)\s+(\d+)`).FindAllStringSubmatch(string(raw), -1) {
			n, err := strconv.ParseUint(m[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			known[n] = m[1]
		}
	}
	if len(known) != 131 {
		t.Fatalf("%d errors: %v", len(known), known)
	}
	for n := range uint64(len(errnoNames) + 10) {
		name, ok := known[n]
		if !ok {
			name = strconv.FormatUint(n, 10)
		}
		if got := errnoName(n); got != name {
			t.Errorf("%d is %s, not %s", n, got, name)
		}
		if got, want := errnoText(n), syscall.Errno(n).Error(); got != want {
			t.Errorf("%d is %q, not %q", n, got, want)
		}
	}
	if got := describeErrno(133); got != "EHWPOISON: memory page has hardware error" {
		t.Errorf("133 is %q", got)
	}
}
