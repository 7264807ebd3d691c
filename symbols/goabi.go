package symbols

import (
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// goABI is what probes must know of the Go runtime that a program has, or why
// that can't be known.
type goABI struct {
	runtimeOffsets
	goidErr error
	tls     int32
	tlsErr  error
}

// runtimeOffsets are offsets in structures of the runtime, bytes.
type runtimeOffsets struct {
	goid    uint32 // runtime.g
	panicFP uint32 // fp in runtime._panic
}

// panicArg is where arg is in it: Go 1.26 took away what was before.
func (o runtimeOffsets) panicArg() uint32 {
	if o.panicFP < 64 {
		return 0
	}
	return 8
}

// knownRuntimes are the offsets on 64-bit architectures, by Go release.
var knownRuntimes = map[string]runtimeOffsets{
	"go1.22": {152, 64}, "go1.23": {160, 64}, "go1.24": {160, 64}, "go1.25": {152, 64}, "go1.26": {152, 56},
}

// Offsets in runtime.g that Go has not changed since 1.22, bytes.
const (
	offsetStackHi = 8
	offsetPanic   = 32
)

// goABI finds out about the program's Go runtime.
func (f *File) goABI() *goABI {
	if f.golang.abi == nil {
		a := &goABI{}
		a.runtimeOffsets, a.goidErr = f.runtimeOffsets()
		a.tls, a.tlsErr = f.goTLSOffset()
		f.golang.abi = a
	}
	return f.golang.abi
}

// runtimeOffsets reads the offsets from the debug information, else from what
// is known of the release.
func (f *File) runtimeOffsets() (o runtimeOffsets, err error) {
	if x := f.dwarf().index; x != nil {
		for _, u := range x.Units() {
			if u.Name != "runtime" {
				continue
			}
			goid, ok := x.MemberOffset(u, "runtime.g", "goid")
			fp, ok2 := x.MemberOffset(u, "runtime._panic", "fp")
			if ok && ok2 && goid < 1<<16 && fp < 1<<16 {
				return runtimeOffsets{uint32(goid), uint32(fp)}, nil
			}
		}
	}
	version := ""
	if f.golang.build != nil {
		version = f.golang.build.GoVersion
	}
	if known, ok := knownRuntimes[goRelease(version)]; ok {
		return known, nil
	}
	if version == "" {
		version = "an unknown version"
	}
	return o, fmt.Errorf("built with %s without debug information: goroutines can't be told apart (known without it are Go 1.22 to 1.26)", version)
}

// goRelease cuts a version to its release: "go1.24.6" is "go1.24". It is empty
// for versions whose runtime may differ: development and experiments.
func goRelease(version string) string {
	if strings.ContainsAny(version, " -+") || !strings.HasPrefix(version, "go1.") {
		return ""
	}
	release := version
	if i := strings.IndexByte(version[len("go1."):], '.'); i >= 0 {
		release = version[:len("go1.")+i]
	}
	if i := strings.Index(release, "rc"); i > 0 {
		release = release[:i]
	}
	return release
}

// goTLSOffset finds where the current goroutine lies from the thread pointer.
// The Go linker places it right below; with the system's linker it is where
// the symbol runtime.tlsg says (ELF Handling For Thread-Local Storage, variant II).
func (f *File) goTLSOffset() (int32, error) {
	var tls *elf.Prog
	for _, p := range f.img.elf.Progs {
		if p.Type == elf.PT_TLS {
			tls = p
		}
	}
	if f.img.elf.Machine != elf.EM_X86_64 {
		return 0, errors.New("assembly: where its goroutine is kept is not known on this architecture")
	}
	if tls == nil || tls.Memsz == 8 {
		return -8, nil
	}
	value, ok := f.symbolValue("runtime.tlsg")
	if !ok || tls.Memsz > 1<<20 || value >= tls.Memsz {
		return 0, errors.New("assembly: where its goroutine is kept is not known (the program is stripped and uses the C library's linker)")
	}
	align := max(tls.Align, 1)
	size := tls.Memsz + (-tls.Vaddr-tls.Memsz)&(align-1)
	return int32(int64(value) - int64(size)), nil
}

// apply fills in a function's ABI, or says why it can't be traced.
func (a *goABI) apply(fn *trace.Function, b body) error {
	if a.goidErr != nil {
		return a.goidErr
	}
	if b.abi0 && a.tlsErr != nil {
		return a.tlsErr
	}
	fn.Go = &trace.GoABI{ABI0: b.abi0, GoidOffset: a.goid, TLSOffset: a.tls}
	return nil
}

// morestack lists the addresses of the runtime's functions that grow a stack.
func (t *table) morestack() (addrs []uint64) {
	for _, e := range t.entries {
		switch strings.TrimSuffix(t.name(e), ".abi0") {
		case "runtime.morestack", "runtime.morestack_noctxt", "runtime.morestackc":
			addrs = append(addrs, t.addr(e))
		}
	}
	return addrs
}
