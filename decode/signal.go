package decode

import (
	"strconv"

	"github.com/observatory-trace/observatory-trace/trace"
)

// signal is what kills a process.
type signal struct {
	number uint8  // 0: none
	tid    uint32 // the thread that learned of it first, 0 when unknown
	stack  string // that thread's
	fatal  bool   // it has begun to kill
}

// signalled takes note of a signal that is about to kill a process.
func (d *Decoder) signalled(e *Event) {
	if p := d.processes[e.TGID]; p != nil && !p.killer.fatal && e.Arg < 128 {
		p.killer = signal{number: uint8(e.Arg), tid: e.TID}
		p.killer.stack, _ = d.printer.stack(e, 0)
	}
}

// killed takes note of the signal that a thread has died of, 0 for none: the
// others of its process die of it, too.
func (p *process) killed(number uint8) {
	if number == 0 || p.killer.fatal {
		return
	}
	if p.killer.number != number {
		p.killer = signal{number: number} // that it came was lost
	}
	p.killer.fatal = true
}

// fromOutside are the signals by which people and supervisors end a process,
// whatever it is doing: its open calls have not failed.
func (s *signal) fromOutside() bool {
	switch signalName(s.number) {
	case "SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM":
		return true
	}
	return false
}

// error is why an owner's open calls have failed; nil when their process was
// not killed by a signal, or by one from outside. Dying, one that is about to kill counts.
func (s *signal) error(o *owner, dying bool) *trace.Error {
	if !s.fatal && (!dying || s.number == 0) || s.fromOutside() {
		return nil
	}
	name := signalName(s.number)
	err := &trace.Error{Type: "signal " + name, Message: "killed by " + name}
	switch {
	case s.tid == 0:
	case o.key.space != spaceGoroutine && o.key.id == uint64(s.tid):
		err.Stack = s.stack
	default:
		err.Message += " in thread " + strconv.Itoa(int(s.tid))
	}
	return err
}

// signalName is a signal's name on Linux (signal(7)): the numbers of x86-64 and arm64.
func signalName(number uint8) string {
	names := [...]string{
		1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
		10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT",
		24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
	}
	if int(number) < len(names) && names[number] != "" {
		return names[number]
	}
	return strconv.Itoa(int(number))
}
