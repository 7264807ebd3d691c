package attach

// SameMapping tells whether two addresses of a process lie in one memory mapping:
// of two stack addresses, whether it is one stack.
func (s *Session) SameMapping(tgid uint32, a, b uint64) bool {
	regions, err := memoryMap(int(tgid))
	if err != nil {
		return false
	}
	for _, r := range regions {
		if a >= r.Start && a < r.End {
			return b >= r.Start && b < r.End
		}
	}
	return false
}
