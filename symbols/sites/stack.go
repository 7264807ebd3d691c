package sites

// stackState is what is known when an instruction is about to be executed.
type stackState struct {
	// depth is how many bytes the stack pointer lies below where it was at entry.
	depth int32
	// frame is the same for the frame pointer.
	frame int32
	// strong: no call has to return for this to be so.
	strong bool
}

// Depths that aren't numbers. All are below any real one.
const (
	depthUnset   int32 = -1<<31 + iota // nothing leads here, as far as is known
	depthUnknown                       // different values lead here, or it was lost
	depthDeep                          // not known, but not zero
	depthMin
)

func known(d int32) bool { return d >= depthMin }

// nonZero reports that the stack pointer is certainly not where it was at entry.
func nonZero(d int32) bool { return d == depthDeep || known(d) && d != 0 }

// add moves a depth by n, which may come from hostile code: it saturates to unknown.
func add(d, n int32) int32 {
	if !known(d) {
		if d == depthDeep && n >= 0 {
			return d
		}
		return depthUnknown
	}
	if s := int64(d) + int64(n); s > -1<<30 && s < 1<<30 {
		return int32(s)
	}
	return depthUnknown
}

// after is the state behind an instruction that is reached in state s.
func (in *effect) after(s stackState) stackState {
	t := s
	switch in.sp {
	case spPush:
		t.depth = add(s.depth, in.delta)
	case spFrame:
		t.depth = depthUnknown
		if known(s.frame) {
			t.depth = add(s.frame, -in.delta)
		}
	case spDrop:
		t.depth = depthUnknown
		if s.depth == depthDeep || known(s.depth) && s.depth > 0 {
			t.depth = depthDeep
		}
	case spLost:
		t.depth = depthUnknown
	}
	switch in.fp {
	case fpSet:
		t.frame = depthUnknown
		if known(s.depth) {
			t.frame = add(s.depth, -in.delta)
		}
	case fpLost:
		t.frame = depthUnknown
	}
	return t
}

// join is what is known where two paths meet.
func join(a, b int32) int32 {
	switch {
	case a == b:
		return a
	case (a == depthDeep || known(a) && a > 0) && (b == depthDeep || known(b) && b > 0):
		return depthDeep
	}
	return depthUnknown
}

// trackStack computes the state before every instruction: forward from the
// entry, where the depth is zero; then, for what only jump tables and landing
// pads lead to, backward from the returns, where it is zero again; then from the
// jump tables.
func (f *function) trackStack() {
	for p := range f.pieces {
		insts := f.pieces[p].insts
		effects, state := make([]effect, len(insts)), make([]stackState, len(insts))
		for i := range insts {
			effects[i] = f.effect(place{int32(p), int32(i)})
			state[i] = stackState{depth: depthUnset, frame: depthUnset}
		}
		f.pieces[p].effects, f.pieces[p].state = effects, state
	}
	f.spread(place{}, stackState{depth: 0, frame: depthUnknown, strong: true})
	frame := f.frameDepth()
	// One round finds nearly everything; a bound keeps forged code from costing more.
	for round := 0; round < 8 && f.trackBackward(frame); round++ {
	}
	f.trackTables(frame)
}

// spread propagates a state from an instruction that has none. The way on from a
// call comes last: the call may not return, and what lies behind it may be
// reached otherwise, in another state.
func (f *function) spread(from place, s stackState) {
	*f.state(from) = s
	work, later := []place{from}, []place(nil)
	for {
		switch {
		case len(work) > 0:
			pl := work[len(work)-1]
			work = work[:len(work)-1]
			after := f.pieces[pl.p].effects[pl.i].after(*f.state(pl))
			f.successors(pl, func(next place, weak bool) {
				if weak {
					later = append(later, pl)
				} else if f.meet(next, after) {
					work = append(work, next)
				}
			})
		case len(later) > 0:
			pl := later[len(later)-1]
			later = later[:len(later)-1]
			next := place{pl.p, pl.i + 1}
			after := f.pieces[pl.p].effects[pl.i].after(*f.state(pl))
			after.strong = false
			if f.meet(next, after) {
				work = append(work, next)
			}
		default:
			return
		}
	}
}

func (f *function) state(pl place) *stackState { return &f.pieces[pl.p].state[pl.i] }

// meet joins s into the state of an instruction and reports whether that changed
// it. What rests on a call's return yields to what doesn't.
func (f *function) meet(pl place, s stackState) bool {
	have := f.state(pl)
	switch {
	case have.depth == depthUnset || s.strong && !have.strong:
		*have = s
		return true
	case have.strong && !s.strong:
		return false
	}
	joined := stackState{join(have.depth, s.depth), join(have.frame, s.frame), have.strong}
	if joined == *have {
		return false
	}
	*have = joined
	return true
}

// frameDepth is where the frame pointer points, when the function sets it up in
// only one way.
func (f *function) frameDepth() int32 {
	depth := depthUnset
	for p := range f.pieces {
		for i := range f.pieces[p].insts {
			in, s := &f.pieces[p].effects[i], f.pieces[p].state[i]
			if in.fp != fpSet || s.depth == depthUnset {
				continue
			}
			d := in.after(s).frame
			if depth != depthUnset && depth != d {
				return depthUnknown
			}
			depth = d
		}
	}
	if depth == depthUnset {
		return depthUnknown
	}
	return depth
}

// trackBackward finds the state of instructions that the entry doesn't lead to,
// and reports whether it found any.
func (f *function) trackBackward(frame int32) bool {
	found := false
	for p := len(f.pieces) - 1; p >= 0; p-- {
		for i := len(f.pieces[p].insts) - 1; i >= 0; i-- {
			pl := place{int32(p), int32(i)}
			if f.state(pl).depth != depthUnset {
				continue
			}
			if d := f.before(pl); known(d) {
				f.spread(pl, stackState{depth: d, frame: frame})
				found = true
			}
		}
	}
	return found
}

// trackTables gives what is still left the depth at which the computed jumps
// have the stack, if that is one: they lead there.
func (f *function) trackTables(frame int32) {
	depth := depthUnset
	for _, j := range f.jumps {
		d := f.state(j.at).depth
		if f.at(j.at).flow != flowJumpPtr || !known(d) || d == 0 {
			continue
		}
		if depth != depthUnset && depth != d {
			return
		}
		depth = d
	}
	if depth == depthUnset {
		return
	}
	for p := range f.pieces {
		for i := range f.pieces[p].insts {
			pl := place{int32(p), int32(i)}
			if f.state(pl).depth == depthUnset && !f.effect(pl).pad {
				f.spread(pl, stackState{depth: depth, frame: frame})
			}
		}
	}
}

// before is the depth at which an instruction must be reached, given what is
// known of those behind it.
func (f *function) before(pl place) int32 {
	if f.at(pl).flow == flowRet {
		return 0
	}
	in := f.effect(pl)
	if in.sp != spKeep && in.sp != spPush {
		return depthUnset
	}
	d := depthUnset
	f.successors(pl, func(next place, weak bool) {
		s := f.state(next).depth
		switch {
		case !known(s):
		case weak && f.at(next).is(markLabel): // the call may not return: others lead there
		case d == depthUnset:
			d = s
		case d != s:
			d = depthUnknown
		}
	})
	if !known(d) || in.sp == spKeep {
		return d
	}
	return add(d, -in.delta)
}
