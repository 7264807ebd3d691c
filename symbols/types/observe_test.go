package types

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"github.com/observatory-trace/observatory-trace/trace"
)

// seen is what the plans gave for one call of one function.
type seen struct{ entry, exit string }

// observer runs a program under ptrace with breakpoints on the first
// instruction and the RETs of some functions, and there does what the probes
// would do: make the plan's moves and follow the compiled programs' edges.
type observer struct {
	t      testing.TB
	pid    int
	mem    *os.File
	bias   uint64
	stops  map[uint64]stop
	seen   map[string]*seen
	progs  []Prog
	edges  []Edge
	lookup func(typ uint64) *Dynamic
	// entered are the registers at the entry of calls, by canonical frame address.
	entered map[uint64][]uint64
}

type stop struct {
	function string
	plan     *trace.Plan
	exit     bool
	original byte
}

// observe runs the program once and returns what each function's first call showed.
func observe(t testing.TB, f *file, path string, functions []string) map[string]*seen {
	t.Helper()
	runtime.LockOSThread() // ptrace knows the thread, not the process
	defer runtime.UnlockOSThread()
	o := &observer{t: t, stops: map[uint64]stop{}, seen: map[string]*seen{}}
	compiler := NewCompiler(2)
	for _, name := range functions {
		o.plan(f, compiler, name)
	}
	o.dynamics(f, compiler)
	o.progs, o.edges = compiler.Programs()
	o.start(path)
	o.loop()
	return o.seen
}

// plan reads a function's signature and notes where its breakpoints go.
func (o *observer) plan(f *file, c *Compiler, name string) {
	sp := f.function(o.t, name)
	sig, err := f.reader.Signature(sp)
	if err != nil {
		o.t.Fatalf("%s: %v", name, err)
	}
	c.Add(sig.Entry)
	c.Add(sig.Exit)
	o.seen[name] = &seen{}
	o.stops[sp.LowPC] = stop{function: name, plan: sig.Entry}
	for _, pc := range returns(o.t, f.elf, sp.Symbol) {
		if pc == sp.LowPC {
			o.t.Fatalf("%s returns at once", name)
		}
		o.stops[pc] = stop{function: name, plan: sig.Exit, exit: true}
	}
}

// dynamics reads the runtime types of a Go program.
func (o *observer) dynamics(f *file, c *Compiler) {
	known := map[uint64]*Dynamic{}
	o.lookup = func(typ uint64) *Dynamic { return known[typ] }
	symbols, err := f.elf.Symbols()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "runtime.types" {
			continue
		}
		list, err := runtimeTypes(f.data, s.Value)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, rt := range list {
			d, err := f.reader.Dynamic(rt)
			if err != nil {
				o.t.Fatal(err)
			}
			if d.Type != nil {
				c.AddType(d.Type)
			}
			known[d.Address] = &d
		}
	}
}

// returns finds a function's RET instructions.
func returns(t testing.TB, f *elf.File, symbol string) []uint64 {
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != symbol {
			continue
		}
		section := f.Sections[s.Section]
		code := make([]byte, s.Size)
		if _, err := section.ReadAt(code, int64(s.Value-section.Addr)); err != nil {
			t.Fatal(err)
		}
		var found []uint64
		for at := 0; at < len(code); {
			inst, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				at++ // an instruction too new for the decoder: the tests' functions have none that look like RET
				continue
			}
			if inst.Op == x86asm.RET {
				found = append(found, s.Value+uint64(at))
			}
			at += inst.Len
		}
		return found
	}
	t.Fatalf("no symbol %s", symbol)
	return nil
}

func (o *observer) start(path string) {
	cmd := exec.Command(path)
	cmd.Args[0] = "program"
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.pid = cmd.Process.Pid
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(o.pid, &ws, 0, nil); err != nil || !ws.Stopped() {
		o.t.Fatalf("wait for the program's start: %v, %v", ws, err)
	}
	const exitKill = 0x100000
	if err := syscall.PtraceSetOptions(o.pid, syscall.PTRACE_O_TRACECLONE|exitKill); err != nil {
		o.t.Fatal(err)
	}
	var err error
	if o.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", o.pid), os.O_RDWR, 0); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { o.mem.Close() })
	o.bias = o.loadBias(path)
	for pc, s := range o.stops {
		s.original = o.read(pc+o.bias, 1)[0]
		o.stops[pc] = s
		o.poke(pc+o.bias, 0xcc)
	}
}

// loadBias is the difference between the addresses in memory and in the file.
func (o *observer) loadBias(path string) uint64 {
	f, err := elf.Open(path)
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	if f.Type == elf.ET_EXEC {
		return 0
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", o.pid))
	if err != nil {
		o.t.Fatal(err)
	}
	for _, line := range strings.Split(string(maps), "\n") {
		if first, _, ok := strings.Cut(line, "-"); ok && strings.HasSuffix(line, path) {
			base, err := strconv.ParseUint(first, 16, 64)
			if err != nil {
				o.t.Fatal(err)
			}
			return base - firstLoad(f)
		}
	}
	o.t.Fatalf("the program isn't mapped:\n%s", maps)
	return 0
}

// firstLoad is the file address of the first segment, which isn't always 0 in Go's.
func firstLoad(f *elf.File) uint64 {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			return p.Vaddr
		}
	}
	return 0
}

func (o *observer) poke(addr uint64, b byte) {
	if _, err := o.mem.WriteAt([]byte{b}, int64(addr)); err != nil {
		o.t.Fatalf("write to the program at %#x: %v", addr, err)
	}
}

// read returns size bytes of the program's memory, nil when they aren't mapped.
func (o *observer) read(addr uint64, size int) []byte {
	b := make([]byte, size)
	if _, err := o.mem.ReadAt(b, int64(addr)); err != nil {
		return nil
	}
	return b
}

// loop runs the program to its end.
func (o *observer) loop() {
	if err := syscall.PtraceCont(o.pid, 0); err != nil {
		o.t.Fatal(err)
	}
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			o.t.Fatalf("wait: %v", err)
		}
		if ws.Exited() || ws.Signaled() {
			if tid != o.pid {
				continue
			}
			if !ws.Exited() || ws.ExitStatus() != 0 {
				o.t.Fatalf("the program ended with %v", ws)
			}
			return
		}
		signal := ws.StopSignal()
		switch {
		case signal == syscall.SIGTRAP && ws.TrapCause() > 0: // a new thread
			signal = 0
		case signal == syscall.SIGTRAP:
			o.hit(tid)
			signal = 0
		case signal == syscall.SIGSTOP: // a new thread's first stop
			signal = 0
		}
		if err := syscall.PtraceCont(tid, int(signal)); err != nil && !errors.Is(err, syscall.ESRCH) {
			o.t.Fatalf("continue: %v", err)
		}
	}
}

// hit handles a breakpoint, which is taken out: first calls are enough.
func (o *observer) hit(tid int) {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		o.t.Fatal(err)
	}
	pc := regs.Rip - 1 - o.bias
	s, ok := o.stops[pc]
	if !ok {
		o.t.Fatalf("stopped at %#x", pc)
	}
	o.poke(pc+o.bias, s.original)
	regs.Rip--
	if err := syscall.PtraceSetRegs(tid, &regs); err != nil {
		o.t.Fatal(err)
	}
	text := o.capture(s, &regs)
	switch call := o.seen[s.function]; {
	case !s.exit:
		call.entry = text
	case call.exit == "":
		call.exit = text
	}
}

// capture does the probe's work and shows its result.
func (o *observer) capture(s stop, regs *syscall.PtraceRegs) string {
	p := s.plan
	if p == nil && s.exit {
		return "nothing"
	}
	cfa := regs.Rsp + 8
	numbered := []uint64{
		regs.Rax, regs.Rdx, regs.Rcx, regs.Rbx, regs.Rsi, regs.Rdi, regs.Rbp, regs.Rsp,
		regs.R8, regs.R9, regs.R10, regs.R11, regs.R12, regs.R13, regs.R14, regs.R15,
	}
	if !s.exit {
		if o.entered == nil {
			o.entered = map[uint64][]uint64{}
		}
		o.entered[cfa] = numbered
	}
	if p == nil {
		return "nothing"
	}
	root := make([]byte, p.Root.Size+16)
	for _, m := range p.Moves {
		o.move(root, m, numbered, cfa)
	}
	root = root[:p.Root.Size]
	blocks := o.follow(p.Root, root)
	v := viewer{blocks: blocks, lookup: o.lookup, observer: o}
	var parts []string
	for _, f := range p.Root.Fields {
		if f.Name == trace.Dictionary {
			continue
		}
		if dict := dictionary(p.Root); dict != nil && f.Type.Dict > 0 && f.Type.Kind == trace.KindPointer {
			if d := o.generic(binary.LittleEndian.Uint64(root[dict.Offset:]) + 8*uint64(f.Type.Dict-1)); d != nil {
				real := *f.Type
				real.Elem, f.Type = d.Type, &real
			}
		}
		parts = append(parts, v.field(f, root))
	}
	return strings.Join(parts, " ")
}

func (o *observer) move(root []byte, m trace.Move, regs []uint64, cfa uint64) {
	switch m.Source {
	case trace.SourceRegister: // all eight bytes for odd sizes, as in bpf/probe.bpf.c
		b := binary.LittleEndian.AppendUint64(nil, regs[m.Register]>>(8*m.Offset))
		size := int(m.Size)
		if size != 1 && size != 2 && size != 4 {
			size = 8
		}
		copy(root[m.Dst:], b[:size])
		return
	case trace.SourceMemory:
		cfa = regs[m.Register]
	case trace.SourceSaved:
		cfa = o.entered[cfa][m.Register]
	}
	copy(root[m.Dst:], o.read(cfa+uint64(int64(m.Offset)), int(m.Size)))
}

type blockKey struct {
	addr uint64
	id   uint32
}

// follow is the walk of bpf/probe.bpf.c, with the wire format's limits left out.
func (o *observer) follow(root *trace.Type, data []byte) map[blockKey][]byte {
	type item struct {
		data  []byte
		id    uint32
		depth uint16
	}
	blocks := map[blockKey][]byte{}
	queue := []item{{data, root.ID, 0}}
	for len(queue) > 0 && len(blocks) < 64 {
		it := queue[0]
		queue = queue[1:]
		prog := o.progs[it.id]
		for _, e := range o.edges[prog.Edges : prog.Edges+prog.N] {
			if e.Depth != 0 && it.depth > e.Depth || int(e.Off)+8 > len(it.data) {
				continue
			}
			addr, id, size := binary.LittleEndian.Uint64(it.data[e.Off:]), e.Type, 0
			switch e.Kind {
			case EdgePointer, EdgeClosure, EdgeClass: // vtables are not looked up
				size = int(o.progs[id].Size)
			case EdgeDict:
				if e.Slice {
					continue // the shape's elements are looked at
				}
				if d := o.generic(binary.LittleEndian.Uint64(it.data[e.LenOff:]) + uint64(e.Stride)); d != nil && d.Type != nil {
					id = d.Type.ID
				}
				size = int(o.progs[id].Size)
			case EdgeTrait:
				continue
			case EdgeCounted:
				count := binary.LittleEndian.Uint64(it.data[e.LenOff:])
				if e.Count == trace.CountEnd {
					count = (count - addr) / uint64(e.Stride)
				}
				size = int(min(count, 64)) * int(e.Stride)
			case EdgeCString:
				size = o.stringLength(addr)
			default:
				d := o.dynamic(e.Kind, addr)
				if d == nil || d.Direct || d.Type == nil {
					continue
				}
				addr = binary.LittleEndian.Uint64(it.data[e.Off+8:])
				id, size = d.Type.ID, int(d.Type.Size)
			}
			key := blockKey{addr, id}
			if _, have := blocks[key]; have || addr == 0 {
				continue
			}
			b := o.read(addr, size)
			blocks[key] = b
			if id != TypeBytes {
				queue = append(queue, item{b, id, it.depth + 1})
			}
		}
	}
	return blocks
}

func (o *observer) stringLength(addr uint64) int {
	for n := 0; n < 256; n++ {
		if b := o.read(addr+uint64(n), 1); b == nil || b[0] == 0 {
			return n
		}
	}
	return 256
}

// dynamic looks an interface's type word up.
func (o *observer) dynamic(kind EdgeKind, word uint64) *Dynamic {
	if kind == EdgeIface {
		b := o.read(word+ITabType, 8)
		if b == nil {
			return nil
		}
		word = binary.LittleEndian.Uint64(b)
	}
	return o.lookup(word - o.bias)
}

// generic looks a word of a dictionary up.
func (o *observer) generic(at uint64) *Dynamic {
	b := o.read(at, 8)
	if b == nil {
		return nil
	}
	return o.lookup(binary.LittleEndian.Uint64(b) - o.bias)
}

// viewer shows values: name=value, {field=value …}, [elements], &target.
type viewer struct {
	blocks   map[blockKey][]byte
	lookup   func(uint64) *Dynamic
	observer *observer
}

func (v *viewer) field(f trace.Field, data []byte) string {
	prefix := ""
	if f.Name != "" {
		prefix = f.Name + "="
	}
	if f.Unavailable != "" {
		return prefix + "(" + f.Unavailable + ")"
	}
	raw := data[f.Offset : f.Offset+f.Type.Size]
	if f.BitSize > 0 {
		n := number64(raw) >> f.BitShift & (1<<f.BitSize - 1)
		if f.Type.Kind == trace.KindInt {
			n = uint64(int64(n<<(64-f.BitSize)) >> (64 - f.BitSize))
			return prefix + strconv.FormatInt(int64(n), 10)
		}
		return prefix + strconv.FormatUint(n, 10)
	}
	return prefix + v.value(f.Type, raw)
}

func number64(b []byte) uint64 {
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:])
}

func (v *viewer) value(t *trace.Type, b []byte) string {
	n := number64(b)
	switch t.Kind {
	case trace.KindInt, trace.KindChar:
		if len(b) < 8 {
			n = uint64(int64(n<<(64-8*len(b))) >> (64 - 8*len(b)))
		}
		return strconv.FormatInt(int64(n), 10)
	case trace.KindUint:
		return strconv.FormatUint(n, 10)
	case trace.KindBool:
		return strconv.FormatBool(n != 0)
	case trace.KindRune:
		return strconv.QuoteRune(rune(n))
	case trace.KindFloat:
		return showFloat(b)
	case trace.KindEnum:
		for _, e := range t.Enum {
			if uint64(e.Value) == n {
				return e.Name
			}
		}
		return strconv.FormatUint(n, 10)
	case trace.KindStruct, trace.KindUnion:
		for part, short := range opaque {
			if strings.Contains(t.Name, part) && !strings.Contains(t.Name, "Vec<") {
				return short
			}
		}
		var parts []string
		for _, f := range t.Fields {
			parts = append(parts, v.field(f, b))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case trace.KindArray:
		return v.elements(t.Elem, b)
	default:
		return v.pointing(t, b)
	}
}

// opaque are types whose insides are the library's business, or differ from run to run.
var opaque = map[string]string{"dyn ": "dyn", "std::unique_ptr<": "unique", "std::vector<": "vector", "std::function<": "function"}

func showFloat(b []byte) string {
	if len(b) == 4 {
		return fmt.Sprint(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	if len(b) == 8 {
		return fmt.Sprint(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return fmt.Sprintf("%d bytes", len(b))
}

func (v *viewer) elements(elem *trace.Type, b []byte) string {
	var parts []string
	for len(b) > 0 && elem.Size > 0 && len(b) >= int(elem.Size) {
		parts = append(parts, v.value(elem, b[:elem.Size]))
		b = b[elem.Size:]
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// pointing shows the kinds whose value lies behind a pointer.
func (v *viewer) pointing(t *trace.Type, b []byte) string {
	switch t.Kind {
	case trace.KindCString:
		return v.text(number64(b))
	case trace.KindString:
		if number64(b[t.LenOff:][:8]) == 0 {
			return `""`
		}
		return v.text(number64(b[t.PtrOff:][:8]))
	case trace.KindSlice:
		if t.Elem == nil || number64(b[t.LenOff:][:8]) == 0 {
			return "[]"
		}
		return v.elements(t.Elem, v.blocks[blockKey{number64(b[t.PtrOff:][:8]), t.Elem.ID}])
	case trace.KindPointer:
		return v.pointer(t.Elem, number64(b[:8]))
	case trace.KindInterface, trace.KindError:
		return v.iface(t, b)
	}
	if number64(b) == 0 && t.Kind != trace.KindVariant {
		return "nil"
	}
	return map[trace.Kind]string{trace.KindFunc: "func", trace.KindMap: "map", trace.KindChan: "chan", trace.KindVariant: "variant", trace.KindUnknown: "member"}[t.Kind]
}

func (v *viewer) text(addr uint64) string {
	if addr == 0 {
		return "nil"
	}
	return strconv.Quote(string(v.blocks[blockKey{addr, TypeBytes}]))
}

func (v *viewer) pointer(elem *trace.Type, addr uint64) string {
	if addr == 0 {
		return "nil"
	}
	if elem != nil {
		if elem.Name == "shop::Diamond" { // not made yet
			return "ptr"
		}
		if target := v.blocks[blockKey{addr, elem.ID}]; target != nil && len(target) == int(elem.Size) {
			return "&" + v.value(elem, target)
		}
	}
	return "ptr"
}

func (v *viewer) iface(t *trace.Type, b []byte) string {
	if t.Lang == trace.LangRust {
		return "dyn"
	}
	kind := EdgeIface
	if t.Empty {
		kind = EdgeEface
	}
	if number64(b) == 0 {
		return "nil"
	}
	d := v.observer.dynamic(kind, number64(b))
	if d == nil {
		return "?"
	}
	if d.Direct || d.Type == nil {
		return d.Name
	}
	return d.Name + v.value(d.Type, v.blocks[blockKey{number64(b[8:]), d.Type.ID}])
}
