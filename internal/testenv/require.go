package testenv

import (
	"os"
	"testing"

	"github.com/cilium/ebpf/features"
)

// Unprivileged is the environment variable that says that tests run without
// privileges on purpose: those that need them are skipped, and say so.
const Unprivileged = "OBSERVATORY_TEST_UNPRIVILEGED"

// RequireRoot fails the test when it isn't run by root, or skips it when that
// is so on purpose (see Unprivileged).
func RequireRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv(Unprivileged) != "" {
		tb.Skipf("needs root, and %s is set", Unprivileged)
	}
	tb.Fatalf("needs root: run the tests as root, or set %s=1 to leave this one out", Unprivileged)
}

// RequireBPF fails the test when this machine can't attach uprobe_multi links
// (Linux 6.6 and later; CAP_BPF and CAP_PERFMON), or skips it when it is run
// without privileges on purpose (see Unprivileged).
func RequireBPF(tb testing.TB) {
	tb.Helper()
	RequireRoot(tb)
	if err := features.HaveBPFLinkUprobeMulti(); err != nil {
		tb.Fatalf("needs uprobe_multi (Linux 6.6 or later): %v", err)
	}
}
