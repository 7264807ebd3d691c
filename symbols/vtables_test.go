package symbols

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestVtables guards that the types of vtables are found, and just those of what the
// chosen functions' pointers lead to.
func TestVtables(t *testing.T) {
	want := map[string][]string{
		"shop::nothing":      nil,
		"shop::throw_custom": nil,
		"shop::exactly":      {"shop::Badge", "shop::Badge at -48"},
		"shop::second_base":  {"shop::Badge", "shop::Badge at -48"},
		"shop::figure": {
			"shop::(anonymous namespace)::Hidden", "shop::Badge", "shop::Badge at -48", "shop::Circle", "shop::Measured<double>", "shop::Plain",
		},
		"shop::virtual_base": {
			"shop::Disk", "shop::Disk at -16", "shop::Disk at -32", "shop::Sink", "shop::Sink at -16", "shop::Source", "shop::Source at -16",
		},
	}
	for _, target := range []testenv.Target{
		{Source: "cpp/values"},
		{Source: "cpp/values", Opt: "-O0", NoPIE: true},
		{Source: "cpp/values", Compiler: "clang++-19"},
		{Source: "cpp/values", Compiler: "clang++-19", Opt: "-O0"},
		{Source: "cpp/values", Split: testenv.SplitLink},
		{Source: "cpp/values", Flags: []string{"-rdynamic", "-Wl,-z,pack-relative-relocs"}},
	} {
		path := testenv.Build(t, target)
		for function, want := range want {
			f := open(t, path, Options{})
			if _, err := f.Select(Selection{Include: patterns(function)}); err != nil {
				t.Fatal(err)
			}
			if got := vtableNames(f.Dynamic()); !slices.Equal(got, want) {
				t.Errorf("%s: %s leads to\n%s, want\n%s", target, function, strings.Join(got, ", "), strings.Join(want, ", "))
			}
			if w := f.Warnings(); len(w) > 0 {
				t.Errorf("%s: %v", target, w)
			}
		}
	}
}

// vtableNames says of which types vtables are, and where in the object their addresses lie.
func vtableNames(list []types.Dynamic) (names []string) {
	for _, d := range list {
		name := d.Name
		if d.Adjust != 0 {
			name = fmt.Sprintf("%s at %d", name, d.Adjust)
		}
		if d.Type == nil {
			name += ", not described"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestUntyped guards that classes are found without typeinfo, too: all of a file that has few.
func TestUntyped(t *testing.T) {
	f := open(t, testenv.Build(t, testenv.Target{Source: "cpp/values", Flags: []string{"-fno-rtti"}}), Options{})
	if _, err := f.Select(Selection{Include: patterns("shop::exactly")}); err != nil {
		t.Fatal(err)
	}
	got := vtableNames(f.Dynamic())
	for _, name := range []string{"shop::Badge", "shop::Circle", "shop::Measured<double>"} {
		if !slices.Contains(got, name) {
			t.Errorf("no %s in %v", name, got)
		}
	}
}

// TestTraits guards that of Rust's vtables just those of the traits are found that the
// chosen functions have objects of.
func TestTraits(t *testing.T) {
	for _, target := range []testenv.Target{{Source: "rust/values"}, {Source: "rust/values", Opt: "-O0", NoPIE: true}, {Source: "rust/values", DWARF: 5}} {
		path := testenv.Build(t, target)
		for function, want := range map[string][]string{
			"values::nothing": nil,
			"values::shared":  {"values::Dot", "values::Meters", "values::Square", "values::Wide"},
			"values::reserve": {"core::num::error::ParseIntError", "values::Shortage"},
		} {
			f := open(t, path, Options{})
			if _, err := f.Select(Selection{Include: patterns(function)}); err != nil {
				t.Fatal(err)
			}
			got := slices.Compact(vtableNames(f.Dynamic()))
			got = slices.DeleteFunc(got, func(name string) bool { // some toolchains describe the library's too
				return len(want) > 0 && !strings.HasPrefix(name, "values::") && !slices.Contains(want, name)
			})
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s leads to %v, want %v", target, function, got, want)
			}
		}
	}
}

// TestGathered guards that a whole object has its virtual bases where its vtable says.
func TestGathered(t *testing.T) {
	f := open(t, testenv.Build(t, testenv.Target{Source: "cpp/values"}), Options{})
	if _, err := f.Select(Selection{Include: patterns("shop::virtual_base")}); err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Dynamic() {
		if d.Name != "shop::Disk" {
			continue
		}
		var got []string
		for _, field := range d.Type.Fields {
			got = append(got, fmt.Sprintf("%s at %d", field.Name, field.Offset))
			if field.Type.Kind == trace.KindStruct && len(field.Type.Fields) != 1 {
				t.Errorf("%s has %+v", field.Name, field.Type.Fields)
			}
		}
		if want := []string{"shop::Source at 0", "shop::Sink at 16", "blocks at 28", "shop::Device at 32"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestLastScope(t *testing.T) {
	for name, want := range map[string]string{
		"shop::Circle::area":                 "shop::Circle",
		"shop::Box<a::b>::get":               "shop::Box<a::b>",
		"(anonymous namespace)::Hidden::f":   "(anonymous namespace)::Hidden",
		"main::{lambda(a::b)#1}::operator()": "main::{lambda(a::b)#1}",
		"area":                               "",
		"":                                   "",
	} {
		if i := lastScope(name); max(i, 0) != len(want) {
			t.Errorf("%s: %q", name, name[:max(i, 0)])
		}
	}
}

// TestExact guards that the vtable is not asked where an object is made or destroyed.
func TestExact(t *testing.T) {
	for _, compiler := range []string{"g++", "clang++-19"} {
		path := testenv.Build(t, testenv.Target{Source: "cpp/values", Compiler: compiler, Opt: "-O0"})
		functions := choose(t, path, "shop::Window::*", "/^shop::Measured<double>::/")
		if len(functions) < 4 {
			t.Errorf("%s: %d functions", compiler, len(functions))
		}
		for _, f := range functions {
			this := f.EntryPlan.Root.Fields[0].Type
			method := strings.HasSuffix(f.Name, "::setup") || strings.HasSuffix(f.Name, "::area")
			if this.Elem == nil || !this.Elem.Virtual || this.Exact == method {
				t.Errorf("%s: %s has %+v", compiler, f.Name, this)
			}
		}
	}
}

func TestIdentifiers(t *testing.T) {
	for mangled, want := range map[string][]string{
		"N4shop6CircleE":               {"shop", "Circle"},
		"N12_GLOBAL__N_16HiddenE":      {"_GLOBAL__N_1", "Hidden"},
		"N4shop8MeasuredI5PointLi10EE": {"shop", "Measured", "Point"},
		"St9exception":                 {"exception"},
		"99Short":                      nil,
		"5":                            nil,
	} {
		got := slices.Collect(identifiers(mangled))
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%s: %q in %q", mangled, name, got)
			}
		}
		if want == nil && got != nil {
			t.Errorf("%s: %q", mangled, got)
		}
	}
}
