package sites

import (
	"fmt"
	"slices"
)

// findExits lists every way out of the function, or says why it can't be probed.
func (f *function) findExits(r *Result) {
	r.Exits, r.ExitReason = f.exits()
	switch {
	case r.ExitReason != "":
		r.Exits = nil
	case len(r.Exits) == 0:
		r.NoReturn = true
	}
}

func (f *function) exits() ([]ExitSite, string) {
	var exits []ExitSite
	for _, pl := range f.returns {
		e, reason := f.exit(pl, "return")
		if reason != "" {
			return nil, reason
		}
		exits = append(exits, e)
	}
	for _, j := range f.jumps {
		switch j.kind {
		case jumpTable, jumpNever:
			continue
		case jumpAmbiguous:
			return nil, fmt.Sprintf("the jump at +%#x may go to another function or to a part of this one", f.offset(j.at))
		}
		e, reason := f.tailExit(j.at)
		if reason != "" {
			return nil, reason
		}
		exits = append(exits, e)
	}
	slices.SortFunc(exits, func(a, b ExitSite) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	return exits, ""
}

// exit makes an exit site of an instruction, if the kernel can probe it and the
// stack is there what it was at entry.
func (f *function) exit(pl place, what string) (ExitSite, string) {
	site := f.effect(pl).site
	if site == siteRefused {
		return ExitSite{}, fmt.Sprintf("the kernel can't probe the %s at +%#x", what, f.offset(pl))
	}
	if f.pieces[pl.p].state != nil && nonZero(f.state(pl).depth) {
		return ExitSite{}, fmt.Sprintf("the %s at +%#x leaves with the stack pointer moved: a part of the function may be missing", what, f.offset(pl))
	}
	return ExitSite{
		Site: Site{Offset: f.offset(pl), Kind: site.kind()},
		Cond: Always,
	}, ""
}

func (f *function) tailExit(pl place) (ExitSite, string) {
	in := f.at(pl)
	e, reason := f.exit(pl, "tail jump")
	switch {
	case reason != "":
	case in.cond == condRegister:
		reason = fmt.Sprintf("the tail jump at +%#x depends on a register", e.Offset)
	case f.state(pl).depth != 0 && f.in.Asm:
		reason = fmt.Sprintf("the stack at the tail jump at +%#x isn't known", e.Offset)
	}
	e.Tail, e.Cond, e.Target = true, in.cond, in.target
	return e, reason
}

// collectFacts fills in what deciding on a uretprobe needs.
func (f *function) collectFacts(r *Result) {
	if f.in.Go {
		return
	}
	for p := range f.pieces {
		for i := range f.pieces[p].insts {
			pl := place{int32(p), int32(i)}
			in, e := f.at(pl), f.effect(pl)
			switch {
			case in.flow == flowCall && in.target != f.pieces[p].addr+uint64(in.end()):
				r.Calls = append(r.Calls, in.target)
			case in.flow == flowCallPtr, e.syscall, e.sp == spLost:
				r.UnknownCalls = true
			}
			if in.flow == flowRet && nonZero(f.state(pl).depth) {
				r.UnknownCalls = true
			}
			if f.readsReturn(pl) {
				r.ReadsReturn = true
			}
		}
	}
	for _, j := range f.jumps {
		in := f.at(j.at)
		switch {
		case j.kind == jumpTable, j.kind == jumpNever:
		case nonZero(f.state(j.at).depth):
			r.UnknownCalls = true
		case in.flow != flowJumpPtr:
			r.Calls = append(r.Calls, in.target)
		default:
			r.UnknownCalls = true
		}
	}
	slices.Sort(r.Calls)
	r.Calls = slices.Compact(r.Calls)
}

// readsReturn reports whether a memory operand is the return address's slot, or
// (arm64) the register that holds it is copied.
func (f *function) readsReturn(pl place) bool {
	in, s := f.effect(pl), f.state(pl)
	switch {
	case in.base == slotReturn:
		return true
	case f.in.Arch == ARM64:
		return false
	case in.base == slotSP && known(s.depth):
		return in.slot == s.depth
	case in.base == slotFP && known(s.frame):
		return in.slot == s.frame
	}
	return false
}
