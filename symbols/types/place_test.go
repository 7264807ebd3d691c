package types

import (
	"strings"
	"testing"
)

// check compares what calls showed with what they were given.
func check(t *testing.T, f *file, path string, want map[string]seen, equal func(got, want string) bool) {
	t.Helper()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	got := observe(t, f, path, names)
	for name, want := range want {
		if !equal(got[name].entry, want.entry) {
			t.Errorf("%s entered:\n got %s\nwant %s", name, got[name].entry, want.entry)
		}
		if !equal(got[name].exit, want.exit) {
			t.Errorf("%s returned:\n got %s\nwant %s", name, got[name].exit, want.exit)
		}
	}
}

func exactly(got, want string) bool { return got == want }

// truly allows values to be missing, "(with a reason)", but not to be wrong.
func truly(got, want string) bool {
	for got != "" {
		switch {
		case strings.HasPrefix(got, "("):
			got = got[strings.IndexByte(got, ')')+1:]
			want = want[valueEnd(want):]
		case want == "" || got[0] != want[0]:
			return false
		default:
			got, want = got[1:], want[1:]
		}
	}
	return want == ""
}

// valueEnd is where the shown value that s begins with ends.
func valueEnd(s string) int {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.IndexByte("{[(", c) >= 0:
			depth++
		case depth == 0 && strings.IndexByte(" }])", c) >= 0:
			return i
		case strings.IndexByte("}])", c) >= 0:
			depth--
		}
	}
	return len(s)
}

func TestPlacesGo(t *testing.T) {
	want := map[string]seen{
		"main.blanks":                                {`arg0=1 s="warm" arg2="z" b=true`, `r0=4 r1=*errors.errorString{s="too warm"}`},
		"main.unused":                                {`a=1 s="a" c=[1 2]`, `n=2`},
		"main.(*box[go.shape.string]).set":           {`b=&{v="old"} v="new" k=3`, `r0="old" r1=nil`},
		"main.(*box[go.shape.int]).set":              {`b=&{v=4} v=3 k=4`, `r0=4 r1=nil`},
		"main.box[go.shape.string].value":            {`b={v="held"} k="given"`, `r0="held" r1="given"`},
		"main.generic[go.shape.int]":                 {`v=3 k=4`, `r0="3 4"`},
		"main.generic[go.shape.string]":              {`v="a" k=4`, `r0="a4"`},
		"main.genericClosure[go.shape.string]":       {`v="kept"`, `r0=func`},
		"main.genericClosure[go.shape.string].func1": {`k="given" n=1`, `r0="kept"`},
		"main.(*order).process": {
			`o=&{ID=1 Name="tea" Amount=2.5 next=nil} id=21 amount=(in SSE register) m=map c=nil f=nil x=int3`,
			`r0=&{ID=1 Name="tea" Amount=2.5 next=nil} r1=nil`,
		},
		"main.spill": {`a=1 b=2 c=3 d=4 e=5 f=6 g=7 h=8 s="nine" i=10 j=[11 12]`, `r1=[6 15 15] r2="nine" r3=22`},
		"main.ten":   {`a=1 b=2 c=3 d=4 e=5`, `r0=1 r1=2 r2=3 r3=4 r4=5 r5=1 r6=2 r7=3 r8="nine and ten"`},
		"main.small": {
			`s={one=[6]} t={} u=(in SSE register) o={ID=1 Name="tea" Amount=(in SSE register) next=nil}`,
			`r0={one=[7]} r1=(in SSE register) r2={ID=2 Name="tea" Amount=(in SSE register) next=nil}`,
		},
		"main.escaping": {
			`a=1 s="two" b=[3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0] c=5`,
			`p=&1 q=&"two" r=&[3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0]`,
		},
		"main.recovering": {
			`a=1 s="panicked"`,
			`n=1 err=*fmt.wrapError{msg="recovered from panicked: unsupported operation" err=*errors.errorString{s="unsupported operation"}}`,
		},
		"main.inlined":       {`arg0=6 s="called" arg2=true u=[7 8] d=9`, `r0=6 r1=*errors.errorString{s="file does not exist"}`},
		"main.closure":       {`a=1`, `r0=func`},
		"main.closure.func1": {`b=2 s="three"`, `r0=4 r1="three"`},
		"main.pathError": {
			`code=13`,
			`r0="opened" r1=*io/fs.PathError{Op="open" Path="/nowhere" Err=*errors.errorString{s="permission denied"}}`,
		},
		"main.custom": {`code=14`, `r0=main.failure{Code=14 Cause="custom"}`},
		"main.bytes":  {`a=[97] b=[[98]] c=["c" "d"] d=&"text"`, `r0=["a" "" "" "" ""]`},
	}
	builds := []struct{ toolchain, flags string }{
		{"", ""},
		{"", "-gcflags=all=-N -l"},
		{"", "-buildmode=pie"},
		{"go1.24.6", ""},
		{"go1.22.12", ""},
		{"go1.22.12", "-gcflags=all=-N -l"},
	}
	for _, b := range builds {
		t.Run(strings.TrimSpace(b.toolchain+" "+b.flags), func(t *testing.T) {
			var flags []string
			if b.flags != "" {
				flags = []string{b.flags}
			}
			path := compileGo(t, b.toolchain, "testdata/golang/main.go", flags...)
			check(t, openFile(t, path), path, want, exactly)
		})
	}
}

func TestPlacesCPP(t *testing.T) {
	want := map[string]seen{
		"spill": {`a=1 b=2 s="text" p={x=1 y=2} pp=&{x=1 y=2} d=(in SSE register) e=4 g=-5 h=6`, `42`},
		"large": {
			`b={a=[1 2 3 4 5] s="six"} m={a=7 d=(in SSE register)} d=(in SSE register) p={c=11 l=12} c=Green`,
			`{a=[2 9 3 4 5] s="six"}`,
		},
		"handle":         {`n={v=13} i=14 ld=16 bytes bits={a=5 b=-6 c=77}`, `{v=42}`},
		"mixed":          {`m={a=16 d=(in SSE register)}`, `{a=17 d=(in SSE register)}`},
		"callback":       {`cb=func ctx=nil argv=&"program" z=(in SSE register)`, `(in x87 register)`},
		"Counter6method": {`this=&{z=7} a=1 s=&"hello" t="` + strings.Repeat("x", 64) + `"`, `113`},
	}
	for _, compiler := range []string{"g++", "clang++-14 -std=c++17 -Wno-return-type-c-linkage"} {
		for _, flags := range []string{"-O0 -gdwarf-5", "-O2 -gdwarf-4", "-O1 -fPIE -pie -gdwarf-5"} {
			t.Run(compiler+" "+flags, func(t *testing.T) {
				path := compile(t, compiler+" testdata/values/values.cc "+flags)
				check(t, openFile(t, path), path, want, exactly)
			})
		}
	}
}
