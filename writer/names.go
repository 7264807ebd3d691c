package writer

import (
	"fmt"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// names gives functions, processes and threads their rows, which calls refer
// to by number. It remembers the numbers that it was asked for lately.
type names struct {
	functions map[*trace.Function]int64
	targets   map[*trace.Process]int64
	threads   map[threadKey]threadName
	base      int64 // the number of the next call before they were looked up; 0: not known
}

type threadKey struct {
	process *trace.Process
	tid     int
}

// threadName is the row of a thread under the name that it had last.
type threadName struct {
	name string
	id   int64
}

// maxNames bounds each memory: a target may start a thread for every request.
const maxNames = 1 << 16

// forget drops all that is remembered; the rows are found again by their content.
func (n *names) forget() { *n = names{} }

func (n *names) function(d *database, f *trace.Function) (int64, error) {
	if id, ok := n.functions[f]; ok {
		return id, nil
	}
	id, err := d.integer(`INSERT INTO function (name, process_group, raw_name, language, module, address, file, line, seen)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET language = excluded.language, file = excluded.file, line = excluded.line,
			seen = max(seen, excluded.seen) RETURNING id`,
		f.Name, f.Group, f.RawName, f.Language.String(), f.Module, int64(f.Address), f.File, int64(f.Line), n.base)
	if err != nil {
		return 0, fmt.Errorf("name function %s: %w", f.Name, err)
	}
	remember(&n.functions, f, id)
	return id, nil
}

// thread gives the number of the call's thread; its process must be known.
func (n *names) thread(d *database, c *trace.Call) (int64, error) {
	key := threadKey{c.Process, c.TID}
	if t, ok := n.threads[key]; ok && t.name == c.Thread {
		return t.id, nil
	}
	target, err := n.target(d, c.Process)
	if err != nil {
		return 0, err
	}
	id, err := d.integer(`INSERT INTO thread (target_id, tid, name, seen) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING id`, target, int64(c.TID), c.Thread, n.base)
	if err != nil {
		return 0, fmt.Errorf("name thread %d: %w", c.TID, err)
	}
	remember(&n.threads, key, threadName{c.Thread, id})
	return id, nil
}

func (n *names) target(d *database, p *trace.Process) (int64, error) {
	if id, ok := n.targets[p]; ok {
		return id, nil
	}
	id, err := d.integer(`INSERT INTO target (session_id, pid, started, exe, comm, container, pod, namespace)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET comm = excluded.comm RETURNING id`,
		d.session, int64(p.PID), d.clock.text(p.StartNS), p.Exe, p.Comm, p.Container, p.Pod, p.Namespace)
	if err != nil {
		return 0, fmt.Errorf("name process %d: %w", p.PID, err)
	}
	remember(&n.targets, p, id)
	return id, nil
}

func remember[K comparable, V any](memory *map[K]V, key K, value V) {
	if *memory == nil || len(*memory) >= maxNames {
		*memory = make(map[K]V)
	}
	(*memory)[key] = value
}

// clock writes times as the database has them, "2006-01-02 15:04:05.000" in
// UTC: in this form they compare with SQLite's datetime('now', …) as text. It
// remembers the second and the millisecond last written.
type clock struct {
	second, millisecond int64
	prefix, last        string
}

func (c *clock) text(ns int64) string {
	ms := milliseconds(ns)
	if ms == c.millisecond && c.last != "" {
		return c.last
	}
	m := (ms%1000 + 1000) % 1000
	if s := (ms - m) / 1000; s != c.second || c.prefix == "" {
		c.second, c.prefix = s, time.Unix(s, 0).UTC().Format("2006-01-02 15:04:05.")
	}
	c.millisecond, c.last = ms, c.prefix+string([]byte{byte('0' + m/100), byte('0' + m/10%10), byte('0' + m%10)})
	return c.last
}

// milliseconds gives the whole milliseconds since 1970 at a time in ns.
func milliseconds(ns int64) int64 {
	if ns < 0 {
		return (ns+1)/1e6 - 1
	}
	return ns / 1e6
}
