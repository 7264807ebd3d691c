package attach

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

func emptySession(t testing.TB) *Session {
	t.Helper()
	s := &Session{spaces: map[uint32]*space{}, files: map[FileID]*attachedFile{}, modules: map[FileID]*image{}, biases: map[uint32]map[*image]uint64{}}
	t.Cleanup(func() {
		for _, i := range s.modules {
			i.close()
		}
	})
	return s
}

func words(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// TestStackOfReturns names the return addresses of this very test as the
// runtime does, the functions that are inlined too.
func TestStackOfReturns(t *testing.T) {
	s := emptySession(t)
	var pcs []uintptr
	inlined := func() { pcs = callers() }
	inlined()
	var addresses []uint64
	var want []string
	frames := runtime.CallersFrames(pcs)
	whole := true // the frame before was a function of its own
	for _, pc := range pcs {
		if whole {
			addresses = append(addresses, uint64(pc)) // of those that were inlined, the runtime makes up others
		}
		f, _ := frames.Next()
		whole = f.Func != nil
		want = append(want, fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line))
	}
	got := s.Stack(uint32(os.Getpid()), trace.RawStack{Returns: words(addresses...)})
	if got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

//go:noinline
func callers() []uintptr {
	pcs := make([]uintptr, 32)
	return pcs[:runtime.Callers(1, pcs)]
}

// endlessStack is a copy of a stack on which one function calls itself for ever.
func endlessStack(t testing.TB) (*Session, uint32, trace.RawStack) {
	t.Helper()
	s := emptySession(t)
	tgid := uint32(os.Getpid())
	program := testenv.Build(t, testenv.Target{Source: "cpp/stacks", Opt: "-O0", NoPIE: true})
	id, err := fileIDOf(program)
	if err != nil {
		t.Fatal(err)
	}
	// As if it were mapped here.
	s.spaces[tgid] = &space{regions: []region{{exec: true, Mapping: Mapping{Path: program, ID: id, Start: 0x401000, End: 0x500000, Offset: 0x1000}}}}
	i := openModule(tgid, s.spaces[tgid].regions[0])
	if i == nil {
		t.Fatal("the target can't be opened")
	}
	s.modules[id] = i
	recurses := uint64(0)
	for a := uint64(0x401000); a < 0x410000 && recurses == 0; a++ {
		if i.name(a) == "stacks::recurses" {
			recurses = a + 32 // behind its prologue
		}
	}
	if recurses == 0 {
		t.Fatal("stacks::recurses is not found")
	}
	// Each frame pointer leads to the next one.
	frames := make([]uint64, 1024)
	for i := 0; i+2 <= len(frames); i += 2 {
		frames[i], frames[i+1] = stackStart+8*uint64(i+2), recurses
	}
	registers := make([]uint64, wordsAMD64)
	registers[6], registers[7], registers[16] = stackStart, stackStart-16, recurses
	return s, tgid, trace.RawStack{Registers: words(registers...), SP: stackStart, Memory: words(frames...)}
}

const stackStart = 0x7ffd0000

// TestStackBounds holds that no copy of a stack, however damaged, makes more than
// a bounded number of lines, and that what is not whole says why.
func TestStackBounds(t *testing.T) {
	s, tgid, endless := endlessStack(t)
	with := func(memory []byte) trace.RawStack {
		raw := endless
		raw.Memory = memory
		return raw
	}
	back := append(words(stackStart), endless.Memory[8:16]...)
	for name, c := range map[string]struct {
		raw trace.RawStack
		end string
	}{
		"endless":         {endless, "(more frames were not looked at)"},
		"short copy":      {with(endless.Memory[:64]), "(the frames above are beyond the 64 bytes of the stack that were copied)"},
		"back to itself":  {with(back), "(damaged stack: a caller's frame is not above its callee's)"},
		"into nowhere":    {with(words(stackStart+16, 0x1234)), "(not the code of a file that can be read)"},
		"many returns":    {trace.RawStack{Returns: endless.Memory[:8*maxFrames]}, "(more frames were not looked at)"},
		"other registers": {trace.RawStack{Registers: words(1, 2, 3)}, ""},
	} {
		lines := strings.Split(s.Stack(tgid, c.raw), "\n")
		if last := lines[len(lines)-1]; last != c.end || len(lines) > maxFrames+1 {
			t.Errorf("%s: %d lines, the last %q, want %q", name, len(lines), last, c.end)
		}
	}
}

// BenchmarkStack measures a stack of 64 frames whose places are known already.
func BenchmarkStack(b *testing.B) {
	s, tgid, raw := endlessStack(b)
	for b.Loop() {
		s.Stack(tgid, raw)
	}
}
