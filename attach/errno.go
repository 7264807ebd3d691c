package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Where errno is, probes find out by themselves of programs that begin while they are there
// (FUNC_FINDS_ERRNO in bpf/event.h). For those that run already it is looked up here.

// libc is what is known of a file that may be, or have linked in, a C library.
type libc struct {
	place    trace.ErrnoPlace
	err      error // why it has no errno
	dynamic  bool  // a program whose C library is another file
	segments []symbols.Segment
}

// libcs are the C libraries that were looked at. It is safe for concurrent use.
type libcs struct {
	mu    sync.Mutex
	known map[libcKey]libc
}

// libcKey is a file as it is now: another one may come to have its inode.
type libcKey struct {
	FileID
	changed int64 // ns
}

// maxLibcs bounds how many are remembered.
const maxLibcs = 256

func (l *libcs) read(path string) libc {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return libc{err: fmt.Errorf("stat %s: %w", path, err)}
	}
	key := libcKey{FileID{st.Dev, st.Ino}, st.Ctim.Nano()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.known[key]; ok {
		return c
	}
	file, err := symbols.Open(path, symbols.Options{})
	if err != nil {
		return libc{err: permission(err)} // another process may have a path by which it can be read
	}
	c := libc{dynamic: file.Interpreter() != "", segments: file.Segments()}
	c.place, c.err = file.Errno()
	_ = file.Close() // it was only read
	if len(l.known) >= maxLibcs {
		clear(l.known)
	}
	l.known[key] = c
	return c
}

// Why it isn't known where a process has errno.
var (
	errSeveralLibcs = errors.New("the process has several C libraries, each with an errno of its own")
	errNoLibc       = errors.New("the process has mapped no file that is named like the C library of glibc or musl")
	errBeginning    = errors.New("the program was still being loaded")
)

// isLibc says whether a shared object is a C library, by its name.
func isLibc(path string) bool {
	base := filepath.Base(path)
	for _, name := range []string{"libc.so", "libc-2", "libc.musl-", "ld-musl-"} {
		if strings.HasPrefix(base, name) {
			return true
		}
	}
	return false
}

// libcsOf lists a process's C libraries: the first region of each one's code.
func libcsOf(regions []region) (found []region) {
	type load struct {
		id    FileID
		start uint64 // where the file's beginning would be
	}
	seen := map[load]bool{}
	for _, r := range regions {
		l := load{r.ID, r.Start - r.Offset}
		if r.exec && isLibc(r.Path) && !seen[l] {
			seen[l] = true
			found = append(found, r)
		}
	}
	return found
}

// locateErrno tells the probes where a process has errno, or says why it isn't known. It is
// safe for concurrent use.
func (s *Session) locateErrno(tgid uint32) error {
	program, traced := s.objs.Program(tgid)
	if !traced || s.objs.KnowErrno(tgid, program) {
		return nil
	}
	regions, err := memoryMap(int(tgid))
	if err != nil {
		return err
	}
	place, err := s.errnoPlace(tgid, regions)
	if err != nil {
		return err
	}
	place.Program = program
	return s.objs.SetErrno(tgid, place)
}

// errnoPlace finds where a process has errno.
func (s *Session) errnoPlace(tgid uint32, regions []region) (place bpf.ErrnoPlace, err error) {
	var c libc
	var code region
	switch libraries := libcsOf(regions); len(libraries) {
	case 0: // linked statically
		path := exePath(int(tgid))
		exe, err := os.Readlink(path)
		if err != nil {
			return place, processError(int(tgid), err)
		}
		i := slices.IndexFunc(regions, func(r region) bool { return r.exec && r.Path == exe })
		if c = s.libcs.read(path); c.dynamic || i < 0 {
			return place, errNoLibc
		}
		code = regions[i]
	case 1:
		code = libraries[0]
		path, err := mappedPath(int(tgid), code.Mapping)
		if err != nil {
			return place, err
		}
		c = s.libcs.read(path)
	default:
		return place, errSeveralLibcs
	}
	if c.err != nil {
		return place, c.err
	}
	file := image{segments: c.segments}
	begin, ok := file.address(code.Offset)
	if !ok {
		return place, errors.New("the memory map does not fit the C library's file")
	}
	place.Libc, place.Offset = code.Start-begin, int64(c.place.Offset)
	if c.place.Slot == 0 {
		return place, nil
	}
	word, ok := readWord(tgid, place.Libc+c.place.Slot)
	if !ok {
		return place, errors.New("memory not readable")
	}
	// Thread-local storage lies below the thread pointer, within the dynamic linker's limits.
	if place.Offset = int64(word); place.Offset >= 0 || place.Offset < -1<<30 {
		return place, errBeginning
	}
	return place, nil
}

// unlocated is a process of which the place of errno isn't known.
type unlocated struct {
	why  string
	read time.Time
}

// Errno says why errno is not to be had of a call of a process, or, known, why what the
// probes have read may be another one; empty when it is right. Where they didn't know where it
// is, they do from now on, if that can be found out.
func (s *Session) Errno(tgid uint32, known bool) (why string) {
	// Read again whenever something was mapped, which is before a call of that can be.
	s.rmu.Lock()
	sp := s.spaces[tgid]
	u, ok := s.unlocated[tgid]
	s.rmu.Unlock()
	switch {
	case sp != nil && sp.libcs > 1:
		return errSeveralLibcs.Error()
	case known:
		return ""
	case ok && time.Since(u.read) < rereadAfter:
		return u.why
	}
	u = unlocated{"the call was over before it was known where the process has it", time.Now()}
	switch err := s.locateErrno(tgid); {
	case errors.Is(err, ErrNoProcess):
		u.why = "the process ended before it was known where it had it"
	case err != nil:
		u.why = err.Error()
	}
	s.rmu.Lock()
	s.unlocated[tgid] = u
	s.rmu.Unlock()
	return u.why
}
