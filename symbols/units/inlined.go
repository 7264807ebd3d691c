package units

import "slices"

// Inlined is a call that the compiler put the callee's code in place of.
type Inlined struct {
	Function        // what was called; only its names and languages are told
	File     string // where it was called
	CallLine int    // 0 when unknown
}

// maxInlined bounds how deep calls are inlined.
const maxInlined = 64

// Inlined lists the calls that an instruction of a function is inlined from,
// the outermost first.
func (x *Index) Inlined(f Function, addr uint64) (calls []Inlined) {
	u := f.Unit
	table, err := x.abbrev.read(x.sec.Abbrev, u)
	if err != nil || f.Offset >= uint64(u.end) {
		return nil
	}
	x.refill()
	depth := 0
	b := buf{data: x.sec.Info[:u.end], off: int(f.Offset)}
	for b.off < u.end && !b.bad && len(calls) < maxInlined {
		code := b.uleb()
		if code == 0 {
			if depth--; depth <= 0 {
				break
			}
			continue
		}
		off := b.off
		if code >= uint64(len(table)) || table[code] == nil {
			break
		}
		ab := table[code]
		if ab.tag != tagInlined {
			b.pass(ab, u)
		} else {
			s := x.shape(&b, ab, u)
			ranges := x.extent(u, s.low, s.high, s.ranges)
			if slices.ContainsFunc(ranges, func(r Range) bool { return addr >= r.Low && addr < r.High }) {
				calls = append(calls, Inlined{x.function(u, off, s, ranges), x.file(u, s.callFile.num), int(s.callLine.num & (1<<31 - 1))})
				// Another table may have been read for what it refers to.
				if table, err = x.abbrev.read(x.sec.Abbrev, u); err != nil {
					break
				}
			}
		}
		switch {
		case ab.children:
			depth++
		case depth == 0: // the function itself has nothing in it
			return calls
		}
	}
	return calls
}
