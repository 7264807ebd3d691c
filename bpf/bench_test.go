package bpf

import "testing"

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		o, err := Load(Settings{Functions: 65536, Moves: 1 << 18, Programs: 65536, Edges: 1 << 18, Dynamic: 4096, RingBytes: 1 << 24})
		if err != nil {
			b.Fatal(err)
		}
		o.Close()
	}
}
