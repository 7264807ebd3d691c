package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/node"
	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// attachFlags are the flags of attach.
type attachFlags struct {
	target   targetFlags
	capture  captureFlags
	rules    ruleFlags
	keep     keepFlags
	budgets  budgetFlags
	db       string
	spillDir string
	output   string
	duration time.Duration
	limit    uint64
	quiet    bool
	verbose  bool
	dryRun   bool
	given    func(flag string) bool // whether it was written
	metrics  string
}

func newAttachCommand() *cobra.Command {
	var f attachFlags
	cmd := &cobra.Command{
		Use:   "attach TARGET [flags] [-- COMMAND [ARG...]]",
		Short: "Record the calls of running processes, or of a command",
		Long: `Record the calls of running processes, or of a command, into a SQLite database.

TARGET is one or more of --pid, --name and --exe, or a command behind "--", which is
run with its first call seen and its exit code passed through. Without --symbol the
application's own functions are traced. Ctrl-C stops; the targets go on untouched.

What is called, or looks like, a password, token, key, cookie, card number or the
like is withheld: {"$redacted": "password"}.`,
		Example: `  observatory-trace attach -p 1234
  observatory-trace attach -p 1234 -s 'main.(*Store).*' -d 10s
  observatory-trace attach --exe /usr/lib/postgresql/15/bin/postgres -s 'exec_*' -o json
  observatory-trace attach -p 1234 --filter 'status == "ERR" || order.Total > 1000' --min-duration 5ms
  observatory-trace attach -p 1234 -s 'store_*' --error 'store_open=null' --error 'store_*=negative'
  observatory-trace attach -s 'store::*' -- ./server --port 8080`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n > 0 || n < 0 && len(args) > 0 {
				return usageError{fmt.Errorf("unexpected argument %q: a command goes behind \"--\", a function pattern behind -s", args[0])}
			}
			return runAttach(cmd, f, args)
		},
	}
	f.target.register(cmd)
	f.target.registerTracing(cmd)
	f.capture.register(cmd)
	f.rules.register(cmd)
	f.keep.register(cmd)
	f.budgets.register(cmd)
	fl := cmd.Flags()
	f.given = fl.Changed
	fl.StringVar(&f.db, "db", defaultDB, "write to this SQLite database, created when missing")
	fl.StringVar(&f.spillDir, "spill-dir", "", "keep errors here while the database can't be written (default: beside it)")
	fl.StringVarP(&f.output, "output", "o", "table", "what to print: table (a summary at the end), json (a call a line), tree (calls, indented) or none")
	fl.DurationVarP(&f.duration, "duration", "d", 0, "stop after this time")
	fl.Uint64VarP(&f.limit, "max-calls", "n", 0, "stop after so many calls")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "say nothing on stderr but errors")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "say which functions can't be traced, and why")
	fl.StringVar(&f.metrics, "metrics", "", "serve metrics for Prometheus at this `HOST:PORT`, for instance 127.0.0.1:9464: /metrics, and /healthz")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would be attached and what it would cost, and attach nothing")
	return cmd
}

func runAttach(cmd *cobra.Command, f attachFlags, command []string) (err error) {
	opts, err := f.options(command)
	if err != nil {
		return err
	}
	rules, err := f.rules.compile()
	if err != nil {
		return usageError{err}
	}
	budgets, err := f.budgets.compile(f.given, f.capture.ringBytes)
	if err != nil {
		return usageError{err}
	}
	if _, err := f.keep.policy(f.db); err != nil {
		return err
	}
	notes := &notes{w: cmd.ErrOrStderr(), quiet: f.quiet}
	opts.Warn = notes.warn
	if f.dryRun {
		return dryRun(cmd.OutOrStdout(), notes, opts, command)
	}
	opts.Precondition = rules.precondition()
	opts.Rate = func(f *trace.Function) float64 { return budgets.rates.Most(f, 0) }
	opener := &opener{budgets: budgets}
	if budgets.limits.Overhead > 0 {
		opts.Begin = opener.begin
	}
	if len(rules.errors) > 0 {
		opts.Failure = rules.failure
	}
	if slices.ContainsFunc(opts.PIDs, isOwn) {
		notes.warn(errors.New("a target is observatory-trace itself: this one will hit the probes, too, and be slow"))
	}
	if rules.showSecrets {
		notes.warn(errors.New("--no-redact: passwords, tokens, keys and card numbers are stored and shown as they are"))
	}

	metrics, stop, err := serveMetrics(f.metrics, notes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if len(command) > 0 {
		if opts.Command, err = attach.NewCommand(command); err != nil {
			return err
		}
	}
	ctx, hurry, cancel := untilSignal(cmd.Context(), opts.Command)
	defer cancel()
	code, err := f.record(ctx, hurry, cmd.OutOrStdout(), notes, opts, rules, opener, metrics)
	if err != nil && code != exitOK { // the command's own code passes through all the same
		notes.write(fmt.Sprintln("observatory-trace:", err))
		err = nil
	}
	if err != nil {
		return err
	}
	return exitWith(code)
}

// isOwn says whether a process runs this program's file: probes are in files.
func isOwn(pid int) bool {
	own, err := os.Stat("/proc/self/exe")
	other, err2 := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && err2 == nil && os.SameFile(own, other)
}

// untilSignal gives a context that ends with the first SIGINT or SIGTERM: from here
// on they end the recording, not the program. With the second one hurry ends: what was
// delivered and not yet read is not waited for. A SIGTERM is passed on to the command; a
// Ctrl-C reaches it from the terminal.
func untilSignal(ctx context.Context, command *attach.Command) (until, hurry context.Context, stop context.CancelFunc) {
	hurry, now := context.WithCancel(ctx)
	until, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	// SIGPIPE is only caught: a reader that closes our output must not keep what was
	// recorded from being stored. Ignoring it would pass on to the command.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	go func() {
		for s := range signals {
			if s == syscall.SIGPIPE {
				continue
			}
			if until.Err() != nil {
				now()
			}
			cancel()
			if s == syscall.SIGTERM && command != nil {
				_ = command.Signal(syscall.SIGTERM) // it may have ended
			}
		}
	}()
	return until, hurry, func() {
		cancel()
		now()
		signal.Stop(signals)
		close(signals)
	}
}

// options translates the flags, and refuses those that don't fit together.
func (f *attachFlags) options(command []string) (attach.Options, error) {
	opts, err := f.target.options()
	if err != nil {
		return opts, err
	}
	if err := f.capture.apply(&opts); err != nil {
		return opts, err
	}
	targets := len(opts.PIDs) + len(opts.Names) + len(opts.Exes)
	switch {
	case targets == 0 && len(command) == 0:
		return opts, usageError{errors.New("nothing to trace: name a target with -p PID, --name GLOB or --exe PATH, or give a command behind \"--\"")}
	case targets > 0 && len(command) > 0:
		return opts, usageError{errors.New("trace either running processes or a command, not both at once")}
	}
	switch f.output {
	case "table", "json", "tree", "none":
	default:
		return opts, usageError{fmt.Errorf("--output %q: one of table, json, tree, none", f.output)}
	}
	return opts, f.contradiction()
}

// ofCalls are the flags that say something of recorded calls.
var ofCalls = []string{"sample", "filter", "min-duration", "max-calls", "depth", "max-string", "max-items", "max-bytes"}

// contradiction refuses flags that don't fit together, and those that would have nothing happen.
func (f *attachFlags) contradiction() error {
	switch {
	case f.given("duration") && f.duration <= 0:
		return usageError{fmt.Errorf("--duration %s: give a time above 0, for instance 10s; without it Ctrl-C ends the recording", f.duration)}
	case f.given("max-calls") && f.limit == 0:
		return usageError{errors.New("--max-calls 0: give a number above 0; without it all calls are recorded, and --stats-only records none")}
	case f.quiet && f.verbose:
		return usageError{errors.New("--quiet and --verbose: give one of them")}
	case !f.capture.statsOnly:
		return nil
	case f.output == "json" || f.output == "tree":
		return usageError{fmt.Errorf("--stats-only and --output %s: no calls are recorded that could be printed; leave out one of them", f.output)}
	}
	for _, flag := range ofCalls {
		if f.given(flag) {
			return usageError{fmt.Errorf("--stats-only and --%s: all calls are counted and none recorded, so that --%[1]s has no effect; leave out one of them", flag)}
		}
	}
	return nil
}

// record attaches, records and detaches. It gives the command's exit code, if there is one.
func (f *attachFlags) record(ctx, hurry context.Context, out io.Writer, notes *notes, opts attach.Options, rules rules, opener *opener, metrics *node.Metrics) (code int, err error) {
	command := opts.Command
	released := false
	defer func() {
		if command != nil && !released {
			err = errors.Join(err, command.Abandon())
		}
	}()
	session, err := attach.Start(opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()

	functions, processes := session.Attached()
	if functions == 0 && !waitsForMore(opts) {
		err := noMatch(opts, commandPath(command))
		if command != nil {
			err = nothingMatchedError{fmt.Errorf("%w\na program that the command starts is traced with --exe '*/PROGRAM'", err)}
		}
		return 0, err
	}
	if hopeless := rules.hopeless(session.Functions()); functions > 0 && hopeless != "" && !waitsForMore(opts) && len(opts.Libs) == 0 {
		return 0, usageError{errors.New(hopeless)}
	}
	keep, err := f.keep.policy(f.db)
	if err != nil {
		return 0, err
	}
	store, err := writer.Open(f.db, writer.Options{Session: f.session(rules, keep), Retention: keep, SpillDir: f.spillDir, Notice: notes.notice})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closing := store.Close(); err == nil { // else it has been closed, or failed for nothing of its own
			err = closing
		}
	}()
	if err := store.Attached(functions, processes); err != nil {
		return 0, err
	}
	if metrics != nil {
		metrics.Began(store, f.db)
	}
	notes.attached(session, opts, functions, processes, f.verbose)
	idle := func() []string {
		traced := session.Functions()
		var unmatched []string
		if len(traced) > 0 { // else that has been said of all of them
			unmatched = saidOf(session.Unmatched(), opts)
		}
		return slices.Concat(unmatched, f.target.idle(traced), opener.budgets.idle(traced), rules.idle(traced))
	}
	if functions > 0 {
		notes.warnAll(idle())
	}

	ended := make(chan struct{})
	if command != nil {
		released = true
		if err := command.Release(); err != nil {
			return 0, err
		}
		go func() {
			defer close(ended)
			var waitErr error
			if code, waitErr = command.Wait(); waitErr != nil {
				notes.warn(waitErr)
			}
		}()
	} else {
		close(ended)
	}
	started := time.Now()
	r := newRecorder(session, store, f.capture, rules, shower(f.output, out), f.limit)
	r.warden = newWarden(session, opener, notes, r.gap)
	r.metrics = metrics
	var view *live
	if f.output == "table" && command == nil { // the terminal is the command's, if there is one
		view = startLive(out, liveView{
			print: func(s screen) error { return reportOf(s, f.db, query.Range{Since: started}, query.SortTotal, false) },
			status: func() string {
				return fmt.Sprintf("recording for %s; Ctrl-C stops", time.Since(started).Round(time.Second))
			},
		})
	}
	notes.showing(view)
	runErr := r.run(withDuration(ctx, f.duration), hurry, waitsForMore(opts))
	notes.showing(nil)
	view.close()
	r.warden.close()
	if metrics != nil {
		metrics.Ended()
	}
	// The probes go before the command is waited for: it may run on for long.
	err = errors.Join(runErr, session.Detach())
	flush(store, hurry)
	<-ended
	if err = errors.Join(err, store.Close()); err != nil {
		f.sayLost(notes, r)
		sayKept(notes, store.Counters(), keep)
		return code, err
	}
	if functions == 0 { // when recording began: then it was too early to tell
		notes.warnAll(idle())
	}
	sayKept(notes, store.Counters(), keep)
	return code, f.summary(out, notes, r, started)
}

// flushPatience is how long attach waits in the end for what it recorded to be in the database, before it goes where it can.
const flushPatience = 10 * time.Second

// flush waits until what was recorded is in the database, unless that takes long, or hurry ends: closing the
// store says then what becomes of it.
func flush(store *writer.Store, hurry context.Context) {
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		_ = store.Flush()
	}()
	select {
	case <-flushed:
	case <-hurry.Done():
	case <-time.After(flushPatience):
	}
}

// waitsForMore tells whether targets may come that don't run yet.
func waitsForMore(o attach.Options) bool { return len(o.Names)+len(o.Exes) > 0 }

func withDuration(ctx context.Context, d time.Duration) context.Context {
	if d <= 0 {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	time.AfterFunc(d, cancel)
	return ctx
}

// session describes this run for the sessions view.
func (f *attachFlags) session(rules rules, keep retention.Policy) writer.Session {
	command, _ := json.Marshal(rules.commandLine(os.Args)) // strings always have a form
	spillDir := f.spillDir                                 // other sessions look there, too, wherever they are started
	if abs, err := filepath.Abs(spillDir); err == nil && spillDir != "" {
		spillDir = abs
	}
	settings, _ := json.Marshal(map[string]any{
		"pid": f.target.pids, "name": f.target.names, "exe": f.target.exes,
		"symbol": f.target.symbols, "exclude": f.target.exclude, "lib": f.target.libs, "file": f.target.files,
		"depth": f.capture.depth, "max_string": f.capture.maxString, "max_items": f.capture.maxItems,
		"max_bytes": f.capture.maxBytes, "ring_buffer": f.capture.ring, "stats_only": f.capture.statsOnly,
		"sample": f.budgets.sample, "max_overhead": f.budgets.overhead, "max_cpu": f.budgets.cpu, "max_memory": f.budgets.memory, "unlimited": f.budgets.unlimited,
		"redact": f.rules.redact, "no_redact": f.rules.noRedact, "error": f.rules.errors,
		"filter": rules.commandLine([]string{f.rules.filter})[0], "min_duration": f.rules.minimum.String(),
		"retention": keep.Calls.String(), "max_db_size": keep.Bytes, "max_db_size_auto": f.keep.size == sizeAuto, "spill_dir": spillDir,
	})
	return writer.Session{Version: version(), Command: command, Settings: settings}
}

// summary ends the recording: the report of this run, and where the calls are.
func (f *attachFlags) summary(out io.Writer, notes *notes, r *recorder, started time.Time) error {
	elsewhere := r.store.Counters().Elsewhere
	if elsewhere > 0 {
		r.recorded -= min(r.recorded, elsewhere)
		notes.say("%s were in a database that was deleted, moved or damaged while tracing: they are gone, or where that is now", plural(elsewhere, "recorded call"))
		if _, err := os.Stat(f.db); err != nil {
			return nil // there is nothing at its place
		}
	}
	if f.output == "table" {
		err := reportOf(newScreen(out), f.db, query.Range{Since: started}, query.SortTotal, false)
		if err != nil && !errors.Is(err, syscall.EPIPE) {
			return err
		}
	}
	f.sayLost(notes, r)
	if f.capture.statsOnly {
		notes.say("counted %s in %s", pluralDigits(r.unwanted, "call"), f.db)
		return nil
	}
	if r.unwanted > 0 {
		why := "sampled out"
		if r.rules.filter != nil || r.rules.minimum > 0 {
			why = "left out by --filter or --min-duration, or sampled out"
		}
		notes.say("counted %s more, not recorded: %s", pluralDigits(r.unwanted, "call"), why)
	}
	r.recorded -= min(r.recorded, r.store.Counters().Dropped)
	notes.say("recorded %s in %s", pluralDigits(r.recorded, "call"), f.db)
	return nil
}

// sayLost tells which calls were seen and are not recorded, though they were to be.
func (f *attachFlags) sayLost(notes *notes, r *recorder) {
	if r.lostCalls > 0 {
		notes.say("%s not recorded: the ring buffer was full; raise --ring-buffer (now %s) or select fewer functions", plural(r.lostCalls, "call"), f.capture.ring)
	}
	if r.crowded > 0 {
		notes.say("%s not recorded: too many threads waited for memory in probes; select fewer functions or lower --depth", plural(r.crowded, "call"))
	}
	dropped := r.store.Health().Dropped
	for _, reason := range slices.Sorted(maps.Keys(dropped)) {
		notes.say("%s not recorded: %s", plural(dropped[reason], "call"), reason)
	}
}

// notes writes diagnostics. It is safe for concurrent use.
type notes struct {
	mu    sync.Mutex
	w     io.Writer
	view  *live // above whose report they stand, if there is one
	quiet bool
}

// showing has notes written above a report from now on, or, nil, no longer.
func (n *notes) showing(view *live) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view = view
}

func (n *notes) write(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := newScreen(n.w)
	text = s.wrap(text)
	if n.view != nil && s.width > 0 {
		_, _ = io.WriteString(n.view, text)
		return
	}
	_, _ = io.WriteString(n.w, text)
}

func (n *notes) warn(err error) { n.write(fmt.Sprintln("observatory-trace: warning:", err)) }

// notice says how the database is.
func (n *notes) notice(notice writer.Notice) {
	if notice.Trouble {
		n.warn(errors.New(notice.Text))
		return
	}
	n.say("%s", notice.Text)
}

// step tells of a change in how a function is traced: of many, the latest stay on a terminal.
func (n *notes) step(text string) {
	if n.quiet {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := newScreen(n.w)
	if n.view != nil && s.width > 0 {
		n.view.step(text)
		return
	}
	_, _ = fmt.Fprintln(n.w, s.wrap(text))
}

func (n *notes) say(format string, args ...any) {
	if !n.quiet {
		n.write(fmt.Sprintf(format+"\n", args...))
	}
}

func (n *notes) warnAll(texts []string) {
	for _, text := range texts {
		n.warn(errors.New(text))
	}
}

// attached says that recording has begun. The line is an interface: scripts wait for it.
func (n *notes) attached(s *attach.Session, opts attach.Options, functions, processes int, verbose bool) {
	if verbose {
		for _, f := range s.Functions() {
			if !f.Traceable {
				n.say("not traced: %s: %s", f.Name, f.Reason)
			}
		}
	}
	n.say("attached: %s in %s", pluralDigits(functions, "function"), pluralDigits(processes, "process"))
	switch {
	case processes == 0:
		n.say("no process matches --name or --exe yet: waiting until one starts")
	case functions == 0:
		n.say("waiting for others: of what runs %v", noMatch(opts, ""))
	}
	if hint := undescribedHint(s.Functions()); hint != "" {
		n.say("%s", hint)
	}
}

// shower gives what prints each call, nil when the form prints none.
func shower(form string, out io.Writer) func(*trace.Call) error {
	w := bufio.NewWriterSize(out, 1<<16)
	switch form {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(c *trace.Call) error {
			if err := enc.Encode(jsonCallOf(c)); err != nil {
				return fmt.Errorf("print call: %w", err)
			}
			return w.Flush()
		}
	case "tree":
		return func(c *trace.Call) error {
			writeTreeLine(w, c)
			return w.Flush()
		}
	}
	return nil
}

// jsonCall is a call as -o json prints it: the columns of process_trace and data_trace.
type jsonCall struct {
	ID        uint64          `json:"id"`
	TS        string          `json:"ts"`
	TSNS      int64           `json:"ts_ns"`
	Process   string          `json:"process"`
	Group     string          `json:"process_group,omitempty"`
	Duration  float64         `json:"duration_ms"`
	Status    string          `json:"status"`
	Error     string          `json:"error,omitempty"`
	ErrorType string          `json:"error_type,omitempty"`
	PID       int             `json:"pid"`
	TID       int             `json:"tid"`
	Goroutine uint64          `json:"goroutine,omitempty"`
	Thread    string          `json:"thread,omitempty"`
	Exe       string          `json:"exe"`
	Parent    uint64          `json:"parent_id,omitempty"`
	Depth     int             `json:"depth"`
	CPU       *float64        `json:"cpu_ms,omitempty"`
	Minor     *int64          `json:"minor_faults,omitempty"`
	Major     *int64          `json:"major_faults,omitempty"`
	RSS       *int64          `json:"rss_delta_kb,omitempty"`
	Switches  *int64          `json:"switches,omitempty"`
	Args      json.RawMessage `json:"args,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Stack     string          `json:"stack,omitempty"`
	Flags     string          `json:"flags,omitempty"`
}

func jsonCallOf(c *trace.Call) jsonCall {
	process := c.Process
	if process == nil { // it had ended before it could be looked at
		process = &trace.Process{}
	}
	j := jsonCall{
		ID: c.ID, TS: time.Unix(0, c.StartNS).UTC().Format("2006-01-02 15:04:05.000"), TSNS: c.StartNS,
		Process: c.Func.Name, Group: c.Func.Group, Duration: float64(c.DurationNS) / 1e6, Status: c.Status.String(),
		PID: process.PID, TID: c.TID, Goroutine: c.Goroutine, Thread: c.Thread, Exe: process.Exe,
		Parent: c.ParentID, Depth: c.Depth, Args: c.Args, Result: c.Result, Flags: c.Flags.String(),
	}
	if c.Err != nil {
		j.Error, j.ErrorType, j.Stack = c.Err.Message, c.Err.Type, c.Err.Stack
	}
	if r := c.Resources; r != nil {
		if !r.NoCPU {
			ms := float64(r.CPUNS) / 1e6
			j.CPU = &ms
		}
		if !r.NoCounts {
			j.Minor, j.Major, j.Switches = &r.MinorFaults, &r.MajorFaults, &r.Switches
		}
		if !r.NoRSS {
			j.RSS = &r.RSSDeltaKB
		}
	}
	return j
}

// writeTreeLine prints a call when it ends: callees stand, deeper, above their callers.
func writeTreeLine(w *bufio.Writer, c *trace.Call) {
	fmt.Fprintf(w, "%s %7d %10s %-4s %*s%s%s", time.Unix(0, c.StartNS).UTC().Format("15:04:05.000000"), c.TID,
		time.Duration(c.DurationNS).Round(100*time.Nanosecond), c.Status, 2*c.Depth, "", c.Func.Name, c.Args)
	if len(c.Result) > 0 {
		fmt.Fprintf(w, " = %s", c.Result)
	}
	if c.Err != nil {
		fmt.Fprintf(w, " ! %s: %s", c.Err.Type, c.Err.Message)
	}
	fmt.Fprintln(w)
}

func commandPath(c *attach.Command) string {
	if c == nil {
		return ""
	}
	return c.Path
}
