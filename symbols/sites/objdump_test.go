package sites

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// listing is what GNU objdump makes of a .text section: beside each byte, what
// starts there.
type listing struct {
	base  uint64
	marks []lineKind
}

type lineKind uint8

const (
	inside   lineKind = iota // of an instruction
	starts                   // an instruction
	startRet                 // a return
	startBad                 // bytes that objdump takes for no instruction
)

func disassemble(t testing.TB, b *binary) *listing {
	t.Helper()
	cmd := exec.Command("objdump", "-d", "-w", "-z", "--no-show-raw-insn", "-j", ".text", b.path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("objdump: %v (apt-get install binutils)", err)
	}
	l := &listing{b.base, make([]lineKind, len(b.text)+1)}
	l.marks[len(b.text)] = starts
	sc := bufio.NewScanner(out)
	sc.Buffer(make([]byte, 1<<20), 1<<20)
	for sc.Scan() {
		if addr, text, ok := splitLine(sc.Bytes()); ok && addr-l.base < uint64(len(b.text)) {
			l.marks[addr-l.base] = classifyLine(text)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return l
}

// lonely are prefixes that objdump prints alone when no instruction follows.
const lonely = " lock repz repnz data16 addr32 cs ds es ss fs gs bnd notrack xacquire xrelease "

func classifyLine(s string) lineKind {
	switch {
	case strings.Contains(s, "(bad)"), strings.HasPrefix(s, ".byte"), s == "",
		strings.HasPrefix(s, "rex") && !strings.Contains(s, " "), strings.Contains(lonely, " "+s+" "):
		return startBad
	}
	for _, f := range strings.Fields(s) {
		if f == "ret" {
			return startRet
		}
		if !strings.Contains(lonely, " "+f+" ") {
			break
		}
	}
	return starts
}

// size is how long the instruction at addr is, 0 when none starts there.
func (l *listing) size(addr uint64) int {
	i := addr - l.base
	if l.marks[i] != starts && l.marks[i] != startRet {
		return 0
	}
	n := uint64(1)
	for l.marks[i+n] == inside {
		n++
	}
	return int(n)
}
