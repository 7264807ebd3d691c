package damaged

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// Damage is one way in which a program is broken.
type Damage struct {
	Name string // of the file
	Of   string // the program that is broken: "c", "cpp", "rust" or "go"
	do   func(p *program)
}

// Apply breaks a sound program.
func (d Damage) Apply(sound []byte) (broken []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("apply %s: %v", d.Name, r)
		}
	}()
	p, err := parse(sound)
	if err != nil {
		return nil, err
	}
	d.do(p)
	return p.bytes(), nil
}

// All lists the damages, those of one program together.
func All() []Damage { return slices.Concat(elfDamages(), dwarfDamages(), unwindDamages(), goDamages()) }

// Folder is where the corpus lies, below the source tree's root.
const Folder = "testdata/damaged"

// Corpus are the committed files, by path.
func Corpus(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, Folder, "*.elf"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("find the corpus: %d files, %w", len(files), err)
	}
	return files, nil
}

// Sections are the sections of the corpus's files, by name, as seeds for fuzzing
// what reads one of them. What can't be read is left out.
func Sections(tb testing.TB) (seeds []map[string][]byte) {
	tb.Helper()
	root, err := testenv.Root()
	if err != nil {
		tb.Fatal(err)
	}
	files, err := Corpus(root)
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range files {
		f, err := elf.Open(path)
		if err != nil {
			continue
		}
		seed := map[string][]byte{}
		for _, s := range f.Sections {
			if b, err := s.Data(); err == nil && len(b) < 1<<16 {
				seed[s.Name] = b
			}
		}
		seeds = append(seeds, seed)
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return seeds
}

// Go breaks a Go program in every way that there is for one, by name.
func Go(path string) (map[string][]byte, error) {
	sound, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	broken := map[string][]byte{}
	for _, d := range All() {
		if d.Of != "go" {
			continue
		}
		if broken[d.Name], err = d.Apply(sound); err != nil {
			return nil, err
		}
	}
	return broken, nil
}
