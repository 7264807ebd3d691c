package testenv

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Target says which program under testdata/targets to build, and how. The zero
// value of every field but Source is the compiler's default.
type Target struct {
	// Source is the folder below testdata/targets: "go/counts". Its first part
	// is the language: go, c, cpp or rust.
	Source string
	// Compiler is a command ("gcc", "clang-19", "g++", "rustc") or, for Go, "go"
	// or a toolchain's version ("go1.22.12"), fetched when it isn't there.
	Compiler string
	// Opt is the optimisation: "-O0" to "-Os" and so on for C, C++ and Rust. For
	// Go "-O0" turns optimisation and inlining off. The default is -O2.
	Opt string
	// PIE makes a position-independent executable, NoPIE one that is not.
	PIE, NoPIE bool
	// Static links everything in.
	Static bool
	// DWARF is the version of the debug information: 4 or 5. Go 1.25 and later
	// write 5, earlier ones 4: only those can be asked for.
	DWARF int
	// Strip removes the debug information, or all symbols too.
	Strip Strip
	// Split moves the debug information to a file of its own.
	Split Split
	// Flags are further arguments for the compiler (go build for Go).
	Flags []string
}

// Strip says what is removed from a target.
type Strip int

// What can be removed.
const (
	StripNothing Strip = iota
	StripDebug         // debug information; the symbol table stays
	StripAll           // the symbol table too
)

// Split says where a target's debug information is moved.
type Split int

// Where debug information can be.
const (
	SplitNone    Split = iota
	SplitLink          // to NAME.debug beside the program, named by its .gnu_debuglink section
	SplitBuildID       // to debug/.build-id/xx/yyyy.debug in the program's folder
)

// Build builds the target and returns the program's path. Results are kept in a
// cache by what they are made from, so that a second run takes no time, and
// packages may build the same target at once. The program and the files beside
// it must not be written to: copy what a test wants to change.
//
// Shared objects made from a target's lib folder lie beside the program, as
// libNAME.so; a static program has none.
func Build(tb testing.TB, target Target) string {
	tb.Helper()
	path, err := build(target)
	if err != nil {
		tb.Fatalf("build %s: %v", target.Source, err)
	}
	return path
}

func build(target Target) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	target.Compiler, err = compiler(target)
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "testdata", "targets", target.Source)
	key, err := cacheKey(root, source, target)
	if err != nil {
		return "", err
	}
	name := filepath.Base(source)
	folder, err := cached(strings.ReplaceAll(target.Source, "/", "-")+"-"+key, func(folder string) error {
		return compile(target, source, filepath.Join(folder, name))
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, name), nil
}

// Root is the top folder of the source tree.
func Root() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "bpf", "event.h")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("find source tree: tests must run inside of it")
		}
		folder = parent
	}
}

// cached returns the cache's folder of that name, filled by fill when it isn't there.
func cached(name string, fill func(folder string) error) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, name)
	unlock, err := lock(folder + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	temporary, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return "", fmt.Errorf("make build folder: %w", err)
	}
	defer os.RemoveAll(temporary)
	// Other users, such as a database server's, run what is in here.
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", fmt.Errorf("open build folder: %w", err)
	}
	if err := fill(temporary); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, folder); err != nil {
		return "", fmt.Errorf("keep build: %w", err)
	}
	return folder, nil
}

func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	cache := filepath.Join(base, "observatory-trace-tests")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make build cache: %w", err)
	}
	return cache, nil
}

// lock holds the file against other processes and goroutines until it is called back.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// compiler is the target's, or its language's default.
func compiler(target Target) (string, error) {
	if target.Compiler != "" {
		return target.Compiler, nil
	}
	switch language(target) {
	case "go":
		return "go", nil
	case "c":
		return "gcc", nil
	case "cpp":
		return "g++", nil
	case "rust":
		return rustc()
	}
	return "", fmt.Errorf("no language for %q", target.Source)
}

func language(target Target) string {
	first, _, _ := strings.Cut(target.Source, "/")
	return first
}

// rustc is the one that scripts/rustc.sh finds.
func rustc() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	out, err := run(exec.Command(filepath.Join(root, "scripts", "rustc.sh")))
	if err != nil {
		return "", fmt.Errorf("find rustc (run make setup): %w", err)
	}
	return strings.TrimSpace(out), nil
}

// cacheKey depends on everything that a build depends on. The source's path is
// part of it, because it gets into the debug information.
func cacheKey(root, source string, target Target) (string, error) {
	version, err := compilerVersion(target)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%+v\n", root, version, target)
	files, err := sourceFiles(source, "")
	if err != nil {
		return "", err
	}
	files = append(files, filepath.Join(root, "internal", "testenv", "build.go")) // how it is built
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read source: %w", err)
		}
		fmt.Fprintf(hash, "%s %d\n", file, len(content))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// sourceFiles lists the files below folder whose names end in suffix, in order.
func sourceFiles(folder, suffix string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, suffix) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("list sources: no *%s in %s", suffix, folder)
	}
	sort.Strings(files)
	return files, nil
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:16]
}

var versions sync.Map // command line to its output

// compilerVersion is what the compiler says of itself, asked once for each.
func compilerVersion(target Target) (string, error) {
	command := exec.Command(target.Compiler, "--version")
	if language(target) == "go" {
		command = goCommand(target, "version")
	}
	key := strings.Join(append(command.Args, target.Compiler), " ")
	if version, ok := versions.Load(key); ok {
		return version.(string), nil
	}
	out, err := run(command)
	if err != nil {
		return "", fmt.Errorf("find compiler (run make setup): %w", err)
	}
	versions.Store(key, out)
	return out, nil
}

// goCommand runs the Go command of the target's toolchain.
func goCommand(target Target, args ...string) *exec.Cmd {
	command := exec.Command("go", args...)
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if target.Compiler != "go" {
		command.Env = append(command.Env, "GOTOOLCHAIN="+target.Compiler)
	}
	return command
}

// run runs the command and returns its output, or an error with all that it said.
func run(command *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	command.Stdout = &out
	command.Stderr = &said
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w\n%s%s", strings.Join(command.Args, " "), err, out.Bytes(), said.Bytes())
	}
	return out.String(), nil
}

func compile(target Target, source, output string) error {
	var err error
	switch language(target) {
	case "go":
		err = compileGo(target, source, output)
	case "rust":
		err = compileRust(target, source, output)
	default:
		err = compileC(target, source, output)
	}
	if err != nil {
		return err
	}
	if err := split(target.Split, output); err != nil {
		return err
	}
	switch target.Strip {
	case StripDebug:
		return tool("strip", "--strip-debug", output)
	case StripAll:
		return tool("strip", "--strip-all", output)
	}
	return nil
}

func tool(name string, args ...string) error {
	_, err := run(exec.Command(name, args...))
	return err
}

func compileGo(target Target, source, output string) error {
	args := []string{"build", "-buildvcs=false", "-o", output}
	if target.Opt == "-O0" {
		args = append(args, "-gcflags=all=-N -l")
	}
	if target.PIE {
		args = append(args, "-buildmode=pie")
	}
	if target.Static {
		args = append(args, "-tags=netgo,osusergo")
	}
	command := goCommand(target, append(append(args, target.Flags...), ".")...)
	command.Dir = source
	if target.Static {
		command.Env = append(command.Env, "CGO_ENABLED=0")
	}
	if target.DWARF != 0 {
		experiment, err := goDWARF(target)
		if err != nil {
			return err
		}
		command.Env = append(command.Env, "GOEXPERIMENT="+experiment)
	}
	_, err := run(command)
	return err
}

// goDWARF is the experiment that makes the toolchain write the version of DWARF asked for.
func goDWARF(target Target) (string, error) {
	out, err := compilerVersion(target)
	if err != nil {
		return "", err
	}
	writes5 := false
	for _, word := range strings.Fields(out) {
		writes5 = writes5 || version.IsValid(word) && version.Compare(word, "go1.25") >= 0
	}
	switch {
	case target.DWARF == 5 && !writes5:
		return "", fmt.Errorf("%s cannot write DWARF 5", target.Compiler)
	case target.DWARF == 4 && writes5:
		return "nodwarf5", nil
	}
	return "", nil
}

func compileRust(target Target, source, output string) error {
	level := strings.TrimPrefix(target.Opt, "-O")
	if level == "" {
		level = "2"
	}
	args := []string{
		"--edition=2021", "--crate-name=" + filepath.Base(source), "-g", "--cap-lints=allow", "-Copt-level=" + level,
		"-o", output, filepath.Join(source, "main.rs"),
	}
	switch {
	case target.Static:
		args = append(args, "-Ctarget-feature=+crt-static")
	case target.NoPIE:
		args = append(args, "-Crelocation-model=static")
	}
	command := exec.Command(target.Compiler, args...)
	if target.DWARF != 0 {
		flag, environment, err := rustDWARF(target)
		if err != nil {
			return err
		}
		command.Args = append(command.Args, flag)
		command.Env = append(os.Environ(), environment...)
	}
	command.Args = append(command.Args, target.Flags...)
	_, err := run(command)
	return err
}

// rustDWARF is the flag that makes rustc write the version of DWARF asked for:
// before 1.88 an unstable one, and what lets a stable compiler take it.
func rustDWARF(target Target) (flag string, environment []string, err error) {
	out, err := compilerVersion(target)
	if err != nil {
		return "", nil, err
	}
	var minor int
	if _, err := fmt.Sscanf(out, "rustc 1.%d.", &minor); err != nil {
		return "", nil, fmt.Errorf("parse rustc's version %q: %w", out, err)
	}
	if minor < 88 {
		return fmt.Sprintf("-Zdwarf-version=%d", target.DWARF), []string{"RUSTC_BOOTSTRAP=1"}, nil
	}
	return fmt.Sprintf("-Cdwarf-version=%d", target.DWARF), nil, nil
}

// compileC builds C and C++, which take the same arguments.
func compileC(target Target, source, output string) error {
	suffix, standard := ".c", "-std=gnu11"
	if language(target) == "cpp" {
		suffix, standard = ".cpp", "-std=c++17"
		if strings.HasSuffix(target.Source, "/values") { // newer types of the library are among them
			standard = "-std=c++20"
		}
	}
	files, err := sourceFiles(source, suffix)
	if err != nil {
		return err
	}
	var own, library []string
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == "lib" {
			library = append(library, file)
		} else {
			own = append(own, file)
		}
	}
	common := append([]string{standard, "-w", "-pthread"}, debugFlags(target)...)
	args := append(append([]string{}, common...), "-o", output, "-Wl,--build-id")
	switch {
	case target.Static:
		args = append(args, "-static", "-DNO_DLOPEN")
		library = nil
	case target.PIE:
		args = append(args, "-fPIE", "-pie")
	case target.NoPIE:
		args = append(args, "-fno-pie", "-no-pie")
	}
	args = append(append(args, own...), "-ldl")
	if err := tool(target.Compiler, append(args, target.Flags...)...); err != nil {
		return err
	}
	for _, file := range library {
		name := "lib" + strings.TrimSuffix(filepath.Base(file), suffix) + ".so"
		args := append(append([]string{}, common...), "-shared", "-fPIC", "-Wl,--build-id",
			"-o", filepath.Join(filepath.Dir(output), name), file)
		if err := tool(target.Compiler, append(args, target.Flags...)...); err != nil {
			return err
		}
	}
	return nil
}

func debugFlags(target Target) []string {
	opt := target.Opt
	if opt == "" {
		opt = "-O2"
	}
	if target.DWARF == 0 {
		return []string{opt, "-g"}
	}
	return []string{opt, "-gdwarf-" + strconv.Itoa(target.DWARF)}
}

// split moves the program's debug information out of it.
func split(how Split, program string) error {
	if how == SplitNone {
		return nil
	}
	debug := program + ".debug"
	if err := tool("objcopy", "--only-keep-debug", program, debug); err != nil {
		return err
	}
	if err := tool("strip", "--strip-debug", program); err != nil {
		return err
	}
	if how == SplitLink {
		command := exec.Command("objcopy", "--add-gnu-debuglink="+filepath.Base(debug), program)
		command.Dir = filepath.Dir(program)
		_, err := run(command)
		return err
	}
	id, err := buildID(program)
	if err != nil {
		return err
	}
	folder := filepath.Join(filepath.Dir(program), "debug", ".build-id", id[:2])
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make debug folder: %w", err)
	}
	if err := os.Rename(debug, filepath.Join(folder, id[2:]+".debug")); err != nil {
		return fmt.Errorf("move debug file: %w", err)
	}
	return nil
}

// String names the target and how it is built, for the names of tests.
func (t Target) String() string {
	words := append([]string{t.Source, t.Compiler, t.Opt}, t.Flags...)
	for _, word := range []struct {
		set  bool
		text string
	}{
		{t.PIE, "pie"},
		{t.NoPIE, "no-pie"},
		{t.Static, "static"},
		{t.DWARF != 0, "dwarf" + strconv.Itoa(t.DWARF)},
		{t.Strip == StripDebug, "strip-debug"},
		{t.Strip == StripAll, "strip-all"},
		{t.Split == SplitLink, "debuglink"},
		{t.Split == SplitBuildID, "build-id"},
	} {
		if word.set {
			words = append(words, word.text)
		}
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}
