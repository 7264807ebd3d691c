package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
)

func newTopCommand() *cobra.Command {
	var db, process, by string
	var window time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what is going on, a row for every function, anew every second",
		Long: `Show what is going on while something traces, a row for every function that was called in the
latest seconds, anew every second. Calls, errors and percentiles are exact, as those of report; CALLS/S is of the time
in which something traced (~: an estimate, where probes were not always in place). Without a terminal it is shown once.`,
		Example: `  observatory-trace top
  observatory-trace top --window 1m --sort p99 --process 'main.*'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order, err := parseSort(by)
			if err != nil {
				return err
			}
			if window < time.Second {
				return usageError{fmt.Errorf("--window %s: statistics are by the second: at least 1s", window)}
			}
			shown := liveView{
				print: func(s screen) error {
					return reportOf(s, db, query.Range{Since: time.Now().Add(-window), Process: process}, order, true)
				},
				status: func() string {
					return fmt.Sprintf("the latest %s of %s; Ctrl-C ends", windowText(window), db)
				},
				empty: true,
			}
			// What can't be read at all, can't be in a second.
			if d, err := query.Open(db); err != nil {
				return err
			} else if err := d.Close(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			view := startLive(cmd.OutOrStdout(), shown)
			if view == nil {
				return shown.print(newScreen(cmd.OutOrStdout()))
			}
			view.show()
			<-ctx.Done()
			view.close()
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&db, "db", defaultDB, "read this database")
	fl.DurationVar(&window, "window", 10*time.Second, "what was called in the latest such `TIME`")
	fl.StringVar(&process, "process", "", "only functions whose name matches this glob (* ? [a-z] {a,b})")
	fl.StringVar(&by, "sort", string(query.SortTotal), "order by one of "+sortNames())
	return cmd
}
