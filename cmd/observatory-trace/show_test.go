package main

import (
	"encoding/json"
	"regexp"
	"testing"
)

var traceLine = regexp.MustCompile(`  trace      [0-9a-f]{32}, span [0-9a-f]{16}\n`)

func TestShow(t *testing.T) {
	s := newShop(t)
	for id, want := range map[string]string{
		"1": `
main.handle  OK  4.00ms
  call       1
  started    2026-07-09 01:02:03.000 UTC
  declared   /src/shop/main.go:5
  process    77 /app/shop, goroutine 9
  resources  CPU 1.00ms, 1 minor fault
  tracing    about 1.50µs of the duration

arguments
  {
    "path": "/pay"
  }

result
  {
    "code": 402,
    "ok": false
  }

calls
    4.00ms  OK    1         main.handle
    2.35ms  ERR   2         └─ main.pay  *main.Declined: card declined�[31m
`,
		"2": `
main.pay  ERR  2.35ms
  call       2
  started    2026-07-09 01:02:03.001 UTC
  declared   /src/shop/pay.go:12
  process    77 /app/shop, goroutine 9
  group      payments

arguments
  {
    "order": "o-1",
    "amount": 129.95
  }

error
  *main.Declined: card declined�[31m
    main.pay  /src/shop/pay.go:20
    main.handle  /src/shop/main.go:9

calls
    4.00ms  OK    1         main.handle
    2.35ms  ERR   2         └─ main.pay  *main.Declined: card declined�[31m
`,
	} {
		code, out, diagnostics := observatory(t, "show", "--db", s.path, id)
		if !traceLine.MatchString(out) {
			t.Errorf("no trace ids in\n%s", out)
		}
		if out = traceLine.ReplaceAllString(out, ""); code != 0 || out != want[1:] {
			t.Errorf("show %s: exit %d %s, prints\n%s\nwant\n%s", id, code, diagnostics, out, want[1:])
		}
	}
}

func TestShowJSON(t *testing.T) {
	s := newShop(t)
	_, out, _ := observatory(t, "show", "--db", s.path, "1", "-o", "json")
	var shown struct {
		ID      int
		Args    map[string]string
		Callers []any
		Callees []struct {
			ID      int
			Callees []any
		}
		Cut bool
	}
	must(t, json.Unmarshal([]byte(out), &shown))
	if shown.ID != 1 || shown.Args["path"] != "/pay" || shown.Callers == nil || len(shown.Callees) != 1 || shown.Callees[0].ID != 2 || shown.Callees[0].Callees == nil || shown.Cut {
		t.Errorf("%+v of\n%s", shown, out)
	}
}

func TestShowFails(t *testing.T) {
	s := newShop(t)
	checkFails(t, 3, "no such call: 99", "show", "--db", s.path, "99")
	checkFails(t, 2, "not the id of a call", "show", "--db", s.path, "main.pay")
	checkFails(t, 2, "not the id of a call", "show", "--db", s.path, "18446744073709551615")
	checkFails(t, 2, "got 0 arguments", "show", "--db", s.path)
	checkFails(t, 2, "--limit", "show", "--db", s.path, "1", "--limit", "-1")
}
