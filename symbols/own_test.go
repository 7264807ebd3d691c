package symbols

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestOwnFunctions: without any pattern, the functions of the program's own
// source are selected, and no others.
func TestOwnFunctions(t *testing.T) {
	for _, c := range []struct {
		target testenv.Target
		source string // what the functions' files must contain
		some   []string
		none   string // text that no name has
	}{
		{testenv.Target{Source: "c/counts"}, "/testdata/targets/c/", []string{"main"}, "_start"},
		{testenv.Target{Source: "c/counts", Static: true, NoPIE: true}, "/testdata/targets/c/", []string{"main"}, "printf"},
		{testenv.Target{Source: "cpp/counts"}, "/testdata/targets/cpp/", []string{"main"}, "std::"},
		{testenv.Target{Source: "cpp/counts", Opt: "-O0"}, "/testdata/targets/cpp/", []string{"main"}, "_GLOBAL_"},
		{testenv.Target{Source: "cpp/counts", Compiler: "clang++-14", DWARF: 4}, "/testdata/targets/cpp/", []string{"main"}, "std::"},
		{testenv.Target{Source: "rust/counts"}, "/testdata/targets/rust/", []string{"counts::main"}, "drop_in_place"},
		{testenv.Target{Source: "go/orders"}, "/testdata/targets/go/orders/", []string{"main.main"}, ".init"},
		{testenv.Target{Source: "go/orders", Strip: testenv.StripAll}, "/testdata/targets/go/orders/", []string{"main.main"}, "gowrap"},
		{testenv.Target{Source: "c/counts", Strip: testenv.StripDebug}, "", []string{"main"}, "_start"},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			functions := selection(t, testenv.Build(t, c.target), Selection{})
			all := names(functions)
			for _, name := range c.some {
				if !slices.Contains(all, name) {
					t.Errorf("%s is missing from %q", name, all)
				}
			}
			for _, f := range functions {
				lambda := strings.Contains(f.Name, "lambda")
				if !strings.Contains(f.File, c.source) && !lambda {
					t.Errorf("%s is declared in %s", f.Name, f.File)
				}
				if strings.Contains(f.Name, c.none) && !lambda {
					t.Errorf("%s is selected", f.Name)
				}
			}
		})
	}
}

// TestOwnWithoutDebugInformation: everything is the application's but what
// compilers put into every program.
func TestOwnWithoutDebugInformation(t *testing.T) {
	got := names(selection(t, compile(t, "gcc -O2", "shapes.c", "twin.c"), Selection{}))
	for _, name := range []string{"main", "leaf", "divided", "twin", "original", "unsized"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s is missing from %q", name, got)
		}
	}
	for _, name := range got {
		if startup[name] {
			t.Errorf("%s is selected", name)
		}
	}
}

// TestOwnExcept: patterns that exclude work without ones that include.
func TestOwnExcept(t *testing.T) {
	path := shapes(t, "-O2")
	all, without := selection(t, path, Selection{}), selection(t, path, Selection{Exclude: patterns("calls_*", "main")})
	if len(without) == 0 || len(without) >= len(all) || slices.Contains(names(without), "main") || slices.Contains(names(without), "calls_leaf") {
		t.Errorf("%q without some are %q", names(all), names(without))
	}
}

// TestBuildElsewhere: programs that are built beside their source, or with
// their directories mapped away, still have source of their own.
func TestBuildElsewhere(t *testing.T) {
	source, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	project := filepath.Join(t.TempDir(), "project")
	for _, name := range []string{"shapes.c", "twin.c"} {
		copyFile(t, filepath.Join(source, name), filepath.Join(project, "src", name))
	}
	if err := os.MkdirAll(filepath.Join(project, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"relative": {"../src/shapes.c", "../src/twin.c"},
		"absolute": {filepath.Join(project, "src/shapes.c"), filepath.Join(project, "src/twin.c")},
		"mapped":   {"-ffile-prefix-map=" + project + "=.", "../src/shapes.c", "../src/twin.c", "-gdwarf-4"},
	} {
		out := filepath.Join(project, "build", name)
		run(t, "env", append([]string{"-C", filepath.Join(project, "build"), "gcc", "-O2", "-g", "-o", out}, flags...)...)
		if got := names(selection(t, out, Selection{})); !slices.Contains(got, "main") || !slices.Contains(got, "twin") || slices.Contains(got, "_start") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestGoPackages(t *testing.T) {
	info := &debug.BuildInfo{
		Path: "example.com/app/cmd/server", Main: debug.Module{Path: "example.com/app"},
		Deps: []*debug.Module{{Path: "example.com/app/sdk"}, {Path: "example.com/other"}},
	}
	o := &own{}
	o.packages, o.foreign = goPackages(info)
	for name, want := range map[string]bool{
		"main.main": true, "main.(*T).Do.func1": true, "example.com/app.Run": true, "example.com/app/internal/x.(*T).Do": true,
		"example.com/app/sdk.Do": false, "example.com/app/sdk/sub.Do": false, "example.com/app/sdkless.Do": true,
		"example.com/apple.Do": false, "example.com/other.Do": false, "fmt.Println": false, "mainly.x": false,
		"main.init": false, "main.init.0": true, "main.map.init.0": false, "main.T.M-fm": false, "main.main.gowrap1": false,
	} {
		if got := o.hasGo(name); got != want {
			t.Errorf("%s is the application's: %v", name, got)
		}
	}
	o.packages, o.foreign = goPackages(&debug.BuildInfo{Path: "cmd/compile"})
	for name, want := range map[string]bool{"main.main": true, "cmd/compile/internal/gc.Main": true, "cmd/vendor/golang.org/x/arch.Do": false, "fmt.Println": false} {
		if got := o.hasGo(name); got != want {
			t.Errorf("%s is the Go distribution's program's: %v", name, got)
		}
	}
	o.packages, o.foreign = goPackages(nil)
	if !o.hasGo("main.main") || o.hasGo("fmt.Println") {
		t.Error("without build information, package main is the application")
	}
}

func TestCommonDir(t *testing.T) {
	for _, c := range [][3]string{
		{"/src/app/build", "/src/app/src", "/src/app"}, {"/a/b", "/a/b/c", "/a/b"}, {"/a", "/b", "/"}, {".", "src", "."}, {"/a", "b", "."}, {"/a", "/a", "/a"},
	} {
		if got := commonDir(c[0], c[1]); got != c[2] {
			t.Errorf("%s and %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
	for dir, want := range map[string]bool{"/src/app": true, "/home/user": false, "/home/user/app": true, "/": false, "/usr/src": false, "/build": false} {
		if got := isProject(dir); got != want {
			t.Errorf("%s is a project's: %v", dir, got)
		}
	}
}
