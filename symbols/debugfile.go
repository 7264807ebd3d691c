package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// debugDir is where distributions install debug files.
const debugDir = "/usr/lib/debug"

// debugInfo is where a file's debug information comes from.
type debugInfo struct {
	img  *image // the file itself, a separate debug file, or nil when there is none
	path string // of the separate debug file
	// why says why a separate debug file that was found is not used.
	why error
}

// debugImage finds the image that holds the debug information, once.
func (f *File) debugInfo() *debugInfo {
	if f.debug != nil {
		return f.debug
	}
	f.debug = &debugInfo{}
	if hasDWARF(f.img) {
		f.debug.img = f.img
		return f.debug
	}
	for _, path := range f.debugPaths() {
		img, err := f.openDebug(path)
		if err != nil {
			f.debug.why = err
			continue
		}
		if img == nil {
			continue
		}
		*f.debug = debugInfo{img: img, path: path}
		break
	}
	return f.debug
}

// DebugFile is the path of the separate debug file that is used, below
// Options.Root; empty when the file has its own debug information, or none.
func (f *File) DebugFile() (path string) {
	_ = f.read(func() error {
		path = f.debugInfo().path
		return nil
	})
	return path
}

func hasDWARF(m *image) bool {
	for _, s := range m.elf.Sections {
		if (s.Name == ".debug_info" || s.Name == ".zdebug_info") && s.Type != elf.SHT_NOBITS {
			return true
		}
	}
	return false
}

// debugPaths lists where a separate debug file may lie, as gdb seeks it.
func (f *File) debugPaths() []string {
	var paths []string
	if id := f.img.note("GNU", 3); len(id) > 1 {
		name := hex.EncodeToString(id)
		paths = append(paths, filepath.Join(debugDir, ".build-id", name[:2], name[2:]+".debug"))
	}
	name, _, ok := f.debugLink()
	if !ok {
		return paths
	}
	dir := filepath.Dir(f.module)
	if abs, err := filepath.Abs(dir); err == nil && f.opts.Root == "" {
		dir = abs
	}
	return append(paths, filepath.Join(dir, name), filepath.Join(dir, ".debug", name), filepath.Join(debugDir, dir, name))
}

// debugLink reads .gnu_debuglink: a file name and the CRC-32 of that file.
func (f *File) debugLink() (name string, crc uint32, ok bool) {
	b, err := f.img.section(".gnu_debuglink")
	if err != nil {
		return "", 0, false
	}
	n := bytes.IndexByte(b, 0)
	at := (n + 4) &^ 3
	if n <= 0 || at+4 > len(b) || bytes.IndexByte(b[:n], '/') >= 0 {
		return "", 0, false
	}
	return string(b[:n]), binary.LittleEndian.Uint32(b[at:]), true
}

// openDebug opens a candidate and checks that it belongs to the file. It
// returns nil without an error when there is no such file.
func (f *File) openDebug(path string) (*image, error) {
	file, err := f.openUnderRoot(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open debug file: %w", err)
	}
	defer file.Close()
	img, err := mapImage(file)
	if err != nil {
		return nil, err
	}
	if err := f.belongs(img); err != nil || img.ino == f.img.ino && img.dev == f.img.dev {
		return nil, errors.Join(err, img.close())
	}
	return img, nil
}

// belongs checks a debug file by its build id, else by the CRC of the debug link.
func (f *File) belongs(img *image) (err error) {
	defer guard(&err)
	if img.elf.Machine != f.img.elf.Machine {
		return fmt.Errorf("use debug file: it is for another architecture")
	}
	mine, its := f.img.note("GNU", 3), img.note("GNU", 3)
	if mine != nil && its != nil {
		if !bytes.Equal(mine, its) {
			return fmt.Errorf("use debug file: its build id %x is not the program's %x (install the debug package of this very version)", its, mine)
		}
		return nil
	}
	if _, crc, ok := f.debugLink(); !ok || crc32.ChecksumIEEE(img.data) != crc {
		return fmt.Errorf("use debug file: its checksum is not the one in the program's .gnu_debuglink")
	}
	return nil
}

// openUnderRoot opens a path as the traced process sees it: symbolic links stay
// below its root directory.
func (f *File) openUnderRoot(path string) (*os.File, error) {
	if f.opts.Root == "" || f.opts.Root == "/" {
		return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	root, err := unix.Open(f.opts.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.opts.Root, Err: err}
	}
	defer func() { _ = unix.Close(root) }() // it was only opened to look below it
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(f.opts.Root, path), Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
