package symbols

import (
	"debug/elf"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// roleNames are the functions that are probed for what they mean to other
// calls, by their names in the symbol table.
var roleNames = map[string]trace.Role{
	"runtime.gopanic":        trace.RoleGoPanic,
	"runtime.throw":          trace.RoleGoFatal,
	"runtime.fatal":          trace.RoleGoFatal,
	"runtime.preprintpanics": trace.RoleGoUncaught,
	"runtime.Goexit":         trace.RoleGoexit,
	"runtime.recovery":       trace.RoleGoRecovery,
	"__cxa_throw":            trace.RoleThrow,
	"__cxa_rethrow":          trace.RoleRethrow,
	"__cxa_begin_catch":      trace.RoleCatch,
	"_Unwind_RaiseException": trace.RoleUnwind,
	"_Unwind_ForcedUnwind":   trace.RoleForced,
	"longjmp":                trace.RoleLongjmp,
	"_longjmp":               trace.RoleLongjmp,
	"siglongjmp":             trace.RoleLongjmp,
	"__longjmp_chk":          trace.RoleLongjmp,
	"____longjmp_chk":        trace.RoleLongjmp,
	"__libc_longjmp":         trace.RoleLongjmp,
	"__libc_siglongjmp":      trace.RoleLongjmp,
	"rust_panic":             trace.RoleRustPanic,
	"__rust_panic_cleanup":   trace.RoleCatch,
	"_dl_debug_state":        trace.RoleLibraryMap,
	"__libc_start_main":      trace.RoleLibcStart,
	"__libc_early_init":      trace.RoleLibcStart,
}

// role is what a symbol's function means to other calls; RoleCall for most.
func role(raw string) trace.Role {
	if r, ok := roleNames[unversioned(raw)]; ok {
		return r
	}
	// Rust mangles its runtime's functions from 1.88 on: __rustc::rust_panic.
	if strings.HasPrefix(raw, "_R") && strings.HasSuffix(raw, "___rustc10rust_panic") {
		return trace.RoleRustPanic
	}
	if strings.HasPrefix(raw, "_R") && strings.HasSuffix(raw, "___rustc20___rust_panic_cleanup") || isRustCatch(raw) {
		return trace.RoleCatch
	}
	return trace.RoleCall
}

// unversioned is the name of a symbol that has its version behind it, as those have in
// .symtab that a library defines in several versions: "__libc_start_main@@GLIBC_2.34".
func unversioned(raw string) string {
	name, _, _ := strings.Cut(raw, "@")
	return name
}

// isRustCatch recognises the function that a frame calls which has caught a
// Rust panic: std::panicking::catch_unwind::cleanup, called std::panicking::try::cleanup
// in older versions, in either mangling. It calls __rust_panic_cleanup, which the
// frame calls itself where a linker has inlined the one into the other.
func isRustCatch(raw string) bool {
	switch {
	case strings.HasPrefix(raw, "_R"):
		return strings.HasSuffix(raw, "3std9panicking12catch_unwind7cleanup") || strings.HasSuffix(raw, "3std9panicking3try7cleanup")
	case strings.HasPrefix(raw, "_ZN3std9panicking"):
		rest := raw[len("_ZN3std9panicking"):]
		return strings.HasPrefix(rest, "12catch_unwind7cleanup17h") || strings.HasPrefix(rest, "3try7cleanup17h")
	}
	return false
}

// Roles returns the functions of the file that have a role other than
// RoleCall. They have an entry site and an entry plan, and no exits. RoleLibcStart is among
// them where it can tell the place of errno, and Options.Errno asks for it.
func (f *File) Roles() (found []*trace.Function, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err != nil {
			return err
		}
		var p *planner
		for _, e := range t.entries {
			r, raw := t.role(e)
			if r == trace.RoleCall {
				continue
			}
			var errno *trace.ErrnoPlace
			if r == trace.RoleLibcStart {
				place, err := f.errno()
				if !f.opts.Errno || err != nil {
					continue
				}
				errno = &place
			}
			if p == nil {
				p = newPlanner(f, t, nil)
			}
			fn := p.role(e, r, raw)
			fn.Errno = errno
			found = append(found, fn)
		}
		return nil
	})
	return found, err
}

func (t *table) role(e entry) (trace.Role, string) {
	for _, s := range t.symbols(e) {
		raw := t.symName(s)
		r := role(raw)
		// The C library has a local function that leads to the unwinder's own.
		if (r == trace.RoleForced || r == trace.RoleUnwind) && s.bind == uint8(elf.STB_LOCAL) {
			continue
		}
		if r != trace.RoleCall {
			return r, raw
		}
	}
	return trace.RoleCall, ""
}

// role describes an entry that has a role.
func (p *planner) role(e entry, r trace.Role, raw string) *trace.Function {
	b := body{addr: p.t.addr(e), size: p.t.size(e), lang: trace.LangC, parts: p.parts(e, &body{addr: p.t.addr(e)}), unwinder: r == trace.RoleUnwind || r == trace.RoleForced}
	if _, ok := p.t.goFunc(e); ok {
		b.lang = trace.LangGo
	} else if r == trace.RoleRustPanic {
		b.lang = trace.LangRust
	}
	fn := &trace.Function{
		Name: strings.Clone(demangled(raw)), RawName: strings.Clone(raw), Module: p.f.module, Language: b.lang,
		Address: b.addr, Size: b.size, Role: r, EntryPlan: rolePlan(r, p.convention(b.lang), p.golang),
	}
	if err := p.enter(fn, e, b); err != nil {
		fn.Reason = reasonOf(err)
		return fn
	}
	fn.Traceable = true
	return fn
}

// enter fills in the entry site and the ABI of a function with a role.
func (p *planner) enter(fn *trace.Function, e entry, b body) error {
	if err := p.t.precheck(e, b.size); err != nil {
		return err
	}
	if b.lang == trace.LangGo {
		if err := p.golang.apply(fn, b); err != nil {
			return err
		}
	}
	result, err := p.analyze(b, argumentRegisters(fn.EntryPlan))
	if err != nil {
		return err
	}
	fn.Entry = trace.Entry{Offset: uint64(result.Entry.Offset), Site: siteKind(result.Entry.Kind), Reason: result.EntryReason}
	fn.Exit.Reason = "probed for what it means to other calls"
	return nil
}

// convention lists the DWARF numbers of the registers that carry the first two arguments.
func (p *planner) convention(lang trace.Language) [2]uint8 {
	switch {
	case p.f.typesArch() == types.ARM64:
		return [2]uint8{0, 1}
	case lang == trace.LangGo:
		return [2]uint8{0, 3} // AX, BX
	default:
		return [2]uint8{5, 4} // RDI, RSI
	}
}

// rolePlan is what is captured when a function with a role is entered.
func rolePlan(r trace.Role, registers [2]uint8, golang *goABI) *trace.Plan {
	first := trace.Move{Size: 8, Source: trace.SourceRegister, Register: registers[0]}
	second := trace.Move{Dst: 8, Size: 8, Source: trace.SourceRegister, Register: registers[1]}
	switch r {
	case trace.RoleGoPanic: // gopanic(e any)
		return plan([]trace.Move{first, second}, panicValue())
	case trace.RoleGoFatal: // throw(s string)
		text := &trace.Type{Name: "string", Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangGo}
		return plan([]trace.Move{first, second}, trace.Field{Name: "s", Type: text})
	case trace.RoleGoUncaught: // preprintpanics(p *_panic)
		return uncaughtPlan(registers[0], golang)
	case trace.RoleGoRecovery: // recovery(gp *g)
		return recoveryPlan(registers[0], golang)
	case trace.RoleThrow: // __cxa_throw(object, tinfo, destructor)
		return plan([]trace.Move{first, second}, trace.Field{Name: "object", Type: thrownObject()}, trace.Field{Name: "tinfo", Offset: 8, Type: typeInfo()})
	case trace.RoleUnwind, trace.RoleCatch, trace.RoleForced: // the struct _Unwind_Exception
		return plan([]trace.Move{first}, trace.Field{Name: "exception", Type: word(trace.LangC)})
	case trace.RoleRustPanic: // rust_panic(&mut dyn PanicPayload)
		return plan([]trace.Move{first}, trace.Field{Name: "payload", Type: panicPayload()})
	default:
		return nil
	}
}

func plan(moves []trace.Move, fields ...trace.Field) *trace.Plan {
	last := fields[len(fields)-1]
	return &trace.Plan{Root: &trace.Type{Kind: trace.KindStruct, Size: last.Offset + last.Type.Size, Fields: fields}, Moves: moves}
}

func word(lang trace.Language) *trace.Type {
	return &trace.Type{Name: "uint64", Kind: trace.KindUint, Size: 8, Lang: lang}
}

// thrownObject is a thrown C++ object as far as it is a std::logic_error or
// std::runtime_error: the message's address follows the virtual table's, in
// libstdc++ (__cow_string) and in libc++ (__libcpp_refstring); or else a C string,
// or libstdc++'s std::string. Reading the one as the other leads nowhere.
func thrownObject() *trace.Type {
	text := &trace.Type{Name: "const char*", Kind: trace.KindCString, Size: 8, Lang: trace.LangCPP}
	object := &trace.Type{Name: "std::exception", Kind: trace.KindStruct, Size: 16, Lang: trace.LangCPP, Fields: []trace.Field{
		{Name: "vptr", Type: word(trace.LangCPP)},
		{Name: "what", Offset: 8, Type: text},
		{Name: "text", Type: text},
		{Name: "string", Type: &trace.Type{Name: "std::string", Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangCPP}},
	}}
	return &trace.Type{Name: "std::exception*", Kind: trace.KindPointer, Size: 8, Elem: object, Lang: trace.LangCPP}
}

// typeInfo is a std::type_info, with the base class of those that have one
// (Itanium C++ ABI, section 2.9.5: __si_class_type_info).
func typeInfo() *trace.Type {
	text := &trace.Type{Name: "const char*", Kind: trace.KindCString, Size: 8, Lang: trace.LangCPP}
	info := &trace.Type{Name: "std::type_info", Kind: trace.KindStruct, Size: 24, Lang: trace.LangCPP}
	pointer := &trace.Type{Name: "std::type_info*", Kind: trace.KindPointer, Size: 8, Elem: info, Lang: trace.LangCPP}
	info.Fields = []trace.Field{
		{Name: "vptr", Type: word(trace.LangCPP)}, {Name: "name", Offset: 8, Type: text}, {Name: "base", Offset: 16, Type: pointer},
	}
	return pointer
}

// recoveryPlan captures which goroutine recovers, and the frame that it
// resumes in: gp.goid, gp.stack.hi and gp._panic.fp.
func recoveryPlan(register uint8, golang *goABI) *trace.Plan {
	if golang == nil || golang.goidErr != nil || golang.panicFP == 0 {
		return nil
	}
	frame := &trace.Type{Name: "runtime._panic", Kind: trace.KindStruct, Size: golang.panicFP + 8, Lang: trace.LangGo, Fields: []trace.Field{
		{Name: "fp", Offset: golang.panicFP, Type: word(trace.LangGo)},
	}}
	pointer := &trace.Type{Name: "*runtime._panic", Kind: trace.KindPointer, Size: 8, Elem: frame, Lang: trace.LangGo}
	move := func(dst uint16, offset uint32) trace.Move {
		return trace.Move{Dst: dst, Size: 8, Source: trace.SourceMemory, Register: register, Offset: int32(offset)}
	}
	return plan([]trace.Move{move(0, golang.goid), move(8, offsetStackHi), move(16, offsetPanic)},
		trace.Field{Name: "goid", Type: word(trace.LangGo)},
		trace.Field{Name: "hi", Offset: 8, Type: word(trace.LangGo)},
		trace.Field{Name: "_panic", Offset: 16, Type: pointer})
}

// panicValue is what a Go panic has: an any.
func panicValue() trace.Field {
	return trace.Field{Name: "e", Type: &trace.Type{Name: "any", Kind: trace.KindInterface, Size: 16, Empty: true, Lang: trace.LangGo}}
}

// uncaughtPlan captures that of a runtime._panic, its arg.
func uncaughtPlan(register uint8, golang *goABI) *trace.Plan {
	if golang == nil || golang.goidErr != nil || golang.panicFP == 0 {
		return nil
	}
	move := trace.Move{Size: 16, Source: trace.SourceMemory, Register: register, Offset: int32(golang.panicArg())}
	return plan([]trace.Move{move}, panicValue())
}

// panicPayload is what a Rust panic carries, as far as it is a message: a
// &'static str (StaticStrPayload), or a formatted String behind its capacity
// (FormatStringPayload). Reading the one as the other leads nowhere.
func panicPayload() *trace.Type {
	text := func(name string, pointer uint32) trace.Field {
		t := &trace.Type{Name: "str", Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangRust}
		return trace.Field{Name: name, Offset: pointer, Type: t}
	}
	payload := &trace.Type{Name: "PanicPayload", Kind: trace.KindStruct, Size: 24, Lang: trace.LangRust, Fields: []trace.Field{text("str", 0), text("string", 8)}}
	return &trace.Type{Name: "&mut dyn PanicPayload", Kind: trace.KindPointer, Size: 8, Elem: payload, Lang: trace.LangRust}
}
