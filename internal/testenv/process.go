package testenv

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Deadline is how long helpers wait for a process before they call it stuck. It
// is no expectation: machines are slow, and a traced process is slower.
const Deadline = 2 * time.Minute

// Process is a program that a test started. When the test ends it and the
// processes that it started are killed, if they are still there.
// Its methods fail the test; they are to be called from the test's goroutine.
type Process struct {
	PID int

	tb      testing.TB
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  stream
	stderr  stream

	done chan struct{} // closed when the process has ended and err is set
	err  error         // of waiting, when it isn't an exit status
}

// Result is how a process ended and what it said.
type Result struct {
	Stdout, Stderr string
	ExitCode       int            // -1 when a signal ended it
	Signal         syscall.Signal // 0 when none did
}

// Start starts the program with these arguments.
func Start(tb testing.TB, program string, args ...string) *Process {
	tb.Helper()
	return StartCommand(tb, exec.Command(program, args...))
}

// StartCommand starts a command whose environment, folder or user the caller
// has set. It gets a process group of its own; its standard streams are the Process's.
func StartCommand(tb testing.TB, command *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{tb: tb, command: command, done: make(chan struct{})}
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true
	command.Stdout, command.Stderr = &p.stdout, &p.stderr
	// Children that outlive the program may keep its streams open.
	command.WaitDelay = 5 * time.Second
	var err error
	p.stdin, err = command.StdinPipe()
	if err != nil {
		tb.Fatalf("start %s: %v", command.Path, err)
	}
	if err := command.Start(); err != nil {
		tb.Fatalf("start %s: %v", command.Path, err)
	}
	p.PID = command.Process.Pid
	go p.wait()
	tb.Cleanup(p.Kill)
	return p
}

func (p *Process) wait() {
	err := p.command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		p.err = err
	}
	close(p.done)
}

// WaitLine waits until the program has printed this line on standard output.
func (p *Process) WaitLine(line string) {
	p.tb.Helper()
	p.await(&p.stdout, fmt.Sprintf("printing the line %q", line), func(text string) bool {
		return strings.HasPrefix(text, line+"\n") || strings.Contains(text, "\n"+line+"\n")
	})
}

// WaitStdout waits until standard output holds the text.
func (p *Process) WaitStdout(text string) {
	p.tb.Helper()
	p.await(&p.stdout, fmt.Sprintf("printing %q", text), func(all string) bool { return strings.Contains(all, text) })
}

// WaitStderr waits until standard error holds the text.
func (p *Process) WaitStderr(text string) {
	p.tb.Helper()
	p.await(&p.stderr, fmt.Sprintf("saying %q", text), func(all string) bool { return strings.Contains(all, text) })
}

// await waits until what the stream holds is as wanted; what says what that is.
func (p *Process) await(s *stream, what string, wanted func(string) bool) {
	p.tb.Helper()
	deadline := time.After(Deadline)
	for ended := false; ; {
		text, grown := s.read()
		if wanted(text) {
			return
		}
		if ended {
			p.tb.Fatalf("%s ended without %s\n%s", p.command.Path, what, p.said())
		}
		select {
		case <-grown:
		case <-p.done:
			ended = true // read once more: it may have spoken last
		case <-deadline:
			p.tb.Fatalf("%s goes on without %s\n%s", p.command.Path, what, p.said())
		}
	}
}

// said is what the program said, for messages.
func (p *Process) said() string {
	return "stdout: " + p.Stdout() + "\nstderr: " + p.Stderr()
}

// Ready waits until a target that was started with -wait is ready.
func (p *Process) Ready() *Process {
	p.tb.Helper()
	p.WaitLine("ready")
	return p
}

// Go lets a target that is ready begin.
func (p *Process) Go() {
	p.tb.Helper()
	p.Send("go")
}

// Send writes a line to the program's standard input.
func (p *Process) Send(line string) {
	p.tb.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.tb.Fatalf("send %q to %s: %v\n%s", line, p.command.Path, err, p.said())
	}
}

// CloseInput ends the program's standard input.
func (p *Process) CloseInput() { _ = p.stdin.Close() }

// Signal sends the program a signal.
func (p *Process) Signal(signal syscall.Signal) {
	p.tb.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		p.tb.Fatalf("signal %s: %v", p.command.Path, err)
	}
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits until the program ends and says how.
func (p *Process) Wait() Result {
	p.tb.Helper()
	select {
	case <-p.done:
	case <-time.After(Deadline):
		p.tb.Fatalf("%s did not end\n%s", p.command.Path, p.said())
	}
	if p.err != nil {
		p.tb.Fatalf("wait for %s: %v", p.command.Path, p.err)
	}
	result := Result{Stdout: p.Stdout(), Stderr: p.Stderr(), ExitCode: p.command.ProcessState.ExitCode()}
	if status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		result.Signal = status.Signal()
	}
	return result
}

// Stdout is what the program has printed until now.
func (p *Process) Stdout() string {
	text, _ := p.stdout.read()
	return text
}

// Stderr is what the program has said until now.
func (p *Process) Stderr() string {
	text, _ := p.stderr.read()
	return text
}

// Kill ends the program and what is left of its process group, and waits for the program.
func (p *Process) Kill() {
	// A group's number isn't given to a new process while the group has members.
	// So once the program has ended, whoever has its number is a stranger.
	if p.Running() || errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	}
	<-p.done
	// Not before: a program that reads would see its input's end, and go on for a moment.
	_ = p.stdin.Close()
}

// Run starts the program, waits for its end and says how it ended.
func Run(tb testing.TB, program string, args ...string) Result {
	tb.Helper()
	p := Start(tb, program, args...)
	p.CloseInput()
	return p.Wait()
}

// Counts is what a counts target says that it did.
type Counts struct {
	Check     int64                       `json:"check"`
	Functions map[string]Count            `json:"functions"`
	Children  map[string]Count            `json:"children"`
	Libraries map[string]map[string]Count `json:"libraries"`
}

// Count is the calls of one function: those that were left by returning or by a
// tail jump, and those whose frame was thrown away.
type Count struct {
	Calls, Returns, Unwound uint64
}

// ParseCounts reads the line of JSON in a counts target's output.
func ParseCounts(tb testing.TB, stdout string) Counts {
	tb.Helper()
	lines := bufio.NewScanner(strings.NewReader(stdout))
	lines.Buffer(nil, len(stdout)+1)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue
		}
		var counts Counts
		if err := json.Unmarshal(lines.Bytes(), &counts); err != nil {
			tb.Fatalf("parse counts: %v\n%s", err, lines.Text())
		}
		return counts
	}
	tb.Fatalf("parse counts: none in %q", stdout)
	return Counts{}
}

// stream collects what a program prints; those who wait for more of it are told.
type stream struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed at the next Write; nil while nobody waits
}

// Write adds to the stream.
func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
	return s.text.Write(b)
}

// read returns what there is, and a channel that is closed when there is more.
func (s *stream) read() (text string, grown <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.text.String(), s.grown
}
