package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// Sources of a program that uses classes of a shared object, which has some of
// its own.
var pluginSources = map[string]string{
	"figure.h": `
struct Figure { virtual ~Figure() {} virtual int area() const = 0; int sides = 4; };
Figure *make(int hidden);
`,
	"plugin.cpp": `
#include "figure.h"
namespace plugin { struct Square : Figure { int side = 3; int area() const override { return side * side; } }; }
namespace { struct Hidden : Figure { int area() const override { return 1; } }; }
Figure *make(int hidden) { if (hidden) return new Hidden; return new plugin::Square; }
`,
	"main.cpp": `
#include "figure.h"
#include <cstdio>
struct Line : Figure { int length = 7; int area() const override { return 0; } };
__attribute__((noinline, noclone)) int measure(const Figure *f) { return f->area(); }
int main()
{
	char go[8];
	puts("ready");
	fflush(stdout);
	if (!fgets(go, sizeof go, stdin))
		return 1;
	Line line;
	Figure *one = make(0), *two = make(1);
	int sum = measure(&line) + measure(one) + measure(two);
	delete one;
	delete two;
	return sum - 10;
}
`,
}

// TestPlugin holds that of objects whose class is another file's the class is named,
// and what the pointer's type shows of them is shown.
func TestPlugin(t *testing.T) {
	for _, compiler := range []string{"g++", "clang++-19"} {
		dir := t.TempDir()
		for name, source := range pluginSources {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{
			{"-g", "-O1", "-fPIC", "-shared", "plugin.cpp", "-o", "libplugin.so"},
			{"-g", "-O1", "main.cpp", "-o", "main", "-L.", "-lplugin", "-Wl,-rpath," + dir},
		} {
			command := exec.Command(compiler, args...)
			command.Dir = dir
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
		p := testenv.Start(t, filepath.Join(dir, "main")).Ready()
		tr := attachPID(t, p.PID, "-s", "measure")
		p.Go()
		if got := p.Wait(); got.ExitCode != 0 {
			t.Errorf("the target ended with %+v", got)
		}
		tr.end()
		want := `{"f":{"$type":"Line","$value":{"Figure":{"sides":4},"length":7}}}
{"f":{"$type":"plugin::Square","$value":{"sides":4}}}
{"f":{"$type":"(anonymous namespace)::Hidden","$value":{"sides":4}}}`
		if got := text(t, tr.open(), "SELECT args FROM data_trace WHERE process = 'measure' ORDER BY id"); got != want {
			t.Errorf("%s: got\n%s, want\n%s", compiler, got, want)
		}
	}
}
