package decode

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/observatory-trace/observatory-trace/trace"
)

func le(values ...uint64) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func text(addr uint64, s string) Block {
	return Block{Addr: addr, Type: typeBytes, Want: uint32(len(s)), Data: []byte(s)}
}

func typ(kind trace.Kind, size uint32) *trace.Type { return &trace.Type{Kind: kind, Size: size} }

func goType(name string, kind trace.Kind, size uint32) *trace.Type {
	return &trace.Type{Name: name, Kind: kind, Size: size, Lang: trace.LangGo}
}

func structType(id uint32, fields ...trace.Field) *trace.Type {
	t := &trace.Type{ID: id, Kind: trace.KindStruct}
	for _, f := range fields {
		t.Fields = append(t.Fields, f)
		t.Size = max(t.Size, f.Offset+f.Type.Size)
	}
	return t
}

// printed renders a value as a Decoder of the given limits would.
func printed(c Config, t *trace.Type, data []byte, blocks ...Block) (string, trace.CallFlags) {
	c.setDefaults()
	p := printer{config: &c}
	raw := appendRecord(nil, &Event{Kind: EventEntry}, blocks...)
	e, err := ParseEvent(raw)
	if err != nil {
		panic(err)
	}
	p.load(&e)
	p.begin(nil)
	return string(p.value(nil, t, data)), p.flags
}

var (
	int32Type = typ(trace.KindInt, 4)
	byteType  = typ(trace.KindUint, 1)
	charType  = typ(trace.KindChar, 1)
	pairType  = structType(30, trace.Field{Name: "a", Type: int32Type}, trace.Field{Name: "b", Offset: 4, Type: int32Type})
	listType  = func() *trace.Type {
		list := structType(31, trace.Field{Name: "v", Type: typ(trace.KindInt, 8)})
		next := &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: list}
		list.Fields = append(list.Fields, trace.Field{Name: "next", Offset: 8, Type: next})
		list.Size = 16
		return list
	}()
	colour = &trace.Type{Kind: trace.KindEnum, Size: 4, Enum: []trace.Enumerator{{Name: "RED"}, {Name: "GREEN", Value: 1}, {Name: "BLUE", Value: 7}}}
	modes  = &trace.Type{Kind: trace.KindEnum, Size: 4, Enum: []trace.Enumerator{{Name: "NONE"}, {Name: "READ", Value: 1}, {Name: "WRITE", Value: 2}}}
	minus  = &trace.Type{Kind: trace.KindEnum, Size: 1, Signed: true, Enum: []trace.Enumerator{{Name: "LESS", Value: -1}, {Name: "MORE", Value: 1}}}
)

func pointerTo(t *trace.Type) *trace.Type {
	return &trace.Type{Kind: trace.KindPointer, Size: 8, Elem: t}
}

func TestValues(t *testing.T) {
	const cut, gone = trace.FlagTruncated, trace.FlagUnavailable
	goString := &trace.Type{Kind: trace.KindString, Size: 16, LenOff: 8}
	slice := func(elem *trace.Type) *trace.Type {
		return &trace.Type{Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: elem, Lang: trace.LangGo}
	}
	array := func(n uint64, elem *trace.Type) *trace.Type {
		return &trace.Type{Kind: trace.KindArray, Size: uint32(n) * elem.Size, Count: n, Elem: elem}
	}
	bits := func(name string, t *trace.Type, size, shift uint8) trace.Field {
		return trace.Field{Name: name, Type: t, BitSize: size, BitShift: shift}
	}
	// An enum of 16 bytes, whose first one (or what withTag says) is its tag.
	withTag := func(size uint32) *trace.Type {
		form := func(fields ...trace.Field) *trace.Type {
			return &trace.Type{Kind: trace.KindStruct, Size: 16, Fields: fields}
		}
		at := func(name string, offset uint32) trace.Field {
			return trace.Field{Name: name, Offset: offset, Type: int32Type}
		}
		return &trace.Type{
			Kind: trace.KindVariant, Size: 16, Tag: &trace.Field{Type: typ(trace.KindUint, size)},
			Variants: []trace.Variant{
				{Name: "None", Value: 1, Type: form()},
				{Name: "Two", Value: 2, Type: form(at("__0", 8), at("__1", 12))},
				{Name: "Named", Value: 3, Type: form(at("left", 8))},
				{Name: "Other", Default: true, Type: form(at("__0", 8))},
			},
		}
	}
	choice := withTag(1)
	known := *choice // has no form for other tags
	known.Variants = choice.Variants[:3]
	pair := Block{Addr: 0x1000, Type: 30, Want: 8, Data: le(1 | 2<<32)}
	cases := []struct {
		name   string
		typ    *trace.Type
		data   []byte
		blocks []Block
		want   string
		flags  trace.CallFlags
	}{
		{"bool", typ(trace.KindBool, 1), []byte{2}, nil, `true`, 0},
		{"bool false", typ(trace.KindBool, 4), make([]byte, 4), nil, `false`, 0},
		{"int8", typ(trace.KindInt, 1), []byte{0x80}, nil, `-128`, 0},
		{"int16", typ(trace.KindInt, 2), []byte{0xfe, 0xff}, nil, `-2`, 0},
		{"int64 least", typ(trace.KindInt, 8), le(1 << 63), nil, `-9223372036854775808`, 0},
		{"uint64 most", typ(trace.KindUint, 8), le(math.MaxUint64), nil, `18446744073709551615`, 0},
		{"int24", typ(trace.KindInt, 3), []byte{0xff, 0xff, 0xff}, nil, `-1`, 0},
		{"int128", typ(trace.KindInt, 16), le(math.MaxUint64, math.MaxUint64), nil, `-1`, 0},
		{"uint128", typ(trace.KindUint, 16), le(0, 1), nil, `18446744073709551616`, 0},
		{"float64", typ(trace.KindFloat, 8), le(math.Float64bits(0.1)), nil, `0.1`, 0},
		{"float32", typ(trace.KindFloat, 4), le(uint64(math.Float32bits(0.1)))[:4], nil, `0.1`, 0},
		{"float huge", typ(trace.KindFloat, 8), le(math.Float64bits(1e300)), nil, `1e+300`, 0},
		{"NaN", typ(trace.KindFloat, 8), le(math.Float64bits(math.NaN())), nil, `"NaN"`, 0},
		{"-Inf", typ(trace.KindFloat, 8), le(math.Float64bits(math.Inf(-1))), nil, `"-Inf"`, 0},
		{"x87", typ(trace.KindFloat, 16), le(0xc000000000000000, 0xbfff), nil, `-1.5`, 0},
		{"x87 zero", typ(trace.KindFloat, 16), le(0, 0), nil, `0`, 0},
		{"x87 NaN", typ(trace.KindFloat, 16), le(0xc000000000000000, 0x7fff), nil, `"NaN"`, 0},
		{"strange float", typ(trace.KindFloat, 3), []byte{1, 2, 3}, nil, `{"$unavailable":"floating-point format not known"}`, gone},
		{"complex", typ(trace.KindComplex, 16), le(math.Float64bits(1), math.Float64bits(-2)), nil, `"(1-2i)"`, 0},
		{"char", charType, []byte{'A'}, nil, `65`, 0},
		{"rune", typ(trace.KindRune, 4), []byte{0xac, 0x20, 0, 0}, nil, `"€"`, 0},
		{"no rune", typ(trace.KindRune, 4), []byte{0, 0xd8, 0, 0}, nil, `55296`, 0},
		{"enum", colour, []byte{7, 0, 0, 0}, nil, `"BLUE"`, 0},
		{"enum unknown", colour, []byte{9, 0, 0, 0}, nil, `9`, 0},
		{"enum flags", modes, []byte{3, 0, 0, 0}, nil, `"READ|WRITE"`, 0},
		{"enum flags with more", modes, []byte{7, 0, 0, 0}, nil, `7`, 0},
		{"enum negative", minus, []byte{0xff}, nil, `"LESS"`, 0},
		{"enum negative unknown", minus, []byte{0xfe}, nil, `-2`, 0},
		{"duration", goType("time.Duration", trace.KindInt, 8), le(1_500_000_000), nil, `"1.5s"`, 0},
		{"errno", goType("syscall.Errno", trace.KindUint, 8), le(2), nil, `"ENOENT"`, 0},

		{"pointer", pointerTo(pairType), le(0x1000), []Block{pair}, `{"a":1,"b":2}`, 0},
		{"pointer nil", pointerTo(pairType), le(0), nil, `null`, 0},
		{"pointer not followed", pointerTo(pairType), le(0x2000), []Block{pair}, `{"$ptr":"0x2000"}`, 0},
		{"pointer dangling", pointerTo(pairType), le(0x1000), []Block{{Addr: 0x1000, Type: 30, Status: BlockFault, Want: 8}}, `{"$unavailable":"memory not readable"}`, gone},
		{"pointer to void", pointerTo(nil), le(0x1234), nil, `{"$ptr":"0x1234"}`, 0},
		{"pointer cycle", pointerTo(listType), le(0x1000), []Block{
			{Addr: 0x1000, Type: 31, Want: 16, Data: le(1, 0x2000)}, {Addr: 0x2000, Type: 31, Want: 16, Data: le(2, 0x1000)},
		}, `{"v":1,"next":{"v":2,"next":{"$ref":"0x1000"}}}`, 0},
		{
			"struct cut", pointerTo(pairType), le(0x1000),
			[]Block{{Addr: 0x1000, Type: 30, Status: BlockCut, Want: 8, Data: []byte{1, 0, 0, 0}}},
			`{"a":1,"b":{"$unavailable":"cut at the limit"}}`, cut,
		},

		{"C string", typ(trace.KindCString, 8), le(0x1000), []Block{text(0x1000, "hé\"\n\x01")}, `"hé\"\n\u0001"`, 0},
		{"C string cut", typ(trace.KindCString, 8), le(0x1000), []Block{{Addr: 0x1000, Type: 1, Status: BlockCut, Want: 5, Data: []byte("abc\xe2")}}, `{"$string":"abc"}`, cut},
		{"C string nil", typ(trace.KindCString, 8), le(0), nil, `null`, 0},
		{"C string dangling", typ(trace.KindCString, 8), le(1), []Block{{Addr: 1, Type: 1, Status: BlockFault}}, `{"$unavailable":"memory not readable"}`, gone},
		{"C string not text", typ(trace.KindCString, 8), le(0x1000), []Block{text(0x1000, "\xff\xfe")}, `{"$bytes":"//4=","$len":2}`, 0},
		{"char pointer", pointerTo(charType), le(0x1000), []Block{text(0x1000, "x")}, `"x"`, 0},

		{"string", goString, le(0x1000, 5), []Block{text(0x1000, "hello")}, `"hello"`, 0},
		{"string empty", goString, le(0, 0), nil, `""`, 0},
		{"string cut", goString, le(0x1000, 100000), []Block{{Addr: 0x1000, Type: 1, Status: BlockCut, Want: 100000, Data: []byte("hel\xe2\x82")}}, `{"$string":"hel","$len":100000}`, cut},
		{"string left out", goString, le(0x1000, 9), nil, `{"$string":"","$len":9}`, cut},
		{"string dangling", goString, le(1, 9), []Block{{Addr: 1, Type: 1, Status: BlockFault, Want: 9}}, `{"$unavailable":"memory not readable"}`, gone},
		{"string not UTF-8", goString, le(0x1000, 4), []Block{text(0x1000, "ab\xffc")}, `{"$bytes":"YWL/Yw==","$len":4}`, 0},
		{"string of another's bytes", goString, le(0x1000, 2), []Block{text(0x1000, "hello")}, `"he"`, 0},
		{"string, length first", &trace.Type{Kind: trace.KindString, Size: 16, PtrOff: 8}, le(2, 0x1000), []Block{text(0x1000, "ok")}, `"ok"`, 0},
		{"string, length of 4 bytes", &trace.Type{Kind: trace.KindString, Size: 12, LenOff: 8}, le(0x1000, 2)[:12], []Block{text(0x1000, "ok")}, `"ok"`, 0},

		{"bytes", slice(byteType), le(0x1000, 2, 2), []Block{text(0x1000, "ok")}, `"ok"`, 0},
		{"bytes binary", slice(byteType), le(0x1000, 2, 2), []Block{text(0x1000, "\x00\x01")}, `{"$bytes":"AAE=","$len":2}`, 0},
		{"bytes cut", slice(byteType), le(0x1000, 9, 9), []Block{text(0x1000, "\x00\x01")}, `{"$bytes":"AAE=","$len":9}`, cut},
		{"slice nil", slice(int32Type), le(0, 0, 0), nil, `null`, 0},
		{"slice empty", slice(int32Type), le(0x1000, 0, 0), nil, `[]`, 0},
		{"slice", slice(pairType), le(0x1000, 2, 2), []Block{{Addr: 0x1000, Type: 30, Want: 16, Data: le(1|2<<32, 3|4<<32)}}, `[{"a":1,"b":2},{"a":3,"b":4}]`, 0},
		{"slice cut", slice(pairType), le(0x1000, 5000, 5000), []Block{pair}, `{"$items":[{"a":1,"b":2}],"$len":5000}`, cut},
		{"slice left out", slice(pairType), le(0x2000, 3, 3), nil, `{"$items":[],"$len":3}`, cut},
		{"slice of nothing", slice(structType(0)), le(0x1000, 3, 3), nil, `[{},{},{}]`, 0},
		{"array", array(2, int32Type), le(5 | 6<<32), nil, `[5,6]`, 0},
		{"array of chars", array(8, charType), []byte("disk\x00xyz"), nil, `"disk"`, 0},
		{"array of bytes", array(4, byteType), []byte{1, 2, 3, 4}, nil, `{"$bytes":"AQIDBA==","$len":4}`, 0},
		{
			"array without end", &trace.Type{Kind: trace.KindArray, Count: math.MaxUint64, Elem: structType(0)}, nil, nil,
			`{"$items":[` + strings.TrimSuffix(strings.Repeat("{},", 1024), ",") + `],"$len":18446744073709551615}`, cut,
		},

		{
			"union", &trace.Type{Kind: trace.KindUnion, Size: 4, Fields: []trace.Field{{Name: "i", Type: int32Type}, {Name: "f", Type: typ(trace.KindFloat, 4)}}},
			[]byte{0, 0, 0x80, 0x3f},
			nil, `{"i":1065353216,"f":1}`, 0,
		},
		{
			"bit-fields", structType(0, bits("a", typ(trace.KindUint, 4), 3, 0), bits("b", typ(trace.KindInt, 4), 5, 3), bits("c", typ(trace.KindBool, 4), 1, 8), bits("d", colour, 3, 9)),
			[]byte{0b11111_101, 0b0000_111_1, 0, 0},
			nil, `{"a":5,"b":-1,"c":true,"d":"BLUE"}`, 0,
		},
		{"bit-field outside", structType(0, bits("a", typ(trace.KindUint, 4), 8, 30)), make([]byte, 4), nil, `{"a":{"$unavailable":"bit-field layout not known"}}`, gone},
		{
			"unavailable member", structType(0, trace.Field{Name: "f", Type: typ(trace.KindFloat, 8), Unavailable: "in SSE register"}), make([]byte, 8), nil,
			`{"f":{"$unavailable":"in SSE register"}}`, gone,
		},

		{"function", typ(trace.KindFunc, 8), le(0x4000), nil, `"handle"`, 0},
		{"function nil", typ(trace.KindFunc, 8), le(0), nil, `null`, 0},
		{"function unknown", typ(trace.KindFunc, 8), le(0x9999), nil, `{"$ptr":"0x9999"}`, 0},
		{"Go function", goType("func()", trace.KindFunc, 8), le(0x1000), []Block{{Addr: 0x1000, Type: 1, Want: 8, Data: le(0x4000)}}, `"handle"`, 0},
		{"Go function by its data symbol", goType("func()", trace.KindFunc, 8), le(0x5000), nil, `"main.handle"`, 0},

		{"map nil", goType("map[string]int", trace.KindMap, 8), le(0), nil, `null`, 0},
		{"map", goType("map[string]int", trace.KindMap, 8), le(1), nil, `{"$ptr":"0x1"}`, 0},
		{"chan", goType("chan int", trace.KindChan, 8), le(1), nil, `{"$ptr":"0x1"}`, 0},
		{"variant without fields", choice, le(0xff01, 0), nil, `"None"`, 0},
		{"variant of several", choice, le(2, 7<<32|6), nil, `{"$type":"Two","$value":[6,7]}`, 0},
		{"variant with names", choice, le(3, 8), nil, `{"$type":"Named","$value":{"left":8}}`, 0},
		{"variant by default", choice, le(9, 8), nil, `{"$type":"Other","$value":8}`, 0},
		{"variant by a wide tag", withTag(4), le(0x1_0000_0002, 8), nil, `{"$type":"Two","$value":[8,0]}`, 0},
		{"the one variant", &trace.Type{Kind: trace.KindVariant, Size: 16, Variants: choice.Variants[3:]}, le(1, 5), nil, `{"$type":"Other","$value":5}`, 0},
		{"no such variant", &known, le(4, 0), nil, `{"$unavailable":"variant not known"}`, gone},
		{"variant without a tag", typ(trace.KindVariant, 8), le(1), nil, `{"$unavailable":"variant not known"}`, gone},
		{"variant with a tag outside", &trace.Type{Kind: trace.KindVariant, Size: 4, Tag: &trace.Field{Offset: 4, Type: int32Type}}, le(1), nil, `{"$unavailable":"variant not known"}`, gone},
		{"variant cut", choice, le(1), nil, `{"$unavailable":"cut at the limit"}`, cut},
		{"no type", nil, nil, nil, `{"$unavailable":"type not known"}`, gone},
		{"unknown kind", typ(trace.KindUnknown, 8), le(1), nil, `{"$unavailable":"type not known"}`, gone},
		{"strange kind", typ(200, 8), le(1), nil, `{"$unavailable":"type not known"}`, gone},
		{"too short", typ(trace.KindInt, 8), le(1)[:3], nil, `{"$unavailable":"cut at the limit"}`, cut},
	}
	config := Config{Symbol: func(_ uint32, addr uint64) string {
		return map[uint64]string{0x4000: "handle", 0x5000: "main.handle·f"}[addr]
	}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, flags := printed(config, c.typ, c.data, c.blocks...)
			if got != c.want || flags != c.flags {
				t.Errorf("got %s [%s], want %s [%s]", got, flags, c.want, c.flags)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not JSON")
			}
		})
	}
}

// TestGoTime compares with the library that defines the layout.
func TestGoTime(t *testing.T) {
	timeType := structType(0, trace.Field{Name: "wall", Type: typ(trace.KindUint, 8)}, trace.Field{Name: "ext", Offset: 8, Type: typ(trace.KindInt, 8)},
		trace.Field{Name: "loc", Offset: 16, Type: pointerTo(nil)})
	timeType.Name, timeType.Lang = "time.Time", trace.LangGo
	for _, at := range []time.Time{time.Now(), {}, time.Unix(0, 1), time.Date(2026, 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600)), time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC)} {
		words := (*[3]uint64)(unsafe.Pointer(&at))
		got, _ := printed(Config{}, timeType, le(words[0], words[1], 0))
		if want := `"` + at.UTC().Format(time.RFC3339Nano) + `"`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, _ := printed(Config{}, timeType, le(0, math.MaxInt64, 0)); !strings.HasPrefix(got, `{"wall"`) {
		t.Errorf("a time that no calendar has: %s", got)
	}
}

// TestLimits keeps the JSON of hostile values small: a graph in which every
// node leads twice to the next has 2^31 paths.
func TestLimits(t *testing.T) {
	node := structType(31)
	node.Size = 16
	next := pointerTo(node)
	node.Fields = []trace.Field{{Name: "a", Type: next}, {Name: "b", Offset: 8, Type: next}}
	var blocks []Block
	for i := uint64(1); i < maxBlocks; i++ {
		blocks = append(blocks, Block{Addr: i, Type: 31, Want: 16, Data: le(i+1, i+1)})
	}
	got, flags := printed(Config{MaxValue: 10000}, next, le(1), blocks...)
	if len(got) > 15000 || !json.Valid([]byte(got)) || flags&trace.FlagTruncated == 0 {
		t.Errorf("%d bytes, valid %v, flags %s", len(got), json.Valid([]byte(got)), flags)
	}

	deep := typ(trace.KindInt, 8)
	for range 1000 {
		deep = structType(0, trace.Field{Name: "f", Type: deep})
	}
	got, flags = printed(Config{}, deep, le(1))
	if !json.Valid([]byte(got)) || !strings.Contains(got, "nested too deep") || flags&trace.FlagTruncated == 0 {
		t.Errorf("deep: %.100s", got)
	}

	wide := structType(0)
	for range 100000 {
		wide.Fields = append(wide.Fields, trace.Field{Name: "f", Type: typ(trace.KindInt, 8)})
	}
	wide.Size = 8
	got, _ = printed(Config{MaxValue: 1000}, wide, le(1))
	if len(got) > 1100 || !json.Valid([]byte(got)) {
		t.Errorf("wide: %d bytes", len(got))
	}

	got, _ = printed(Config{MaxString: 3, MaxItems: 2}, &trace.Type{Kind: trace.KindArray, Size: 12, Count: 3, Elem: int32Type}, make([]byte, 12))
	if got != `{"$items":[0,0],"$len":3}` {
		t.Errorf("items: %s", got)
	}
	got, _ = printed(Config{MaxString: 3}, typ(trace.KindCString, 8), le(0x1000), text(0x1000, "abcdef"))
	if got != `{"$string":"abc"}` {
		t.Errorf("string: %s", got)
	}
}

func TestStrings(t *testing.T) {
	for _, s := range []string{"", "plain", "q\"b\\", "\x00\x1f\x7f", "é€😀", "\xff", "a\xe2\x82", "\u2028", "\ufffd"} {
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Errorf("%q: %s: %v", s, got, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); back != want && s != "a\xe2\x82" {
			t.Errorf("%q became %q", s, back)
		}
		if string(appendString(nil, []byte(s))) != string(got) {
			t.Errorf("%q as bytes differs", s)
		}
	}
}
