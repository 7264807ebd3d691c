package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// image is what is kept of a file that is traced, to say what addresses mean.
type image struct {
	source   *os.File          // kept open: its path may lead through a process that ends
	module   string            // the path as its process knows it
	names    map[uint64]string // of code addresses that were asked for; those of no function too
	places   map[uint64]place  // of instructions that were asked for
	file     *symbols.File     // read for the first name
	broken   bool              // it can't be read
	segments []symbols.Segment
	pie      bool
	dynamic  map[uint64]types.Dynamic // by the address of the runtime type, or of a closure's code
	itabs    map[uint64]uint64        // itab to runtime type
	// dictionaries are the type arguments that generic functions were instantiated with, by the
	// dictionary's address; words are of dictionaries, as far as they were asked for.
	dictionaries map[uint64]string
	words        map[uint64]uint64
}

func newImage(f *symbols.File, dynamic []types.Dynamic, dictionaries map[uint64]string) (*image, error) {
	source, err := os.Open(f.Path())
	if err != nil {
		return nil, fmt.Errorf("open traced file: %w", err)
	}
	i := &image{
		source: source, module: f.Module(), names: map[uint64]string{}, places: map[uint64]place{},
		segments: f.Segments(), pie: f.PIE(), dynamic: make(map[uint64]types.Dynamic, len(dynamic)), itabs: f.ITabs(),
		dictionaries: dictionaries, words: map[uint64]uint64{},
	}
	for _, d := range dynamic {
		i.dynamic[d.Address] = d
	}
	return i, nil
}

// address is the file's virtual address of what is mapped from a file offset.
func (i *image) address(offset uint64) (uint64, bool) {
	for _, s := range i.segments {
		if offset >= s.Offset && offset < s.Offset+s.Filesz {
			return s.Vaddr + offset - s.Offset, true
		}
	}
	return 0, false
}

// name is the name of the function at an address of the file, empty when there is none.
func (i *image) name(address uint64) string {
	if name, ok := i.names[address]; ok {
		return name
	}
	if len(i.names) >= maxNames {
		clear(i.names)
	}
	name := ""
	if f := i.open(); f != nil {
		name, _ = f.NameAt(address) // what can't be read has no names
	}
	i.names[address] = name
	return name
}

// open opens the file for reading, once; nil when it can't be read.
func (i *image) open() *symbols.File {
	if i.file == nil && !i.broken {
		f, err := symbols.Open(fmt.Sprintf("/proc/self/fd/%d", i.source.Fd()), symbols.Options{Module: i.module})
		i.file, i.broken = f, err != nil
	}
	return i.file
}

// close releases the file.
func (i *image) close() error {
	if i == nil {
		return nil
	}
	err := i.source.Close()
	if i.file != nil {
		err = errors.Join(err, i.file.Close())
	}
	return err
}

// maxNames bounds how many names are remembered for a file.
const maxNames = 1 << 16

// code tells whether an address of the file is in a segment of code.
func (i *image) code(address uint64) bool {
	for _, s := range i.segments {
		if address >= s.Vaddr && address < s.Vaddr+s.Memsz {
			return s.Exec
		}
	}
	return false
}

// Symbol names the function at an address of a process, or (Go's function
// values) the one that the word there leads to; empty when it is not known.
func (s *Session) Symbol(tgid uint32, address uint64) string {
	i, inFile, _ := s.image(tgid, address)
	if i == nil {
		return ""
	}
	if i.code(inFile) {
		return i.name(inFile)
	}
	target, ok := readWord(tgid, address)
	if !ok {
		return ""
	}
	if i, inFile, _ = s.image(tgid, target); i == nil || !i.code(inFile) {
		return ""
	}
	return i.name(inFile)
}

// holds tells whether an address of the file is in one of its segments.
func (i *image) holds(address uint64) bool {
	for _, s := range i.segments {
		if address >= s.Vaddr && address < s.Vaddr+s.Memsz {
			return true
		}
	}
	return false
}

// space is a process's memory map, as it was when last read.
type space struct {
	regions []region
	read    time.Time
}

// rereadAfter bounds how often an address that is in no known region has the map read again.
const rereadAfter = time.Second

// at finds the region of an address.
func (s *Session) at(tgid uint32, address uint64) (region, bool) {
	sp := s.spaces[tgid]
	for range 2 {
		if sp != nil {
			if r, ok := sp.at(address); ok {
				return r, true
			}
			if time.Since(sp.read) < rereadAfter {
				break
			}
		}
		if sp = s.remap(tgid); sp == nil {
			break
		}
	}
	return region{}, false
}

func (sp *space) at(address uint64) (region, bool) {
	i, _ := slices.BinarySearchFunc(sp.regions, address, func(r region, address uint64) int {
		if address >= r.End {
			return -1
		}
		return 1
	})
	if i == len(sp.regions) || address < sp.regions[i].Start {
		return region{}, false
	}
	return sp.regions[i], true
}

// remap reads a process's memory map anew. Of one that has ended the last one
// is kept: nil is returned, unless nothing was known.
func (s *Session) remap(tgid uint32) *space {
	regions, err := memoryMap(int(tgid))
	if before := s.spaces[tgid]; before != nil && (err != nil || len(regions) == 0) {
		return nil
	}
	sp := &space{regions, time.Now()}
	s.spaces[tgid] = sp
	return sp
}

// SameMapping tells whether two addresses of a process lie in one memory mapping:
// of two stack addresses, whether it is one stack. Of a process that has ended,
// their distance decides. Like Dynamic it is for the goroutine that calls Next.
func (s *Session) SameMapping(tgid uint32, a, b uint64) bool {
	if r, ok := s.at(tgid, a); ok {
		return b >= r.Start && b < r.End
	}
	return max(a, b)-min(a, b) < usualStack
}

// usualStack is the size that Linux gives a stack unless told otherwise, bytes.
const usualStack = 8 << 20

// Dynamic tells the type of what a Go interface holds, by its first word: the
// address of a runtime type, or (fromItab) of an itab.
func (s *Session) Dynamic(tgid uint32, word uint64, fromItab bool) (types.Dynamic, bool) {
	i, address, bias := s.image(tgid, word)
	if i == nil {
		if !fromItab {
			return types.Dynamic{}, false
		}
		// An itab that the runtime made, in memory of its own: it is there as long as the process.
		t, ok := readWord(tgid, word+types.ITabType)
		if !ok {
			return types.Dynamic{}, false
		}
		return s.Dynamic(tgid, t, false)
	}
	if fromItab {
		t, ok := i.itabs[address]
		if !ok {
			if t, ok = readWord(tgid, word+types.ITabType); !ok {
				return types.Dynamic{}, false
			}
			t -= bias
		}
		address = t
	}
	d, ok := s.cat.dynamicType(i, address)
	return d, ok
}

// TypeArguments are the types that a generic Go function runs with, as they are written in
// brackets, by its dictionary; empty when that isn't known.
func (s *Session) TypeArguments(tgid uint32, dictionary uint64) string {
	i, address, _ := s.image(tgid, dictionary)
	if i == nil {
		return ""
	}
	return i.dictionaries[address]
}

// Generic tells the type that a word of a generic Go function's dictionary stands for.
func (s *Session) Generic(tgid uint32, dictionary uint64, index uint32) (types.Dynamic, bool) {
	i, address, _ := s.image(tgid, dictionary)
	if i == nil || i.dictionaries[address] == "" {
		return types.Dynamic{}, false
	}
	at := address + 8*uint64(index)
	word, ok := i.words[at]
	if !ok {
		f := i.open()
		if f == nil {
			return types.Dynamic{}, false
		}
		if word, ok = f.WordAt(at); !ok || len(i.words) >= maxNames {
			return types.Dynamic{}, false
		}
		i.words[at] = word
	}
	return s.cat.dynamicType(i, word)
}

// image finds the traced file that an address of a process is mapped from, the
// address in the file, and the load bias between the two.
func (s *Session) image(tgid uint32, address uint64) (i *image, inFile, bias uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.at(tgid, address); ok {
		f := s.fileOf(r)
		if f == nil || f.image == nil {
			return nil, 0, 0
		}
		if inFile, ok = f.image.address(address - r.Start + r.Offset); ok {
			return f.image, inFile, address - inFile
		}
		return nil, 0, 0
	}
	// The process has ended: a file is where its functions were hit, or where it says.
	for i, bias := range s.biases[tgid] {
		if i.holds(address - bias) {
			return i, address - bias, bias
		}
	}
	for _, f := range s.files {
		if f.image != nil && !f.image.pie && f.image.holds(address) {
			return f.image, address, 0
		}
	}
	return nil, 0, 0
}

// learnBias takes note of where an entry's function was loaded: the process may
// have ended before its memory map is read.
func (s *Session) learnBias(h bpf.Header, f *trace.Function) {
	i := s.cat.image(h.Func)
	if i == nil || !i.pie {
		return
	}
	of := s.biases[h.TGID]
	if _, known := of[i]; known {
		return
	}
	if of == nil {
		of = map[*image]uint64{}
		s.biases[h.TGID] = of
	}
	of[i] = h.IP - f.Address - f.Entry.Offset
}

// fileOf finds the traced file of a region.
func (s *Session) fileOf(r region) *attachedFile {
	if f := s.files[r.ID]; f != nil {
		return f
	}
	// The map may name another device than stat does (overlayfs).
	for id, f := range s.files {
		if id.Inode == r.ID.Inode && r.ID.Inode != 0 {
			return f
		}
	}
	return nil
}

// readWord reads eight bytes of a process's memory.
func readWord(tgid uint32, address uint64) (uint64, bool) {
	f, err := os.Open(procPath(int(tgid), "mem"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], int64(address)); err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[:]), true
}
