package types

import (
	"debug/dwarf"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// optimisedOut is the reason of values that the optimiser has removed or moved.
const optimisedOut = "optimised out"

// old says whether a value of the function was passed differently by some
// versions of Rust before 1.62, and its compiler is one of those.
func (fn *function) old(result *node) bool {
	between := func(n *node) bool {
		_, scalars := rustValue(n)
		return !scalars && n.t.Size <= 16
	}
	return fn.unit != nil && fn.unit.old && (result != nil && between(result) ||
		slices.ContainsFunc(fn.params, func(p *parameter) bool { return between(p.node) }))
}

// settle decides whether a result is where the convention has it. reason says
// why the convention may not hold, or is empty.
func (r *Reader) settle(fn *function, a *allocator, result *node, back placed, reason string) placed {
	switch {
	case back.reason != "":
	case back.reference && (reason != "" || fn.forgets()):
		switch address := a.conv.ints[0]; {
		case r.arch != AMD64 || !fn.spares(address):
			return placed{reason: "address not kept until the return"}
		case returnsAddress(fn.Code):
		case reason != "":
			return placed{reason: "address not kept until the return"}
		default:
			return savedResult(result, address)
		}
	case reason != "":
		return placed{reason: reason}
	}
	return back
}

// x8 is where ARM64 has the address of a result in memory (AAPCS64, section 6.9).
const x8 = 8

// savedResult is a result in memory whose address came in a register, which the
// function may not return: the probe at the entry keeps it.
func savedResult(n *node, reg uint8) placed {
	return placed{pieces: []piece{{size: n.t.Size, source: trace.SourceSaved, reg: reg}}}
}

// forgets says whether the function may not return the address of its result:
// LLVM spares local functions that, and in Rust nearly all are local.
func (fn *function) forgets() bool {
	u := fn.unit
	return u != nil && u.llvm && u.optimised && (fn.local() || fn.Language == trace.LangRust)
}

// spares says whether no parameter is described as coming in the register.
func (fn *function) spares(reg uint8) bool {
	for _, p := range fn.params {
		for _, c := range p.at {
			if c.reason == "" && c.source != trace.SourceCFA && c.reg == reg {
				return false
			}
		}
	}
	return true
}

// correct compares the computed places with the debug information's. Where an
// optimiser has changed the function's convention, or may have and doesn't
// tell, or where the convention itself isn't sure, only what is described is
// believed; the reason for that is returned.
func (r *Reader) correct(fn *function, places []placed, unsure bool) (reason string) {
	switch {
	case fn.doubtful():
		reason = "may have been optimised out"
	case unsure:
		reason = "passed differently by versions of Rust"
	}
	altered := fn.altered || isClone(fn.Symbol)
	for i, p := range fn.params {
		p.at, p.known = r.entryLocation(fn, p)
		if swapped(places[i], p) {
			p.at = places[i].pieces
		}
		if p.known == located && !agrees(places[i], p.at) {
			altered = true
		}
	}
	if altered {
		reason = "calling convention changed by the optimiser"
	}
	for i, p := range fn.params {
		switch {
		case reason != "" && p.known == located:
			places[i] = placed{pieces: p.at}
		case unsure && places[i].reason == "":
			places[i] = placed{reason: reason}
		case reason != "" && places[i].reason == "", fn.dropped(p, places[i]):
			places[i] = placed{reason: optimisedOut}
		case p.known >= computed && fn.unit != nil && fn.unit.llvm:
			places[i] = described(places[i], p.at)
		}
	}
	return reason
}

// swapped says whether a parameter is an integer of two registers of which the
// wrong one is described as the lower half: gcc does that when it splits them,
// and no optimiser has use for it.
func swapped(at placed, p *parameter) bool {
	if p.known != located || p.node.t.Size != 16 || p.node.t.Kind != trace.KindInt && p.node.t.Kind != trace.KindUint || len(at.pieces) != 2 || len(p.at) != 2 {
		return false
	}
	for i, d := range p.at {
		c := at.pieces[1-i]
		if d.reason != "" || c.reason != "" || d.source != trace.SourceRegister || c.source != trace.SourceRegister || d.off != 8*uint32(i) || d.size != 8 || c.reg != d.reg {
			return false
		}
	}
	return true
}

// doubtful says whether LLVM may have removed parameters, or the result, without
// a trace: it does so in local functions, and the mark is missing from methods,
// whose concrete entry leaves everything but the code to their declaration.
func (fn *function) doubtful() bool {
	u := fn.unit
	return u != nil && u.llvm && u.optimised && fn.local() && (!u.marks || fn.specified)
}

// local says whether the optimiser knew all of the function's callers.
func (fn *function) local() bool { return fn.Local || !fn.external }

// dropped says whether callers may pass anything at all: LLVM leaves a parameter
// that isn't used without a location, and its callers' registers as they are;
// what it knows to be constant in a local function isn't passed either.
func (fn *function) dropped(p *parameter, at placed) bool {
	if fn.unit == nil || !fn.unit.llvm || at.reason != "" {
		return false
	}
	if p.entry.Val(dwarf.AttrLocation) != nil && (p.known != computed || !fn.local()) {
		return false
	}
	for _, c := range at.pieces {
		if c.reason == "" && (c.source != trace.SourceCFA || c.size <= 8) {
			return true
		}
	}
	return false
}

// described leaves out the registers of which no part is described: LLVM's
// callers need not fill them.
func described(p placed, at []piece) placed {
	if p.reference || p.reason != "" || len(at) == 0 {
		return p
	}
	pieces := slices.Clone(p.pieces)
	for i, c := range pieces {
		if c.reason != "" || c.source != trace.SourceRegister {
			continue
		}
		if !slices.ContainsFunc(at, func(d piece) bool {
			return (d.reason == "" || d.uses&(1<<c.reg) != 0) && c.off < d.off+d.size && d.off < c.off+c.size
		}) {
			pieces[i].reason = optimisedOut
		}
	}
	return placed{pieces: pieces}
}

// isClone tells gcc's copies of functions with other parameters than the source's.
func isClone(symbol string) bool {
	return strings.Contains(symbol, ".constprop.") || strings.Contains(symbol, ".isra.")
}

// agrees says whether a described place is where the convention puts the value.
// Parts that are optimised out agree with anything.
func agrees(p placed, described []piece) bool {
	if p.reason != "" {
		return true
	}
	if p.reference {
		// Either the address's register or the memory that it leads to is described.
		return len(described) != 1 || described[0].reason != "" ||
			described[0].reg == p.pieces[0].reg && described[0].source != trace.SourceCFA ||
			p.pieces[0].source == trace.SourceCFA
	}
	for _, d := range described {
		if d.reason != "" {
			continue
		}
		for _, c := range p.pieces {
			if c.off < d.off+d.size && d.off < c.off+c.size && !same(c, d) {
				return false
			}
		}
	}
	return true
}

func same(c, d piece) bool {
	if c.reason != "" || c.source != d.source {
		return false
	}
	if c.source == trace.SourceCFA {
		return c.at-int32(c.off) == d.at-int32(d.off)
	}
	return c.reg == d.reg && c.at-int32(c.off) == d.at-int32(d.off)
}
