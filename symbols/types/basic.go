package types

import "github.com/observatory-trace/observatory-trace/trace"

// Basic gives the layouts of Go's predeclared kinds, by reflect.Kind: what is known of
// a type that the debug information doesn't describe, by the kind that the runtime tells. A Compiler
// has to be given them.
func Basic() map[uint64]*trace.Type {
	basic := map[uint64]*trace.Type{
		1:        {Name: "bool", Kind: trace.KindBool, Size: 1},
		13:       {Name: "float32", Kind: trace.KindFloat, Size: 4},
		14:       {Name: "float64", Kind: trace.KindFloat, Size: 8},
		15:       {Name: "complex64", Kind: trace.KindComplex, Size: 8},
		16:       {Name: "complex128", Kind: trace.KindComplex, Size: 16},
		goString: {Name: "string", Kind: trace.KindString, Size: 16, LenOff: 8},
	}
	for kind, size := range map[uint64]uint32{2: 8, 3: 1, 4: 2, 5: 4, 6: 8} {
		basic[kind] = &trace.Type{Name: "int", Kind: trace.KindInt, Size: size}
	}
	for kind, size := range map[uint64]uint32{7: 8, 8: 1, 9: 2, 10: 4, 11: 8, 12: 8} {
		basic[kind] = &trace.Type{Name: "uint", Kind: trace.KindUint, Size: size}
	}
	for _, t := range basic {
		t.Lang = trace.LangGo
	}
	return basic
}
