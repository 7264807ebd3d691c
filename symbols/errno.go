package symbols

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"golang.org/x/arch/x86/x86asm"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Why it isn't known where a file has errno.
var (
	errNoErrno       = errors.New("the program has neither the function __errno_location nor a symbol errno: it is static and stripped, or has another C library than glibc and musl")
	errErrnoCode     = errors.New("__errno_location is of a form that is not known")
	errErrnoMachine  = errors.New("it is not read on this architecture")
	errErrnoUnlinked = errors.New("where __errno_location looks is not filled in by the dynamic linker")
)

// Errno finds where the C library that the file is, or has linked in, keeps errno. Its
// __errno_location tells, which returns the address: the thread pointer and a constant (musl,
// and what is linked statically), or the thread pointer and a word of the global offset table
// that the dynamic linker has filled in (glibc, R_X86_64_TPOFF64). A static program that never
// names errno has only the variable itself, in its own thread-local storage.
func (f *File) Errno() (place trace.ErrnoPlace, err error) {
	err = f.read(func() error {
		place, err = f.errno()
		return err
	})
	return place, err
}

func (f *File) errno() (trace.ErrnoPlace, error) {
	if f.img.elf.Machine != elf.EM_X86_64 {
		return trace.ErrnoPlace{}, errErrnoMachine
	}
	t, err := f.functions()
	if err != nil {
		return trace.ErrnoPlace{}, err
	}
	for _, e := range t.entries {
		for _, s := range t.symbols(e) {
			if unversioned(t.symName(s)) != "__errno_location" {
				continue
			}
			code := f.img.bytesAt(s.addr)
			place, ok := errnoPlace(code[:min(uint64(len(code)), s.size)], s.addr)
			if !ok {
				return place, errErrnoCode
			}
			if place.Slot != 0 && !f.isThreadOffset(place.Slot) {
				return place, errErrnoUnlinked
			}
			return place, nil
		}
	}
	return f.errnoVariable()
}

// isThreadOffset reports whether a word has an offset from the thread pointer once the
// file is linked.
func (f *File) isThreadOffset(slot uint64) (found bool) {
	f.img.relocations(func(r elf.Rela64) {
		found = found || r.Off == slot && elf.R_TYPE64(r.Info) == uint32(elf.R_X86_64_TPOFF64)
	})
	return found
}

// errnoVariable finds the thread-local variable errno of a static program.
func (f *File) errnoVariable() (trace.ErrnoPlace, error) {
	for _, p := range f.img.elf.Progs {
		if p.Type == elf.PT_INTERP {
			return trace.ErrnoPlace{}, errNoErrno
		}
	}
	for _, s := range f.img.elf.Sections {
		if s.Type != elf.SHT_SYMTAB || int(s.Link) >= len(f.img.elf.Sections) {
			continue
		}
		b, err := f.img.raw(s)
		names, err2 := f.img.raw(f.img.elf.Sections[s.Link])
		for ; err == nil && err2 == nil && len(b) >= symSize; b = b[symSize:] {
			if elf.ST_TYPE(b[4]) != elf.STT_TLS || binary.LittleEndian.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) ||
				cstringAt(names, uint64(binary.LittleEndian.Uint32(b))) != "errno" {
				continue
			}
			if offset, ok := f.threadOffset(binary.LittleEndian.Uint64(b[8:])); ok {
				return trace.ErrnoPlace{Offset: offset}, nil
			}
		}
	}
	return trace.ErrnoPlace{}, errNoErrno
}

// threadOffset is where a thread-local variable of a program lies from the thread pointer, by
// its symbol's value. (ELF Handling For Thread-Local Storage, variant II, local exec)
func (f *File) threadOffset(value uint64) (int32, bool) {
	for _, p := range f.img.elf.Progs {
		if p.Type != elf.PT_TLS {
			continue
		}
		if p.Memsz > 1<<20 || value >= p.Memsz {
			return 0, false
		}
		align := max(p.Align, 1)
		size := p.Memsz + (-p.Vaddr-p.Memsz)&(align-1)
		return int32(int64(value) - int64(size)), size <= 1<<30
	}
	return 0, false
}

// sum is what a register holds, as far as errno's address can be made of it.
type sum struct {
	known  bool
	thread int    // times the thread pointer
	slot   uint64 // address of a word that is in it once, 0 for none
	offset int64
}

func (a sum) plus(b sum) sum {
	if a.slot != 0 && b.slot != 0 {
		return sum{}
	}
	return sum{a.known && b.known, a.thread + b.thread, a.slot | b.slot, a.offset + b.offset}
}

// errnoPlace follows the code of __errno_location, which lies at an address, up to its return.
func errnoPlace(code []byte, address uint64) (trace.ErrnoPlace, bool) {
	registers := map[x86asm.Reg]sum{}
	for range 16 {
		if len(code) >= 4 && binary.LittleEndian.Uint32(code) == 0xfa1e0ff3 { // endbr64
			code, address = code[4:], address+4
			continue
		}
		inst, err := x86asm.Decode(code, 64)
		if err != nil {
			return trace.ErrnoPlace{}, false
		}
		code, address = code[inst.Len:], address+uint64(inst.Len)
		value := func(a x86asm.Arg) sum { return valueOf(a, registers, address) }
		to, register := inst.Args[0].(x86asm.Reg)
		if register && inst.DataSize != 64 && inst.Op != x86asm.PUSH && inst.Op != x86asm.POP {
			return trace.ErrnoPlace{}, false
		}
		switch inst.Op {
		case x86asm.RET:
			r := registers[x86asm.RAX]
			ok := r.known && r.thread == 1 && r.offset == int64(int32(r.offset)) && (r.slot == 0 || r.offset == 0)
			return trace.ErrnoPlace{Offset: int32(r.offset), Slot: r.slot}, ok
		case x86asm.NOP, x86asm.PUSH, x86asm.LEAVE:
		case x86asm.POP:
			registers[to] = sum{}
		case x86asm.MOV:
			registers[to] = value(inst.Args[1])
		case x86asm.ADD:
			registers[to] = registers[to].plus(value(inst.Args[1]))
		case x86asm.SUB:
			n, immediate := inst.Args[1].(x86asm.Imm)
			registers[to] = registers[to].plus(sum{known: immediate, offset: -int64(n)})
		case x86asm.LEA:
			m, _ := inst.Args[1].(x86asm.Mem)
			registers[to] = addressOf(m, registers)
		default:
			return trace.ErrnoPlace{}, false
		}
	}
	return trace.ErrnoPlace{}, false
}

// valueOf is what an instruction reads that ends at an address.
func valueOf(a x86asm.Arg, registers map[x86asm.Reg]sum, end uint64) sum {
	switch a := a.(type) {
	case x86asm.Imm:
		return sum{known: true, offset: int64(a)}
	case x86asm.Reg:
		return registers[a]
	case x86asm.Mem:
		switch {
		case a.Segment == x86asm.FS && a.Base == 0 && a.Index == 0 && a.Disp == 0: // the thread pointer lies where it points to
			return sum{known: true, thread: 1}
		case a.Segment == 0 && a.Base == x86asm.RIP && a.Index == 0:
			return sum{known: true, slot: end + uint64(int32(a.Disp))}
		}
	}
	return sum{}
}

// addressOf is what LEA computes.
func addressOf(m x86asm.Mem, registers map[x86asm.Reg]sum) sum {
	s := sum{known: m.Segment == 0 && m.Base != x86asm.RIP, offset: int64(int32(m.Disp))}
	if m.Base != 0 {
		s = s.plus(registers[m.Base])
	}
	if m.Index != 0 {
		if m.Scale != 1 {
			return sum{}
		}
		s = s.plus(registers[m.Index])
	}
	return s
}
