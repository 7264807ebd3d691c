// Command observatory-trace records the calls of running processes, with their
// arguments, results, errors and timing, into a SQLite database, and reads them
// from there. It is flags and wiring; it must not be imported.
package main

import (
	"os"

	"github.com/observatory-trace/observatory-trace/attach"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == attach.StarterArg {
		os.Exit(attach.Starter(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
