package symbols

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/observatory-trace/observatory-trace/symbols/ehframe"
	"github.com/observatory-trace/observatory-trace/symbols/units"
)

// What callers may tell apart.
var (
	// ErrNotELF is returned for files that are no ELF files, or damaged ones.
	ErrNotELF = errors.New("not an ELF file")
	// ErrUnsupported is returned for ELF files that can't be traced: other
	// architectures, object files, core dumps.
	ErrUnsupported = errors.New("unsupported program")
)

// Options say how a file is opened.
type Options struct {
	// Module is the path by which the traced process knows the file; by
	// default the path that is opened. It names the file in trace.Function
	// and is where separate debug files are sought beside.
	Module string
	// Root is the directory under which separate debug files are sought, for
	// processes in other mount namespaces: "/proc/PID/root". By default "/".
	Root string
	// Depth is how many pointers behind one another are described, 2 by default.
	Depth int
	// Errno says that the place of errno is of interest: see Roles.
	Errno bool
}

// File is one executable or shared object. It is safe for concurrent use.
type File struct {
	path   string
	module string
	opts   Options
	img    *image

	mu      sync.Mutex // guards everything below, which is read when first needed
	golang  *goProgram
	noGo    bool // it is known not to be a Go program
	debug   *debugInfo
	types   units.Range // of the runtime's types; Low is 1 and High 0 when there are none
	prog    *program
	table   *table
	objects *objects
	unwind  *ehframe.Table
	warned  []error
}

// Segment is a part of the file that is mapped into memory.
type Segment struct {
	Vaddr, Offset  uint64 // bytes
	Memsz, Filesz  uint64 // bytes
	Exec, Writable bool
}

// Open opens the executable or shared object at path. The caller closes it;
// functions that were selected outlive it. Beyond the ELF headers nothing is
// read until something is selected.
func Open(path string, opts Options) (*File, error) {
	defer faults()()
	img, err := openImage(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, module: opts.Module, opts: opts, img: img}
	if f.module == "" {
		f.module = path
	}
	return f, nil
}

// Close unmaps the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.img.close()
	if f.debug != nil && f.debug.img != f.img {
		err = errors.Join(err, f.debug.img.close())
	}
	f.debug, f.prog, f.table, f.objects, f.golang, f.unwind = nil, nil, nil, nil, nil, nil
	return err
}

// Warnings are what was found wrong with the file so far, and worked around:
// debug information that is damaged or belongs to another build.
func (f *File) Warnings() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warned)
}

// maxWarnings bounds what a file with many faults is worth.
const maxWarnings = 16

func (f *File) warn(err error) {
	if len(f.warned) < maxWarnings {
		f.warned = append(f.warned, err)
	}
}

// warnDebug notes that debug information can't be read.
func (f *File) warnDebug(err error) {
	f.warn(fmt.Errorf("read debug information of %s: %w (names and types that it tells are left out; build it anew, or install its debug package again)", f.module, err))
}

// read runs what reads the mapped file, alone.
func (f *File) read(do func() error) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.img.data == nil {
		return fmt.Errorf("read %s: %w", f.path, os.ErrClosed)
	}
	defer faults()()
	defer guard(&err)
	return do()
}

// Path is the path that was opened.
func (f *File) Path() string { return f.path }

// Module is the path of the file as the traced process knows it.
func (f *File) Module() string { return f.module }

// Arch is the file's architecture as Go names it: "amd64" or "arm64".
func (f *File) Arch() string {
	if f.img.elf.Machine == elf.EM_AARCH64 {
		return "arm64"
	}
	return "amd64"
}

// Inode identifies the file: the device and inode number of what was opened.
func (f *File) Inode() (dev, ino uint64) { return f.img.dev, f.img.ino }

// PIE reports whether the file is loaded wherever the kernel or the dynamic
// linker likes: a position-independent program, or a shared object.
func (f *File) PIE() bool { return f.img.elf.Type == elf.ET_DYN }

// EntryPoint is the virtual address of the program's first instruction.
func (f *File) EntryPoint() uint64 { return f.img.elf.Entry }

// Interpreter is the path of the dynamic linker, empty for static programs and
// for shared objects.
func (f *File) Interpreter() (path string) {
	_ = f.read(func() error {
		for _, p := range f.img.elf.Progs {
			if p.Type == elf.PT_INTERP {
				path = strings.Clone(cstringAt(f.img.data, p.Off))
			}
		}
		return nil
	})
	return path
}

// Segments lists what is mapped into memory, in the order of the file.
func (f *File) Segments() []Segment {
	var out []Segment
	for _, p := range f.img.elf.Progs {
		if p.Type == elf.PT_LOAD {
			out = append(out, Segment{
				Vaddr: p.Vaddr, Offset: p.Off, Memsz: p.Memsz, Filesz: p.Filesz,
				Exec: p.Flags&elf.PF_X != 0, Writable: p.Flags&elf.PF_W != 0,
			})
		}
	}
	return out
}

// FileOffset translates a virtual address of code into the file offset that a
// uprobe is placed by. It is false for addresses that no executable segment
// takes from the file.
func (f *File) FileOffset(addr uint64) (uint64, bool) {
	for _, p := range f.img.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			off := p.Off + (addr - p.Vaddr)
			return off, off >= p.Off && off < f.img.size
		}
	}
	return 0, false
}

// BuildID is the file's GNU build id in hexadecimal, empty when it has none.
func (f *File) BuildID() string {
	return hex.EncodeToString(f.note("GNU", 3))
}

// GoBuildID is the id that the Go linker wrote, empty for other programs.
func (f *File) GoBuildID() string { return string(f.note("Go", 4)) }

func (f *File) note(owner string, kind uint32) (desc []byte) {
	_ = f.read(func() error {
		desc = bytes.Clone(f.img.note(owner, kind))
		return nil
	})
	return desc
}

// note returns the descriptor of the first note of an owner and kind, nil when there is none.
func (m *image) note(owner string, kind uint32) []byte {
	for _, s := range m.elf.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		if b, err := m.raw(s); err == nil {
			if desc := findNote(b, owner, kind); desc != nil {
				return desc
			}
		}
	}
	for _, p := range m.elf.Progs {
		if p.Type != elf.PT_NOTE || p.Off > uint64(len(m.data)) || p.Filesz > uint64(len(m.data))-p.Off {
			continue
		}
		if desc := findNote(m.data[p.Off:][:p.Filesz], owner, kind); desc != nil {
			return desc
		}
	}
	return nil
}

func findNote(b []byte, owner string, kind uint32) []byte {
	for len(b) >= 12 {
		namesz := uint64(binary.LittleEndian.Uint32(b))
		descsz := uint64(binary.LittleEndian.Uint32(b[4:]))
		t := binary.LittleEndian.Uint32(b[8:])
		b = b[12:]
		padded := (namesz + 3) &^ 3
		if padded > uint64(len(b)) || descsz > uint64(len(b))-padded {
			return nil
		}
		name, desc := b[:namesz], b[padded:][:descsz]
		if t == kind && string(bytes.TrimRight(name, "\x00")) == owner {
			return desc
		}
		b = b[min(uint64(len(b)), padded+(descsz+3)&^3):]
	}
	return nil
}

// goProgram is what a Go program tells of itself.
type goProgram struct {
	build    *debug.BuildInfo // nil when the program carries none
	pclntab  []byte
	pclnAddr uint64
	abi      *goABI // once it was needed

	funcData     uint64 // see goFuncData
	funcDataRead bool
}

// goProgram returns what the file tells as a Go program; nil when it is none.
func (f *File) goInfo() *goProgram {
	if f.golang != nil || f.noGo {
		return f.golang
	}
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		s := f.img.elf.Section(name)
		if s == nil {
			continue
		}
		b, err := f.img.raw(s)
		if err != nil || b == nil {
			continue
		}
		p := &goProgram{pclntab: b, pclnAddr: s.Addr}
		if info, err := buildinfo.Read(bytes.NewReader(f.img.data)); err == nil {
			p.build = info
		}
		f.golang = p
		return p
	}
	f.noGo = true
	return nil
}

// frames returns the file's unwind information, read once.
func (f *File) frames() *ehframe.Table {
	if f.unwind != nil {
		return f.unwind
	}
	machine := ehframe.AMD64
	if f.img.elf.Machine == elf.EM_AARCH64 {
		machine = ehframe.ARM64
	}
	var b []byte
	var addr uint64
	if s := f.img.elf.Section(".eh_frame"); s != nil {
		// Without it, jumps to code that no symbol names are taken for tail calls.
		b, _ = f.img.contents(s)
		addr = s.Addr
	}
	f.unwind = ehframe.New(b, addr, machine)
	return f.unwind
}

// GoVersion is the version of Go that the program was built with ("go1.26.1"),
// empty for other programs and where it is not recorded.
func (f *File) GoVersion() (version string) {
	_ = f.read(func() error {
		if p := f.goInfo(); p != nil && p.build != nil {
			version = p.build.GoVersion
		}
		return nil
	})
	return version
}
