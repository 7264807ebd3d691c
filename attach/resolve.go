package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// image is what is kept of a file that is traced, to say what addresses mean.
type image struct {
	source *os.File // kept open: its path may lead through a process that ends
	module string   // the path as its process knows it

	mu       sync.Mutex        // guards what follows but for segments, pie, itabs and dictionaries, which don't change
	names    map[uint64]string // of code addresses that were asked for; those of no function too
	places   map[uint64]place  // of instructions that were asked for
	file     *symbols.File     // read for the first name
	broken   bool              // it can't be read
	segments []symbols.Segment
	pie      bool
	dynamic  map[uint64]types.Dynamic // by the address of the runtime type, of a closure's code, or of the vtable as objects have it
	itabs    map[uint64]uint64        // itab to runtime type
	classes  map[uint64]string        // of vtables that were asked for and aren't in dynamic
	// dictionaries are those of generic functions, by address; words are of dictionaries, as far as they were asked for.
	dictionaries map[uint64]symbols.Dictionary
	words        map[uint64]uint64
}

func newImage(f *symbols.File, dynamic []types.Dynamic, dictionaries map[uint64]symbols.Dictionary) (*image, error) {
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
	i.mu.Lock()
	defer i.mu.Unlock()
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

// open opens the file for reading, once; nil when it can't be read. It is for those who hold the mutex.
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

// object names the data object at an address of the file, as "table" or "table+8";
// empty when there is none.
func (i *image) object(address uint64) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if name, ok := i.names[address]; ok {
		return name
	}
	if len(i.names) >= maxNames {
		clear(i.names)
	}
	name := ""
	if f := i.open(); f != nil {
		var off uint64
		if name, off, _ = f.ObjectAt(address); name != "" && off > 0 {
			name = fmt.Sprintf("%s+%d", name, off)
		}
	}
	i.names[address] = name
	return name
}

// Symbol names the function or the data object at an address of a process, in any
// file that it has mapped, or (Go's function values) the function that the word
// there leads to; empty when it is not known. Of an address behind an object's
// beginning it tells how far: "table+8".
func (s *Session) Symbol(tgid uint32, address uint64) string {
	i, inFile := s.holder(tgid, address)
	if i == nil {
		return ""
	}
	if i.code(inFile) {
		return i.name(inFile)
	}
	if name := i.object(inFile); name != "" {
		return name
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

// holder finds the file that an address of a process belongs to, traced or not:
// one that it is mapped from, or whose zeroed data it is, which lie behind.
func (s *Session) holder(tgid uint32, address uint64) (*image, uint64) {
	if i, inFile, _ := s.image(tgid, address); i != nil {
		return i, inFile
	}
	r, ok := s.at(tgid, address)
	if !ok {
		return nil, 0
	}
	if r.ID.Inode == 0 {
		if r, ok = s.space(tgid).at(r.Start - 1); !ok || r.ID.Inode == 0 {
			return nil, 0
		}
	}
	i := s.imageOf(tgid, r)
	if i == nil {
		return nil, 0
	}
	offset := address - r.Start + r.Offset
	if inFile, ok := i.address(offset); ok {
		return i, inFile
	}
	for _, s := range i.segments {
		// What the file has no bytes for lies behind those of its segment.
		if offset >= s.Offset && offset-s.Offset < s.Memsz && r.Offset < s.Offset+s.Filesz && s.Memsz > s.Filesz {
			return i, offset - s.Offset + s.Vaddr
		}
	}
	return nil, 0
}

// imageOf is the file of a region, traced or not; nil when it can't be read.
func (s *Session) imageOf(tgid uint32, r region) *image {
	s.mu.Lock()
	f := s.fileOf(r)
	s.mu.Unlock()
	if f != nil && f.image != nil {
		return f.image
	}
	s.mmu.Lock()
	defer s.mmu.Unlock()
	i, ok := s.modules[r.ID]
	if ok || len(s.modules) >= maxModules {
		return i
	}
	// Data files and devices are mapped, too: they are not opened.
	if slices.ContainsFunc(s.space(tgid).regions, func(o region) bool { return o.exec && o.ID == r.ID }) {
		i = openModule(tgid, r)
	}
	s.modules[r.ID] = i
	return i
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
	libcs   int // C libraries among them
	read    time.Time
}

// rereadAfter bounds how often an address that is in no known region has the map read again.
const rereadAfter = time.Second

// noSpace is the memory map of a process of which none is known.
var noSpace space

// space is a process's memory map.
func (s *Session) space(tgid uint32) *space {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if sp := s.spaces[tgid]; sp != nil {
		return sp
	}
	return &noSpace
}

// at finds the region of an address.
func (s *Session) at(tgid uint32, address uint64) (region, bool) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
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
// is kept: nil is returned, unless nothing was known. It is for those who hold rmu.
func (s *Session) remap(tgid uint32) *space {
	regions, err := memoryMap(int(tgid))
	if before := s.spaces[tgid]; before != nil && (err != nil || len(regions) == 0) {
		return nil
	}
	sp := &space{regions, len(libcsOf(regions)), time.Now()}
	s.spaces[tgid] = sp
	return sp
}

// SameMapping tells whether two addresses of a process lie in one memory mapping:
// of two stack addresses, whether it is one stack. Of a process that has ended,
// their distance decides.
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

// Vtable tells of what type the objects are that have the address of a vtable.
// Of a C++ class that is not described where it was found, or lies in a file that
// isn't traced, it is the name alone.
func (s *Session) Vtable(tgid uint32, address uint64) (types.Dynamic, bool) {
	i, inFile, _ := s.image(tgid, address)
	if i != nil {
		i.mu.Lock()
		d, ok := i.dynamic[inFile]
		i.mu.Unlock()
		if ok {
			return d, true
		}
	} else if i, inFile = s.mapped(tgid, address); i == nil {
		return types.Dynamic{}, false
	}
	name := i.class(inFile)
	return types.Dynamic{Name: name}, name != ""
}

// class names the C++ class whose vtable is at an address of the file.
func (i *image) class(address uint64) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if name, ok := i.classes[address]; ok {
		return name
	}
	if i.classes == nil || len(i.classes) >= maxClasses {
		i.classes = map[uint64]string{}
	}
	name := ""
	if f := i.open(); f != nil && !i.code(address) {
		name, _ = f.ClassAt(address) // what can't be read has no names
	}
	i.classes[address] = name
	return name
}

// maxClasses bounds how many vtables that aren't described are remembered for a file.
const maxClasses = 4096

// TypeArguments are the types that a generic Go function runs with, as they are written in
// brackets, by its dictionary; empty when that isn't known.
func (s *Session) TypeArguments(tgid uint32, dictionary uint64) string {
	i, address, _ := s.image(tgid, dictionary)
	if i == nil {
		return ""
	}
	return i.dictionaries[address].Arguments
}

// Generic tells the type that a word of a generic Go function's dictionary stands for.
func (s *Session) Generic(tgid uint32, dictionary uint64, index uint32) (types.Dynamic, bool) {
	i, address, _ := s.image(tgid, dictionary)
	if i == nil || i.dictionaries[address].Arguments == "" {
		return types.Dynamic{}, false
	}
	word, ok := i.word(address + 8*uint64(index))
	if !ok {
		return types.Dynamic{}, false
	}
	return s.cat.dynamicType(i, word)
}

// word reads a word of a dictionary at an address of the file.
func (i *image) word(address uint64) (word uint64, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if word, ok = i.words[address]; ok {
		return word, true
	}
	f := i.open()
	if f == nil {
		return 0, false
	}
	if word, ok = f.WordAt(address); !ok || len(i.words) >= maxNames {
		return 0, false
	}
	i.words[address] = word
	return word, true
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
	s.rmu.Lock()
	defer s.rmu.Unlock()
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
// have ended before its memory map is read. It is for those who hold rmu.
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
