package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/observatory-trace/observatory-trace/query"
)

const program = "bin/observatory-trace"

// ownFlags says which flags of attach this build has.
type ownFlags struct{ sample, unlimited, retention bool }

func findOwnFlags() (f ownFlags, err error) {
	out, err := exec.Command(program, "attach", "--help").CombinedOutput()
	if err != nil {
		return f, fmt.Errorf("%s attach --help: %w: run make build", program, err)
	}
	has := func(flag string) bool { return strings.Contains(string(out), flag+" ") }
	return ownFlags{sample: has("--sample"), unlimited: has("--unlimited"), retention: has("--retention")}, nil
}

// everything are the flags with which all calls are recorded, whatever that costs.
func (f ownFlags) everything() []string {
	if f.unlimited {
		return []string{"--unlimited"}
	}
	return nil
}

// empty attaches a program that does nothing to the sites where this program would probe.
func (l *lab) empty(name string, entry func(site) uint64, uretprobes bool) *way {
	return &way{name: name, begin: func(r *running) (*tracer, error) {
		sites, err := r.sites()
		if err != nil {
			return nil, err
		}
		var entries, exits, returns []uint64
		for _, s := range sites {
			entries = append(entries, entry(s))
			if uretprobes || len(s.exits) == 0 {
				returns = append(returns, entry(s))
			} else {
				exits = append(exits, s.exits...)
			}
		}
		start := time.Now()
		closers, err := linkEmpty(r.path, entries, exits, returns)
		return &tracer{attached: time.Since(start), end: func() (int64, error) {
			var errs []error
			for _, c := range closers {
				errs = append(errs, c())
			}
			return 1, errors.Join(errs...) // it doesn't count
		}}, err
	}}
}

func linkEmpty(path string, entries, exits, returns []uint64) (closers []func() error, err error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, err
	}
	closers = append(closers, p.Close)
	ex, err := link.OpenExecutable(path)
	if err != nil {
		return closers, err
	}
	for _, a := range []struct {
		addresses []uint64
		attach    func([]string, *ebpf.Program, *link.UprobeMultiOptions) (link.Link, error)
	}{{entries, ex.UprobeMulti}, {exits, ex.UprobeMulti}, {returns, ex.UretprobeMulti}} {
		if len(a.addresses) == 0 {
			continue
		}
		k, err := a.attach(nil, p, &link.UprobeMultiOptions{Addresses: a.addresses})
		if err != nil {
			return closers, err
		}
		closers = append(closers, k.Close)
	}
	return closers, nil
}

// chosen is where this program probes an entry.
func chosen(s site) uint64 { return s.entry }

// first is a function's first byte.
func first(s site) uint64 { return s.first }

// own has the built program trace. What it tells of are the rows that it wrote, or, counting, the calls
// that it counted.
func (l *lab) own(name string, counting bool, flags ...string) *way {
	w := &way{name: name}
	// None of a burst may be lost on a machine whose other processor is busy, too.
	flags = append([]string{"--ring-buffer", "64MiB"}, flags...)
	w.command = attachCommand("FUNCTION", flags)
	w.begin = func(r *running) (*tracer, error) {
		db := filepath.Join(l.dir, "own.db")
		start := time.Now()
		t, err := l.attach(r, db, flags...)
		if err != nil {
			return nil, err
		}
		return &tracer{pid: t.cmd.Process.Pid, attached: time.Since(start), end: func() (int64, error) {
			if err := t.interrupt(time.Minute); err != nil {
				return 0, err
			}
			counted, recorded, err := counts(l.ctx, db)
			if counting {
				return counted, err
			}
			return recorded, err
		}}, nil
	}
	return w
}

// attachCommand is how attach is called.
func attachCommand(function string, flags []string) string {
	return strings.Join(append([]string{program, "attach", "-p", "PID", "-s", function, "-o", "none"}, flags...), " ")
}

// attach has the built program trace the load's functions in all of its processes, into a new
// database, and waits until it does.
func (l *lab) attach(r *running, db string, flags ...string) (*tool, error) {
	if err := removeDatabase(db); err != nil {
		return nil, err
	}
	words := []string{program, "attach", "-s", r.pattern, "--db", db, "-o", "none"}
	for _, p := range r.processes {
		words = append(words, "-p", fmt.Sprint(p.cmd.Process.Pid))
	}
	t, err := l.startTool(append(words, flags...)...)
	if err != nil {
		return nil, err
	}
	if err := t.await(fmt.Sprintf("attached: %d function", r.functions)); err != nil {
		return nil, errors.Join(err, t.interrupt(time.Second))
	}
	return t, nil
}

// sampled is own with nearly all calls sampled out, if this build does that.
func (l *lab) sampled() *way {
	const name = "observatory-trace, one call of a thousand recorded, all counted"
	if !l.flags.sample {
		return &way{name: name, unable: true, notes: []string{"Not in this build: attach has no --sample."}}
	}
	return l.own(name, true, append([]string{"--sample", "0.001"}, l.flags.everything()...)...)
}

// full is own with everything recorded.
func (l *lab) full(what string) *way {
	return l.own("observatory-trace, "+what+" into SQLite", false, l.flags.everything()...)
}

// statsOnly is own with nothing recorded.
func (l *lab) statsOnly() *way {
	return l.own("observatory-trace, statistics only", true, append([]string{"--stats-only"}, l.flags.everything()...)...)
}

// counts are the calls that a database tells of, and those that it has rows of.
func counts(ctx context.Context, db string) (counted, recorded int64, err error) {
	d, err := query.Open(db)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	rows, err := d.SQL(ctx, "SELECT sum(calls), sum(recorded) FROM function_stats")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, err := rows.Next(ctx)
	if err != nil {
		return 0, 0, err
	}
	counted, _ = values[0].(int64)
	recorded, _ = values[1].(int64)
	return counted, recorded, nil
}
