package sites

import "testing"

// BenchmarkAnalyzeGo analyses 5,000 functions, spread over a large Go program.
func BenchmarkAnalyzeGo(b *testing.B) {
	bin := openBinary(b, goCompiler(b))
	morestack := bin.morestack()
	var funcs []symbol
	size := int64(0)
	for i := range 5000 {
		s := bin.funcs[i*len(bin.funcs)/5000]
		funcs = append(funcs, s)
		size += int64(s.size)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range funcs {
			_, _ = Analyze(bin.input(s, true, morestack))
		}
	}
}
