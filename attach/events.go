package attach

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/trace"
)

// ErrIdle is returned by Next when nothing happened for a while.
var ErrIdle = errors.New("nothing happened")

// pollInterval bounds how long an event waits while too few are there to wake the reader.
const pollInterval = 20 * time.Millisecond

// Next reads the next record, valid until the next call. What it says of
// processes has been taken note of. It returns ErrIdle when there is none yet.
func (s *Session) Next() ([]byte, error) {
	s.forget()
	if len(s.pending) > 0 {
		record := s.pending[0]
		s.pending = s.pending[1:]
		return record, nil
	}
	record := s.ring.Next()
	if record == nil {
		if err := s.ring.Wait(pollInterval); err != nil {
			return nil, err
		}
		if record = s.ring.Next(); record == nil {
			if err := s.recount(); err != nil {
				return nil, err
			}
			return nil, ErrIdle
		}
	}
	h, ok := bpf.ParseHeader(record)
	if !ok {
		return nil, fmt.Errorf("read ring buffer: a record of %d bytes has no header", len(record))
	}
	switch h.Kind {
	case bpf.EventFork:
		s.forked(h)
	case bpf.EventExec:
		s.executed(h)
		s.endGoroutines(h.TGID, 0, h.TS)
	case bpf.EventDeath:
		if h.Arg&1 != 0 {
			s.gone = append(s.gone, h.TGID)
			s.ended(int(h.TGID), time.Duration(h.More))
			s.endGoroutines(h.TGID, uint8(h.Arg>>8&0x7f), h.TS)
		}
	case bpf.EventEntry:
		s.entered(h)
	}
	if len(s.pending) > 0 {
		// What was held back goes before the end of its process.
		s.pending = append(s.pending, bytes.Clone(record))
		record, s.pending = s.pending[0], s.pending[1:]
	}
	return record, nil
}

// Fill is how full the ring buffer of calls is, from 0 to 1: at 1, calls are lost. It is safe for
// concurrent use, but for Close.
func (s *Session) Fill() float64 { return s.ring.Fill() }

// ErrorsFill is the same of that of errors.
func (s *Session) ErrorsFill() float64 { return s.ring.ErrorsFill() }

// entered learns from an entry where its process has what file.
func (s *Session) entered(h bpf.Header) {
	known := &s.known[(h.Func+h.TGID)%uint32(len(s.known))]
	if *known == (entry{h.TGID, h.Func}) {
		return
	}
	f := s.cat.function(h.Func)
	if f == nil {
		return
	}
	if f.Role == trace.RoleLibraryMap {
		s.beforeForget(h.TGID)
	}
	s.rmu.Lock()
	s.learnBias(h, f)
	// Read now, the map is known also when the process ends in a moment.
	if f.Role == trace.RoleLibraryMap || s.spaces[h.TGID] == nil {
		s.remap(h.TGID)
	}
	s.rmu.Unlock()
	if f.Role == trace.RoleLibraryMap {
		s.arrive(arrival{pid: int(h.TGID)})
		return
	}
	*known = entry{h.TGID, h.Func}
}

func (s *Session) beforeForget(tgid uint32) {
	if s.BeforeForget != nil {
		s.BeforeForget(tgid)
	}
}

// recount finds out who was born and who died when the ring buffer had no room
// for saying so: the probes' own table knows. It is for when all records are read.
func (s *Session) recount() error {
	lost, err := s.objs.LostProcessEvents()
	if err != nil || lost == s.lostProcesses {
		return err
	}
	s.lostProcesses = lost
	traced, err := s.objs.Processes()
	if err != nil {
		return err
	}
	for _, tgid := range traced {
		p, err := describe(int(tgid))
		if err == nil && s.setProcess(p) {
			s.live.Add(1)
			s.arrive(arrival{pid: p.PID, exec: true})
		}
	}
	s.pmu.RLock()
	defer s.pmu.RUnlock()
	for tgid := range s.processes {
		if !slices.Contains(traced, tgid) {
			s.gone = append(s.gone, tgid)
			s.endGoroutines(tgid, 0, Monotonic())
		}
	}
	return nil
}

// forget drops the processes whose end was the last record, or went by without one.
func (s *Session) forget() {
	if len(s.gone) == 0 {
		return
	}
	for _, tgid := range s.gone {
		s.beforeForget(tgid)
	}
	s.pmu.Lock()
	for _, tgid := range s.gone {
		if s.processes[tgid] != nil {
			delete(s.processes, tgid)
			s.forgetMemory(tgid)
			s.live.Add(-1)
		}
	}
	s.pmu.Unlock()
	s.clocks.Lock()
	for _, tgid := range s.gone {
		delete(s.done, int(tgid))
	}
	s.clocks.Unlock()
	s.gone = s.gone[:0]
}

// forgetMemory drops what is known of the memory of a process.
func (s *Session) forgetMemory(tgid uint32) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	delete(s.spaces, tgid)
	delete(s.biases, tgid)
	delete(s.unlocated, tgid)
	clear(s.known[:])
}

func (s *Session) forked(h bpf.Header) {
	parent := s.Process(h.TGID)
	child := trace.Process{PID: int(h.Arg), StartNS: s.Clock.Wall(h.TS)}
	if parent != nil {
		child.Exe, child.Comm, child.Container, child.Pod, child.Namespace = parent.Exe, parent.Comm, parent.Container, parent.Pod, parent.Namespace
	}
	s.rmu.Lock()
	if sp := s.spaces[h.TGID]; sp != nil {
		s.spaces[uint32(h.Arg)] = sp // until it executes something else
	}
	s.rmu.Unlock()
	if s.setProcess(&child) {
		s.live.Add(1)
	}
}

func (s *Session) executed(h bpf.Header) {
	p, err := describe(int(h.TGID))
	if err != nil {
		return // it has ended already; its death comes with a later record
	}
	if s.Process(h.TGID) == nil && !s.opts.wants(p) {
		return
	}
	s.beforeForget(h.TGID)
	s.forgetMemory(h.TGID)
	if err := s.objs.AddProcess(h.TGID); err != nil {
		s.opts.Warn(err)
		return
	}
	if s.setProcess(p) {
		s.live.Add(1)
	}
	s.arrive(arrival{pid: int(h.TGID), exec: true})
}

// arrive has a process's files looked at, without holding up the records.
func (s *Session) arrive(a arrival) {
	select {
	case s.arrivals <- a:
	default:
		s.opts.Warn(fmt.Errorf("process %d: too many programs start at once; its functions are not traced unless another process has the same files", a.pid))
	}
}

// look attaches to what arrivals have mapped.
func (s *Session) look() {
	for a := range s.arrivals {
		err := s.attachProcess(a.pid)
		// Most arrivals end soon, and not every program can be traced.
		if err != nil && a.exec && exists(procPath(a.pid, "exe")) {
			s.opts.Warn(err)
		}
	}
}

// setProcess takes note of a process, or of its new image; true if it is new.
func (s *Session) setProcess(p *trace.Process) bool {
	s.pmu.Lock()
	defer s.pmu.Unlock()
	_, known := s.processes[uint32(p.PID)]
	s.processes[uint32(p.PID)] = p
	return !known
}

// Process finds a traced process; nil when it isn't one.
func (s *Session) Process(tgid uint32) *trace.Process {
	s.pmu.RLock()
	defer s.pmu.RUnlock()
	return s.processes[tgid]
}

// Thread reads a thread's name; empty when it has ended.
func Thread(tgid, tid uint32) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", tgid, tid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(raw), "\n")
}

// runtimes are the shared objects whose functions tell of unwinding and of
// libraries being loaded, by the start of their names.
var runtimes = []string{"libstdc++.so", "libc++abi.so", "libgcc_s.so", "libunwind.so", "libc.so", "libc-2", "libpthread", "ld-linux", "ld-musl", "ld-2", "libstd-"}

func hasRoles(path string) bool {
	base := filepath.Base(path)
	for _, r := range runtimes {
		if strings.HasPrefix(base, r) {
			return true
		}
	}
	return false
}

// sharedObjects lists the paths of the shared objects that a program needs;
// none when it is static.
func sharedObjects(path string) []string {
	interpreter := interpreterOf(path)
	if interpreter == "" {
		return nil
	}
	out, err := exec.Command(interpreter, "--list", path).Output()
	if err != nil {
		return nil
	}
	libs := []string{interpreter}
	for _, line := range strings.Split(string(out), "\n") {
		// libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)
		if _, rest, ok := strings.Cut(line, "=> "); ok {
			lib, _, _ := strings.Cut(rest, " (")
			if resolved, err := filepath.EvalSymlinks(lib); err == nil {
				libs = append(libs, resolved)
			}
		}
	}
	return libs
}

// program resolves a command's path to the ELF file that the kernel will map:
// links are followed, and a script's interpreter stands for it.
func program(path string) (string, error) {
	for range 5 { // the kernel's own limit (BINPRM_MAX_RECURSION is 4)
		resolved, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", fmt.Errorf("open program: %w", err)
		}
		resolved, err = filepath.Abs(resolved)
		if err != nil {
			return "", fmt.Errorf("open program: %w", err)
		}
		f, err := os.Open(resolved)
		if err != nil {
			return "", fmt.Errorf("open program: %w", err)
		}
		head := make([]byte, 256)
		n, _ := f.Read(head)
		f.Close()
		rest, script := bytes.CutPrefix(head[:n], []byte("#!"))
		if !script {
			return resolved, nil
		}
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			return resolved, nil
		}
		path = fields[0]
	}
	return path, nil
}

// interpreterOf is the dynamic linker that a program names; empty when it is
// static, or no program.
func interpreterOf(path string) string {
	f, err := symbols.Open(path, symbols.Options{})
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	return f.Interpreter()
}
