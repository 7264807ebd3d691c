package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/attach"
)

// defaultDB is where calls are written and read when --db is not given.
const defaultDB = "logs/observatory.db"

// The exit codes.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNoMatch      = 3
	exitNotPermitted = 4
)

// usageError is a command line that can't be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// nothingMatchedError says that what was asked for does not exist.
type nothingMatchedError struct{ error }

func (e nothingMatchedError) Unwrap() error { return e.error }

// exitCode ends the program with a traced command's own exit code, silently.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exitCode(code)
}

// run runs a command line and gives the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var own exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return int(own)
	// A reader of the output that has seen enough, as head does, is no failure.
	case errors.Is(err, syscall.EPIPE):
		return exitOK
	}
	fmt.Fprintln(stderr, "observatory-trace:", err)
	return codeOf(err)
}

func codeOf(err error) int {
	var usage usageError
	var nothing nothingMatchedError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &nothing), errors.Is(err, attach.ErrNoProcess):
		return exitNoMatch
	case errors.Is(err, attach.ErrNotPermitted):
		return exitNotPermitted
	default:
		return exitFailed
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "observatory-trace",
		Short: "See what a running process is doing: every call, its arguments, result, errors and timing",
		Long: `observatory-trace attaches to running processes (Go, C, C++, Rust) without touching
their code, records the calls of the functions that you choose, and writes them to
a SQLite database that can be read meanwhile.

Exit codes: 0 done, 1 failed, 2 usage, 3 nothing matched, 4 not permitted.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; see: observatory-trace help", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("observatory-trace {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newAttachCommand(), newListCommand(),
		newReportCommand(), newTopCommand(), newTailCommand(), newErrorsCommand(), newShowCommand(), newQueryCommand(),
		newRetainCommand(),
		newDoctorCommand(), newVersionCommand(),
	)
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "observatory-trace %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// stamped is set by make build: the version that git describes.
var stamped string

// version is the stamped one, else the module's, else "devel".
func version() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return "devel"
}
