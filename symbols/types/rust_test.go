package types

import "testing"

func TestPlacesRust(t *testing.T) {
	want := map[string]seen{}
	for _, n := range []string{"main7strings", "main7structs", "main10aggregates", "main5enums", "main5three", "main4four", "main5mixed", "main6floats", "main4long", "main4tail", "main5owned", "main7numbers", "main4many", "main7dynamic", "main8exported", "main5array", "main3odd", "Counter3add", "Counter7consume"} {
		want[n] = seen{}
	}
	for _, flags := range []string{"-C opt-level=0", "-C opt-level=2"} {
		t.Run(flags, func(t *testing.T) {
			path := compile(t, "rustc -g testdata/rust/main.rs "+flags)
			check(t, openFile(t, path), path, want)
		})
	}
}
