package sites
import ("testing";"os";"fmt")
func TestDbg(t *testing.T) {
	b := openBinary(t, os.Getenv("BIN"))
	for _, s := range b.funcs { if s.name != os.Getenv("FN") { continue }
		in := b.input(s, os.Getenv("GO")!="", b.morestack())
		r, err := Analyze(in)
		fmt.Printf("%x %+v %v\n", s.addr, r, err)
		f, err := flowOf(&in)
		if err != nil { return }
		for p := range f.pieces { fmt.Printf("piece %x %d\n", f.pieces[p].addr, len(f.pieces[p].code))
			if os.Getenv("ALL") != "" { for i := range f.pieces[p].insts { in := f.pieces[p].insts[i]; st := f.pieces[p].state; d := stackState{}; if st != nil { d = st[i] }
			fmt.Printf("  %x %d seen %v depth %d frame %d strong %v flow %d\n", f.pieces[p].addr+uint64(in.off), in.size, f.pieces[p].seen[i], d.depth, d.frame, d.strong, in.flow)}}
		}
	}
}
