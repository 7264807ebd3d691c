package decode

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/observatory-trace/observatory-trace/trace"
)

// memory captures this process's own values, as the probes do a target's:
// types from reflection instead of DWARF, names as DWARF has them.
type memory struct {
	types    map[reflect.Type]*trace.Type
	dynamics map[uint64]Dynamic
	blocks   []Block
	seen     map[pathStep]bool
}

func newMemory() *memory {
	return &memory{types: map[reflect.Type]*trace.Type{}, dynamics: map[uint64]Dynamic{}, seen: map[pathStep]bool{}}
}

func (m *memory) config() Config {
	c := Config{Dynamic: func(_ uint32, word uint64, _ bool) (Dynamic, bool) {
		d, ok := m.dynamics[word]
		return d, ok
	}}
	c.setDefaults()
	return c
}

// dwarfName has the whole package path, where reflection prints its last part.
func dwarfName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return "*" + dwarfName(t.Elem())
	}
	if t.PkgPath() != "" {
		return t.PkgPath() + "." + t.Name()
	}
	return t.String()
}

func (m *memory) typeOf(r reflect.Type) *trace.Type {
	if t := m.types[r]; t != nil {
		return t
	}
	t := &trace.Type{ID: uint32(100 + len(m.types)), Name: dwarfName(r), Size: uint32(r.Size()), Lang: trace.LangGo}
	m.types[r] = t
	switch r.Kind() {
	case reflect.Bool:
		t.Kind = trace.KindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		t.Kind = trace.KindInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		t.Kind = trace.KindUint
	case reflect.String:
		t.Kind, t.LenOff = trace.KindString, 8
	case reflect.Slice:
		t.Kind, t.LenOff, t.Elem = trace.KindSlice, 8, m.typeOf(r.Elem())
	case reflect.Array:
		t.Kind, t.Count, t.Elem = trace.KindArray, uint64(r.Len()), m.typeOf(r.Elem())
	case reflect.Pointer:
		t.Kind, t.Elem = trace.KindPointer, m.typeOf(r.Elem())
	case reflect.Interface:
		t.Kind, t.Empty = trace.KindInterface, r.NumMethod() == 0
		if r == reflect.TypeFor[error]() {
			t.Kind = trace.KindError
		}
	case reflect.Struct:
		t.Kind = trace.KindStruct
		for f := range r.Fields() {
			t.Fields = append(t.Fields, trace.Field{Name: f.Name, Offset: uint32(f.Offset), Type: m.typeOf(f.Type), Embedded: f.Anonymous})
		}
	case reflect.Map:
		t.Kind = trace.KindMap
	case reflect.Chan:
		t.Kind = trace.KindChan
	case reflect.Func:
		t.Kind = trace.KindFunc
	}
	return t
}

// walk captures what the value at an address leads to.
func (m *memory) walk(r reflect.Type, at unsafe.Pointer) {
	switch r.Kind() {
	case reflect.String:
		s := *(*string)(at)
		m.block(uint64(uintptr(unsafe.Pointer(unsafe.StringData(s)))), typeBytes, []byte(s))
	case reflect.Pointer:
		if p := *(*unsafe.Pointer)(at); p != nil {
			m.value(r.Elem(), p)
		}
	case reflect.Slice:
		head := (*[3]uintptr)(at)
		base := *(*unsafe.Pointer)(at)
		size := r.Elem().Size()
		if head[1] == 0 || size == 0 {
			return
		}
		m.block(uint64(head[0]), m.typeOf(r.Elem()).ID, unsafe.Slice((*byte)(base), head[1]*size))
		for i := range head[1] {
			m.walk(r.Elem(), unsafe.Add(base, i*size))
		}
	case reflect.Struct:
		for f := range r.Fields() {
			m.walk(f.Type, unsafe.Add(at, f.Offset))
		}
	case reflect.Interface:
		m.walkInterface(r, at)
	}
}

func (m *memory) walkInterface(r reflect.Type, at unsafe.Pointer) {
	v := reflect.NewAt(r, at).Elem()
	if v.IsNil() {
		return
	}
	dynamic := v.Elem().Type()
	word := *(*uint64)(at)
	data := *(*unsafe.Pointer)(unsafe.Add(at, 8))
	d := Dynamic{Name: dwarfName(dynamic), Type: m.typeOf(dynamic)}
	switch dynamic.Kind() {
	case reflect.Pointer:
		dynamic = dynamic.Elem()
		d.Type = m.typeOf(dynamic)
	case reflect.Map, reflect.Chan, reflect.Func:
		d.Direct = true
	}
	m.dynamics[word] = d
	if !d.Direct && data != nil {
		m.value(dynamic, data)
	}
}

func (m *memory) value(r reflect.Type, at unsafe.Pointer) {
	id := m.typeOf(r).ID
	step := pathStep{uint64(uintptr(at)), id}
	if m.seen[step] {
		return
	}
	m.seen[step] = true
	m.block(step.addr, id, unsafe.Slice((*byte)(at), r.Size()))
	m.walk(r, at)
}

func (m *memory) block(addr uint64, id uint32, data []byte) {
	m.blocks = append(m.blocks, Block{Addr: addr, Type: id, Want: uint32(len(data)), Data: append([]byte(nil), data...)})
}

// captured gives an interface value's two words and type.
func captured[T any](m *memory, v *T) (*trace.Type, []byte) {
	r := reflect.TypeFor[T]()
	m.walk(r, unsafe.Pointer(v))
	words := (*[2]uint64)(unsafe.Pointer(v))
	return m.typeOf(r), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, words[0]), words[1])
}

type (
	orderError struct {
		Code   int
		Reason string
	}
	wrapperError struct {
		step int
		err  error
	}
	wordError   string
	silentError struct{ code int }
)

func (e *orderError) Error() string  { return e.Reason }
func (e wrapperError) Error() string { return e.err.Error() }
func (e wordError) Error() string    { return string(e) }
func (e silentError) Error() string  { return "code " + strconv.Itoa(e.code) }

func caughtPanic(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

var sink []int

func runtimeErrors() map[string]error {
	index, negative := 5, -1
	s := make([]int, 3, 4)
	var pointer *orderError
	var nowhere map[int]int
	return map[string]error{
		"index":          caughtPanic(func() { s[index] = 1 }).(error),
		"negative index": caughtPanic(func() { s[negative] = 1 }).(error),
		"slice":          caughtPanic(func() { sink = s[index:] }).(error),
		"slice to":       caughtPanic(func() { sink = s[:index] }).(error),
		"slice order":    caughtPanic(func() { sink = s[index-2 : index-4] }).(error),
		"slice of three": caughtPanic(func() { sink = s[1:2:index] }).(error),
		"to array":       caughtPanic(func() { _ = [8]int(s[:index-3]) }).(error),
		"nil pointer":    caughtPanic(func() { pointer.Code++ }).(error),
		"division":       caughtPanic(func() { index /= index - 5 }).(error),
		"nil map":        caughtPanic(func() { nowhere[1] = 1 }).(error),
		"nil panic":      caughtPanic(func() { panic(nil) }).(error),
	}
}

// TestGoErrors captures errors of this process and compares their messages
// with what their Error methods say.
func TestGoErrors(t *testing.T) {
	_, open := os.Open("/nonexistent/file")
	_, atoi := strconv.Atoi("12x")
	_, look := exec.LookPath("no-such-program")
	_, parse := url.Parse("http://a" + strings.Repeat(" ", 1) + "b/")
	_, escape := url.PathUnescape("%zz")
	var syntax map[string]int
	cases := map[string]error{
		"New":           errors.New("boom"),
		"empty":         errors.New(""),
		"Errorf":        fmt.Errorf("plain %d", 7),
		"wrap":          fmt.Errorf("load order 7: %w", open),
		"wrap twice":    fmt.Errorf("a: %w", fmt.Errorf("b: %w", io.EOF)),
		"wraps":         fmt.Errorf("%w and %w", io.EOF, fs.ErrExist),
		"Join":          errors.Join(io.EOF, open, nil, errors.New("last")),
		"PathError":     open,
		"LinkError":     os.Rename("/nonexistent/a", "/nonexistent/b"),
		"SyscallError":  os.NewSyscallError("read", syscall.EAGAIN),
		"Errno":         syscall.ENOSPC,
		"NumError":      atoi,
		"exec.Error":    look,
		"url.Error":     parse,
		"url escape":    escape,
		"SyntaxError":   json.Unmarshal([]byte("{"), &syntax),
		"DNSError":      &net.DNSError{Err: "no such host", Name: "db", Server: "127.0.0.1:53"},
		"OpError":       &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
		"AddrError":     &net.AddrError{Err: "missing port", Addr: "db"},
		"deadline":      context.DeadlineExceeded,
		"canceled":      context.Canceled,
		"ErrClosed":     net.ErrClosed,
		"i/o timeout":   os.ErrDeadlineExceeded,
		"own in a wrap": fmt.Errorf("x: %w", &orderError{7, "no stock"}),
	}
	for name, err := range runtimeErrors() {
		cases["runtime "+name] = err
	}
	for name, err := range cases {
		t.Run(name, func(t *testing.T) {
			got := capturedError(t, err)
			// Some versions of Go say more of a nil panic.
			shorter := name == "runtime nil panic" && strings.HasPrefix(err.Error(), got.Message)
			if got.Message != err.Error() && !shorter {
				t.Errorf("message %q, want %q", got.Message, err.Error())
			}
			if want := fmt.Sprintf("%T", err); got.Type != want {
				t.Errorf("type %q, want %q", got.Type, want)
			}
		})
	}
	// What the methods of these make of their fields nobody knows.
	for err, want := range map[error]trace.Error{
		silentError{7}:             {Type: "decode.silentError", Message: `{"code":7}`},
		wordError("by word"):       {Type: "decode.wordError", Message: `"by word"`},
		&orderError{7, "no stock"}: {Type: "*decode.orderError", Message: `{"Code":7,"Reason":"no stock"}`},
		wrapperError{1, io.EOF}:    {Type: "decode.wrapperError", Message: `{"step":1,"err":{"$type":"*errors.errorString","$message":"EOF"}}`},
		&fs.PathError{Op: "open", Path: "/x", Err: silentError{7}}: {Type: "*fs.PathError", Message: "open /x: <decode.silentError>"},
	} {
		if got := capturedError(t, err); *got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	var none *orderError
	if got := capturedError(t, none); got == nil || got.Type != "*decode.orderError" || got.Message != "" {
		t.Errorf("a nil pointer in an error: %+v", got)
	}
	if got := capturedError(t, nil); got != nil {
		t.Errorf("nil: %+v", got)
	}
}

func capturedError(t *testing.T, err error) *trace.Error {
	m := newMemory()
	typ, data := captured(m, &err)
	c := m.config()
	p := printer{config: &c, blocks: m.blocks}
	p.begin(nil)
	if out := p.value(nil, typ, data); !json.Valid(out) {
		t.Errorf("not JSON: %s", out)
	}
	got := p.errorOf(typ, data)
	runtime.KeepAlive(err)
	return got
}

// TestErrorValues pins the JSON of errors and other interfaces.
func TestErrorValues(t *testing.T) {
	cases := []struct {
		value any
		want  string
	}{
		{errors.New("boom"), `{"$type":"*errors.errorString","$message":"boom"}`},
		{fmt.Errorf("load: %w", io.EOF), `{"$type":"*fmt.wrapError","$message":"load: EOF","$value":{"msg":"load: EOF","err":{"$type":"*errors.errorString","$message":"EOF"}}}`},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, `{"$type":"*fs.PathError","$message":"open /x: no such file or directory","$value":{"Op":"open","Path":"/x","Err":{"$type":"syscall.Errno","$message":"no such file or directory","$value":"ENOENT"}}}`},
		{silentError{7}, `{"$type":"decode.silentError","$value":{"code":7}}`},
		{&orderError{7, "no stock"}, `{"$type":"*decode.orderError","$value":{"Code":7,"Reason":"no stock"}}`},
		{(*orderError)(nil), `{"$type":"*decode.orderError","$value":null}`},
	}
	for _, c := range cases {
		err := c.value.(error)
		m := newMemory()
		typ, data := captured(m, &err)
		got, _ := printed(m.config(), typ, data, m.blocks...)
		if got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	anys := []struct {
		value any
		want  string
	}{
		{nil, `null`},
		{42, `{"$type":"int","$value":42}`},
		{"text", `{"$type":"string","$value":"text"}`},
		{[]int{1, 2}, `{"$type":"[]int","$value":[1,2]}`},
		{map[string]int(nil), `{"$type":"map[string]int","$value":null}`},
		{orderError{1, "r"}, `{"$type":"decode.orderError","$value":{"Code":1,"Reason":"r"}}`},
	}
	for _, c := range anys {
		m := newMemory()
		typ, data := captured(m, &c.value)
		got, _ := printed(m.config(), typ, data, m.blocks...)
		if got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestPanicValues: what a panic says, by the kind of its value.
func TestPanicValues(t *testing.T) {
	for _, c := range []struct {
		value any
		want  trace.Error
	}{
		{"boom", trace.Error{Type: "panic", Message: "boom"}},
		{42, trace.Error{Type: "panic", Message: "42"}},
		{errors.New("boom"), trace.Error{Type: "*errors.errorString", Message: "boom"}},
		{orderError{1, "r"}, trace.Error{Type: "decode.orderError", Message: `{"Code":1,"Reason":"r"}`}},
		{silentError{3}, trace.Error{Type: "decode.silentError", Message: `{"code":3}`}},
		{nil, trace.Error{Type: "*runtime.PanicNilError", Message: "panic called with nil argument"}},
	} {
		m := newMemory()
		typ, data := captured(m, &c.value)
		config := m.config()
		p := printer{config: &config, blocks: m.blocks}
		if got := p.panicOf(typ, data); *got != c.want {
			t.Errorf("got %+v, want %+v", *got, c.want)
		}
	}
}

// TestDynamicUnknown: an itab without a type is named by its symbol; what
// can't be known is a pointer.
func TestDynamicUnknown(t *testing.T) {
	config := Config{Symbol: func(_ uint32, addr uint64) string {
		return map[uint64]string{
			0x1000: "go:itab.*io/fs.PathError,error",
			0x2000: "go.itab.main.List[int,string],interface { Get(int, string) }",
			0x3000: "context.deadlineExceededError",
			0x4000: "go:itab.context.deadlineExceededError,error",
		}[addr]
	}}
	errorType := goType("error", trace.KindError, 16)
	for head, want := range map[uint64]string{
		0x1000: `{"$type":"*fs.PathError","$value":{"$ptr":"0x99"}}`,
		0x2000: `{"$type":"main.List[int,string]","$value":{"$ptr":"0x99"}}`,
		0x3000: `{"$value":{"$ptr":"0x99"}}`,
		0x4000: `{"$type":"context.deadlineExceededError","$message":"context deadline exceeded"}`,
	} {
		if got, _ := printed(config, errorType, le(head, 0x99)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for name, want := range map[string]string{
		"*io/fs.PathError": "*fs.PathError", "[]a/b.C": "[]b.C", "main.T[a/b.C]": "main.T[a/b.C]", "a/b.T[c/d.E]": "b.T[c/d.E]",
		"func(a/b.C) d/e.F": "func(a/b.C) d/e.F", "": "", "*": "*", "int": "int",
	} {
		if got := shortName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(errnoText(9999), "errno ") || errnoName(9999) != "9999" || errnoText(0) != "errno 0" {
		t.Error("unknown errno")
	}
}
