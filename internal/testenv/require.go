package testenv

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
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
	if err := uprobeMulti(); err != nil {
		tb.Fatalf("needs uprobe_multi (Linux 6.6 or later): %v", err)
	}
}

// uprobeMulti attaches an empty program to a function of the test program itself.
var uprobeMulti = sync.OnceValue(func() error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Kprobe,
		AttachType:   ebpf.AttachTraceUprobeMulti,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual MIT/GPL",
	})
	if err != nil {
		return fmt.Errorf("load an empty program: %w", err)
	}
	defer program.Close()
	self, err := link.OpenExecutable("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open the test program: %w", err)
	}
	symbol := runtime.FuncForPC(reflect.ValueOf(landmark).Pointer())
	if symbol == nil {
		return errors.New("find a function of the test program")
	}
	attached, err := self.UprobeMulti([]string{symbol.Name()}, program, nil)
	if err != nil {
		return fmt.Errorf("attach to the test program: %w", err)
	}
	return attached.Close()
})

// landmark is there to be attached to.
//
//go:noinline
func landmark() {}
