package main

import (
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	s := newShop(t)
	checkOutput(t, `
2026-07-09 01:02:03.001  main.pay  2.35ms
  *main.Declined: card declined�[31m
  call 2, pid 77, goroutine 9
  (order: "o-1", amount: 129.95)
    main.pay  /src/shop/pay.go:20
    main.handle  /src/shop/main.go:9
`[1:], "errors", "--db", s.path)
	checkOutput(t, "no errors were recorded\n", "errors", "--db", s.path, "--process", "*.handle")
	checkOutput(t, "[]\n", "errors", "--db", s.path, "--since", "1m", "-o", "json")
	checkFails(t, 2, "number of errors", "errors", "--db", s.path, "-n", "0")
	_, out, _ := observatory(t, "errors", "--db", s.path, "-o", "json")
	for _, want := range []string{`"id": 2,`, `"error_type": "*main.Declined"`, `"stack": "main.pay /src/shop/pay.go:20\nmain.handle`, `"order": "o-1"`} {
		if !strings.Contains(out, want) {
			t.Errorf("JSON has no %s:\n%s", want, out)
		}
	}
}
