package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// dlvProgram is built by make.
const dlvProgram = "bin/tools/dlv-v1.27.2"

const (
	uretprobeNote = "With a uretprobe, which kills a Go program when its stack grows or is looked at while the function runs: the target ran with GOGC=off."
	notC          = "dlv traces Go only."
	notGo         = "uftrace traces programs that are compiled with -pg or -fpatchable-function-entry, which Go's compiler doesn't do."
)

// peers are the other tools, each doing what it does that is nearest to counting calls, or to recording them.
func (l *lab) peers(w *load) []*way {
	ways := []*way{
		l.bpftraceTimes(w.pattern), l.funclatency(w.pattern), l.perfStat(w), l.bpftracePrints(w.pattern), l.perfRecord(w), l.uftrace(w), l.dlv(w),
	}
	for _, way := range ways {
		way.peer = true
	}
	if w.language == trace.LangGo {
		for _, way := range ways[:5] {
			way.notes = append([]string{uretprobeNote}, way.notes...)
		}
	}
	return ways
}

// bpftrace runs a script on the running target, whose calls are counted in what it prints.
func (l *lab) bpftrace(name, script string, counted func(stdout string) int64) *way {
	w := &way{name: name, peer: true, command: "bpftrace -p PID -e '" + strings.ReplaceAll(script, "PATH", "PROGRAM") + "'"}
	w.begin = func(r *running) (*tracer, error) {
		words := []string{"bpftrace", "-e", strings.ReplaceAll(script, "PATH", r.path)}
		if len(r.processes) == 1 {
			words = append(words, "-p", fmt.Sprint(r.pid()))
		}
		return l.attachTool(r, words, func(t *tool) (int64, error) {
			return counted(t.stdout.String()), nil
		})
	}
	return w
}

func (l *lab) bpftraceTimes(pattern string) *way {
	return l.bpftrace("bpftrace, durations into a histogram", fmt.Sprintf(
		`uprobe:PATH:"%[1]s" { @start[tid] = nsecs; } uretprobe:PATH:"%[1]s" /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }`, pattern),
		func(stdout string) int64 { return sumOf(histogramLine, stdout) })
}

func (l *lab) bpftracePrints(pattern string) *way {
	w := l.bpftrace("bpftrace, arguments, result and duration printed", fmt.Sprintf(
		`uprobe:PATH:"%[1]s" { @t[tid] = nsecs; @a[tid] = arg0; @b[tid] = arg1; @c[tid] = arg2; } `+
			`uretprobe:PATH:"%[1]s" /@t[tid]/ { printf("call %%d %%d %%d %%d %%d %%d\n", tid, @a[tid], @b[tid], @c[tid], retval, nsecs - @t[tid]); `+
			`delete(@t[tid]); delete(@a[tid]); delete(@b[tid]); delete(@c[tid]); }`, pattern),
		func(stdout string) int64 { return int64(strings.Count(stdout, "\ncall ")) })
	w.notes = append(w.notes, "With BPFTRACE_PERF_RB_PAGES=4096, so that less is lost.")
	return w
}

// histogramLine is one of bpftrace's or funclatency's histograms.
var histogramLine = regexp.MustCompile(`(?m)^[\[\s].*?[)\]:]\s*:?\s+(\d+)\s+\|`)

// sumOf adds up what the expression's group matches.
func sumOf(line *regexp.Regexp, text string) (sum int64) {
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		sum += n
	}
	return sum
}

func (l *lab) funclatency(pattern string) *way {
	w := &way{name: "funclatency (libbpf-tools), durations into a histogram", command: "funclatency -u -p PID :" + pattern}
	w.begin = func(r *running) (*tracer, error) {
		return l.attachTool(r, []string{"funclatency", "-u", "-p", fmt.Sprint(r.pid()), ":" + pattern}, func(t *tool) (int64, error) {
			return sumOf(histogramLine, t.stdout.String()), nil
		})
	}
	return w
}

// attachTool starts a tool that probes the running target, and has it counted afterwards what it saw.
func (l *lab) attachTool(r *running, words []string, counted func(*tool) (int64, error)) (*tracer, error) {
	sites, err := r.sites()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	t, err := l.startTool(words...)
	if err != nil {
		return nil, err
	}
	if err := r.awaitProbes(sites, t.gone); err != nil {
		return nil, errors.Join(err, errors.New(t.said()), t.interrupt(time.Second))
	}
	attached := time.Since(start)
	time.Sleep(300 * time.Millisecond) // the probe of the return may yet be to come
	used := func() time.Duration { return t.cmd.ProcessState.UserTime() + t.cmd.ProcessState.SystemTime() }
	return &tracer{pid: t.cmd.Process.Pid, attached: attached, used: used, end: func() (int64, error) {
		// bpftrace doesn't always heed the first signal, and detaching perf events takes 0.1 s each.
		if err := t.insist(3 * time.Minute); err != nil {
			return 0, err
		}
		return counted(t)
	}}, nil
}

// withTracefs puts words before a command so that it finds tracefs, which is mounted, for it alone, where it isn't.
func withTracefs(words ...string) []string {
	if _, err := os.Stat("/sys/kernel/tracing/uprobe_events"); err == nil {
		return words
	}
	return append([]string{"unshare", "--mount", "sh", "-c", `mount -t tracefs tracefs /sys/kernel/tracing && exec "$@"`, "sh"}, words...)
}

// perf probes entry and return, and has perf do something with the events.
func (l *lab) perf(name string, w *load, words []string, counted func(*tool) (int64, error)) *way {
	group := fmt.Sprintf("bench%d", os.Getpid())
	entry, exit := w.pattern+" a b c", w.pattern+"%return $retval"
	if w.language == trace.LangGo { // perf doesn't know Go's registers
		entry = w.pattern + " a=%ax b=%bx c=%cx"
	}
	e, x := group+":entry="+entry, group+":leave="+exit
	way := &way{name: name, command: fmt.Sprintf("perf probe -x PROGRAM '%s'; perf probe -x PROGRAM '%s'; %s -p PID", entry, exit, strings.Join(words, " "))}
	way.command = strings.ReplaceAll(strings.ReplaceAll(way.command, l.dir, "DIR"), group, "GROUP")
	way.begin = func(r *running) (*tracer, error) {
		forget := func() error {
			words := withTracefs("perf", "probe", "-q", "-d", group+":*")
			return exec.Command(words[0], words[1:]...).Run() // also when the measurement is broken off
		}
		for _, event := range []string{e, x} {
			words := withTracefs("perf", "probe", "-q", "-x", r.path, event)
			if err := l.command(words[0], words[1:]...); err != nil {
				return nil, err
			}
		}
		t, err := l.attachTool(r, withTracefs(append(slices.Clone(words), "-p", fmt.Sprint(r.pid()))...), counted)
		if err != nil {
			return nil, errors.Join(err, forget())
		}
		end := t.end
		t.end = func() (int64, error) {
			n, err := end()
			return n, errors.Join(err, forget())
		}
		t.late = true
		return t, nil
	}
	return way
}

func (l *lab) perfStat(w *load) *way {
	file := filepath.Join(l.dir, "perf.stat")
	return l.perf("perf stat, entries and returns counted", w, []string{"perf", "stat", "-x,", "-o", file, "-e", fmt.Sprintf("bench%d:*", os.Getpid())},
		func(*tool) (int64, error) {
			raw, err := os.ReadFile(file)
			if err != nil {
				return 0, err
			}
			return sumOf(regexp.MustCompile(`(?m)^(\d+),,bench\d+:leave`), string(raw)), nil
		})
}

func (l *lab) perfRecord(w *load) *way {
	file := filepath.Join(l.dir, "perf.data")
	way := l.perf("perf record, arguments and results into a file", w, []string{"perf", "record", "-q", "-m", "64M", "-o", file, "-e", fmt.Sprintf("bench%d:*", os.Getpid())},
		func(*tool) (int64, error) {
			// Counted while it is read: it would be too long to be kept.
			cmd := exec.CommandContext(l.ctx, "perf", "script", "-i", file, "-F", "event")
			out, err := cmd.StdoutPipe()
			if err != nil {
				return 0, err
			}
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			n := int64(0)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if strings.Contains(lines.Text(), ":leave") {
					n++
				}
			}
			return n, cmd.Wait()
		})
	return way
}

// uftrace starts the target itself, which has to be compiled for it.
func (l *lab) uftrace(w *load) *way {
	const name = "uftrace record, arguments and results into files"
	if w.language != trace.LangC {
		return &way{name: name, unable: true, notes: []string{notGo}}
	}
	data := filepath.Join(l.dir, "uftrace")
	way := &way{
		name: name, path: w.path + "-pg", command: "gcc -pg …; uftrace record -a -F FUNCTION --no-libcall -d DIR PROGRAM",
		wrap:  []string{"uftrace", "record", "-a", "-F", w.pattern, "--no-libcall", "--no-event", "-d", data},
		notes: []string{"The program has to be compiled with -pg (or -fpatchable-function-entry) and started by it; its hook is called, and nothing traps. It attaches to nothing that runs."},
		fatal: true,
	}
	way.begin = func(r *running) (*tracer, error) {
		return &tracer{pid: r.pid(), end: func() (int64, error) {
			err := r.stop()
			out, reportErr := exec.CommandContext(l.ctx, "uftrace", "report", "--no-pager", "-d", data, "-f", "call").Output()
			return sumOf(regexp.MustCompile(`(?m)^\s*(\d+)\s+`+regexp.QuoteMeta(w.pattern)+`$`), string(out)), errors.Join(err, reportErr)
		}}, nil
	}
	return way
}

func (l *lab) dlv(w *load) *way {
	const name = "dlv trace, arguments and results printed"
	if w.language != trace.LangGo {
		return &way{name: name, unable: true, notes: []string{notC}}
	}
	expression := "^" + regexp.QuoteMeta(w.pattern) + "$"
	way := &way{
		name: name, command: "dlv trace -p PID '" + expression + "'", calls: 200, fatal: true,
		notes: []string{"Of 200 calls only. It stops the process at every call, with ptrace, so that its elapsed time is what counts; the process dies with it."},
	}
	way.begin = func(r *running) (*tracer, error) {
		t, err := l.attachTool(r, []string{dlvProgram, "trace", "-p", fmt.Sprint(r.pid()), expression}, func(t *tool) (int64, error) {
			return int64(strings.Count(t.stderr.String(), "main.add3 =>")), nil
		})
		if err != nil {
			return nil, err
		}
		end := t.end
		t.end = func() (int64, error) {
			// It lets go only of a process that ends.
			if err := r.processes[0].in.Close(); err != nil {
				return 0, err
			}
			return end()
		}
		return t, nil
	}
	return way
}
