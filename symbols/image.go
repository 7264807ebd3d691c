package symbols

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// image is one mapped ELF file: the program itself, or the file that its
// debug information was split off into.
type image struct {
	data      []byte // the whole file, read-only; nil once closed
	size      uint64
	elf       *elf.File
	dev       uint64
	ino       uint64
	inflated  map[string][]byte // compressed sections, once read: memory of their own
	room      uint64            // bytes that more of them may take
	relocated map[uint64]uint64 // see relative
}

// openImage maps a file and reads its ELF headers.
func openImage(path string) (*image, error) {
	// O_NONBLOCK: a FIFO must not hold us up before it is refused.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open executable: %w", err)
	}
	defer file.Close()
	return mapImage(file)
}

// mapImage maps an open file, which the caller may close afterwards.
func mapImage(file *os.File) (*image, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %s: not a regular file", file.Name())
	}
	if st.Size == 0 {
		return nil, fmt.Errorf("open %s: %w: empty file", file.Name(), ErrNotELF)
	}
	// Shared: into private mappings the kernel puts the breakpoints of uprobes, even
	// those of other tracers, and they would be read for code (valid_vma in its uprobes.c).
	data, err := unix.Mmap(int(file.Fd()), 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file.Name(), err)
	}
	img := &image{data: data, size: uint64(len(data)), dev: st.Dev, ino: st.Ino, inflated: map[string][]byte{}, room: maxInflated}
	if err := img.parse(); err != nil {
		return nil, fmt.Errorf("open %s: %w", file.Name(), errors.Join(err, img.close()))
	}
	return img, nil
}

func (m *image) parse() (err error) {
	defer guard(&err)
	if !bytes.HasPrefix(m.data, []byte(elf.ELFMAG)) {
		return fmt.Errorf("%w: no ELF magic number; name an executable or a shared object", ErrNotELF)
	}
	if len(m.data) < 64 {
		return fmt.Errorf("%w: shorter than an ELF header", ErrNotELF)
	}
	if elf.Class(m.data[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return fmt.Errorf("%w: a 32-bit program; only 64-bit ones can be traced", ErrUnsupported)
	}
	if elf.Data(m.data[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return fmt.Errorf("%w: not little endian", ErrUnsupported)
	}
	m.elf, err = elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		return fmt.Errorf("%w, or one that is damaged or cut off: %w (copy it again, or build it anew)", ErrNotELF, err)
	}
	if m.elf.Machine != elf.EM_X86_64 && m.elf.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("%w: built for %s; only x86-64 and arm64 programs can be traced", ErrUnsupported, m.elf.Machine)
	}
	if m.elf.Type != elf.ET_EXEC && m.elf.Type != elf.ET_DYN {
		return fmt.Errorf("%w: an ELF file of type %s, neither a program nor a shared object", ErrUnsupported, m.elf.Type)
	}
	return nil
}

// close unmaps the file. Every byte and string that was taken from it is gone then.
func (m *image) close() error {
	if m == nil || m.data == nil {
		return nil
	}
	err := unix.Munmap(m.data)
	for _, b := range m.inflated {
		err = errors.Join(err, unix.Munmap(b))
	}
	m.data, m.inflated = nil, nil
	return err
}

// guard turns the fault of reading a mapped file that was truncated meanwhile
// into an error. Use it deferred, after faults.
func guard(err *error) {
	switch r := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		*err = errors.New("read executable: the file was truncated while it was read")
	default:
		panic(r)
	}
}

// faults makes guard work for the calling goroutine until the returned function is called.
func faults() func() {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}

// limits of what a file's compressed sections may grow to: no compiler's output
// shrinks that much, a decompression bomb does.
const (
	maxInflateRatio = 200     // a section's bytes to those in the file
	maxInflated     = 2 << 30 // bytes of all sections
)

// section returns a section's bytes, inflated if need be; nil when there is
// none. They belong to the image.
func (m *image) section(name string) ([]byte, error) {
	for _, s := range m.elf.Sections {
		if s.Name == name {
			return m.contents(s)
		}
	}
	if rest, ok := cutPrefix(name, ".debug_"); ok {
		return m.legacyCompressed(".zdebug_" + rest)
	}
	return nil, nil
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):], true
	}
	return s, false
}

// raw returns the bytes of a section as they are in the file.
func (m *image) raw(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.Offset > uint64(len(m.data)) || s.FileSize > uint64(len(m.data))-s.Offset {
		return nil, fmt.Errorf("read section %s: it lies outside the file", s.Name)
	}
	return m.data[s.Offset:][:s.FileSize:s.FileSize], nil
}

func (m *image) contents(s *elf.Section) ([]byte, error) {
	b, err := m.raw(s)
	if err != nil || s.Flags&elf.SHF_COMPRESSED == 0 || b == nil {
		return b, err
	}
	// s.Size is the uncompressed size by the section's compression header.
	return m.decompress(s.Name, b, s.Size, func() (io.Reader, error) { return s.Open(), nil })
}

// decompress reads a section of so many bytes, once. They get memory of their
// own, outside of the garbage-collected heap, which would grow by as much again;
// what they were made from is let go of.
func (m *image) decompress(name string, from []byte, size uint64, open func() (io.Reader, error)) ([]byte, error) {
	if done, ok := m.inflated[name]; ok {
		return done, nil
	}
	if size == 0 {
		return nil, nil
	}
	if size > m.room || size > maxInflateRatio*uint64(len(from))+1<<16 {
		return nil, fmt.Errorf("read section %s: its compressed size of %d bytes can't hold %d bytes", name, len(from), size)
	}
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("decompress section %s: %w", name, err)
	}
	out, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("allocate section %s: %w", name, err)
	}
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("decompress section %s: %w", name, errors.Join(err, unix.Munmap(out)))
	}
	m.inflated[name] = out
	m.room -= size
	m.forget(from)
	return out, nil
}

// forget takes pages of the mapped file out of this process. They stay in the page
// cache, and come back when they are looked at.
func (m *image) forget(b []byte) {
	page := uintptr(os.Getpagesize())
	base := uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
	low := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - base
	low, high := (low+page-1)&^(page-1), (low+uintptr(len(b)))&^(page-1)
	if low < high {
		_ = unix.Madvise(m.data[low:high], unix.MADV_DONTNEED) // else they only weigh
	}
}

// bytesAt returns the file's bytes from a virtual address to the end of the
// bytes that its segment has in the file; nil when it has none.
func (m *image) bytesAt(addr uint64) []byte {
	for _, p := range m.elf.Progs {
		if p.Type != elf.PT_LOAD || addr < p.Vaddr || addr-p.Vaddr >= p.Filesz {
			continue
		}
		off, size := p.Off+(addr-p.Vaddr), p.Filesz-(addr-p.Vaddr)
		if off < p.Off || off > uint64(len(m.data)) || size > uint64(len(m.data))-off {
			return nil
		}
		return m.data[off:][:size:size]
	}
	return nil
}

// uint64At reads the word that a running program finds at an address:
// relative relocations are applied, the load bias is taken for 0.
func (m *image) uint64At(addr uint64) (uint64, bool) {
	if v, ok := m.relative()[addr]; ok {
		return v, true
	}
	b := m.bytesAt(addr)
	if len(b) < 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// relative returns the values that relative relocations write, by address.
func (m *image) relative() map[uint64]uint64 {
	if m.relocated != nil || m.elf.Type != elf.ET_DYN {
		return m.relocated
	}
	m.relocated = map[uint64]uint64{}
	m.relocations(func(r elf.Rela64) {
		t := elf.R_TYPE64(r.Info)
		if t == uint32(elf.R_X86_64_RELATIVE) && m.elf.Machine == elf.EM_X86_64 ||
			t == uint32(elf.R_AARCH64_RELATIVE) && m.elf.Machine == elf.EM_AARCH64 {
			m.relocated[r.Off] = uint64(r.Addend)
		}
	})
	return m.relocated
}

const relaSize = 24 // elf.Rela64

// relocations calls visit for all that the dynamic linker relocates.
func (m *image) relocations(visit func(elf.Rela64)) {
	for _, s := range m.elf.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 { //nolint:misspell // the name of the section type
			continue
		}
		b, err := m.raw(s)
		for ; err == nil && len(b) >= relaSize; b = b[relaSize:] {
			visit(elf.Rela64{
				Off: binary.LittleEndian.Uint64(b), Info: binary.LittleEndian.Uint64(b[8:]), Addend: int64(binary.LittleEndian.Uint64(b[16:])),
			})
		}
	}
}

// text views bytes as a string without copying. The string dies with the image.
func text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// cstringAt views the NUL-terminated string at an offset; empty when there is none.
func cstringAt(b []byte, off uint64) string {
	if off >= uint64(len(b)) {
		return ""
	}
	b = b[off:]
	n := bytes.IndexByte(b[:min(len(b), maxNameLength)], 0)
	if n < 0 {
		return ""
	}
	return text(b[:n])
}

// maxNameLength bounds a symbol's name: longer ones are damage, not names.
const maxNameLength = 1 << 16

// legacyCompressed reads a section in GNU's older form of compression: "ZLIB",
// the size as eight big-endian bytes, and the compressed bytes.
func (m *image) legacyCompressed(name string) ([]byte, error) {
	s := m.elf.Section(name)
	if s == nil {
		return nil, nil
	}
	b, err := m.raw(s)
	if err != nil {
		return nil, err
	}
	if len(b) < 12 || string(b[:4]) != "ZLIB" {
		return nil, fmt.Errorf("read section %s: no compression header", name)
	}
	return m.decompress(name, b, binary.BigEndian.Uint64(b[4:]), func() (io.Reader, error) {
		return zlib.NewReader(bytes.NewReader(b[12:]))
	})
}
