package bpf

import "testing"

func TestLoad(t *testing.T) {
	o, err := Load(Settings{Functions: 1024, Moves: 1024, Programs: 1024, Edges: 1024, Dynamic: 16, RingBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, p := range []interface{ String() string }{o.Hit()} {
		t.Log(p)
	}
	if err := o.Fill(Tables{Functions: []Func{{Address: 1}, {Address: 2}}, FirstFunc: 1}); err != nil {
		t.Fatal(err)
	}
	if err := o.Activate(); err != nil {
		t.Fatal(err)
	}
}
