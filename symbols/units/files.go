package units

import (
	"path"
	"strings"
)

// maxFiles bounds the files of one unit.
const maxFiles = 1 << 18

// sourceFile is a file of a unit: its directory and name, and its path once asked for.
type sourceFile struct{ dir, name, path string }

// File is the path of the source file that a function is declared in, empty
// when unknown.
func (x *Index) File(f Function) string {
	if f.declared == nil {
		return ""
	}
	return x.file(f.declared, f.file)
}

// file returns the path of a unit's file by its number in the line table.
func (x *Index) file(u *Unit, index uint64) string {
	if !u.filesRead {
		u.filesRead = true
		if u.hasLines {
			u.files = x.readFiles(u)
		}
	}
	if index >= uint64(len(u.files)) {
		return ""
	}
	f := &u.files[index]
	if f.path == "" {
		f.path = join(f.dir, f.name)
	}
	return f.path
}

// readFiles reads the file names in the header of a unit's line table
// (section 6.2.4), and nothing behind it.
func (x *Index) readFiles(u *Unit) []sourceFile {
	h, ok := x.lineHeader(u)
	if !ok {
		return nil
	}
	if h.version == 5 {
		return x.filesV5(&h.names, u, h.dwarf64)
	}
	return filesV4(&h.names, u)
}

// filesV4 reads directories and files as they are up to DWARF 4 (its section
// 6.2.4): both count from 1, directory 0 is the unit's.
func filesV4(b *buf, u *Unit) []sourceFile {
	dirs := []string{u.CompDir}
	for !b.bad && len(dirs) < maxFiles {
		dir := b.cstring()
		if dir == "" {
			break
		}
		dirs = append(dirs, join(u.CompDir, dir))
	}
	files := []sourceFile{{dir: u.CompDir, name: u.Name}}
	for !b.bad && len(files) < maxFiles {
		name := b.cstring()
		if name == "" {
			break
		}
		dir := b.uleb()
		b.uleb() // time of modification
		b.uleb() // length
		files = append(files, sourceFile{dir: at(dirs, dir), name: name})
	}
	return files
}

// Content types of DWARF 5's file and directory entries (section 6.2.4.1).
const (
	lnctPath      = 1
	lnctDirectory = 2
)

func (x *Index) filesV5(b *buf, u *Unit, dwarf64 bool) []sourceFile {
	shape := *u // the line table's own format decides about the forms' sizes
	shape.dwarf64 = dwarf64
	var dirs []string
	x.entriesV5(b, &shape, func(dir string, _ uint64) {
		if len(dirs) > 0 {
			dir = join(dirs[0], dir)
		}
		dirs = append(dirs, dir)
	})
	var files []sourceFile
	x.entriesV5(b, &shape, func(name string, dir uint64) {
		files = append(files, sourceFile{dir: at(dirs, dir), name: name})
	})
	return files
}

// entriesV5 reads one table, of directories or of files.
func (x *Index) entriesV5(b *buf, u *Unit, add func(path string, dir uint64)) {
	formats := make([]attr, b.u8())
	for i := range formats {
		formats[i] = attr{attr: uint32(b.uleb()), form: uint32(b.uleb())}
	}
	count := b.uleb()
	if count > maxFiles || len(formats) == 0 {
		b.bad = true
	}
	for ; count > 0 && !b.bad; count-- {
		var name string
		var dir uint64
		for _, f := range formats {
			v := b.value(f, u)
			switch f.attr {
			case lnctPath:
				name = x.str(u, v)
			case lnctDirectory:
				dir = v.num
			}
		}
		if !b.bad {
			add(name, dir)
		}
	}
}

func at(dirs []string, i uint64) string {
	if i < uint64(len(dirs)) {
		return dirs[i]
	}
	return ""
}

// join puts a directory before a path that is not absolute, and tidies the result.
func join(dir, name string) string {
	switch {
	case name == "":
		return ""
	case strings.HasPrefix(name, "/") || dir == "":
		return path.Clean(name)
	default:
		return path.Join(dir, name)
	}
}
