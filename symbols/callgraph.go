package symbols

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/sites"
	"github.com/observatory-trace/observatory-trace/trace"
)

// callGraph finds out through which functions an exception, a panic or a
// cancellation can unwind. It analyses what the functions that it is asked
// about can call, each once, and stops at the first call that it can't follow.
type callGraph struct {
	p     *planner
	plt   *stubs
	funcs map[uint64]sites.Result // analysed functions that aren't Go's, by address
	why   map[uint64]string       // what was met first that may unwind; empty: nothing so far
	safe  map[uint64]bool         // of sites.NeverUnwound
	nest  int
}

func newCallGraph(p *planner) *callGraph {
	return &callGraph{p: p, funcs: map[uint64]sites.Result{}, why: map[uint64]string{}}
}

// maxCallDepth bounds the recursion over calls.
const maxCallDepth = 4096

// add takes note of a function that was analysed.
func (g *callGraph) add(addr uint64, result sites.Result) { g.funcs[addr] = result }

// settle decides about all functions that were added and explored.
func (g *callGraph) settle() { g.safe = sites.NeverUnwound(g.funcs, g.external) }

// obstacle explores what a function that was added can call, and says what it
// met first that may unwind through it; empty when there was nothing.
func (g *callGraph) obstacle(addr uint64) string {
	if why, ok := g.why[addr]; ok {
		return why
	}
	g.why[addr] = "" // until found otherwise; settle corrects who relied on it
	g.nest++
	defer func() { g.nest-- }()
	g.why[addr] = g.explore(g.funcs[addr])
	return g.why[addr]
}

func (g *callGraph) explore(result sites.Result) string {
	if result.UnknownCalls {
		return "it can call what is not known, which may unwind through it"
	}
	if g.nest > maxCallDepth {
		return "its calls are nested too deeply to be followed"
	}
	for _, to := range result.Calls {
		if why := g.callee(to); why != "" {
			return why
		}
	}
	return ""
}

// callee explores the function that a call leads to.
func (g *callGraph) callee(addr uint64) string {
	if _, ok := g.funcs[addr]; ok {
		return g.obstacle(addr)
	}
	t := g.p.t
	i := t.find(addr)
	if i < 0 || t.syms[t.entries[i].first].flags&symIFunc != 0 {
		switch name := g.external(addr); {
		case name == "":
			return "it calls code without a symbol, which may unwind through it"
		case sites.HarmlessCallee(name):
			return ""
		default:
			return "it calls " + strings.Clone(demangled(name)) + " of another file, which may unwind through it"
		}
	}
	e := t.entries[i]
	b := g.p.body(e)
	name := strings.Clone(t.display(e))
	if b.lang == trace.LangGo {
		return "it calls Go code, " + name
	}
	err := t.precheck(e, b.size)
	if err == nil {
		var result sites.Result
		if result, err = g.p.analyze(b, 0); err == nil {
			g.add(addr, result)
			return g.obstacle(addr)
		}
	}
	return "it calls " + name + ", which can't be followed (" + reasonOf(err) + ")"
}

// external names the function of another file that a stub of the linkage table leads to.
func (g *callGraph) external(addr uint64) string {
	if g.plt == nil {
		g.plt = readStubs(g.p.f, g.p.t)
	}
	return g.plt.name(addr)
}

// unwound says why something can unwind through a function; empty when nothing
// can. Everything has been settled.
func (g *callGraph) unwound(addr uint64) string {
	switch {
	case g.safe[addr]:
		return ""
	case g.why[addr] != "":
		return g.why[addr]
	case g.funcs[addr].ReadsReturn:
		return "it reads its return address, which a uretprobe replaces"
	default:
		return "it is recursive, or calls what may unwind through it"
	}
}
