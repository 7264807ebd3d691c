package sites

import "testing"

// BenchmarkAnalyzeGo analyses 5,000 functions of a Go program.
func BenchmarkAnalyzeGo(b *testing.B) {
	bin := openBinary(b, goCompiler(b))
	morestack := bin.morestack()
	funcs := bin.funcs[len(bin.funcs)/2:][:5000]
	size := int64(0)
	for _, s := range funcs {
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
