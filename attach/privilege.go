package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted says that the caller lacks a capability.
var ErrNotPermitted = errors.New("not permitted")

// Capability is one of the four that tracing needs (capabilities(7)).
type Capability struct {
	Name string // as setcap and Kubernetes write it, without CAP_
	For  string // what it is needed for
	bit  uint
}

// Capabilities lists what tracing needs: the first two always, the others to
// reach the files and the memory of other users' and other containers' processes.
var Capabilities = []Capability{
	{"BPF", "loading BPF programs and maps", unix.CAP_BPF},
	{"PERFMON", "attaching probes and reading a traced process's memory", unix.CAP_PERFMON},
	{"SYS_PTRACE", "reading another process's /proc/PID/root, exe and maps", unix.CAP_SYS_PTRACE},
	{"DAC_READ_SEARCH", "opening files that belong to other users and containers", unix.CAP_DAC_READ_SEARCH},
}

// Held tells whether the calling process has the capability in effect.
func (c Capability) Held() bool {
	set, err := effective()
	return err == nil && (set&(1<<c.bit) != 0 || set&(1<<unix.CAP_SYS_ADMIN) != 0 && c.bit >= unix.CAP_PERFMON)
}

func effective() (uint64, error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return 0, errors.New("read capabilities: /proc/self/status has no CapEff")
}

// permission turns a refusal into one that names the missing capabilities and
// the way out; other errors pass unchanged.
func permission(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var missing []string
	for _, c := range Capabilities {
		if !c.Held() {
			missing = append(missing, "CAP_"+c.Name+" ("+c.For+")")
		}
	}
	if len(missing) == 0 {
		return fmt.Errorf("%w: %w; no capability is missing: a seccomp profile or a security module refuses (see `observatory-trace doctor`)", ErrNotPermitted, err)
	}
	program, pathErr := os.Executable()
	if pathErr != nil {
		program = "observatory-trace"
	}
	return fmt.Errorf("%w: missing %s; run as root, or grant them: setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep %s: %w",
		ErrNotPermitted, strings.Join(missing, ", "), program, err)
}
