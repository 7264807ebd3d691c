package layout

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

const module = "github.com/observatory-trace/observatory-trace"

// everything stands for all folders but the commands'.
const everything = "*"

// mayImport is the table of docs/architecture.md: what a folder's packages may
// import of this module. They may always import their own subfolders' and, in
// tests, internal/testenv.
var mayImport = map[string][]string{
	"trace":     {},
	"bpf":       {},
	"symbols":   {"trace"},
	"attach":    {"bpf", "symbols", "trace"},
	"decode":    {"trace"},
	"filter":    {"trace"},
	"sample":    {"trace"},
	"writer":    {"retention", "trace"},
	"retention": {"trace"},
	"query":     {"trace"},
	"export":    {"trace", "query"},
	"dashboard": {"trace", "query"},
	"node":      {everything},
	"cmd":       {everything},
	"deploy":    {},

	"internal/bench":   {"query", "symbols", "trace", "writer"},
	"internal/e2e":     {},
	"internal/layout":  {},
	"internal/testenv": {},

	"internal/valuesdoc": {},
}

// testsMayImport is what only a folder's tests may import besides.
var testsMayImport = map[string][]string{
	"deploy": {"attach"}, // the capabilities that the manifests have to name
	"query":  {"writer"}, // a database to read
}

// source is one Go file of the tree.
type source struct {
	path string // below the root
	text []byte
	*ast.File
}

func (s source) folder() string { return path.Dir(s.path) }
func (s source) test() bool     { return strings.HasSuffix(s.path, "_test.go") }

// sources parses the tree. Imports are read here and not by go list, whose
// output the test cache doesn't know to depend on.
func sources(t *testing.T) (files []source, positions *token.FileSet) {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	positions = token.NewFileSet()
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != root && (base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".") ||
				exists(filepath.Join(name, "go.mod"))) { // another module
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, name)
		files = append(files, source{filepath.ToSlash(below), text, file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files: is this the source tree?", len(files))
	}
	return files, positions
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// room is the row of mayImport that a folder belongs to.
func room(folder string) (string, bool) {
	for _, name := range slices.Collect(maps.Keys(mayImport)) {
		if folder == name || strings.HasPrefix(folder, name+"/") {
			return name, true
		}
	}
	return "", false
}

// forbidden says why a file in folder must not import the other folder, or nothing.
func forbidden(folder, imported string, test bool) string {
	from, ok := room(folder)
	if !ok {
		return "is in a folder that the table of docs/architecture.md doesn't have"
	}
	to, ok := room(imported)
	switch {
	case !ok:
		return fmt.Sprintf("imports %s, which the table of docs/architecture.md doesn't have", imported)
	case from == to:
		return ""
	case test && (to == "internal/testenv" || slices.Contains(testsMayImport[from], to)):
		return ""
	case strings.HasPrefix(to, "internal/"):
		return fmt.Sprintf("imports %s: only tests may", imported)
	case to == "cmd":
		return fmt.Sprintf("imports the command %s", imported)
	case slices.Contains(mayImport[from], to) || slices.Contains(mayImport[from], everything):
		return ""
	}
	return fmt.Sprintf("imports %s: %s may import %q", imported, from, mayImport[from])
}

func TestImports(t *testing.T) {
	files, positions := sources(t)
	for _, file := range files {
		if _, ok := room(file.folder()); !ok {
			t.Errorf("%s %s", file.path, forbidden(file.folder(), file.folder(), false))
			continue
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imported, ours := strings.CutPrefix(name, module+"/")
			if !ours {
				continue
			}
			if why := forbidden(file.folder(), imported, file.test()); why != "" {
				t.Errorf("%s: %s %s", positions.Position(spec.Pos()), file.path, why)
			}
		}
	}
}

// TestForbidden guards the rules themselves.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		folder, imported string
		test, allowed    bool
	}{
		{"decode", "trace", false, true},
		{"decode", "symbols", false, false},
		{"decode", "internal/testenv", true, true},
		{"decode", "internal/testenv", false, false},
		{"trace", "symbols", false, false},
		{"symbols", "symbols/sites", false, true},
		{"symbols/sites", "trace", false, true},
		{"symbols/sites", "attach", false, false},
		{"writer/otlp", "writer", false, true},
		{"query", "writer", false, false},
		{"query", "writer", true, true},
		{"decode", "writer", true, false},
		{"internal/bench", "internal/e2e", true, false},
		{"cmd/observatory-trace", "node", false, true},
		{"node", "writer", false, true},
		{"node", "cmd/observatory-trace", false, false},
		{"elsewhere", "trace", false, false},
		{"cmd/observatory-trace", "elsewhere", false, false},
	} {
		if why := forbidden(c.folder, c.imported, c.test); (why == "") != c.allowed {
			t.Errorf("%s imports %s (test: %v): %q", c.folder, c.imported, c.test, why)
		}
	}
}

// TestPackageComments guards that every package says what it is, once.
func TestPackageComments(t *testing.T) {
	files, _ := sources(t)
	comments := map[string][]string{} // by folder: the files that have a package comment
	names := map[string]string{}
	for _, file := range files {
		if file.test() {
			continue
		}
		names[file.folder()] = file.Name.Name
		if file.Doc != nil && !ast.IsGenerated(file.File) {
			comments[file.folder()] = append(comments[file.folder()], file.path)
			start := "Package " + file.Name.Name + " "
			if file.Name.Name == "main" {
				start = "Command " + path.Base(file.folder()) + " "
			}
			if !strings.HasPrefix(file.Doc.Text(), start) {
				t.Errorf("%s: the package comment doesn't begin with %q", file.path, start)
			}
		}
	}
	for folder, name := range names {
		switch with := comments[folder]; {
		case len(with) == 0:
			t.Errorf("%s: package %s has no comment", folder, name)
		case len(with) > 1:
			t.Errorf("%s: more than one package comment: %v", folder, with)
		}
	}
}

// TestNames guards against packages that are about nothing.
func TestNames(t *testing.T) {
	files, _ := sources(t)
	for _, file := range files {
		switch file.Name.Name {
		case "util", "utils", "common", "helper", "helpers", "misc", "base", "shared":
			t.Errorf("%s: package %s says nothing", file.path, file.Name.Name)
		}
	}
}

func TestFormat(t *testing.T) {
	files, _ := sources(t)
	for _, file := range files {
		formatted, err := format.Source(file.text)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(formatted, file.text) {
			t.Errorf("%s is not formatted: run make fmt", file.path)
		}
	}
}
