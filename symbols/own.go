package symbols

import (
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/units"
)

// own tells the application's own functions from those of libraries and the
// language's runtime: what is traced when nothing is asked for.
type own struct {
	f *File
	t *table
	// Go: the prefixes of the application's packages, and those of modules nested in it.
	packages, foreign []string
	// Others: the directories of the program's source, below which its functions
	// are declared; nil without debug information.
	trees []string
}

// ownCode finds out what is the application's own in the file.
func (f *File) ownCode(t *table) *own {
	o := &own{f: f, t: t}
	if p := f.goInfo(); p != nil {
		o.packages, o.foreign = goPackages(p.build)
	}
	if x := f.dwarf().index; x != nil {
		o.trees = f.sourceTrees(t, x)
	}
	return o
}

// goPackages lists the module that a Go program was built from, and the other
// modules whose paths lie below it.
func goPackages(info *debug.BuildInfo) (packages, foreign []string) {
	if info == nil {
		return nil, nil
	}
	switch {
	case strings.HasPrefix(info.Path, "cmd/"):
		return []string{"cmd"}, []string{"cmd/vendor"} // a program of the Go distribution
	case info.Main.Path != "":
		packages = append(packages, info.Main.Path)
	}
	for _, dep := range info.Deps {
		if slices.ContainsFunc(packages, func(p string) bool { return strings.HasPrefix(dep.Path, p+"/") }) {
			foreign = append(foreign, dep.Path)
		}
	}
	return packages, foreign
}

// has reports whether an entry is the application's own.
func (o *own) has(e entry) bool {
	raw := o.t.name(e)
	if o.t.isGo(e) {
		return o.hasGo(goName(raw))
	}
	if startup[raw] || strings.HasPrefix(raw, "_GLOBAL__") || strings.HasPrefix(raw, "_Z41__static_initialization_and_destruction") {
		return false
	}
	if o.trees == nil {
		// Without debug information C code in a Go program is taken for a library's.
		return o.t.pcln == nil
	}
	fn, ok := o.f.described(o.t.addr(e))
	if !ok {
		return false
	}
	file := o.f.dwarf().index.File(fn)
	if file == "" && ownLambda(raw) {
		file = joinPath(fn.Unit.CompDir, fn.Unit.Name)
	}
	return file != "" && o.inTree(file)
}

// ownLambda reports whether a function is a C++ lambda that does not belong to
// the standard library: compilers don't always say which file it is in.
func ownLambda(raw string) bool {
	rest, local := strings.CutPrefix(raw, "_ZZN")
	return (local || strings.HasPrefix(raw, "_ZZ")) && strings.Contains(raw, "Ul") &&
		!strings.HasPrefix(rest, "St") && !strings.HasPrefix(rest, "KSt") && !strings.HasPrefix(raw, "_ZZSt")
}

func (o *own) hasGo(name string) bool {
	if goGlue(name) || goInit(name) {
		return false
	}
	if strings.HasPrefix(name, "main.") {
		return true
	}
	return slices.ContainsFunc(o.packages, func(p string) bool { return inPackage(name, p) }) &&
		!slices.ContainsFunc(o.foreign, func(p string) bool { return inPackage(name, p) })
}

// inPackage reports whether a Go function belongs to a package or to one below it.
func inPackage(name, pkg string) bool {
	rest, ok := strings.CutPrefix(name, pkg)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '/')
}

// startup is the code that compilers and the C library put into every program.
var startup = map[string]bool{
	"_start": true, "_init": true, "_fini": true, "frame_dummy": true, "register_tm_clones": true, "deregister_tm_clones": true,
	"__do_global_dtors_aux": true, "__libc_csu_init": true, "__libc_csu_fini": true, "_dl_relocate_static_pie": true,
	"__libc_start_main": true, "__libc_start_call_main": true, "_dl_start": true, "_dl_start_user": true, "atexit": true,
	"at_quick_exit": true, "stat": true, "fstat": true, "lstat": true, "mknod": true, "__stack_chk_fail_local": true,
	"__do_global_ctors_aux": true, "call_weak_fn": true, "_start_c": true,
}

// foreignSources begin, or are part of, the paths of sources that aren't the application's.
var foreignSources = []string{
	"/usr/include/", "/usr/local/include/", "/usr/lib/", "/usr/lib64/", "/rustc/", "/usr/src/rustc-", "/.cargo/registry/", "/.cargo/git/", "/.rustup/",
	"/rustlib/src/", "/include/c++/", "/lib/clang/", "/usr/share/",
}

func foreignSource(file string) bool {
	for _, s := range foreignSources {
		if strings.HasPrefix(s, "/usr/") || s == "/rustc/" {
			if strings.HasPrefix(file, s) {
				return true
			}
			continue
		}
		if strings.Contains(file, s) {
			return true
		}
	}
	return false
}

func (o *own) inTree(file string) bool {
	if foreignSource(file) {
		return false
	}
	return slices.ContainsFunc(o.trees, func(tree string) bool { return below(file, tree) })
}

// below reports whether a path lies in a directory. Relative paths all lie in ".":
// that is what is left when the build directory was mapped away.
func below(file, dir string) bool {
	switch dir {
	case ".":
		return !strings.HasPrefix(file, "/")
	case "/":
		return strings.HasPrefix(file, "/")
	default:
		return strings.HasPrefix(file, dir) && len(file) > len(dir) && file[len(dir)] == '/'
	}
}

// sourceTrees guesses the directories that hold the program's own source: where
// the unit with main was compiled and where its file lies, or what contains
// both; for a library where most of its units were.
func (f *File) sourceTrees(t *table, x *units.Index) []string {
	main := f.mainUnit(t, x)
	if main == nil {
		main = commonUnit(x)
	}
	if main == nil {
		return []string{}
	}
	dir := path.Clean(main.CompDir)
	source := path.Dir(joinPath(main.CompDir, main.Name))
	if main.CompDir == "" {
		return []string{source}
	}
	if common := commonDir(dir, source); common == dir || common == source || isProject(common) {
		return []string{common}
	}
	return []string{dir, source}
}

// isProject reports whether a directory is deep enough to be one project's, and
// not a user's or a system's.
func isProject(dir string) bool {
	depth := strings.Count(dir, "/")
	for _, shared := range []string{"/home/", "/usr/", "/var/", "/Users/"} {
		if strings.HasPrefix(dir, shared) {
			return depth >= 3
		}
	}
	return strings.HasPrefix(dir, "/") && depth >= 2
}

// mainUnit is the unit that main is in, if it is not the language's own.
func (f *File) mainUnit(t *table, x *units.Index) *units.Unit {
	for _, e := range t.entries {
		if t.name(e) != "main" {
			continue
		}
		if u := x.Find(t.addr(e)); u != nil && !foreignSource(u.CompDir+"/") {
			return u
		}
	}
	return nil
}

// commonUnit is a unit of the directory that most units with code were compiled in.
func commonUnit(x *units.Index) *units.Unit {
	count := map[string]int{}
	var best *units.Unit
	for _, u := range x.Units() {
		if u.Language == 0 || foreignSource(u.CompDir+"/") || foreignSource(joinPath(u.CompDir, u.Name)) {
			continue
		}
		count[u.CompDir]++
		if best == nil || count[u.CompDir] > count[best.CompDir] {
			best = u
		}
	}
	return best
}

func joinPath(dir, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// commonDir is the longest directory that contains both.
func commonDir(a, b string) string {
	for a != b {
		if len(a) < len(b) {
			a, b = b, a
		}
		if up := path.Dir(a); up != a {
			a = up
			continue
		}
		return "."
	}
	return a
}
