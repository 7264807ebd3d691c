package testenv

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestBuildOptions guards that a target really is what a test asked for.
func TestBuildOptions(t *testing.T) {
	for _, c := range []struct {
		target Target
		kind   elf.Type
		static bool
		dwarf  int // 0: no debug information
	}{
		{Target{Source: "go/counts"}, elf.ET_EXEC, true, 5},
		{Target{Source: "go/counts", DWARF: 4}, elf.ET_EXEC, true, 4},
		{Target{Source: "go/counts", Compiler: "go1.22.12"}, elf.ET_EXEC, true, 4},
		{Target{Source: "go/counts", PIE: true}, elf.ET_DYN, false, 5},
		{Target{Source: "go/counts", Strip: StripAll}, elf.ET_EXEC, true, 0},
		{Target{Source: "c/counts", PIE: true, DWARF: 4}, elf.ET_DYN, false, 4},
		{Target{Source: "c/counts", NoPIE: true, DWARF: 5}, elf.ET_EXEC, false, 5},
		{Target{Source: "c/counts", Static: true, NoPIE: true}, elf.ET_EXEC, true, 5},
		{Target{Source: "c/counts", Strip: StripDebug}, elf.ET_DYN, false, 0},
		{Target{Source: "cpp/counts", DWARF: 4}, elf.ET_DYN, false, 4},
		{Target{Source: "cpp/counts", Split: SplitLink}, elf.ET_DYN, false, 0},
		{Target{Source: "rust/counts", DWARF: 5}, elf.ET_DYN, false, 5},
		{Target{Source: "rust/counts", DWARF: 4, NoPIE: true}, elf.ET_EXEC, false, 4},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			file := openELF(t, Build(t, c.target))
			if file.Type != c.kind {
				t.Errorf("%v, want %v", file.Type, c.kind)
			}
			if static := file.Section(".interp") == nil; static != c.static {
				t.Errorf("static: %v, want %v", static, c.static)
			}
			got := dwarfVersions(t, file)
			if c.dwarf == 0 && len(got) > 0 || c.dwarf != 0 && !slices.Contains(got, c.dwarf) {
				t.Errorf("DWARF %v, want %d", got, c.dwarf)
			}
			_, err := file.Symbols()
			if has := err == nil; has != (c.target.Strip != StripAll) {
				t.Errorf("symbols: %v", err)
			}
		})
	}
}

// dwarfVersions are those of the program's units: a compiler's start-up code and
// libraries may have others than the program's own.
func dwarfVersions(t *testing.T, file *elf.File) (versions []int) {
	t.Helper()
	section := file.Section(".debug_info")
	if section == nil {
		return nil
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 6 {
		// A unit is its length, 4 bytes, which leaves those out; then its version, 2.
		versions = append(versions, int(binary.LittleEndian.Uint16(data[4:])))
		data = data[min(len(data), 4+int(binary.LittleEndian.Uint32(data))):]
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

func openELF(t *testing.T, path string) *elf.File {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestSplit(t *testing.T) {
	program := Build(t, Target{Source: "c/counts", Split: SplitLink})
	link, err := openELF(t, program).Section(".gnu_debuglink").Data()
	if err != nil || !strings.HasPrefix(string(link), "counts.debug\x00") {
		t.Errorf("debug link: %q, %v", link, err)
	}
	if got := dwarfVersions(t, openELF(t, program+".debug")); !slices.Contains(got, 5) {
		t.Errorf("DWARF %v in the debug file", got)
	}

	program = Build(t, Target{Source: "c/counts", Split: SplitBuildID})
	id, err := buildID(program)
	if err != nil {
		t.Fatal(err)
	}
	debug := filepath.Join(filepath.Dir(program), "debug", ".build-id", id[:2], id[2:]+".debug")
	if got := dwarfVersions(t, openELF(t, debug)); !slices.Contains(got, 5) {
		t.Errorf("DWARF %v in the debug file", got)
	}
	if openELF(t, program).Section(".gnu_debuglink") != nil {
		t.Error("it has a debug link too")
	}
}

func TestLibrary(t *testing.T) {
	program := Build(t, Target{Source: "c/counts"})
	if file := openELF(t, filepath.Join(filepath.Dir(program), "libplugin.so")); file.Type != elf.ET_DYN {
		t.Errorf("it is %v", file.Type)
	}
}

// TestCached guards that what is built at once by several is built once, and
// that a build that fails leaves nothing behind.
func TestCached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var made sync.Map
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			folder, err := cached("thing", func(folder string) error {
				made.Store(folder, true)
				return os.WriteFile(filepath.Join(folder, "file"), []byte("content"), 0o644)
			})
			if err != nil {
				t.Error(err)
			}
			if content, err := os.ReadFile(filepath.Join(folder, "file")); string(content) != "content" {
				t.Errorf("%q, %v", content, err)
			}
		})
	}
	done.Wait()
	times := 0
	made.Range(func(any, any) bool { times++; return true })
	if times != 1 {
		t.Errorf("made %d times", times)
	}

	if _, err := cached("bad", func(string) error { return os.ErrInvalid }); err == nil {
		t.Error("no error")
	}
	cache, err := cacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "thing" {
			t.Errorf("%s is left", entry.Name())
		}
	}
}

// TestBuildFails guards that a compiler's complaint reaches the reader.
func TestBuildFails(t *testing.T) {
	for _, target := range []Target{
		{Source: "c/counts", Flags: []string{"-fno-such-option"}},
		{Source: "c/none"},
		{Source: "pascal/counts"},
		{Source: "go/counts", Compiler: "go1.22.12", DWARF: 5},
		{Source: "c/counts", Compiler: "no-such-compiler"},
	} {
		if path, err := build(target); err == nil {
			t.Errorf("%v: built %s", target, path)
		}
	}
	_, err := build(Target{Source: "c/counts", Flags: []string{"-fno-such-option"}})
	if !strings.Contains(err.Error(), "fno-such-option") {
		t.Errorf("the reason is missing: %v", err)
	}
}

func TestRequire(t *testing.T) {
	RequireBPF(t)
}
