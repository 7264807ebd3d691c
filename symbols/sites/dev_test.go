package sites

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
)

func TestDev(t *testing.T) {
	for _, spec := range strings.Fields(os.Getenv("BINS")) {
		isGo := strings.HasPrefix(spec, "go:")
		b := openBinary(t, strings.TrimPrefix(spec, "go:"))
		var ms func(uint64) bool
		if isGo {
			ms = b.morestack()
		}
		kinds := map[string]int{}
		refused := map[string]int{}
		ex := map[string]int{}
		examples := map[string]string{}
		reasons := map[string]int{}
		self, first := 0, 0
		start := time.Now()
		for _, s := range b.funcs {
			in := b.input(s, isGo, ms)
			r, err := Analyze(in)
			if err != nil {
				k := generic(err.Error())
				refused[k]++
				examples[k] = s.name
				continue
			}
			kinds[fmt.Sprint(r.Entry.Kind)]++
			if r.Entry.Offset == 0 { first++ }
			k := generic(r.EntryReason)
			reasons[k]++
			if r.ExitReason != "" {
				k := generic(r.ExitReason)
				ex[k]++
				examples[k] = s.name
			}

		}
		fmt.Printf("== %s: %d funcs in %v; kinds %v first %d self %d %s\n", b.path, len(b.funcs), time.Since(start), kinds, first, self, examples["self"])
		show := func(what string, m map[string]int) {
			var ks []string
			for k := range m { ks = append(ks, k) }
			sort.Slice(ks, func(i, j int) bool { return m[ks[i]] > m[ks[j]] })
			for i, k := range ks { if i < 22 && os.Getenv("Q") == "" || len(examples[k]) > 0 && i < 10 { fmt.Printf("  %s %6d %s [%s]\n", what, m[k], k, examples[k]) } }
		}
		show("refused", refused); show("exit", ex); show("entry", reasons)
	}
}

func generic(s string) string {
	f := strings.Fields(s)
	for i := range f { if strings.HasPrefix(f[i], "+0x") || strings.HasPrefix(f[i], "+-") { f[i] = "+N" } }
	return strings.Join(f, " ")
}
