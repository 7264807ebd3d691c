package types

import "testing"

func TestPlacesC(t *testing.T) {
	want := map[string]seen{
		"scalars": {`a=97 b=-2 c=3 d=true e=GREEN f=TWO g=4 h=16 bytes i=(in SSE register) j=7`, `128`},
		"pointers": {
			`n=&{next=&{next=nil value=2 name=[108 97 115 116 0 0 0 0]} value=1 name=[102 105 114 115 116 0 0 0]} s="text" v=&"arg" p=nil o=ptr cb=func array=&[7 8 9] cs="const" bytes=&3`,
			`&{next=nil value=2 name=[108 97 115 116 0 0 0 0]}`,
		},
		"structs": {
			`t={kind=GREEN {number=66 text=""} inner={a=1 b=2}} a={x=3 y=4} b={a=5 b=100 c=-7 d=-8 e=1} c={c=[97 98 99]} d={a=9 b=98} e={f=1 i=10}`,
			`{kind=GREEN {number=66 text=""} inner={a=1 b=3}}`,
		},
		"memory": {
			`a={c=[48 49 50 51 52 53 54 55 56 57 97 98 99 100 101 102 0]} b={m=[[1 2 3] [4 5 6]] flags=[true false true]} c=(in SSE register) d={a=11} e={i=77 d=3.8e-322 l=77} f=&{i=77 d=3.8e-322 l=77} g={a=1 b=703710 c=3858}`,
			`(in SSE register)`,
		},
		"vectors":   {`a=(in SSE register) b=(in SSE register) c=3 d=4 e=5 f=6 g=7 h=8 i=9`, `(in SSE register)`},
		"variadic":  {`format="format"`, `42`},
		"wide":      {`a=5`, `6`},
		"three":     {`c={c=[120 121 122]}`, `{c=[120 121 123]}`},
		"seventeen": {`a=9`, `{c=[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9]}`},
		"nothing":   {`nothing`, `nothing`},
		"flexible":  {`f=&{n=8 data=[]}`, `&{n=8 data=[]}`},
	}
	for _, compiler := range []string{"gcc", "clang-14"} {
		for _, flags := range []string{"-O0 -gdwarf-4", "-O0 -gdwarf-5", "-O2 -gdwarf-4", "-O2 -gdwarf-5", "-Os -gdwarf-3 -gstrict-dwarf"} {
			t.Run(compiler+" "+flags, func(t *testing.T) {
				path := compile(t, compiler+" -w testdata/values/places.c -lm "+flags)
				equal := exactly
				if compiler != "gcc" && flags[:3] != "-O0" {
					equal = truly // LLVM loses track of some, and doesn't fill what isn't used
				}
				check(t, openFile(t, path), path, want, equal)
			})
		}
	}
}
