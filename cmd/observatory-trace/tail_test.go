package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/trace"
)

const (
	payLine    = "01:02:03.001      77   2.35ms  ERR  2       main.pay(order: \"o-1\", amount: 129.95) ! *main.Declined: card declined�[31m\n"
	handleLine = "01:02:03.000      77   4.00ms  OK   1       main.handle(path: \"/pay\") = {\"code\":402,\"ok\":false}\n"
)

func TestTail(t *testing.T) {
	s := newShop(t)
	checkOutput(t, payLine+handleLine, "tail", "--db", s.path)
	checkOutput(t, handleLine, "tail", "--db", s.path, "-n", "1")
	checkOutput(t, payLine, "tail", "--db", s.path, "--status", "err")
	checkOutput(t, payLine, "tail", "--db", s.path, "--process", "{*.pay,x}")
	checkOutput(t, "", "tail", "--db", s.path, "--since", "1h") // they were made to look older
	checkOutput(t, "", "tail", "--db", s.path, "-n", "0")
	checkFails(t, 2, "OK, ERR, OPEN", "tail", "--db", s.path, "--status", "bad")
	checkFails(t, 2, "number of calls", "tail", "--db", s.path, "-n", "-1")
	_, out, _ := observatory(t, "tail", "--db", s.path, "-o", "json", "--status", "OK")
	if want := `{"id":1,"ts":"2026-07-09 01:02:03.000",`; !strings.HasPrefix(out, want) || strings.Count(out, "\n") != 1 {
		t.Errorf("JSON is %s, want a line that begins with %s", out, want)
	}
}

// TestTailFollows holds that a new call appears while it is being followed, and that the end is clean.
func TestTailFollows(t *testing.T) {
	s := newShop(t)
	db, err := query.Open(s.path)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		f := tailFlags{readFlags: readFlags{output: "table"}, count: 1, follow: true}
		err := f.tail(ctx, db, query.Filter{}, newCallPrinter(in, "table"))
		ended <- err
		in.CloseWithError(err)
	}()
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text()+"\n" != want {
			t.Fatalf("line %q, %v; want %q", lines.Text(), lines.Err(), want)
		}
	}
	next(handleLine)
	began := time.Date(2026, 7, 9, 4, 5, 6, 0, time.UTC).UnixNano()
	must(t, s.store.Write([]*trace.Call{{ID: 9, Func: s.pay, StartNS: began, DurationNS: 1500, Status: trace.StatusOpen, SampleRate: 1}}))
	next("04:05:06.000       0   1.50µs  OPEN 9       main.pay()\n")
	cancel()
	must(t, <-ended)
}

func TestTailSkips(t *testing.T) {
	var out strings.Builder
	must(t, newCallPrinter(&out, "table").skip(1234))
	must(t, newCallPrinter(&out, "json").skip(5))
	must(t, newCallPrinter(&out, "json").skip(0))
	if want := "… 1,234 more, too fast to show; narrow with --process or --status\n{\"skipped\":5}\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
