package sites

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// slot is how many bytes each synthetic encoding is given, filled up with nops.
const slot = 32

// encodings are all opcodes of all maps under the prefixes that change their
// meaning, with the forms of ModRM that change their length.
func encodings() [][]byte {
	modrms := [][]byte{{0x05, 1, 2, 3, 4}, {0x44, 0x24, 8}, {0x84, 0x25, 1, 2, 3, 4}, {0x04, 0x25, 1, 2, 3, 4}, {0xc1}, {0x18}, {0xf8}}
	imm := []byte{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}
	var all [][]byte
	add := func(parts ...[]byte) { all = append(all, bytes.Join(parts, nil)) }
	for op := 0; op < 256; op++ {
		o := []byte{byte(op)}
		for _, m := range modrms {
			for _, p := range [][]byte{nil, {0x66}, {0xf2}, {0xf3}, {0x48}, {0x66, 0x49}, {0xf3, 0x45}, {0x67}, {0xf0}} {
				if x86OneByte[op] != 'p' && op != 0x9b { // objdump joins fwait to what follows
					add(p, o, m, imm)
				}
				if op != 0x38 && op != 0x3a {
					add(p, []byte{0x0f}, o, m, imm)
				}
				add(p, []byte{0x0f, 0x38}, o, m, imm)
				add(p, []byte{0x0f, 0x3a}, o, m, imm)
			}
			for pp := byte(0); pp < 4; pp++ {
				for _, wl := range []byte{0, 0x80, 4} {
					add([]byte{0xc5, wl ^ 0x80 | 0x78 | pp}, o, m, imm)
					for opmap := byte(1); opmap < 4; opmap++ {
						add([]byte{0xc4, 0xe0 | opmap, wl | 0x60 | pp}, o, m, imm)
					}
					for _, opmap := range []byte{1, 2, 3, 5, 6} {
						add([]byte{0x62, 0xf0 | opmap, wl&0x80 | 0x7c | pp, 0x08 | wl&4<<3}, o, m, imm)
					}
				}
			}
		}
	}
	return all
}

// TestSizesOfEncodings compares the size of every kind of instruction with
// objdump's: a wrong one would put every later site on the wrong byte.
func TestSizesOfEncodings(t *testing.T) {
	all := encodings()
	raw := bytes.Repeat([]byte{0x90}, slot*len(all))
	for i, e := range all {
		copy(raw[i*slot:], e)
	}
	path := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	sizes := rawSizes(t, path, len(all))
	agree, here, there := 0, 0, 0
	for i, e := range all {
		var x x86
		ok := x.decode(raw[i*slot:])
		if n := plainSize(raw[i*slot:]); n != 0 && (!ok || n != int(x.size) || x.odd) {
			t.Errorf("% x: size %d, in short %d", e, x.size, n)
		}
		switch {
		case ok && sizes[i] == 0:
			here++ // reserved combinations of prefixes: refusing them isn't needed
		case !ok && sizes[i] != 0:
			there++ // lock where it is not allowed, 16-bit branches, system instructions
		case ok && int(x.size) != sizes[i]:
			t.Errorf("% x: size %d, objdump has %d", e, x.size, sizes[i])
		default:
			agree++
		}
	}
	t.Logf("%d encodings: %d agree, %d valid only here, %d only in objdump", len(all), agree, here, there)
	if agree < len(all)/4 || there > len(all)/20 {
		t.Errorf("%d of %d encodings agree, %d are not known here", agree, len(all), there)
	}
}

// rawSizes is the size of the instruction in each slot, 0 for none.
func rawSizes(t *testing.T, path string, n int) []int {
	t.Helper()
	cmd := exec.Command("objdump", "-D", "-w", "-z", "--no-show-raw-insn", "-b", "binary", "-m", "i386:x86-64", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sizes := make([]int, n)
	last := -1
	for sc := bufio.NewScanner(out); sc.Scan(); {
		addr, text, ok := splitLine(sc.Bytes())
		if !ok {
			continue
		}
		if last >= 0 {
			sizes[last] = int(addr) - last*slot
			last = -1
		}
		if addr%slot == 0 && classifyLine(text) != startBad {
			last = int(addr) / slot
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return sizes
}

// splitLine reads "  addr:\tmnemonic operands".
func splitLine(s []byte) (addr uint64, text string, ok bool) {
	colon := bytes.IndexByte(s, ':')
	if colon < 0 || colon+2 > len(s) || s[colon+1] != '\t' {
		return 0, "", false
	}
	addr, err := strconv.ParseUint(string(bytes.TrimSpace(s[:colon])), 16, 64)
	return addr, string(bytes.TrimSpace(s[colon+2:])), err == nil
}
