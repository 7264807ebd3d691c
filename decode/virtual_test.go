package decode

import (
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestVirtual guards that an object is shown as what its vtable says it is, and
// only where the block that was copied is that object.
func TestVirtual(t *testing.T) {
	class := func(id uint32, name string, fields ...trace.Field) *trace.Type {
		c := structType(id, fields...)
		c.Name, c.Virtual, c.Size = name, true, 24
		return c
	}
	field := func(name string, offset uint32, typ *trace.Type) trace.Field {
		return trace.Field{Name: name, Offset: offset, Type: typ}
	}
	base := class(40, "shop::Base", field("b", 8, int32Type))
	toBase := pointerTo(base)
	badge := class(41, "shop::Badge", field("n", 8, int32Type), field("peer", 16, toBase))
	stranger := &trace.Type{ID: 42, Name: "std::exception", Kind: trace.KindUnknown, Size: 8, Virtual: true}
	exact := *toBase
	exact.Exact = true
	object := &trace.Type{Kind: trace.KindInterface, Size: 16, LenOff: 8, Trait: "shop::Shape", Lang: trace.LangRust}
	counted := *object
	counted.Head = 16

	// 0x500: Badge's own vtable, 0x510 that of its part at 16; 0x520 Base's; 0x530 is known by name.
	config := Config{Vtable: func(_ uint32, address uint64) (Dynamic, bool) {
		d, ok := map[uint64]Dynamic{
			0x500: {Name: "shop::Badge", Type: badge}, 0x510: {Name: "shop::Badge", Type: badge, Adjust: -16},
			0x520: {Name: "shop::Base", Type: base}, 0x530: {Name: "plugin::Other"}, 0x540: {Name: "shop :: Base"},
			0x600: {Name: "shop::Pair", Type: pairType, Align: 4}, 0x610: {Name: "shop::Pair", Type: pairType, Align: 64},
			0x620: {Name: "shop::Stranger"},
		}[address]
		return d, ok
	}}
	at := func(addr uint64, id uint32, words ...uint64) Block {
		return Block{Addr: addr, Type: id, Want: uint32(8 * len(words)), Data: le(words...)}
	}
	for _, c := range []struct {
		name   string
		typ    *trace.Type
		data   []byte
		blocks []Block
		want   string
	}{
		{"derived", toBase, le(0x1000), []Block{at(0x1000, 41, 0x500, 7, 0)}, `{"$type":"shop::Badge","$value":{"n":7,"peer":null}}`},
		{"second base", toBase, le(0x1010), []Block{at(0x1000, 41, 0x500, 7, 0x510)}, `{"$type":"shop::Badge","$value":{"n":7,"peer":{"$ptr":"0x510"}}}`},
		{"the same class", toBase, le(0x1000), []Block{at(0x1000, 40, 0x520, 8, 0)}, `{"b":8}`},
		{"another file's", toBase, le(0x1000), []Block{at(0x1000, 40, 0x530, 8, 0)}, `{"$type":"plugin::Other","$value":{"b":8}}`},
		{"the same but for spaces", toBase, le(0x1000), []Block{at(0x1000, 40, 0x540, 8, 0)}, `{"b":8}`},
		{"no vtable", toBase, le(0x1000), []Block{at(0x1000, 40, 0xbad, 8, 0)}, `{"b":8}`},
		{"not asked", &exact, le(0x1000), []Block{at(0x1000, 40, 0x500, 8, 0)}, `{"b":8}`},
		{"leads to itself", toBase, le(0x1000), []Block{at(0x1000, 41, 0x500, 7, 0x1000)}, `{"$type":"shop::Badge","$value":{"n":7,"peer":{"$type":"shop::Badge","$value":{"$ref":"0x1000"}}}}`},
		{"not the object's beginning", toBase, le(0x1008), []Block{at(0x1000, 41, 0x500, 0x510, 0)}, `{"$ptr":"0x1008"}`},
		{"not copied", toBase, le(0x1000), nil, `{"$ptr":"0x1000"}`},
		{"unreadable", toBase, le(0x1000), []Block{{Addr: 0x1000, Type: 40, Want: 24, Status: BlockFault}}, `{"$unavailable":"memory not readable"}`},
		{"nil", toBase, le(0), nil, `null`},
		{"described nowhere", pointerTo(stranger), le(0x1000), []Block{at(0x1000, 42, 0xbad)}, `{"$ptr":"0x1000"}`},
		{"described nowhere, derived", pointerTo(stranger), le(0x1000), []Block{at(0x1000, 41, 0x500, 7, 0)}, `{"$type":"shop::Badge","$value":{"n":7,"peer":null}}`},
		{"described nowhere, by name", pointerTo(stranger), le(0x1000), []Block{at(0x1000, 42, 0x530)}, `{"$type":"plugin::Other","$value":{"$ptr":"0x1000"}}`},
		{"trait object", object, le(0x1000, 0x600), []Block{at(0x1000, 30, 1|2<<32)}, `{"$type":"shop::Pair","$value":{"a":1,"b":2}}`},
		{"behind counts", &counted, le(0x1000, 0x600), []Block{at(0x1010, 30, 1|2<<32)}, `{"$type":"shop::Pair","$value":{"a":1,"b":2}}`},
		{"aligned behind counts", &counted, le(0x1000, 0x610), []Block{at(0x1040, 30, 1|2<<32)}, `{"$type":"shop::Pair","$value":{"a":1,"b":2}}`},
		{"trait object, by name", object, le(0x1000, 0x620), nil, `{"$type":"shop::Stranger","$value":{"$ptr":"0x1000"}}`},
		{"trait object, unknown", object, le(0x1000, 0xbad), nil, `{"$value":{"$ptr":"0x1000"}}`},
		{"trait object, unreadable", object, le(0x1000, 0x600), []Block{{Addr: 0x1000, Type: 30, Want: 8, Status: BlockFault}}, `{"$type":"shop::Pair","$value":{"$unavailable":"memory not readable"}}`},
		{"trait object, cut", object, le(0x1000), nil, `{"$unavailable":"cut at the limit"}`},
	} {
		if got, _ := printed(config, c.typ, c.data, c.blocks...); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestDynError guards that a failure tells the concrete error of a dyn Error.
func TestDynError(t *testing.T) {
	object := &trace.Type{Name: "Box<dyn Error>", Kind: trace.KindInterface, Size: 16, LenOff: 8, Trait: "core::error::Error", Lang: trace.LangRust}
	result := &trace.Type{Name: "core::result::Result<(), Box<dyn Error>>", Kind: trace.KindVariant, Lang: trace.LangRust, Size: 16, Variants: []trace.Variant{
		{Name: "Err", Type: structType(0, trace.Field{Name: "__0", Type: object})},
	}}
	config := Config{Vtable: func(_ uint32, address uint64) (Dynamic, bool) {
		return Dynamic{Name: "shop::Pair", Type: pairType, Align: 4}, address == 0x600
	}}
	config.setDefaults()
	p := printer{config: &config}
	e, err := ParseEvent(appendRecord(nil, &Event{Kind: EventExit}, Block{Addr: 0x1000, Type: 30, Want: 8, Data: le(1 | 2<<32)}))
	if err != nil {
		t.Fatal(err)
	}
	p.load(&e)
	if got := p.resultError(result, le(0x1000, 0x600)); got.Type != "shop::Pair" || got.Message != `{"a":1,"b":2}` {
		t.Errorf("%+v", got)
	}
	if got := p.resultError(result, le(0x1000, 0x700)); got.Type != "Box<dyn Error>" || got.Message != `{"$value":{"$ptr":"0x1000"}}` {
		t.Errorf("unknown: %+v", got)
	}
}
