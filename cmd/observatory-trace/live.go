package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// live shows the report of a running recording on a terminal, and shows it anew
// every second. What is written to it stands above the report.
type live struct {
	out     *os.File
	db      string
	started time.Time

	mu    sync.Mutex
	lines int // of the report that is on the screen

	stop chan struct{}
	done chan struct{}
}

// startLive begins to show; the caller must close it. It is nil when out is no
// terminal.
func startLive(out io.Writer, db string, started time.Time) *live {
	if newScreen(out).width == 0 {
		return nil
	}
	l := &live{out: out.(*os.File), db: db, started: started, stop: make(chan struct{}), done: make(chan struct{})}
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
	s := newScreen(l.out)
	_, height, err := term.GetSize(int(l.out.Fd()))
	if err != nil || height < 4 {
		return
	}
	var report bytes.Buffer
	s.w = &report
	if err := reportSince(s, l.db, l.started); err != nil {
		return
	}
	lines := fit(strings.Split(strings.TrimSuffix(report.String(), "\n"), "\n"), height-2)
	for i := range lines {
		lines[i] = s.cut(lines[i])
	}
	lines = append(lines, s.paint(fmt.Sprintf("recording for %s; Ctrl-C stops", time.Since(l.started).Round(time.Second)), text.Faint))
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(l.out, l.erased()+strings.Join(lines, "\n")+"\n")
	l.lines = len(lines)
}

// fit leaves out lines of a report that is higher than the screen: the table's
// last ones, since what stands below it sums it up.
func fit(lines []string, height int) []string {
	over := len(lines) - height
	if over <= 0 {
		return lines
	}
	end := len(lines)
	for i, line := range lines {
		if line == "" { // between the table and what is below
			end = i
			break
		}
	}
	cut := max(end-over-1, 1)
	out := append([]string{}, lines[:cut]...)
	out = append(out, fmt.Sprintf("… %d more", end-cut))
	out = append(out, lines[end:]...)
	return out[:min(len(out), height)]
}

// erased is what takes the report from the screen.
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

// Write puts text above the report, which comes back with its next turn.
func (l *live) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.out, l.erased()); err != nil {
		return 0, fmt.Errorf("write to terminal: %w", err)
	}
	return l.out.Write(b)
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
