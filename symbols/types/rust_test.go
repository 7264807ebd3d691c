package types

import "testing"

func TestPlacesRust(t *testing.T) {
	want := map[string]seen{
		"main7strings": {`a="a program" b="owned" c=[1 2] d=[4] e=&"a program" f=&[{a=1 b=2}]`, `27`},
		"main7structs": {`a={a=1 b=2} b={a=3 b=4 c=5} c={a=6 b=7 c=8 d=9} d={a=10 b=11 c=12} e={a=(in SSE register) b=14} f=(in SSE register)`, `10`},
		"main10aggregates": {
			`a={p={a=1 b=2} q=3} b={a=[4 5]} c={a=[6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6]} d={a=7 b=8 c=9} e={a=[10 11]} f=12 g=[13 14 15] h={__0=16} i={a=17 b=18 c=19}`,
			`{p={a=1 b=2} q=3}`,
		},
		"main5enums":      {`a=variant b=variant c=variant d=Z e=variant f=true g='x' h=variant`, `variant`},
		"main5three":      {`a=1`, `{a=1 b=1 c=2}`},
		"main4four":       {`a=1`, `{a=1 b=1 c=2 d=4}`},
		"main5mixed":      {`a=1`, `{a=(in SSE register) b=1}`},
		"main6floats":     {`a=1`, `{a=1 b=1 c=2}`},
		"main4long":       {`a=1`, `{a=1 b=1 c=2}`},
		"main4tail":       {`a="a program"`, `" program"`},
		"main5owned":      {`a="a program"`, `"a program!"`},
		"main7numbers":    {`a=1`, `[1 2]`},
		"main4many":       {`a=1 b="two" c=3 d="four" e=&{a=5 b=6 c=7 d=8} f=[9 10] g=11`, `3`},
		"main7dynamic":    {`a=&1 b=dyn c=func arg3={} e={__0=3 __1=4}`, `2`},
		"main4wide":       {`a=1 b=2 c=3 d=4 e=5 f=6 g=7`, `{__0=7 __1=9}`},
		"main4pair":       {`a=(in SSE register) b=1 c=variant d=variant`, `{__0=(in SSE register) __1=3}`},
		"main5array":      {`a=1`, `[1 2 3 4 5]`},
		"main3odd":        {`a={a=1 b=2 c=3} b={__0=4 __1=5} c=-6`, `{a=1 b=2 c=3}`},
		"Counter3add":     {`self=&{n=1 name="a program"} k=2`, `3`},
		"Counter7consume": {`self={n=3 name="a program"}`, `3`},
	}
	for _, flags := range []string{"-C opt-level=0", "-C opt-level=2", "-C opt-level=3 -C codegen-units=16", "-C opt-level=s"} {
		t.Run(flags, func(t *testing.T) {
			path := compile(t, "rustc -g testdata/rust/main.rs "+flags)
			equal := truly
			if flags == "-C opt-level=0" {
				equal = exactly
			}
			check(t, openFile(t, path), path, want, equal)
		})
	}
}
