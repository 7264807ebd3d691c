package decode

import "github.com/observatory-trace/observatory-trace/trace"

// containerTypes has one type of every form of container, as the debug
// information of real programs makes them, with ids from first on for what their
// blocks hold.
func containerTypes(first uint32) []*trace.Type {
	number := typ(trace.KindUint, 8)
	byte1 := typ(trace.KindUint, 1)
	at := func(name string, offset uint32, t *trace.Type) trace.Field {
		return trace.Field{Name: name, Offset: offset, Type: t}
	}
	one := func(offset uint32, target *trace.Type) trace.Link {
		return trace.Link{Offset: offset, Count: trace.CountOne, Target: target}
	}
	pair := structType(0, at("first", 0, int32Type), at("second", 4, int32Type))
	slot := structType(0, at("key", 0, int32Type), at("elem", 4, int32Type))
	slots := &trace.Type{Kind: trace.KindArray, Size: 64, Count: 8, Elem: slot}

	group := structType(first, at("ctrl", 0, number), at("slots", 8, slots))
	groups := structType(0, at("data", 0, number), at("lengthMask", 8, number))
	groups.Links = []trace.Link{{Count: trace.CountMask, LenOffset: 8, Target: group}}
	table := structType(first+1, at("groups", 8, groups))
	table.Size = 24
	directory := structType(first + 2)
	directory.Size, directory.Links = 8, []trace.Link{one(0, table)}
	swiss := structType(first+3, at("used", 0, number), at("dirPtr", 8, number), at("dirLen", 16, number))
	swiss.Links = []trace.Link{one(8, group), {Offset: 8, LenOffset: 16, Target: directory}}

	keys := &trace.Type{Kind: trace.KindArray, Size: 32, Count: 8, Elem: int32Type}
	bucket := structType(first+4, at("tophash", 0, number), at("keys", 8, keys), at("values", 40, keys), at("overflow", 72, number))
	bucket.Links = []trace.Link{one(72, bucket)}
	hash := structType(first+5, at("count", 0, number), at("B", 8, byte1), at("buckets", 16, number), at("oldbuckets", 24, number))
	hash.Links = []trace.Link{{Offset: 16, Count: trace.CountShift, LenOffset: 8, Target: bucket}, {Offset: 24, Count: trace.CountHalf, LenOffset: 8, Target: bucket}}

	cell := structType(first+6, at("value", 32, pair))
	cell.Links = []trace.Link{one(16, cell), one(24, cell)}
	node := structType(first+7, at("value", 8, pair))
	node.Links = []trace.Link{one(0, node)}

	tuple := structType(first+8, at("__0", 0, int32Type), at("__1", 4, int32Type))
	leafKeys := &trace.Type{Kind: trace.KindArray, Size: 44, Count: 11, Elem: int32Type}
	leaf := structType(first+9, at("keys", 0, leafKeys), at("vals", 44, leafKeys), at("len", 88, byte1))
	leaf.Size = 96
	inner := structType(first+10, at("data", 0, leaf))
	inner.Size = 192
	for i := range uint32(12) {
		inner.Links = append(inner.Links, one(96+8*i, inner))
	}

	row := &trace.Type{ID: first + 12, Kind: trace.KindArray, Size: 32, Count: 4, Elem: tuple}
	rows := structType(first + 13)
	rows.Size, rows.Links = 8, []trace.Link{one(0, row)}
	words16 := structType(first+14, at("value", 0, number))
	words16.Size = 16
	ioText := &trace.Type{Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangRust}
	box := structType(0)
	box.Size, box.Links = 16, []trace.Link{one(0, words16), one(8, words16)}
	ioTarget := structType(first+15, at("message", 0, ioText), at("error", 0, box), at("kind", 16, byte1))
	ioTarget.Size = 24
	text := func(form trace.Form) *trace.Type {
		return &trace.Type{Kind: trace.KindString, Form: form, Size: 24, PtrOff: 16, LenOff: 8}
	}

	container := func(kind trace.Kind, form trace.Form, links ...trace.Link) *trace.Type {
		return &trace.Type{Kind: kind, Form: form, Size: 48, LenOff: 40, PtrOff: 8, Links: links, Tag: &trace.Field{Offset: 16, Type: number}}
	}
	handle := func(form trace.Form, head *trace.Type) *trace.Type {
		return &trace.Type{Kind: trace.KindMap, Form: form, Size: 8, Elem: head, Lang: trace.LangGo}
	}
	goType := func(name string, size uint32, fields ...trace.Field) *trace.Type {
		return &trace.Type{Kind: trace.KindStruct, Name: name, Size: size, Lang: trace.LangGo, Fields: fields}
	}
	anything := &trace.Type{Name: "interface {}", Kind: trace.KindInterface, Size: 16, Empty: true, Lang: trace.LangGo}
	parent := &trace.Type{Name: "context.Context", Kind: trace.KindInterface, Size: 16, Lang: trace.LangGo}
	failure := &trace.Type{Name: "error", Kind: trace.KindError, Size: 16, Lang: trace.LangGo}
	trieNode := structType(first+11, at("key", 16, anything), at("value", 32, anything))
	trieNode.Size = 96
	for i := range uint32(9) {
		trieNode.Links = append(trieNode.Links, one(24+8*i, trieNode))
	}
	trieNode.Links = append(trieNode.Links, one(8, trieNode))
	cancelled := goType("context.cancelCtx", 48, at("Context", 0, parent), at("err", 16, failure), at("cause", 32, failure))
	words := &trace.Type{Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: number, Lang: trace.LangGo}
	return []*trace.Type{
		handle(trace.FormSwiss, swiss), handle(trace.FormBuckets, hash), group, table, directory, swiss, bucket, hash, cell, node, tuple, leaf, inner,
		container(trace.KindMap, trace.FormTrie, one(0, trieNode)), parent, cancelled,
		goType("context.timerCtx", 72, at("cancelCtx", 0, cancelled), at("deadline", 48, pair)),
		goType("context.valueCtx", 48, at("Context", 0, parent), at("key", 16, anything), at("val", 32, anything)),
		goType("sync.Map", 32, at("dirty", 0, handle(trace.FormSwiss, swiss)), at("read", 8, goType("", 8, at("v", 0, number)))),
		goType("sync.Cond", 32, at("L", 0, anything), at("notify", 16, goType("sync.notifyList", 8, at("wait", 0, int32Type), at("notify", 4, int32Type)))),
		{Kind: trace.KindFunc, Size: 8, Lang: trace.LangGo, Elem: number},
		container(trace.KindMap, trace.FormTree, one(0, cell)), container(trace.KindSlice, trace.FormTree, one(0, cell)),
		container(trace.KindMap, trace.FormList, one(0, node)), container(trace.KindSlice, trace.FormList, one(0, node)),
		container(trace.KindMap, trace.FormTable, trace.Link{Count: trace.CountMask, Back: true, Target: tuple}, one(0, byte1)),
		container(trace.KindMap, trace.FormBTree, one(0, leaf), trace.Link{Offset: 0, Count: trace.CountOne, When: trace.Equal, WhenOffset: 8, WhenValue: 1, Target: inner}),
		container(trace.KindSlice, trace.FormRing, trace.Link{Offset: 8, LenOffset: 24, Target: tuple}),
		container(trace.KindMap, trace.FormTree), container(trace.KindMap, trace.FormTable), container(trace.KindMap, trace.FormBTree), container(trace.KindSlice, trace.FormRing),
		{Kind: trace.KindSlice, Form: trace.FormEnd, Size: 24, LenOff: 8, Elem: tuple},
		{Kind: trace.KindVariant, Size: 16, Tag: &trace.Field{Type: byte1}, Variants: []trace.Variant{{Null: true}, {Name: "A", Value: 1, Type: tuple}, {Default: true, Type: pair}}},
		{Kind: trace.KindDuration, Size: 8, Tick: [2]uint32{1 << 31, 1}},
		{Kind: trace.KindDuration, Size: 8},
		{Kind: trace.KindCString, Size: 8, Count: 2},
		{Kind: trace.KindCString, Size: 8, Count: 4},
		goType("math/big.Int", 32, at("neg", 0, byte1), at("abs", 8, words)), goType("net/netip.Addr", 24, at("addr", 0, number)),
		goType("sync.Mutex", 8, at("mu", 0, structType(0, at("state", 0, int32Type)))), goType("sync.RWMutex", 24, at("readerCount", 8, int32Type)),
		goType("sync.WaitGroup", 16, at("state", 0, structType(0, at("v", 0, number)))), goType("sync/atomic.Int64", 8, at("v", 0, number)),
		goType("net/url.URL", 120, at("Scheme", 0, scriptText)),
		{Kind: trace.KindSlice, Name: "encoding/json.RawMessage", Size: 24, LenOff: 8, Elem: byteType, Lang: trace.LangGo},
		container(trace.KindSlice, trace.FormChain, one(0, node)), container(trace.KindSlice, trace.FormChain),
		container(trace.KindSlice, trace.FormBits, one(8, number)), container(trace.KindSlice, trace.FormBits),
		{Kind: trace.KindSlice, Form: trace.FormBits, Size: 24, LenOff: 8, Links: []trace.Link{one(0, number)}},
		{Kind: trace.KindSlice, Form: trace.FormFixed, Size: 8, Count: 4, Links: []trace.Link{one(0, row)}},
		{Kind: trace.KindSlice, Form: trace.FormBlocks, Size: 80, LenOff: 32, Count: 4, Links: []trace.Link{one(24, rows), one(40, tuple)}},
		{Kind: trace.KindSlice, Form: trace.FormBlocks, Size: 32, LenOff: 24, Count: 4, Tag: &trace.Field{Offset: 16, Type: number}, Links: []trace.Link{one(0, rows), one(0, rows)}},
		{Kind: trace.KindString, Size: 24, PtrOff: 16, LenOff: 8, Count: 2},
		{Kind: trace.KindString, Form: trace.FormShort, Size: 24, PtrOff: 16, LenOff: 8, Count: 4},
		{Kind: trace.KindString, Form: trace.FormBits, Size: 24, Count: 200},
		text(trace.FormShort), text(trace.FormNUL), text(trace.FormShared),
		{Kind: trace.KindPointer, Form: trace.FormWeak, Size: 16, Elem: tuple, Tag: &trace.Field{Offset: 8, Type: int32Type}, Links: []trace.Link{one(8, words16)}},
		{Kind: trace.KindPointer, Form: trace.FormWeak, Size: 8, Elem: tuple, Lang: trace.LangRust},
		{Kind: trace.KindPointer, Form: trace.FormOpaque, Size: 8},
		{Kind: trace.KindFunc, Form: trace.FormInvoker, Size: 32, LenOff: 24},
		{Kind: trace.KindFunc, Form: trace.FormObject, Size: 32, PtrOff: 24, Links: []trace.Link{one(24, words16)}},
		{Kind: trace.KindAny, Size: 16, PtrOff: 8},
		{Kind: trace.KindIOError, Size: 8, Links: []trace.Link{one(0, ioTarget)}},
		{Kind: trace.KindTime, Size: 8, Tick: [2]uint32{1 << 31, 1}},
		{Kind: trace.KindTime, Size: 8},
		{Kind: trace.KindChan, Size: 8, Elem: structType(first+11, at("qcount", 0, number), at("dataqsiz", 8, number)), Lang: trace.LangGo},
	}
}
