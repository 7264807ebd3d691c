package damaged

import (
	"bytes"
	"maps"
	"slices"
)

func sortedNames(sections map[string][]byte) []string { return slices.Sorted(maps.Keys(sections)) }

func unwindDamages() []Damage {
	// frames changes .eh_frame in place: it is loaded, and stays as long as it is.
	frames := func(name string, change func(b []byte)) Damage {
		return Damage{name, "c", func(p *program) { change(p.at(".eh_frame")) }}
	}
	// records writes it anew.
	records := func(name string, list ...[]byte) Damage {
		return frames(name, func(b []byte) {
			clear(b)
			at := 0
			for _, r := range list {
				if at+4+len(r) > len(b) {
					panic("too long for .eh_frame")
				}
				le.PutUint32(b[at:], uint32(len(r)))
				copy(b[at+4:], r)
				at += 4 + len(r)
			}
		})
	}
	cie := func(program ...byte) []byte {
		return append([]byte{0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b}, program...)
	}
	fde := func(back uint32, program ...byte) []byte {
		b := le.AppendUint32(nil, back)
		b = le.AppendUint32(le.AppendUint32(b, 0xffff0000), 0x7fffffff)
		return append(append(b, 0), program...)
	}
	return []Damage{
		frames("frames-of-zero-length", func(b []byte) { clear(b) }),
		frames("frames-that-are-all-ones", func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) }),
		frames("frame-longer-than-its-section", func(b []byte) { le.PutUint32(b, 0x7fffffff) }),
		frames("frame-of-64-bits-that-wraps", func(b []byte) {
			le.PutUint32(b, 0xffffffff)
			le.PutUint64(b[4:], ^uint64(0)-7)
		}),
		frames("frames-whose-cie-is-elsewhere", func(b []byte) {
			for at := 4 + int(le.Uint32(b)); at+8 < len(b) && le.Uint32(b[at:]) > 0; at += 4 + int(le.Uint32(b[at:])) {
				le.PutUint32(b[at+4:], 0x7ffffff0)
			}
		}),
		frames("frames-that-are-their-own-cie", func(b []byte) {
			for at := 4 + int(le.Uint32(b)); at+8 < len(b) && le.Uint32(b[at:]) > 0; at += 4 + int(le.Uint32(b[at:])) {
				le.PutUint32(b[at+4:], 4)
			}
		}),
		frames("frames-whose-cies-are-frames", func(b []byte) {
			first := 4 + int(le.Uint32(b))
			for at := first + 4 + int(le.Uint32(b[first:])); at+8 < len(b) && le.Uint32(b[at:]) > 0; at += 4 + int(le.Uint32(b[at:])) {
				le.PutUint32(b[at+4:], uint32(at+4-first))
			}
		}),
		records("cie-augmentation-without-end", append([]byte{0, 0, 0, 0, 1}, bytes.Repeat([]byte{'z'}, 30)...), fde(39)),
		records("cie-of-unknown-encodings", []byte{0, 0, 0, 0, 1, 'z', 'P', 'L', 'R', 0, 1, 0x78, 16, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, fde(29)),
		records("frames-of-all-addresses", cie(0x0c, 7, 8), fde(24), fde(41), fde(58)),
		records("frame-states-never-restored", cie(bytes.Repeat([]byte{0x0a}, 30)...), fde(51, bytes.Repeat([]byte{0x0b}, 20)...)),
		records("frame-programs-that-advance-past-the-end", cie(0x0c, 7, 8), fde(24, 0x04, 0xff, 0xff, 0xff, 0xff, 0x04, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 2, 3, 4, 5, 6, 7, 8)),
		records("frame-expressions-that-never-end", cie(0x0f, 3, 0x2f, 0xfd, 0xff), fde(26, 0x16, 3, 4, 0x31, 0x28, 0xfc, 0xff, 0x10, 16, 0xff, 0xff, 0xff, 0x7f)),
		records("frame-registers-beyond-all", cie(0x0c, 0xff, 0xff, 0xff, 0xff, 0x7f, 8), fde(28, 0x05, 0xff, 0xff, 0xff, 0x7f, 1, 0x09, 0xff, 0x7f, 0xff, 0x7f)),
	}
}
