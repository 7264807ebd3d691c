package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// targetFile is a file of a target in which probes may be wanted.
type targetFile struct {
	path   string // by which the tracer opens it
	module string // as the process sees it
	root   string // the process's root directory, for separate debug files
	wanted bool   // functions are selected from it; else it only tells of unwinding
}

// processFiles lists the executable and the shared objects of a running process
// that are wanted or that tell of unwinding.
func processFiles(pid int, o *Options) ([]targetFile, error) {
	exe, err := os.Readlink(exePath(pid))
	if err != nil {
		return nil, processError(pid, err)
	}
	maps, err := mappings(pid)
	if err != nil {
		return nil, err
	}
	root := procPath(pid, "root")
	files := []targetFile{{exePath(pid), strings.TrimSuffix(exe, " (deleted)"), root, o.exeWanted()}}
	for _, m := range maps {
		wanted := o.lib(m.Path)
		if m.Path == exe || !wanted && !hasRoles(m.Path) {
			continue
		}
		path, err := mappedPath(pid, m)
		if err != nil && wanted {
			return nil, err
		}
		if err == nil {
			files = append(files, targetFile{path, m.Path, root, wanted})
		}
	}
	files = append(files, libraries(o)...)
	return append(files, unwinders(files)...), nil
}

// libraries lists the shared objects that patterns name by their paths. They are
// attached to before a process loads them: when it has loaded one, its first
// calls are already made.
func libraries(o *Options) (out []targetFile) {
	for _, path := range onDisk(o.Libs) {
		out = append(out, targetFile{path, path, "/", true})
	}
	return out
}

// programFiles is processFiles for a program that does not run yet: its dynamic
// linker lists what it will load.
func programFiles(path string, o *Options) []targetFile {
	files := []targetFile{{path, path, "/", o.exeWanted()}}
	for _, lib := range sharedObjects(path) {
		if wanted := o.lib(lib); wanted || hasRoles(lib) {
			files = append(files, targetFile{lib, lib, "/", wanted})
		}
	}
	files = append(files, libraries(o)...)
	return append(files, unwinders(files)...)
}

// unwinders lists the files that the C library loads by itself when a thread is
// cancelled: too late to be attached to then.
func unwinders(files []targetFile) (out []targetFile) {
	for _, f := range files {
		if base := filepath.Base(f.module); !strings.HasPrefix(base, "libc.so") && !strings.HasPrefix(base, "libc-2") {
			continue
		}
		module := filepath.Join(filepath.Dir(f.module), "libgcc_s.so.1")
		if path := filepath.Join(f.root, module); exists(path) {
			out = append(out, targetFile{path, module, f.root, false})
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// images lists the executable files on disk that the patterns of executables name.
func (o *Options) images() []string { return onDisk(o.Exes) }

// onDisk lists the ELF files, as seen by the tracer, that patterns name as paths.
func onDisk(patterns []*pattern.Pattern) []string {
	var out []string
	for _, p := range patterns {
		if !strings.HasPrefix(p.String(), "/") {
			continue // the last element of a path, or an expression
		}
		paths, err := filepath.Glob(p.String())
		if err != nil {
			continue // a pattern that only means something for running processes
		}
		for _, path := range paths {
			if f, err := symbols.Open(path, symbols.Options{}); err == nil {
				_ = f.Close() // it was only looked at
				out = append(out, path)
			}
		}
	}
	return out
}

// future tells whether processes that start later are wanted, beyond children.
func (o *Options) future() bool { return len(o.Names)+len(o.Exes) > 0 }

// wants tells whether a process is one by its name or its executable.
func (o *Options) wants(p *trace.Process) bool {
	return pattern.Any(o.Names, p.Comm) || pattern.Any(o.Exes, p.Exe)
}

// lib tells whether a shared object's functions are wanted.
func (o *Options) lib(path string) bool {
	return pattern.Any(o.Libs, path) || pattern.Any(o.Libs, filepath.Base(path))
}

// exeWanted tells whether executables' functions are selected from. With
// libraries but no patterns, only the libraries' are.
func (o *Options) exeWanted() bool {
	return len(o.Libs) == 0 || len(o.Selection.Include)+len(o.Selection.Files) > 0
}

// Survey lists the functions that Start would find with these options, file by
// file, the refused included, and the patterns that match nothing. Nothing is attached.
// command is the path of the executable of a command to come, or empty.
func Survey(o Options, command string) (found []*trace.Function, unmatched []Unmatched, err error) {
	m := newMatching(&o)
	err = eachFile(o, command, func(f *symbols.File) error {
		selected, err := f.Select(o.Selection)
		found = append(found, selected...)
		o.warnOf(f)
		if err != nil {
			return err
		}
		return m.look(f)
	})
	return found, m.unmatched(), err
}

// warnOf tells what was found wrong with a file.
func (o *Options) warnOf(f *symbols.File) {
	if o.Warn == nil {
		return
	}
	for _, err := range f.Warnings() {
		o.Warn(err)
	}
}

// Nearest suggests names of functions in the targets' files that resemble the
// patterns, which matched nothing: at most n for each, best first.
func Nearest(o Options, command string, n int) (names []string) {
	// What can't be read has been reported already.
	_ = eachFile(o, command, func(f *symbols.File) error {
		for _, p := range o.Selection.Include {
			near, err := f.Nearest(p.String(), n)
			if err != nil {
				return err
			}
			names = append(names, near...)
		}
		return nil
	})
	return names
}

// Named is a file that functions are selected from, and what is known of their names.
type Named struct {
	Module   string // its path, as the process sees it
	Excluded int    // functions that Selection would choose without its Exclude
	symbols.Naming
}

// Names says of the targets' files how their functions are named.
func Names(o Options, command string) (files []Named) {
	// What can't be read has been reported already.
	_ = eachFile(o, command, func(f *symbols.File) error {
		n, err := f.Naming()
		if err != nil {
			return err
		}
		file := Named{Module: f.Module(), Naming: n}
		if len(o.Selection.Exclude) > 0 {
			all := o.Selection
			all.Exclude = nil
			file.Excluded, err = f.Selected(all)
		}
		files = append(files, file)
		return err
	})
	return files
}

// eachFile opens the files of the targets that functions are selected from, each once.
func eachFile(o Options, command string, do func(*symbols.File) error) error {
	files, err := targetFiles(o, command)
	if err != nil {
		return err
	}
	seen := map[FileID]bool{}
	for _, t := range files {
		if !t.wanted {
			continue
		}
		id, err := probedIDOf(t.path)
		if err != nil {
			return permission(err)
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		f, err := symbols.Open(t.path, symbols.Options{Module: t.module, Root: t.root})
		if err != nil {
			return fmt.Errorf("read %s: %w", t.module, permission(err))
		}
		if err := errors.Join(do(f), f.Close()); err != nil {
			return fmt.Errorf("read %s: %w", t.module, err)
		}
	}
	return nil
}

// targetFiles lists the files of all targets that are known now.
func targetFiles(o Options, command string) (files []targetFile, err error) {
	pids := o.PIDs
	if o.future() {
		running, err := Find(o.wants)
		if err != nil {
			return nil, err
		}
		for _, p := range running {
			pids = append(pids, p.PID)
		}
		for _, image := range o.images() {
			files = append(files, programFiles(image, &o)...)
		}
	}
	for i, pid := range pids {
		of, err := processFiles(pid, &o)
		if errors.Is(err, ErrNoProcess) && i >= len(o.PIDs) {
			continue // it was found, and has ended since
		}
		if err != nil {
			return nil, permission(err)
		}
		files = append(files, of...)
	}
	if command != "" {
		path, err := program(command)
		if err != nil {
			return nil, err
		}
		files = append(files, programFiles(path, &o)...)
	}
	return files, nil
}
