package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
)

// tailFlags are the flags of tail.
type tailFlags struct {
	readFlags
	count  int
	follow bool
	status string
}

func newTailCommand() *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the latest calls, and new ones as they end",
		Example: `  observatory-trace tail -f
  observatory-trace tail -n 50 --status ERR
  observatory-trace tail -f -o json --process 'main.*' | jq .args`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			f.sayWaiting(cmd.ErrOrStderr())
			return f.withDatabase(func(db *query.Database) error {
				return f.tail(ctx, db, filter, newCallPrinter(cmd.OutOrStdout(), f.output))
			})
		},
	}
	f.register(cmd, "table", "json")
	f.registerRange(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&f.count, "count", "n", 10, "how many of the latest calls to begin with")
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on with new calls until interrupted")
	fl.StringVar(&f.status, "status", "", "only calls that ended so: OK, ERR or OPEN")
	return cmd
}

func (f *tailFlags) filter() (query.Filter, error) {
	filter := query.Filter{Range: f.selection()}
	if f.count < 0 {
		return filter, usageError{fmt.Errorf("--count %d: give a number of calls, or 0", f.count)}
	}
	if f.status != "" {
		status, err := query.ParseStatus(f.status)
		if err != nil {
			return filter, usageError{fmt.Errorf("--status: %w", err)}
		}
		filter.Status = status
	}
	return filter, nil
}

const (
	followInterval = 200 * time.Millisecond
	followLimit    = 1000   // calls that a table shows of one interval
	followAll      = 100000 // calls that JSON, which is for programs, holds of one interval
)

func (f *tailFlags) tail(ctx context.Context, db *query.Database, filter query.Filter, p *callPrinter) error {
	// The follower starts before the latest are read, so that none falls between.
	follower, err := db.Follow(ctx, filter)
	if err != nil {
		return err
	}
	if f.count > 0 {
		latest, err := db.Latest(ctx, filter, f.count)
		if err != nil {
			return err
		}
		if err := p.print(latest); err != nil {
			return err
		}
		if n := len(latest); n > 0 {
			follower.Pass(&latest[n-1])
		}
	}
	if !f.follow {
		return nil
	}
	limit := followLimit
	if f.output == "json" {
		limit = followAll
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		calls, skipped, err := follower.Next(ctx, limit)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.skip(skipped); err != nil {
			return err
		}
		if err := p.print(calls); err != nil {
			return err
		}
	}
}

// callPrinter prints calls, a line each.
type callPrinter struct {
	s    screen
	json *json.Encoder // nil: lines for people
}

func newCallPrinter(out io.Writer, form string) *callPrinter {
	p := &callPrinter{s: newScreen(out)}
	if form == "json" {
		p.json = json.NewEncoder(out)
		p.json.SetEscapeHTML(false)
	}
	return p
}

func (p *callPrinter) print(calls []query.Call) error {
	for i := range calls {
		var err error
		if p.json != nil {
			err = p.json.Encode(&calls[i])
		} else {
			_, err = fmt.Fprintln(p.s.w, p.line(&calls[i]))
		}
		if err != nil {
			return fmt.Errorf("print call: %w", err)
		}
	}
	return nil
}

// skip says that calls came too fast to be shown.
func (p *callPrinter) skip(n uint64) error {
	if n == 0 {
		return nil
	}
	if p.json != nil {
		return p.json.Encode(map[string]uint64{"skipped": n})
	}
	_, err := fmt.Fprintln(p.s.w, p.s.paint(fmt.Sprintf("… %s more, too fast to show; narrow with --process or --status", formatCount(n)), text.FgYellow))
	return err
}

// longName is the width that a function's name is cut to on a terminal, so that
// there is room for its arguments.
const longName = 48

// line shows when, who, how long and how it ended, then the call as it reads in code.
func (p *callPrinter) line(c *query.Call) string {
	clock, name := c.TS, oneLine(c.Process)
	if len(clock) > 11 {
		clock = clock[11:]
	}
	if p.s.width > 0 {
		name = cutLeft(name, longName)
	}
	return p.s.cut(fmt.Sprintf("%s %7d %8s  %s%s %s %s%s", p.s.paint(clock, text.Faint), c.PID, formatMS(c.DurationMS),
		p.s.status(c.Status), strings.Repeat(" ", max(4-len(c.Status), 0)), p.s.paint(fmt.Sprintf("%-7d", c.ID), text.Faint),
		p.s.paint(name, text.Bold), p.outcome(c)))
}

func (p *callPrinter) outcome(c *query.Call) string {
	line := formatArgs(c.Args)
	if len(c.Result) > 0 {
		line += " = " + oneLine(string(c.Result))
	}
	if c.Status == "ERR" {
		line += " " + p.s.paint("! "+oneLine(errorText(c)), text.FgRed)
	}
	return line
}

// errorText is an error's type and message.
func errorText(c *query.Call) string {
	switch {
	case c.ErrorType == "" && c.Error == "":
		return "unknown error"
	case c.ErrorType == "":
		return c.Error
	case c.Error == "":
		return c.ErrorType
	}
	return c.ErrorType + ": " + c.Error
}
