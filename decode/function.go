package decode

import (
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// function is what is kept of a traced function.
type function struct {
	*trace.Function
	isGo      bool
	uretprobe bool // its exit is seen after a tail call's
	args      []param
	results   []param
	dict      *trace.Field               // of the root at an entry: where the types are that it runs with; nil: it is not generic
	instances map[string]*trace.Function // the function under the names that it has with those types
	failure   int                        // index of the result that says whether it failed (a Go error, a Rust Result), -1 when there is none

	unseen      []uint64 // when its probes were taken out, monotonic ns; the latest times
	lostExits   uint64   // told by Lost and not yet used to explain something
	evicted     uint64   // calls given up, whose exits may still come
	givenUp     uint64   // calls, like the next two not yet reported
	early, lost uint64   // exits without an entry
	gapPID      int      // their process, 0 when there are several
}

// param is one parameter or result, ready to be printed.
type param struct {
	key   []byte // `"name":`
	field trace.Field
	moves uint32 // bit i: move i of the plan fills (a part of) it
	// secret is the rule by which it must not be shown, "" when it may be.
	secret string
	scalar scalar
}

// scalar says that a value is just a number of 1, 2, 4 or 8 bytes, to be printed as such.
type scalar uint8

const (
	notScalar scalar = iota
	signedScalar
	unsignedScalar
)

// scalarOf says whether a field is just a number.
func scalarOf(f *trace.Field) scalar {
	t := f.Type
	switch {
	case f.Unavailable != "" || t == nil || t.Dict > 0 || f.BitSize != 0:
		return notScalar
	case t.Kind != trace.KindInt && t.Kind != trace.KindUint && t.Kind != trace.KindChar:
		return notScalar
	case t.Lang == trace.LangGo && (t.Name == "time.Duration" || t.Name == "syscall.Errno"):
		return notScalar
	case t.Size != 1 && t.Size != 2 && t.Size != 4 && t.Size != 8:
		return notScalar
	case t.Kind == trace.KindInt || t.Kind == trace.KindChar && t.Signed:
		return signedScalar
	}
	return unsignedScalar
}

// print appends the number that data starts with; false when it is none, or not all there.
func (n scalar) print(dst []byte, f *trace.Field, data []byte) ([]byte, bool) {
	start, end := uint64(f.Offset), uint64(f.Offset)+uint64(f.Type.Size)
	if end > uint64(len(data)) {
		return dst, false
	}
	if n == signedScalar {
		return strconv.AppendInt(dst, signed(data[start:end]), 10), true
	}
	return strconv.AppendUint(dst, unsigned(data[start:end]), 10), true
}

func newFunction(f *trace.Function, config *Config) *function {
	fn := &function{
		Function:  f,
		isGo:      f.Language == trace.LangGo || f.Go != nil,
		uretprobe: f.Exit.Kind == trace.ExitReturn,
		args:      newParams(f.EntryPlan, unnamedArgument, config.secretName),
		results:   newParams(f.ExitPlan, "r", config.secretName),
		failure:   -1,
	}
	if f.EntryPlan != nil && f.EntryPlan.Root != nil {
		fn.dict = field(f.EntryPlan.Root, trace.Dictionary)
	}
	if n := len(fn.results); n > 0 {
		t := fn.results[n-1].field.Type
		if t != nil && (fn.isGo && t.Kind == trace.KindError || t.IsResult()) {
			fn.failure = n - 1
		}
	}
	return fn
}

// newParams prepares a plan's fields. Those without a name get one from the
// prefix and their place: r0, r1. secret gives the rule by which a name is one.
func newParams(plan *trace.Plan, prefix string, secret func(name string) string) []param {
	if plan == nil || plan.Root == nil {
		return nil
	}
	params := make([]param, 0, len(plan.Root.Fields))
	for i, f := range plan.Root.Fields {
		if f.Name == trace.Dictionary {
			continue
		}
		name := named(f.Name, prefix, i)
		p := param{key: append(appendString(nil, name), ':'), field: f, secret: secret(name)}
		if f.Unavailable == "" && f.Type != nil {
			p.moves = movesOf(plan, f)
			if empty := f.Type.Size == 0 || f.Type.Kind == trace.KindStruct && len(f.Type.Fields) == 0; p.moves == 0 && !empty {
				p.field.Unavailable = "not captured"
			}
		}
		if p.secret == "" {
			p.scalar = scalarOf(&p.field)
		}
		params = append(params, p)
	}
	return params
}

// named gives the name by which a plan's field is shown: its own, or the prefix and its place.
func named(own, prefix string, place int) string {
	// Go's compiler calls unnamed ones ~p0, ~r0.
	if own == "" || own == "_" || strings.HasPrefix(own, "~") {
		return prefix + strconv.Itoa(place)
	}
	return own
}

// unnamedArgument is what arguments without a name are called, before their place.
const unnamedArgument = "arg"

// Arguments gives the names by which the arguments of a function's calls are shown.
func Arguments(f *trace.Function) (names []string) {
	if f.EntryPlan == nil || f.EntryPlan.Root == nil {
		return nil
	}
	for i, field := range f.EntryPlan.Root.Fields {
		if field.Name != trace.Dictionary {
			names = append(names, named(field.Name, unnamedArgument, i))
		}
	}
	return names
}

// movesOf gives the moves that fill a field of a plan's root.
func movesOf(plan *trace.Plan, f trace.Field) uint32 {
	var set uint32
	start, end := uint64(f.Offset), uint64(f.Offset)+uint64(f.Type.Size)
	for i, m := range plan.Moves {
		if i < maxMoves && uint64(m.Dst) < end && uint64(m.Dst)+uint64(m.Size) > start {
			set |= 1 << i
		}
	}
	return set
}

// readable says whether a parameter's own bytes were captured.
func (p *param) readable(e *Event) bool {
	return p.field.Unavailable == "" && p.field.Type != nil && p.moves&e.Missed == 0 &&
		uint64(p.field.Offset)+uint64(p.field.Type.Size) <= uint64(len(e.Root))
}

// param appends one parameter's value.
func (p *printer) param(dst []byte, param *param, e *Event) []byte {
	if param.scalar != notScalar && param.moves&e.Missed == 0 && len(dst) < p.limit {
		if out, ok := param.scalar.print(dst, &param.field, e.Root); ok {
			return out
		}
	}
	switch {
	case param.secret != "":
		return p.redacted(dst, param.secret)
	case e.Flags&EventLate != 0 && e.Missed == 1<<32-1:
		return p.unavailable(dst, "the ring buffer was full when the call began")
	case param.moves&e.Missed != 0:
		return p.unavailable(dst, "memory not readable")
	}
	if t := param.field.Type; t != nil && t.Dict > 0 && param.field.Unavailable == "" {
		return p.generic(dst, &param.field, e.Root)
	}
	return p.field(dst, &param.field, e.Root)
}

// object appends parameters as a JSON object by name.
func (p *printer) object(dst []byte, params []param, e *Event) []byte {
	dst = append(dst, '{')
	for i := range params {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, params[i].key...)
		dst = p.param(dst, &params[i], e)
	}
	return append(dst, '}')
}

// begin prepares the printer for a new value at the end of dst.
func (p *printer) begin(dst []byte) {
	p.limit = len(dst) + p.config.MaxValue
	p.nesting = 0
	p.path = p.path[:0]
}

// maxInstances bounds under how many names a generic function is told.
const maxInstances = 1024

// dictionary is where the types are that a generic function was called with, 0 when it isn't known.
func (fn *function) dictionary(e *Event) uint64 {
	if fn.dict == nil || movesOf(fn.EntryPlan, *fn.dict)&e.Missed != 0 {
		return 0
	}
	at, _ := word(e.Root, fn.dict.Offset)
	return at
}

// instance is the function by the name that it has with its real types: calls of
// main.Max[go.shape.int] may be main.Max[int]'s or main.Max[main.cents]'s.
func (d *Decoder) instance(fn *function, tgid uint32, dictionary uint64) *trace.Function {
	if dictionary == 0 || d.config.TypeArguments == nil {
		return fn.Function
	}
	arguments := d.config.TypeArguments(tgid, dictionary)
	if arguments == "" {
		return fn.Function
	}
	if known := fn.instances[arguments]; known != nil {
		return known
	}
	if len(fn.instances) >= maxInstances {
		return fn.Function
	}
	if fn.instances == nil {
		fn.instances = map[string]*trace.Function{}
	}
	fn.instances[arguments] = fn.Instance(arguments)
	return fn.instances[arguments]
}

// args appends a call's arguments as a JSON object; nothing when the function has none.
func (p *printer) args(dst []byte, e *Event, fn *function) []byte {
	if len(fn.args) == 0 {
		return dst
	}
	p.begin(dst)
	return p.object(dst, fn.args, e)
}

// result appends a call's result as JSON: the value, or an object of several; nothing when
// there is none.
func (p *printer) result(dst []byte, e *Event, fn *function) []byte {
	p.begin(dst)
	switch len(fn.results) {
	case 0:
		return dst
	case 1:
		return p.param(dst, &fn.results[0], e)
	default:
		return p.object(dst, fn.results, e)
	}
}

// failed gives the error that a function returned, nil when it returned none.
func (p *printer) failed(e *Event, fn *function) *trace.Error {
	if fn.Failure != nil {
		return p.ruleError(e, fn)
	}
	if fn.failure < 0 {
		return nil
	}
	r := &fn.results[fn.failure]
	if !r.readable(e) {
		return nil
	}
	data := e.Root[r.field.Offset:]
	if r.field.Type.Kind == trace.KindVariant {
		return p.resultError(r.field.Type, data)
	}
	return p.errorOf(r.field.Type, data)
}

// wasUnseen says whether, and when, a function's probes were first taken out between two times.
func (fn *function) wasUnseen(from, to uint64) (at uint64, unseen bool) {
	for _, at := range fn.unseen {
		if from <= at && at < to {
			return at, true
		}
	}
	return 0, false
}

// maxUnseen is how many times are remembered: of the latest seconds, in which calls wait for it to be known how they ended.
const maxUnseen = 16
