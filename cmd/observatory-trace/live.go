package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// live shows a report on a terminal, and shows it anew every second, with the latest changes
// in how functions are traced below. What is written to it stands above the report. It is
// safe for concurrent use.
type live struct {
	out  *os.File
	view liveView

	mu     sync.Mutex
	lines  int      // that are on the screen, and taken from it
	report []string // the latest, as writeReport prints it
	steps  []string // the latest changes, the last one last
	told   int      // how many there were

	stop chan struct{}
	done chan struct{}
}

// liveView is what is shown.
type liveView struct {
	print  func(screen) error // the report
	status func() string      // the last line
	empty  bool               // also the report of nothing is shown, in the place of an earlier one
}

// startLive begins to show; the caller must close it. It is nil when out is no
// terminal.
func startLive(out io.Writer, view liveView) *live {
	if newScreen(out).width == 0 {
		return nil
	}
	l := &live{out: out.(*os.File), view: view, stop: make(chan struct{}), done: make(chan struct{})}
	_, _ = l.Write(nil) // the terminal may be gone: then so it is in a second
	go l.run()
	return l
}

func (l *live) run() {
	defer close(l.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.show()
		}
	}
}

// show reads the report and puts it in the place of the one before. A report
// that can't be read, for a busy database say, is tried again in a second.
func (l *live) show() {
	var report bytes.Buffer
	s := newScreen(l.out)
	s.w = &report
	if err := l.view.print(s); err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := strings.TrimSuffix(report.String(), "\n"); l.view.empty || text != noCalls {
		l.report = strings.Split(text, "\n")
	}
	fmt.Fprint(l.out, l.erased()+l.drawn())
}

// drawn is what is on the screen from now on. It is for those who hold mu.
func (l *live) drawn() string {
	s := newScreen(l.out)
	_, height, err := term.GetSize(int(l.out.Fd()))
	if err != nil || height < 4 {
		return ""
	}
	// The cursor stands in the last line.
	lines := layout(s, l.report, l.steps, l.told, height-2)
	lines = append(lines, s.paint(s.cut(l.view.status()), text.Faint))
	l.lines = len(lines)
	return strings.Join(lines, "\n") + "\n"
}

// layout fits a report, and the latest of told changes in how functions are traced, into a height: the table
// first, then its sum, then the changes, and what there is to know of the figures. Of the height at
// least a third is for what stands below the table, as far as that needs it.
func layout(s screen, report, steps []string, told, height int) []string {
	end := slices.Index(report, "") // between the table and what is below
	table, sum := report[:max(end, 0)], report[end+1:]
	var notes []string
	for i, line := range sum {
		if i > 0 && !strings.HasPrefix(line, wrapMargin) {
			sum, notes = sum[:i], sum[i:]
			break
		}
	}
	sum = sum[:min(len(sum), max(height/7, 1))]
	room := height - len(sum)
	wanted := len(notes)
	for _, step := range steps {
		wanted += len(wrapped(s, step))
	}
	if told > len(steps) {
		wanted++ // to say so
	}
	rest := min(wanted, max(room/3, room-len(table)))
	changes := latest(s, steps, told, max(rest-len(notes), (rest+1)/2))
	notes = fit(notes, rest-len(changes), "… %d more lines: see report")
	table = fit(table, room-len(changes)-len(notes), "… %d more functions")
	lines := slices.Clone(table)
	if len(lines) > 0 && len(lines)+1+len(sum)+len(changes)+len(notes) <= height {
		lines = append(lines, "")
	}
	lines = append(lines, sum...)
	for _, change := range changes {
		lines = append(lines, s.paint(change, text.Faint))
	}
	lines = append(lines, notes...)
	for i := range lines {
		lines[i] = s.cut(lines[i])
	}
	return lines[:min(len(lines), height)]
}

// latest gives the last of so many changes, as many as there is room for, and how many came before. Of the very last
// one as much is shown as there is room for.
func latest(s screen, steps []string, told, room int) (lines []string) {
	if room <= 0 {
		return nil
	}
	left := told
	for _, step := range slices.Backward(steps) {
		change := wrapped(s, step)
		switch {
		case len(lines) > 0 && len(lines)+len(change)+min(left-1, 1) > room:
			return before(left, lines, room)
		case len(change) > room:
			change = change[:room]
			change[room-1] += " …"
		}
		lines = append(change, lines...)
		left--
	}
	return before(left, lines, room)
}

// before puts above the latest changes how many came before, if there is room.
func before(n int, lines []string, room int) []string {
	if n == 0 || len(lines) >= room {
		return lines
	}
	return append([]string{fmt.Sprintf("… %s before: see the view gaps", plural(uint64(n), "change"))}, lines...)
}

// wrapped gives the lines that a text takes on the screen.
func wrapped(s screen, text string) []string { return strings.Split(s.wrap(text), "\n") }

// fit leaves out the last lines of more than there is room for, and says how many.
func fit(lines []string, height int, more string) []string {
	if len(lines) <= height {
		return lines
	}
	if height <= 0 {
		return nil
	}
	return append(slices.Clone(lines[:height-1]), fmt.Sprintf(more, len(lines)-height+1))
}

// erased is what takes the report from the screen. It is for those who hold mu.
func (l *live) erased() string {
	if l.lines == 0 {
		return ""
	}
	n := l.lines
	l.lines = 0
	return text.CursorUp.Sprintn(n) + "\r" + eraseBelow
}

// eraseBelow clears the screen from the cursor on (ECMA-48, ED).
const eraseBelow = "\x1b[J"

// Write puts lines of text above the report.
func (l *live) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.out, l.erased()+string(b)+l.drawn()); err != nil {
		return 0, fmt.Errorf("write to terminal: %w", err)
	}
	return len(b), nil
}

// stepsKept is how many changes are shown at most.
const stepsKept = 8

// step shows a change in how a function is traced, as long as there are not many later ones.
func (l *live) step(change string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told++
	l.steps = append(l.steps[max(0, len(l.steps)-stepsKept+1):], oneLine(change))
	fmt.Fprint(l.out, l.erased()+l.drawn())
}

// close ends the showing and takes the report from the screen.
func (l *live) close() {
	if l == nil {
		return
	}
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(l.out, l.erased())
}
