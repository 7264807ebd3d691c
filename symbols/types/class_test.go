package types

import (
	"maps"
	"strings"
	"testing"
)

func TestPlacesClasses(t *testing.T) {
	const tea = `&{shop::Base={id=1} shop::Named={name="tea"} flags=5 kind=Drink part={n=3 next=nil}}`
	const coffee = `&{shop::Base={id=1} shop::Named={name="coffee with a long, long name"} flags=5 kind=Drink part={n=3 next=nil}}`
	want := map[string]seen{
		"_ZNK4shop4Item5priceEv":   {`this=` + tea, `4`},
		"_ZN4shop4Item6renameEPKc": {`this=` + tea + ` s="coffee with a long, long name"`, coffee},
		"_ZN4shop7DiamondC1Ei":     {`this=ptr d=7`, `nothing`},
		"twice":                    {`t=1 a=&{t=[2 3]}`, `6`},
		"byvalue":                  {`t={a=4} m={p=&6} e={} h={h=7} u={i=5 f=7e-45} v=[8 9] k=Drink`, `25`},
		"_ZN4shop4madeEi":          {`n=10`, `&10`},
		"_ZN4shop4text":            {`s=&"some" p=&"other" b=true`, `"someother"`},
		"shop8pointers":            {`data=8 method=member f=func n=nil item=` + coffee, `6`},
		"shop6called":              {`f=&func a=&[1 2 3]`, `3`},
	}
	for _, compiler := range []string{"g++ -std=c++17", "clang++-14 -std=c++17"} {
		for _, flags := range []string{"-O0 -gdwarf-4", "-O2 -gdwarf-5", "-O0 -gdwarf-5 -fdebug-types-section"} {
			t.Run(compiler+" "+flags, func(t *testing.T) {
				path := compile(t, compiler+" -w testdata/values/classes.cc "+flags)
				want, equal := maps.Clone(want), exactly
				if strings.HasPrefix(flags, "-O2") {
					delete(want, "_ZN4shop7DiamondC1Ei") // inlined or cloned
					equal = truly
				}
				check(t, openFile(t, path), path, want, equal)
			})
		}
	}
}

// Types that are described in a section that isn't read: what depends on their
// size is missing, the rest is there.
func TestTypesElsewhere(t *testing.T) {
	f := openFile(t, compile(t, "g++ -w -std=c++17 -O0 -gdwarf-4 -fdebug-types-section testdata/values/classes.cc"))
	signatures(t, f, map[string]string{
		"_ZNK4shop4Item5priceEv": "(this const shop::Item *@rdi) -> ( int@rax)",
		"_ZN4shop4madeEi":        "(n int@behind a parameter whose type is not described) -> ( std::unique_ptr<int, std::default_delete<int> >@type not described)",
		"shop6called":            "(f const std::function<int(int)> &@rdi, a int (&)[3]@rsi) -> ( int@rax)",
	})
}
