package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/ehframe"
	"github.com/observatory-trace/observatory-trace/trace"
)

const (
	// maxFrames bounds the frames of one stack, those that were inlined not counted.
	maxFrames = 64
	// maxPlaces bounds how many instructions' places are remembered for a file.
	maxPlaces = 1 << 14
	// maxModules bounds the files that are kept open only because stacks pass through them, or pointers lead there.
	maxModules = 256
)

// place is what a stack shows of an instruction.
type place struct {
	lines string // a line for each function, the inlined ones first
	// signal: it is Go's function whose caller was interrupted, and didn't call it.
	signal bool
}

// Stack finds the frames of a stack and names them: a frame a line, "function
// file:line", the innermost first; where debug information is missing, "function
// module+0xoffset" or "?? module+0xoffset", the offset being the address in the
// file. A stack that can't be followed to its end has a last line in parentheses
// that says why.
func (s *Session) Stack(tgid uint32, raw trace.RawStack) string {
	w := walker{session: s, tgid: tgid, raw: &raw}
	if raw.IP != 0 {
		w.frame(raw.IP)
	}
	if raw.Returns != nil {
		w.follow()
	} else {
		w.unwind()
	}
	return strings.Join(w.lines, "\n")
}

// walker follows one stack.
type walker struct {
	session *Session
	tgid    uint32
	raw     *trace.RawStack
	lines   []string
}

// frame appends the place of an instruction.
func (w *walker) frame(pc uint64) (p place, i *image, inFile uint64) {
	i, inFile = w.session.module(w.tgid, pc)
	if i == nil {
		p.lines = fmt.Sprintf("?? %#x", pc)
	} else {
		p = i.place(inFile)
	}
	w.lines = append(w.lines, p.lines)
	return p, i, inFile
}

func (w *walker) end(why string) { w.lines = append(w.lines, "("+why+")") }

// follow takes return addresses that the probe has collected.
func (w *walker) follow() {
	exact := false
	for words := w.raw.Returns; len(words) >= 8; words = words[8:] {
		pc := binary.LittleEndian.Uint64(words)
		if !exact {
			pc-- // a return address is behind the call, maybe in the next line's code
		}
		p, _, _ := w.frame(pc)
		exact = p.signal
	}
	if len(w.raw.Returns) >= maxFrames*8 {
		w.end("more frames were not looked at")
	}
}

// unwind finds the frames by their modules' unwind information.
func (w *walker) unwind() {
	r, ok := registers(w.raw)
	if !ok {
		return
	}
	for range maxFrames {
		pc := r.PC
		if !r.Interrupted {
			pc--
		}
		_, i, inFile := w.frame(pc)
		next, err := w.caller(i, inFile, &r)
		switch {
		case errors.Is(err, errNoFile):
			w.end(err.Error())
			return
		case errors.Is(err, ehframe.ErrOutermost):
			return
		case errors.Is(err, ehframe.ErrMemory):
			w.end(fmt.Sprintf("the frames above are beyond the %d bytes of the stack that were copied", len(w.raw.Memory)))
			return
		case err != nil:
			w.end(err.Error())
			return
		}
		// Only what a signal has interrupted may be on another stack, or have no frame yet.
		if sp := stackPointer(w.raw); next.Value[sp] <= r.Value[sp] && !next.Interrupted && !r.Interrupted {
			w.end("damaged stack: a caller's frame is not above its callee's")
			return
		}
		r = next
	}
	w.end("more frames were not looked at")
}

var errNoFile = errors.New("not the code of a file that can be read")

// caller finds the registers of the caller of an instruction of a file.
func (w *walker) caller(i *image, inFile uint64, r *ehframe.Registers) (next ehframe.Registers, err error) {
	if i == nil {
		return next, errNoFile
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open() == nil {
		return next, errNoFile
	}
	next, err = i.file.Caller(inFile, r, w.memory)
	if errors.Is(err, ehframe.ErrNoInformation) && i.file.GoCode(inFile) {
		next, err = w.goCaller(r)
	}
	return next, err
}

// memory reads a word of the stack's copy.
func (w *walker) memory(addr uint64) (uint64, bool) {
	off := addr - w.raw.SP
	if off >= uint64(len(w.raw.Memory)) || uint64(len(w.raw.Memory))-off < 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(w.raw.Memory[off:]), true
}

// goCaller finds the caller of a Go function by the frame pointer, below which
// Go has nothing of interest, and above which is the return address.
func (w *walker) goCaller(r *ehframe.Registers) (ehframe.Registers, error) {
	fp, sp := 6, 7 // x86-64: RBP, RSP
	if stackPointer(w.raw) == 31 {
		fp, sp = 29, 31
	}
	next := *r
	frame := r.Value[fp]
	var ok, ok2 bool
	next.Value[fp], ok = w.memory(frame)
	next.PC, ok2 = w.memory(frame + 8)
	if !ok || !ok2 {
		return next, ehframe.ErrMemory
	}
	if next.PC == 0 {
		return next, ehframe.ErrOutermost
	}
	next.Value[sp] = frame + 16
	next.Interrupted = false
	return next, nil
}

// Words of a TYPE_REGISTERS block (bpf/event.h).
const (
	wordsAMD64 = 17
	wordsARM64 = 33
)

// stackPointer is the DWARF number of the stack pointer.
func stackPointer(raw *trace.RawStack) int {
	if len(raw.Registers) == 8*wordsARM64 {
		return 31
	}
	return 7
}

// registers reads the copied registers.
func registers(raw *trace.RawStack) (r ehframe.Registers, ok bool) {
	n := len(raw.Registers) / 8
	if n != wordsAMD64 && n != wordsARM64 {
		return r, false
	}
	for i := range n {
		r.Value[i] = binary.LittleEndian.Uint64(raw.Registers[8*i:])
	}
	r.PC, r.Interrupted = r.Value[n-1], raw.Interrupted
	return r, r.PC != 0
}

// place tells what a stack shows of an instruction of the file.
func (i *image) place(address uint64) place {
	i.mu.Lock()
	defer i.mu.Unlock()
	if p, ok := i.places[address]; ok {
		return p
	}
	if len(i.places) >= maxPlaces {
		clear(i.places)
	}
	var frames []symbols.Frame
	if f := i.open(); f != nil {
		frames, _ = f.Frames(address) // what can't be read has no names
	}
	if len(frames) == 0 {
		frames = []symbols.Frame{{}}
	}
	var b strings.Builder
	for n, f := range frames {
		if n > 0 {
			b.WriteByte('\n')
		}
		if f.Function == "" {
			f.Function = "??"
		}
		b.WriteString(f.Function)
		if f.File == "" {
			fmt.Fprintf(&b, " %s+%#x", i.module, address)
		} else {
			fmt.Fprintf(&b, " %s:%d", f.File, f.Line)
		}
	}
	p := place{b.String(), frames[len(frames)-1].Function == "runtime.sigpanic"}
	i.places[address] = p
	return p
}

// module finds the file that an address of a process is mapped from, traced or
// not, and the address in the file; nil when it is none that can be read.
func (s *Session) module(tgid uint32, address uint64) (*image, uint64) {
	if i, inFile, _ := s.image(tgid, address); i != nil {
		return i, inFile
	}
	if r, ok := s.at(tgid, address); !ok || !r.exec {
		return nil, 0
	}
	return s.mapped(tgid, address)
}

// mapped does so for files that are not traced, data included.
func (s *Session) mapped(tgid uint32, address uint64) (*image, uint64) {
	r, ok := s.at(tgid, address)
	if !ok || r.ID.Inode == 0 {
		return nil, 0
	}
	i := s.imageOf(tgid, r)
	if i == nil {
		return nil, 0
	}
	inFile, ok := i.address(address - r.Start + r.Offset)
	if !ok {
		return nil, 0
	}
	return i, inFile
}

// openModule opens the file of a region, by the process's own path or, when it
// has ended, by ours; nil when it is not to be had.
func openModule(tgid uint32, r region) *image {
	for _, path := range []string{procPath(int(tgid), "root") + r.Path, r.Path} {
		source, err := os.Open(path)
		if err != nil {
			continue
		}
		i := &image{source: source, module: r.Path, names: map[uint64]string{}, places: map[uint64]place{}}
		if id, err := fileIDOf(path); err == nil && id.Inode == r.ID.Inode && i.open() != nil {
			i.segments, i.pie = i.file.Segments(), i.file.PIE()
			return i
		}
		source.Close()
	}
	return nil
}
