package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// ways lists the ways of tracing a target's function; the first is what ratios refer to.
func (t *target) ways(dir string) ([]way, error) {
	f, offset, err := t.sites()
	if err != nil {
		return nil, err
	}
	at := func(o uint64) uint64 {
		off, _ := offset(f.Address + o)
		return off
	}
	var exits []uint64
	for _, s := range f.Exit.Sites {
		exits = append(exits, at(s.Offset))
	}
	first := way{"empty program at the first byte and at RET", emptyAt([]uint64{at(0)}, exits)}
	chosen := way{"empty program at the chosen sites", emptyAt([]uint64{at(f.Entry.Offset)}, exits)}
	ways := []way{first, chosen}
	if f.Exit.Kind == trace.ExitReturn {
		ways = []way{{"empty program at entry, and uretprobe", emptyAt([]uint64{at(f.Entry.Offset)}, nil)}}
	}
	own := ours(filepath.Join(dir, "bench.db"))
	switch {
	case t.brief && t.function == "text":
		return append(ways, way{"observatory-trace: a text of 64 bytes, result, into SQLite", own}), nil
	case t.brief:
		return append(ways, way{"observatory-trace: a structure of 3 levels with 3 texts, result, into SQLite", own}), nil
	}
	return append(ways,
		way{"observatory-trace: statistics only", ours(filepath.Join(dir, "stats.db"), "--stats-only")},
		way{"observatory-trace: 3 arguments, result, into SQLite", own},
		way{"bpftrace: duration into a map, with a uretprobe", t.bpftrace()},
	), nil
}

// sites finds where this project would probe the function.
func (t *target) sites() (*trace.Function, func(uint64) (uint64, bool), error) {
	file, err := symbols.Open(t.path, symbols.Options{})
	if err != nil {
		return nil, nil, err
	}
	p, err := pattern.Compile(t.function)
	if err != nil {
		return nil, nil, err
	}
	found, err := file.Select(symbols.Selection{Include: []*pattern.Pattern{p}})
	if err != nil || len(found) != 1 {
		return nil, nil, fmt.Errorf("%d functions match %s: %w", len(found), t.function, err)
	}
	return found[0], file.FileOffset, nil
}

// emptyAt attaches a program that does nothing to entries and exits, or, without
// exits, as a uretprobe.
func emptyAt(entries, exits []uint64) func(*target) (func() error, error) {
	return func(t *target) (func() error, error) {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return nil, err
		}
		ex, err := link.OpenExecutable(t.path)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		enter, err := ex.UprobeMulti(nil, p, &link.UprobeMultiOptions{Addresses: entries})
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		attachExit, at := ex.UprobeMulti, exits
		if len(exits) == 0 {
			attachExit, at = ex.UretprobeMulti, entries
		}
		exit, err := attachExit(nil, p, &link.UprobeMultiOptions{Addresses: at})
		if err != nil {
			return nil, errors.Join(err, enter.Close(), p.Close())
		}
		return func() error { return errors.Join(enter.Close(), exit.Close(), p.Close()) }, nil
	}
}

// ours runs the built program on the target, and checks that not a call was lost.
func ours(db string, flags ...string) func(*target) (func() error, error) {
	return func(t *target) (func() error, error) {
		cmd := exec.Command("bin/observatory-trace", append([]string{
			"attach", "-p", fmt.Sprint(t.cmd.Process.Pid), "-s", t.function, "--db", db, "-o", "none",
			"--ring-buffer", "64MiB",
		}, flags...)...) // none of a burst may be lost on a machine whose other processor is busy, too
		stderr, err := cmd.StderrPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		said, err := await(stderr, "attached: 1 functions")
		if err != nil {
			return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
		return func() error {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				return err
			}
			rest, _ := io.ReadAll(said)
			want := fmt.Sprintf("ed %d calls", calls+calls/10) // recorded or counted
			if !strings.Contains(string(rest), want) {
				err = fmt.Errorf("not %q: %s", want, rest)
			}
			return errors.Join(err, cmd.Wait())
		}, nil
	}
}

// bpftrace times the function with bpftrace, in the way of its manual. That kills a Go
// program whose stack grows or is looked at while the function runs; Debian's bpftrace
// is built without probing anything but a function's first byte and its return.
func (t *target) bpftrace() func(*target) (func() error, error) {
	script := fmt.Sprintf(`uprobe:%[1]s:"%[2]s" { @start[tid] = nsecs; }
		uretprobe:%[1]s:"%[2]s" /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }`, t.path, t.function)
	return func(*target) (func() error, error) {
		cmd := exec.Command("bpftrace", "-e", script)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		said, err := await(stdout, "Attaching")
		if err != nil {
			return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait(), errors.New(stderr.String()))
		}
		// It says so before it does: wait until its probes slow the function down.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			c, err := t.call(1000)
			if err != nil {
				return nil, err
			}
			if c.cpu > 300 {
				break
			}
			if time.Now().After(deadline) {
				return nil, errors.Join(errors.New("bpftrace attached nothing: "+stderr.String()), cmd.Process.Kill(), cmd.Wait())
			}
		}
		return func() error {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				return err
			}
			// It does not always end when it is interrupted.
			kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
			_, _ = io.ReadAll(said)
			_ = cmd.Wait() // nothing is asked of it but its probes
			return nil
		}, nil
	}
}

// await reads lines until one has the text, and gives what follows it.
func await(r io.Reader, text string) (io.Reader, error) {
	b := bufio.NewReader(r)
	var seen strings.Builder
	for {
		line, err := b.ReadString('\n')
		if strings.Contains(line, text) {
			return b, nil
		}
		seen.WriteString(line)
		if err != nil {
			return nil, fmt.Errorf("it never said %q but %q: %w", text, seen.String(), err)
		}
	}
}
