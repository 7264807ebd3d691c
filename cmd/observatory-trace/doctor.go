package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/bpf"
)

func newDoctorCommand() *cobra.Command {
	var db, spillDir, output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this kernel and these privileges allow, or how a database is",
		Long: `Say what this kernel and these privileges allow, and what a probe costs here.

With --db: how that database is, without changing it: whether it is sound, what
sessions wrote it and when it was away, what spill files wait to be written to it,
and the way out of what is wrong. The exit code is 1 if something is.`,
		Example: `  observatory-trace doctor
  observatory-trace doctor --db logs/observatory.db
  observatory-trace doctor --db logs/observatory.db -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "table" && output != "json":
				return usageError{fmt.Errorf("--output %q: one of table, json", output)}
			case db != "":
				return doctorDatabase(cmd.Context(), cmd.OutOrStdout(), db, spillDir, output)
			case spillDir != "" || output != "table":
				return usageError{errors.New("--spill-dir and --output go with --db")}
			}
			return doctor(cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&db, "db", "", "look at this database instead")
	fl.StringVar(&spillDir, "spill-dir", "", "where attach put its spill files (default: beside the database)")
	fl.StringVarP(&output, "output", "o", "table", "what to print of a database: table or json")
	return cmd
}

// finding is a line of doctor's report.
type finding struct {
	ok   bool
	what string
	hint string // the way out, when not ok
}

func doctor(w io.Writer) error {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // fails only for a bad address
	fmt.Fprintf(w, "observatory-trace %s on Linux %s, %s\n\n", version(), cstring(uts.Release[:]), cstring(uts.Machine[:]))
	bad := 0
	for _, f := range findings() {
		mark := "ok"
		if !f.ok {
			mark = "NO"
			bad++
		}
		fmt.Fprintf(w, "  %-3s %s\n", mark, f.what)
		if !f.ok && f.hint != "" {
			fmt.Fprintf(w, "      %s\n", f.hint)
		}
	}
	costs, err := attach.Calibrate(context.Background())
	if err != nil {
		fmt.Fprintf(w, "\nwhat a probe costs could not be measured: %v\n", err)
		return err
	}
	fmt.Fprintf(w, `
What one hit costs the thread that hits it (measured now), if its record is delivered, and if the call is only counted:
  nop5 site          %10s %10s   a function that begins with a 5-byte nop
  emulated site      %10s %10s   push, call, jump, nop: sought for every function
  single-step site   %10s %10s   any other instruction
  uretprobe's return %10s %10s   only where nothing can unwind through the function
  emulated exit      %10s %10s   a tail jump
  single-step exit   %10s %10s   a return instruction
`, round(costs.Nop5.Told), round(costs.Nop5.Counted), round(costs.Emulated.Told), round(costs.Emulated.Counted), round(costs.SingleStep.Told), round(costs.SingleStep.Counted), round(costs.Return.Told), round(costs.Return.Counted), round(costs.ExitEmulated.Told), round(costs.ExitEmulated.Counted), round(costs.ExitStep.Told), round(costs.ExitStep.Counted))
	if bad > 0 {
		return fmt.Errorf("missing of the above: %d", bad)
	}
	return nil
}

func findings() []finding {
	var out []finding
	for _, c := range attach.Capabilities {
		out = append(out, finding{c.Held(), "CAP_" + c.Name + ": " + c.For, "run as root, or: setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep observatory-trace"})
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	out = append(out, finding{err == nil, "kernel type information (BTF)", "the kernel needs CONFIG_DEBUG_INFO_BTF"})
	err = bpf.HaveUprobeMulti()
	out = append(out, finding{
		err == nil, "uprobe_multi: many probes with one link, quick to detach (Linux 6.6)",
		fmt.Sprintf("perf-event uprobes are used: at most %d probes, about 0.1 s to detach each", attach.MaxPerfEventSites),
	})
	objs, err := bpf.Load(bpf.Settings{Functions: 2})
	if err == nil {
		err = objs.Close()
	}
	hint := ""
	if err != nil {
		hint = strings.SplitN(err.Error(), "\n", 2)[0]
	}
	out = append(out, finding{err == nil, "the probes' programs load", hint})
	own, err := os.Readlink("/proc/self/ns/pid")
	out = append(out, finding{
		err == nil && own == initialPIDNamespace,
		"the initial pid namespace: process ids are the kernel's", "in a container, run with the host's pid namespace (hostPID: true, --pid=host)",
	})
	return out
}

// initialPIDNamespace is the inode of the first pid namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initialPIDNamespace = "pid:[4026531836]"

func cstring(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
