package sites

// function is one function on its way through Analyze.
type function struct {
	in     *Input
	pieces []piece // Input.Body, then Input.Parts
	// toEntry are the branches that lead to the first byte.
	toEntry []place
	// lowest is the lowest offset behind the first byte that a branch of any
	// piece leads to in the body, or its size.
	lowest int32
	// morestack are the jumps of toEntry that retry after a stack growth.
	morestack map[place]bool
	jumps     []jump // indirect jumps, and direct ones out of all pieces
	returns   []place
	branches  []edge // all direct branches by target, once needed
}

// piece is one decoded Range.
type piece struct {
	addr    uint64
	code    []byte
	insts   []inst
	effects []effect     // beside insts, once the stack is tracked
	state   []stackState // beside insts, once the stack is tracked
	seen    []bool       // beside insts: reached from the entry
}

// place is an instruction: piece and index.
type place struct{ p, i int32 }

func (f *function) at(pl place) *inst { return &f.pieces[pl.p].insts[pl.i] }

// effect is what the instruction does.
func (f *function) effect(pl place) effect {
	p := &f.pieces[pl.p]
	if p.effects != nil {
		return p.effects[pl.i]
	}
	in := &p.insts[pl.i]
	if f.in.Arch == ARM64 {
		if in.is(markData) {
			return effect{site: siteRefused, pad: true}
		}
		e, _ := arm64Inst(leWord(p.code[in.off:]), p.addr+uint64(in.off), f.in.Go)
		return e.effect
	}
	return amd64Effect(p.code[in.off:in.end()], *in, f.in.Go)
}

// offset is the instruction's distance from the entry.
func (f *function) offset(pl place) int64 {
	p := &f.pieces[pl.p]
	return int64(p.addr + uint64(p.insts[pl.i].off) - f.in.Body.Addr)
}

// find gives the instruction at addr. inside tells whether addr is in any
// piece, ok whether an instruction starts there.
func (f *function) find(addr uint64) (pl place, inside, ok bool) {
	for p := range f.pieces {
		piece := &f.pieces[p]
		if off := addr - piece.addr; off < uint64(len(piece.code)) {
			i, ok := piece.search(int32(off))
			return place{int32(p), i}, true, ok
		}
	}
	return place{}, false, false
}

// search gives the index of the instruction at off, which lies in the piece.
func (p *piece) search(off int32) (i int32, ok bool) {
	insts := p.insts
	// Instructions are much of a size: a guess by proportion is mostly close.
	i = int32(uint64(off) * uint64(len(insts)) / uint64(len(p.code)))
	low, high := int32(0), int32(len(insts))
	for width := int32(8); low < high; width *= 2 {
		if insts[i].off < off {
			low = i + 1
			i = min(i+width, (low+high)/2)
		} else {
			high = i
			i = max(i-width, (low+high)/2)
		}
	}
	return low, int(low) < len(insts) && insts[low].off == off
}

// sweep decodes every piece from its first byte to its exact end.
func (f *function) sweep() error {
	ranges := append([]Range{f.in.Body}, f.in.Parts...)
	total := 0
	for i, r := range ranges {
		if len(r.Code) == 0 {
			return refuse("no code")
		}
		if total += len(r.Code); total > MaxCode || len(r.Code) > MaxCode {
			return refuse("larger than %d bytes", MaxCode)
		}
		if r.Addr+uint64(len(r.Code)) < r.Addr {
			return refuse("lies beyond the end of memory")
		}
		for _, o := range ranges[:i] {
			if r.Addr-o.Addr < uint64(len(o.Code)) || o.Addr-r.Addr < uint64(len(r.Code)) {
				return refuse("its pieces overlap")
			}
		}
	}
	f.pieces = make([]piece, len(ranges))
	for i, r := range ranges {
		p := &f.pieces[i]
		p.addr, p.code = r.Addr, r.Code
		if err := f.decode(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *function) decode(p *piece) error {
	if f.in.Arch == ARM64 {
		return f.decodeARM64(p)
	}
	p.insts = make([]inst, 0, len(p.code)/3+1)
	for off := 0; off < len(p.code); {
		in, ok := amd64Inst(p.code[off:], p.addr+uint64(off))
		if !ok {
			if len(p.code)-off < x86MaxSize {
				return refuse("can't be decoded to its exact end, from +%#x", p.addr+uint64(off)-f.in.Body.Addr)
			}
			return refuse("unknown instruction at +%#x", p.addr+uint64(off)-f.in.Body.Addr)
		}
		if in.is(markOdd) {
			return refuse("looks like data: a privileged or obsolete instruction at +%#x", p.addr+uint64(off)-f.in.Body.Addr)
		}
		in.off = int32(off)
		p.insts = append(p.insts, in)
		off += int(in.size)
	}
	return nil
}

// link checks that every direct branch leads to an instruction, and lists what
// may leave the function.
func (f *function) link() error {
	f.lowest = int32(len(f.in.Body.Code))
	for p := range f.pieces {
		insts := f.pieces[p].insts
		for i := range insts {
			from := place{int32(p), int32(i)}
			switch insts[i].flow {
			case flowJump, flowCond, flowCall:
				if err := f.linkBranch(from); err != nil {
					return err
				}
			case flowJumpPtr:
				f.jumps = append(f.jumps, jump{at: from})
			case flowRet:
				f.returns = append(f.returns, from)
			}
		}
	}
	return nil
}

func (f *function) linkBranch(from place) error {
	in := f.at(from)
	to, inside, ok := f.find(in.target)
	switch {
	case !inside:
		if in.flow != flowCall {
			f.jumps = append(f.jumps, jump{at: from})
		}
		return nil
	case !ok:
		return refuse("a branch at +%#x leads inside an instruction", f.offset(from))
	case f.at(to).is(markData):
		return refuse("a branch at +%#x leads into data", f.offset(from))
	case in.flow == flowCall && to != (place{}) && to != (place{from.p, from.i + 1}):
		return refuse("the call at +%#x leads into the function itself", f.offset(from))
	}
	f.at(to).marks |= markLabel
	if to.p != 0 {
		return nil
	}
	if off := f.at(to).off; off != 0 {
		f.lowest = min(f.lowest, off)
	} else if in.flow != flowCall { // a recursive call is an ordinary entry
		f.toEntry = append(f.toEntry, from)
	}
	return nil
}

// successors calls fn for every instruction that may be executed after pl, as
// far as direct flow tells. weak marks the way on from a call, which may not return.
func (f *function) successors(pl place, fn func(next place, weak bool)) {
	in := f.at(pl)
	if in.falls() && int(pl.i)+1 < len(f.pieces[pl.p].insts) {
		fn(place{pl.p, pl.i + 1}, in.flow == flowCall || in.flow == flowCallPtr)
	}
	if in.flow == flowJump || in.flow == flowCond {
		if to, _, ok := f.find(in.target); ok {
			fn(to, false)
		}
	}
}

// reach walks the code from the entry, and judges what it does not reach. Go's
// compiled code for amd64 has no data in it and needs no judging.
func (f *function) reach() error {
	for p := range f.pieces {
		if err := f.checkEnd(int32(p)); err != nil {
			return err
		}
	}
	if f.in.Go && !f.in.Asm && f.in.Arch == AMD64 {
		return nil
	}
	for p := range f.pieces {
		f.pieces[p].seen = make([]bool, len(f.pieces[p].insts))
	}
	work := []place{{}}
	f.pieces[0].seen[0] = true
	for len(work) > 0 {
		pl := work[len(work)-1]
		work = work[:len(work)-1]
		f.successors(pl, func(next place, weak bool) {
			if weak && f.at(next).is(markData) {
				return // a call that doesn't return
			}
			if s := &f.pieces[next.p].seen[next.i]; !*s {
				*s = true
				work = append(work, next)
			}
		})
	}
	for p := range f.pieces {
		if err := f.checkUnreached(int32(p)); err != nil {
			return err
		}
	}
	return nil
}

// checkEnd refuses a piece whose last instruction runs on past it. The last may
// be a call: one that doesn't return.
func (f *function) checkEnd(p int32) error {
	insts := f.pieces[p].insts
	i := int32(len(insts)) - 1
	for i > 0 && (insts[i].flow == flowNext || insts[i].is(markData)) && f.effect(place{p, i}).pad {
		i--
	}
	switch insts[i].flow {
	case flowNext, flowCond:
		return refuse("runs on past its end")
	}
	return nil
}

// checkUnreached refuses data that is executed, and hand-written code with bytes
// that nothing reaches: they may be data. In compiled code such bytes are
// jump-table targets, landing pads and recovery paths.
func (f *function) checkUnreached(p int32) error {
	piece := &f.pieces[p]
	for i := range piece.insts {
		pl := place{p, int32(i)}
		if piece.seen[i] && piece.insts[i].is(markData) {
			return refuse("runs into data at +%#x", f.offset(pl))
		}
		if f.in.Asm && !piece.seen[i] && !f.effect(pl).pad {
			return refuse("hand-written, and nothing leads to +%#x: it may be data", f.offset(pl))
		}
	}
	return nil
}
