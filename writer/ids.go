package writer

// slot is where a session takes ids from while it can't reserve any: a range
// in a block above all that have been reserved, which by the session's number
// is its own. The database goes on above when it is back.
type slot struct {
	number uint64 // of the session, modulo the slots of a block
	end    uint64 // of the range in use; 0 for none
}

// A block has 4096 slots of 268 million ids each. JavaScript's numbers have
// room for 8192 blocks.
const (
	slotIDs  = 1 << 28
	blockIDs = 1 << 40
)

func slotOf(session int64) slot { return slot{number: uint64(session) % (blockIDs / slotIDs)} }

// nextBlock is the first id of the first block that lies wholly above an id.
func nextBlock(id uint64) uint64 { return (id/blockIDs + 1) * blockIDs }

// extend gives a range of at least n ids, at most slotIDs, that begins with what is left of ids,
// or, where that can't go on, anew.
func (s *slot) extend(ids idRange, n uint64) idRange {
	n = max(n, idWindow)
	if ids.end+n > s.end {
		ids.next = nextBlock(ids.end) + s.number*slotIDs
		ids.end = ids.next
		s.end = ids.next + slotIDs
	}
	ids.end += n
	return ids
}
