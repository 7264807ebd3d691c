// Command corpus makes the files in testdata/damaged anew: it builds the small
// programs there and breaks each in every way that internal/testenv/damaged knows.
// They are committed, because compilers differ.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func run() error {
	folder, err := os.MkdirTemp("", "corpus")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	sound := map[string][]byte{}
	for language, args := range commands(damaged.Folder) {
		output := filepath.Join(folder, language)
		if out, err := exec.Command(args[0], append(args[1:], "-o", output)...).CombinedOutput(); err != nil {
			return fmt.Errorf("build base.%s: %w\n%s", language, err, out)
		}
		if sound[language], err = os.ReadFile(output); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(damaged.Folder, "*.elf"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, d := range damaged.All() {
		if d.Of == "go" {
			continue
		}
		broken, err := d.Apply(sound[d.Of])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(damaged.Folder, d.Name+".elf"), broken, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commands build the sound programs: without a library, and without padding.
func commands(source string) map[string][]string {
	here, err := os.Getwd()
	if err != nil {
		here = "."
	}
	folder := filepath.Join(here, source)
	link := "-nostdlib -static -Wl,--build-id,-z,noseparate-code,-z,norelro"
	c := strings.Fields("-O1 -fno-pie -no-pie -fno-stack-protector -fcf-protection=none -fdebug-prefix-map=" + folder + "=. -fdebug-prefix-map=" + here + "=. " + link)
	rustc := []string{"scripts/rustc.sh"}
	if out, err := exec.Command(rustc[0]).Output(); err == nil {
		rustc = []string{strings.TrimSpace(string(out))}
	}
	rust := strings.Fields("-g -O --edition=2021 -C panic=abort -C relocation-model=static -C link-arg=-nostartfiles -C link-arg=-no-pie --remap-path-prefix=" + folder + "=. --remap-path-prefix=" + here + "=.")
	for _, arg := range strings.Fields(link) {
		rust = append(rust, "-C", "link-arg="+arg)
	}
	return map[string][]string{
		"c":    append(append([]string{"gcc", "-gdwarf-5"}, c...), filepath.Join(folder, "base.c")),
		"cpp":  append(append([]string{"clang++-14", "-gdwarf-4"}, c...), filepath.Join(folder, "base.cpp")),
		"rust": append(append(rustc, rust...), filepath.Join(folder, "base.rs")),
	}
}
