package attach

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program that was started but has not executed its first
// instruction: a process of this program waits, to become it on Release.
type Command struct {
	Path string // the file that will be executed
	cmd  *exec.Cmd
	gate *os.File // written to: execute; closed: give up
}

// StarterArg is the first argument with which the program re-executes itself to
// become a command; main must call Starter when it sees it.
const StarterArg = "__start"

// NewCommand starts the process that will become args[0], found by PATH, with
// the caller's standard input, output and error. If the caller dies before
// Release, that process ends without executing anything.
func NewCommand(args []string) (*Command, error) {
	path, err := exec.LookPath(args[0])
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("start command: %w; it may have to be made executable: chmod +x", err)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("start command: %w; give its path", err)
	}
	if err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{StarterArg, path}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start command: %w", err), w.Close())
	}
	return &Command{Path: path, cmd: cmd, gate: w}, nil
}

// PID is the process's id, before and after Release.
func (c *Command) PID() int { return c.cmd.Process.Pid }

// Release lets the process execute the command.
func (c *Command) Release() error {
	_, err := c.gate.Write([]byte{1})
	if err = errors.Join(err, c.gate.Close()); err != nil {
		return fmt.Errorf("start command: %w", err)
	}
	return nil
}

// Abandon ends the process without executing the command.
func (c *Command) Abandon() error {
	err := c.gate.Close()
	var exit *exec.ExitError
	if waitErr := c.cmd.Wait(); !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return err
}

// Signal sends the command a signal.
func (c *Command) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Wait waits for the command's end and gives its exit code as a shell would:
// 128 and the signal's number when a signal ended it.
func (c *Command) Wait() (int, error) {
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for command: %w", err)
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// Starter is what the started process runs: it waits for the gate (file
// descriptor 3) and becomes the command. args are the file and the command's own
// arguments. It returns only if the command can't be executed, with the exit
// code that a shell would give.
func Starter(args []string) int {
	gate := os.NewFile(3, "gate")
	var b [1]byte
	if _, err := io.ReadFull(gate, b[:]); err != nil || len(args) < 2 {
		return 1
	}
	// Nothing of the tracer's is left open in the command.
	unix.CloseOnExec(3)
	err := unix.Exec(args[0], args[1:], os.Environ())
	fmt.Fprintln(os.Stderr, "observatory-trace: execute "+strconv.Quote(args[0])+":", err)
	if errors.Is(err, unix.ENOENT) {
		return 127
	}
	return 126
}
