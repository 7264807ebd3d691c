package decode

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// script runs the event sequences of testdata/pairing. A line is one of:
//
//	func NAME LANGUAGE [role=ROLE] [uretprobe] (NAME TYPE, …) (NAME TYPE, …)
//	stack NAME HIGH            a stack below this address; @NAME:DEPTH is on it
//	symbol ADDRESS NAME
//	limit open=N owner=N
//	TIME enter|exit|tail OWNER FUNC @DEPTH [high=ADDRESS] [inside=TIME|none] [used=USAGE] [NAME=VALUE …]
//	TIME fork OWNER PID
//	TIME exec OWNER
//	TIME death|last OWNER [inside=TIME|none] [signal=N]  (last: the thread's death, the last of its process)
//	TIME gone PID
//	lost FUNC exits
//	TIME close
//
// OWNER is t1 (thread 1), g7/t1 (goroutine 7 on thread 1), g0/t1, or nog/t1,
// with p200: before it for another process than 100. DEPTH is bytes below the
// stack's upper end. USAGE is CPU,MINOR,MAJOR,SWITCHES,RSS of the thread until
// then; a dash is what the kernel does not show, and without USAGE it shows none.
type script struct {
	t         *testing.T
	decoder   *Decoder
	functions []*trace.Function
	byName    map[string]*trace.Function
	symbols   map[uint64]string
	stacks    map[string]uint64
	dynamics  map[uint64]Dynamic
	nextAddr  uint64
	nextID    uint64
	entries   int
	calls     int
	out       strings.Builder
}

// Types of the scripts' parameters.
var (
	scriptInt    = &trace.Type{Name: "int", Kind: trace.KindInt, Size: 8, Lang: trace.LangGo}
	scriptWord   = &trace.Type{Name: "unsigned long", Kind: trace.KindUint, Size: 8}
	scriptString = &trace.Type{Name: "string", Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangGo, ID: 40}
	scriptAny    = &trace.Type{Name: "any", Kind: trace.KindInterface, Size: 16, Empty: true, Lang: trace.LangGo}
	scriptError  = &trace.Type{Name: "error", Kind: trace.KindError, Size: 16, Lang: trace.LangGo}
	scriptText   = &trace.Type{Name: "char const*", Kind: trace.KindCString, Size: 8}
	scriptThrown = &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: &trace.Type{
		ID: 41, Kind: trace.KindStruct, Size: 16, Fields: []trace.Field{
			{Name: "vptr", Type: scriptWord}, {Name: "what", Offset: 8, Type: scriptText},
		},
	}}
	scriptInfo = &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: &trace.Type{
		ID: 42, Kind: trace.KindStruct, Size: 24, Fields: []trace.Field{
			{Name: "vptr", Type: scriptWord}, {Name: "name", Offset: 8, Type: scriptText},
		},
	}}
	scriptGo = &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: &trace.Type{
		ID: 43, Kind: trace.KindStruct, Size: 72, Fields: []trace.Field{{Name: "fp", Offset: 64, Type: scriptWord}},
	}}
	scriptErrorString = &trace.Type{
		ID: 44, Name: "errors.errorString", Kind: trace.KindStruct, Size: 16, Lang: trace.LangGo,
		Fields: []trace.Field{{Name: "s", Type: scriptString}},
	}
	scriptTypes = map[string]*trace.Type{
		"int": scriptInt, "word": scriptWord, "string": scriptString, "any": scriptAny, "error": scriptError, "text": scriptText,
		"thrown": scriptThrown, "typeinfo": scriptInfo, "panic": scriptGo,
	}
)

func init() {
	base := scriptInfo.Elem
	base.Fields = append(base.Fields, trace.Field{Name: "base", Offset: 16, Type: scriptInfo})
}

var scriptRoles = map[string]trace.Role{
	"go-panic": trace.RoleGoPanic, "go-uncaught": trace.RoleGoUncaught, "go-recovery": trace.RoleGoRecovery, "goexit": trace.RoleGoexit, "throw": trace.RoleThrow,
	"rethrow": trace.RoleRethrow, "catch": trace.RoleCatch, "unwind": trace.RoleUnwind, "forced": trace.RoleForced,
	"longjmp": trace.RoleLongjmp, "rust-panic": trace.RoleRustPanic, "library-map": trace.RoleLibraryMap,
}

var scriptLanguages = map[string]trace.Language{
	"go": trace.LangGo, "c": trace.LangC, "c++": trace.LangCPP, "rust": trace.LangRust,
}

const (
	scriptMain = 0x7fff_0010_0000 // upper end of every thread's first stack
	scriptG    = 0xc000_0100_0000 // of every goroutine's
)

func newScript(t *testing.T) *script {
	pageKB = 4
	s := &script{
		t: t, byName: map[string]*trace.Function{}, symbols: map[uint64]string{}, dynamics: map[uint64]Dynamic{},
		stacks: map[string]uint64{"": scriptMain}, nextAddr: 0x10000, functions: []*trace.Function{nil},
	}
	s.decoder = New(Config{
		Function: func(id uint32) *trace.Function {
			if int(id) < len(s.functions) {
				return s.functions[id]
			}
			return nil
		},
		Dynamic: func(_ uint32, word uint64, _ bool) (Dynamic, bool) {
			d, ok := s.dynamics[word]
			return d, ok
		},
		Process:   func(tgid uint32) *trace.Process { return &trace.Process{PID: int(tgid)} },
		Thread:    func(_, tid uint32) string { return "T" + strconv.Itoa(int(tid)) },
		NextID:    func() uint64 { s.nextID++; return s.nextID },
		SameStack: s.sameStack,
		Symbol:    func(_ uint32, addr uint64) string { return s.symbols[addr] },
		Emit:      s.emit,
		Gap: func(g trace.Gap) {
			fmt.Fprintf(&s.out, "gap %s %d: %s\n", g.Func.Name, g.Count, g.Reason)
		},
	})
	return s
}

func (s *script) sameStack(_ uint32, a, b uint64) bool {
	return s.stackOf(a) == s.stackOf(b)
}

func (s *script) stackOf(addr uint64) string {
	for name, high := range s.stacks {
		if addr <= high && addr > high-0x10000 {
			return name
		}
	}
	return "?"
}

func (s *script) emit(c *trace.Call) bool {
	s.calls++
	fmt.Fprintf(&s.out, "#%d %s %d+%d %s", c.ID, c.Func.Name, c.StartNS, c.DurationNS, c.Status)
	if c.Err != nil {
		fmt.Fprintf(&s.out, " (%s: %s)", c.Err.Type, c.Err.Message)
	}
	fmt.Fprintf(&s.out, " pid=%d tid=%d", c.Process.PID, c.TID)
	if c.Thread != "T"+strconv.Itoa(c.TID) {
		s.t.Errorf("thread %d is called %q", c.TID, c.Thread)
	}
	if c.Goroutine != 0 {
		fmt.Fprintf(&s.out, " g=%d", c.Goroutine)
	}
	if c.Depth > 0 {
		fmt.Fprintf(&s.out, " depth=%d parent=#%d root=#%d", c.Depth, c.ParentID, c.RootID)
	}
	if c.Args != nil {
		fmt.Fprintf(&s.out, " args=%s", c.Args)
	}
	if c.Result != nil {
		fmt.Fprintf(&s.out, " result=%s", c.Result)
	}
	if c.Flags != 0 {
		fmt.Fprintf(&s.out, " [%s]", c.Flags)
	}
	if r := c.Resources; r != nil && (!r.NoCPU || !r.NoRSS) {
		s.out.WriteString(" used=" + usageText(r))
	}
	s.out.WriteByte('\n')
	return true
}

// run executes a script and returns what it emitted.
func (s *script) run(text string) string {
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.line(line); err != nil {
			s.t.Fatalf("line %d: %s: %v", n+1, line, err)
		}
	}
	return s.out.String()
}

func (s *script) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	fields := strings.Fields(rest)
	switch word {
	case "func":
		return s.declare(rest)
	case "stack":
		s.stacks[fields[0]] = number(fields[1])
		return nil
	case "symbol":
		s.symbols[number(fields[0])] = fields[1]
		return nil
	case "limit":
		for _, f := range fields {
			name, value, _ := strings.Cut(f, "=")
			limits := map[string]*int{"open": &s.decoder.config.MaxOpen, "owner": &s.decoder.config.MaxOpenPerOwner}
			*limits[name] = int(number(value))
		}
		return nil
	case "unseen", "seen":
		tell := map[string]func(uint32, uint64){"unseen": s.decoder.Unseen, "seen": s.decoder.Seen}[word]
		tell(s.byName[fields[0]].ID, number(fields[1]))
		return nil
	case "lost":
		s.decoder.Lost(s.byName[fields[0]].ID, number(fields[1]))
		return nil
	}
	return s.event(number(word), fields)
}

// usageText is a call's CPU,MINOR,MAJOR,SWITCHES,KIB; dashes are what is not known.
func usageText(r *trace.Resources) string {
	words := make([]string, 5)
	for i, v := range []struct {
		n       int64
		unknown bool
	}{{r.CPUNS, r.NoCPU}, {r.MinorFaults, r.NoCounts}, {r.MajorFaults, r.NoCounts}, {r.Switches, r.NoCounts}, {r.RSSDeltaKB, r.NoRSS}} {
		if words[i] = strconv.FormatInt(v.n, 10); v.unknown {
			words[i] = "-"
		}
	}
	return strings.Join(words, ",")
}

// use fills in what the thread has used until the event.
func use(e *Event, text string) {
	words := strings.Split(text, ",")
	count := func(i int) uint32 {
		v, err := strconv.ParseInt(words[i], 0, 64)
		if err != nil {
			panic(err)
		}
		return uint32(v)
	}
	if words[0] != "-" {
		e.Usage.CPU = number(words[0]) - e.TS
		e.Flags &^= EventNoCPU
	}
	e.Usage.Minor, e.Usage.Major, e.Usage.Switches = count(1), count(2), count(3)
	if words[4] != "-" {
		e.Usage.RSS = count(4)
		e.Flags &^= EventNoRSS
	}
}

func number(text string) uint64 {
	v, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		panic(err)
	}
	return v
}

func (s *script) declare(text string) error {
	head, signature, ok := strings.Cut(text, "(")
	words := strings.Fields(head)
	f := &trace.Function{ID: uint32(len(s.functions)), Name: words[0], Language: scriptLanguages[words[1]], Exit: trace.Exit{Kind: trace.ExitSites}}
	if f.Language == trace.LangUnknown {
		return fmt.Errorf("language %q", words[1])
	}
	for _, w := range words[2:] {
		if role, found := strings.CutPrefix(w, "role="); found {
			if f.Role, found = scriptRoles[role]; !found {
				return fmt.Errorf("role %q", role)
			}
		}
		if size, found := strings.CutPrefix(w, "size="); found {
			f.Size = number(size)
		}
		if w == "uretprobe" {
			f.Exit.Kind = trace.ExitReturn
		}
	}
	if ok {
		params, results, _ := strings.Cut(signature, "(")
		f.EntryPlan, f.ExitPlan = parsePlan(params), parsePlan(results)
	}
	s.functions = append(s.functions, f)
	s.byName[f.Name] = f
	return nil
}

func parsePlan(text string) *trace.Plan {
	text = strings.TrimRight(text, ") ")
	if text == "" {
		return nil
	}
	var fields []trace.Field
	for _, p := range strings.Split(text, ",") {
		w := strings.Fields(p)
		fields = append(fields, trace.Field{Name: w[0], Type: scriptTypes[w[1]]})
	}
	return planOf(fields...)
}

func (s *script) event(ts uint64, words []string) error {
	e := Event{TS: ts}
	what := words[0]
	switch what {
	case "close":
		s.decoder.Close(ts)
		return nil
	case "gone":
		s.decoder.ProcessGone(uint32(number(words[1])), ts)
		return nil
	}
	parseOwner(&e, words[1])
	switch what {
	case "fork":
		e.Kind, e.Arg = EventFork, number(words[2])
	case "exec":
		e.Kind = EventExec
	case "death", "last":
		e.Kind = EventDeath
		if what == "last" {
			e.Arg = 1
		}
		for _, w := range words[2:] {
			if n, ok := strings.CutPrefix(w, "signal="); ok {
				e.Arg |= number(n) << 8
			} else {
				e.Arg |= uint64(markIn(w)) << deathInside
			}
		}
	case "enter", "exit", "tail":
		return s.callEvent(&e, what, words[2:])
	default:
		return fmt.Errorf("event %q", what)
	}
	return s.decoder.Record(appendRecord(nil, &e))
}

func parseOwner(e *Event, text string) {
	e.TGID = 100
	if rest, ok := strings.CutPrefix(text, "p"); ok {
		pid, owner, _ := strings.Cut(rest, ":")
		e.TGID, text = uint32(number(pid)), owner
	}
	if g, thread, ok := strings.Cut(text, "/"); ok {
		text = thread
		if g == "nog" {
			e.Flags = EventNoG
		} else {
			e.Goid = number(g[1:])
		}
	}
	e.TID = uint32(number(text[1:]))
}

// markIn gives the mark of inside=TIME|none.
func markIn(word string) uint32 {
	if at := strings.TrimPrefix(word, "inside="); at != "none" {
		return markOf(number(at))
	}
	return markNone
}

func (s *script) callEvent(e *Event, what string, words []string) error {
	f := s.byName[words[0]]
	if f == nil {
		return fmt.Errorf("function %q", words[0])
	}
	e.Func, e.Kind = f.ID, EventExit
	e.Flags |= EventNoCPU | EventNoRSS
	plan := f.ExitPlan
	switch what {
	case "enter":
		e.Kind, plan = EventEntry, f.EntryPlan
		if f.Role == trace.RoleCall {
			s.entries++
		}
	case "tail":
		e.Flags |= EventTail
	}
	stack, depth, ok := strings.Cut(words[1][1:], ":")
	if !ok {
		stack, depth = "", stack
	}
	high := s.stacks[stack]
	if f.Language == trace.LangGo && stack == "" {
		high = scriptG
	}
	words = words[2:]
	if len(words) > 0 && strings.HasPrefix(words[0], "high=") {
		high, words = number(words[0][5:]), words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "inside=") {
		e.More = rateAll | uint64(markIn(words[0]))<<insideShift
		words = words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "used=") {
		use(e, words[0][5:])
		words = words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "ip=") { // of the function's first byte
		e.IP = number(words[0][3:])
		words = words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "from=") { // what raises was called from there
		e.Arg = number(words[0][5:])
		words = words[1:]
	}
	e.CFA = high - number(depth)
	e.Pos = ^e.CFA
	if f.Language == trace.LangGo && e.Flags&EventNoG == 0 {
		e.Pos = high - e.CFA
	}
	blocks, err := s.fill(e, plan, words)
	if err != nil {
		return err
	}
	return s.decoder.Record(appendRecord(nil, e, blocks...))
}

// fill writes values into the root block.
func (s *script) fill(e *Event, plan *trace.Plan, words []string) (blocks []Block, err error) {
	if plan == nil {
		return nil, nil
	}
	e.Root = make([]byte, (plan.Root.Size+7)&^7)
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if name == "missed" {
			e.Missed = uint32(number(value))
			continue
		}
		i := slices.IndexFunc(plan.Root.Fields, func(f trace.Field) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no parameter %q", name)
		}
		f := plan.Root.Fields[i]
		blocks = append(blocks, s.put(e.Root[f.Offset:], f.Type, strings.ReplaceAll(value, "~", " "))...)
	}
	return blocks, nil
}

func (s *script) address() uint64 {
	s.nextAddr += 0x100
	return s.nextAddr
}

// put writes one value; a tilde in a text is a space.
func (s *script) put(at []byte, t *trace.Type, value string) []Block {
	le := binary.LittleEndian
	addr := s.address()
	switch t {
	case scriptInt, scriptWord:
		v, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			v = int64(number(value))
		}
		le.PutUint64(at, uint64(v))
		return nil
	case scriptString, scriptText:
		le.PutUint64(at, addr)
		if t == scriptString {
			le.PutUint64(at[8:], uint64(len(value)))
		}
		return []Block{{Addr: addr, Type: typeBytes, Want: uint32(len(value)), Data: []byte(value)}}
	case scriptAny, scriptError:
		return s.putInterface(at, value)
	case scriptThrown:
		// ADDRESS:message
		object, message, _ := strings.Cut(value, ":")
		le.PutUint64(at, number(object))
		data := make([]byte, 16)
		le.PutUint64(data[8:], addr)
		return []Block{{Addr: number(object), Type: 41, Data: data, Want: 16}, {Addr: addr, Type: typeBytes, Want: uint32(len(message)), Data: []byte(message)}}
	case scriptInfo:
		return s.putTypeInfo(at, strings.Split(value, ":"))
	case scriptGo:
		le.PutUint64(at, addr)
		data := make([]byte, 72)
		le.PutUint64(data[64:], number(value))
		return []Block{{Addr: addr, Type: 43, Data: data, Want: 72}}
	}
	panic("no such type")
}

// putTypeInfo writes a type_info and those of its bases.
func (s *script) putTypeInfo(at []byte, names []string) []Block {
	le := binary.LittleEndian
	addr, text := s.address(), s.address()
	le.PutUint64(at, addr)
	data := make([]byte, 24)
	le.PutUint64(data[8:], text)
	blocks := []Block{{Addr: addr, Type: 42, Data: data, Want: 24}, {Addr: text, Type: typeBytes, Want: uint32(len(names[0])), Data: []byte(names[0])}}
	if len(names) > 1 {
		blocks = append(blocks, s.putTypeInfo(data[16:], names[1:])...)
	}
	return blocks
}

// putInterface writes nil, string:text, int:number, or errors.New's error:text.
func (s *script) putInterface(at []byte, value string) []Block {
	le := binary.LittleEndian
	kind, text, _ := strings.Cut(value, ":")
	if kind == "nil" {
		return nil
	}
	known := map[string]Dynamic{
		"string": {Name: "string", Type: scriptString},
		"int":    {Name: "int", Type: scriptInt},
		"error":  {Name: "*errors.errorString", Type: scriptErrorString},
	}[kind]
	head, addr := uint64(0x1000+known.Type.ID), s.address()
	s.dynamics[head] = known
	le.PutUint64(at, head)
	le.PutUint64(at[8:], addr)
	t := known.Type
	if t == scriptErrorString {
		t = scriptString
	}
	data := make([]byte, 16)
	blocks := s.put(data, t, text)
	return append([]Block{{Addr: addr, Type: known.Type.ID, Data: data[:known.Type.Size], Want: known.Type.Size}}, blocks...)
}
