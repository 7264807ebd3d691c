package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
)

// TestLayout holds that on a screen that is too low the table comes first, that the latest changes and what is to be known of
// the figures keep a share of it, and that what is left out is told.
func TestLayout(t *testing.T) {
	report := []string{"PROCESS", "a", "b", "c", "d", "", "4 functions", "missing: 1", "  of two lines", "marks"}
	steps := []string{"s3", "s4"}
	for _, c := range []struct {
		height, told int
		want         string
	}{
		{40, 0, "PROCESS|a|b|c|d||4 functions|missing: 1|  of two lines|marks"},
		{10, 0, "PROCESS|a|b|c|d||4 functions|missing: 1|  of two lines|marks"},
		{9, 0, "PROCESS|a|b|c|d|4 functions|missing: 1|  of two lines|marks"},
		{8, 0, "PROCESS|a|b|c|d|4 functions|missing: 1|… 2 more lines: see report"},
		{7, 0, "PROCESS|a|b|… 2 more functions|4 functions|missing: 1|… 2 more lines: see report"},
		{5, 0, "PROCESS|a|… 3 more functions|4 functions|… 3 more lines: see report"},
		{3, 0, "PROCESS|… 4 more functions|4 functions"},
		{40, 2, "PROCESS|a|b|c|d||4 functions|s3|s4|missing: 1|  of two lines|marks"},
		{40, 4, "PROCESS|a|b|c|d||4 functions|… 2 changes before: see the view gaps|s3|s4|missing: 1|  of two lines|marks"},
		{10, 4, "PROCESS|a|b|c|d|4 functions|… 3 changes before: see the view gaps|s4|missing: 1|… 2 more lines: see report"},
		{6, 4, "PROCESS|a|b|… 2 more functions|4 functions|s4"},
	} {
		changes := steps[:min(c.told, len(steps))]
		got := layout(screen{width: 80}, report, changes, c.told, c.height)
		if text := strings.Join(got, "|"); text != c.want || len(got) > c.height {
			t.Errorf("%d lines, %d changes:\n%s, want\n%s", c.height, c.told, text, c.want)
		}
	}
}

// TestLatest holds that of changes which are longer than the screen is wide the latest are shown whole, as many as there
// is room for, and of the very last one at least how it began, which is what was done to which function.
func TestLatest(t *testing.T) {
	steps := []string{
		"a: attached for 82ms of every 1s: the budget allows more",
		"main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of the targets' own CPU time, its own 1.1 %; the budget is 5 %",
	}
	for _, c := range []struct {
		width, room, told int
		want              string
	}{
		{80, 4, 2, "a: attached for 82ms of every 1s: the budget allows more|main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of|  the targets' own CPU time, its own 1.1 %; the budget is 5 %"},
		{80, 3, 2, "a: attached for 82ms of every 1s: the budget allows more|main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of|  the targets' own CPU time, its own 1.1 %; the budget is 5 %"},
		{80, 3, 5, "… 4 changes before: see the view gaps|main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of|  the targets' own CPU time, its own 1.1 %; the budget is 5 %"},
		{80, 2, 2, "main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of|  the targets' own CPU time, its own 1.1 %; the budget is 5 %"},
		{80, 1, 2, "main.query: detached but for 20ms in every 30s: all probes would take 6.2 % of …"},
		{80, 0, 2, ""},
		{75, 2, 2, "main.query: detached but for 20ms in every 30s: all probes would take|  6.2 % of the targets' own CPU time, its own 1.1 %; the budget is 5 %"},
		{40, 2, 2, "main.query: detached but for 20ms in|  every 30s: all probes would take 6.2 % …"},
		{40, 9, 2, "a: attached for 82ms of every 1s: the|  budget allows more|main.query: detached but for 20ms in|  every 30s: all probes would take 6.2 %|  of the targets' own CPU time, its own|  1.1 %; the budget is 5 %"},
	} {
		if got := strings.Join(latest(screen{width: c.width}, steps, c.told, c.room), "|"); got != c.want {
			t.Errorf("of %d changes, %d lines of %d columns:\n%s, want\n%s", c.told, c.room, c.width, got, c.want)
		}
	}
}

// TestLayoutFits holds that whatever there is to show fits the screen, and begins with the table's head.
func TestLayoutFits(t *testing.T) {
	long := strings.Repeat("words that don't end ", 20)
	for _, width := range []int{5, 10, 40, 80} {
		s := screen{width: width, color: true}
		for _, rows := range []int{0, 1, 7, 30} {
			report := []string{s.paint("PROCESS", text.Bold)}
			for range rows {
				report = append(report, long)
			}
			report = append(report, strings.Split(s.wrap("\n30 functions, "+long+"\nmissing: "+long+"\nmissing: 3"), "\n")...)
			for _, told := range []int{0, 1, stepsKept, stepsKept + 1, 100} {
				steps := slices.Repeat([]string{"f: " + long}, min(told, stepsKept))
				for height := 2; height < 40; height++ {
					lines := layout(s, report, steps, told, height)
					if len(lines) > height || height > 3 && !strings.Contains(lines[0], "PRO") {
						t.Fatalf("%d rows, %d changes on %d×%d:\n%s", rows, told, width, height, strings.Join(lines, "\n"))
					}
					for _, line := range lines {
						if w := text.StringWidthWithoutEscSequences(line); w > width {
							t.Fatalf("a line of %d on %d: %q", w, width, line)
						}
					}
				}
			}
		}
	}
}
