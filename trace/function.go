package trace

import "strings"

// Language is the source language of a function, which decides how its
// arguments are passed, how its frames are unwound and what an error is.
type Language uint8

// The languages whose calling conventions are known.
const (
	LangUnknown Language = iota // no debug information: System V registers, shown raw
	LangC
	LangCPP
	LangRust
	LangGo
	LangAsm // hand-written assembly: data may lie between the instructions
)

var languageNames = [...]string{"unknown", "c", "c++", "rust", "go", "asm"}

// String gives the lower-case name used in list's JSON and in the database.
func (l Language) String() string {
	if int(l) < len(languageNames) {
		return languageNames[l]
	}
	return "unknown"
}

// Function is one function of one file, whether it can be traced or not.
// It is immutable once it has been handed to a session.
type Function struct {
	ID       uint32 // session-wide, the index into the BPF maps; 0 until assigned
	Name     string // demangled, without its parameters
	RawName  string // as in the symbol table
	Language Language
	Module   string // path of the executable or shared object, as its process sees it
	File     string // source file, empty when unknown
	Line     int    // declaration line, 0 when unknown
	Address  uint64 // virtual address of the first byte in the file (ELF st_value)
	Size     uint64 // bytes
	Params   []Param
	Results  []Param
	Entry    Entry
	Exit     Exit
	// Traceable says whether probes can be placed without harm; Reason says why
	// not, or is empty.
	Traceable bool
	// Undescribed says that no debug information tells of it: Params and Results are registers.
	Undescribed bool
	Reason      string
	Group       string // --group, the process_group column
	Role        Role
	// EntryPlan and ExitPlan say what is captured; nil means nothing is.
	EntryPlan *Plan
	ExitPlan  *Plan
	Go        *GoABI // nil unless Language is LangGo
	// Failure says which results mean that a call failed, where the language doesn't; nil: none.
	Failure *Failure
	Errno   *ErrnoPlace // of RoleLibcStart
}

// GoABI is what a probe must know of a Go function and the runtime that it is linked with.
type GoABI struct {
	ABI0       bool   // assembly convention: g is in thread-local storage, not in R14
	GoidOffset uint32 // byte offset of goid in runtime.g
	TLSOffset  int32  // byte offset of g from the thread pointer (FS base), used by ABI0
}

// Role marks functions that are probed for what they mean to other calls.
// A function with a role other than RoleCall is never recorded as a call itself.
type Role uint8

// The roles; the numbers are those of enum role in bpf/event.h.
const (
	RoleCall       Role = iota // an ordinary traced function
	RoleGoPanic                // runtime.gopanic(e any): a panic starts
	RoleGoexit                 // runtime.Goexit: the goroutine ends by unwinding
	RoleThrow                  // __cxa_throw(obj, tinfo, dtor): a C++ exception starts
	RoleRethrow                // __cxa_rethrow
	RoleCatch                  // __cxa_begin_catch: frames below the caller are gone
	RoleUnwind                 // _Unwind_RaiseException: any language's two-phase unwinding starts
	RoleForced                 // _Unwind_ForcedUnwind: thread cancellation or pthread_exit
	RoleLongjmp                // longjmp and its relatives
	RoleRustPanic              // rust_panic or begin_panic_handler: a Rust panic starts
	RoleLibraryMap             // _dl_debug_state: the dynamic linker mapped or unmapped something
	RoleGoRecovery             // runtime.recovery(gp): a panic is recovered; the probes take no note of it
	RoleLibcStart              // __libc_early_init (glibc from 2.32 on, for each that is loaded), __libc_start_main: a C library is relocated, no code of the program has run
	RoleGoFatal                // runtime.throw(s string), runtime.fatal(s string): the process ends
	RoleGoUncaught             // runtime.preprintpanics(p *_panic): nothing recovers a panic, the process ends
)

// Unwinding is a way in which calls end without returning. What tells of one, functions of one or more roles, tells it
// only together.
type Unwinding uint8

// The ways.
const (
	UnwindingNone       Unwinding = iota // a role that tells of none, or of the process's end
	UnwindingPanics                      // Go's, and runtime.Goexit
	UnwindingExceptions                  // C++'s, and Rust's panics
	UnwindingJumps                       // longjmp
	UnwindingThreads                     // pthread_exit and cancellation
)

// Unwinding is what the functions of a role tell of.
func (r Role) Unwinding() Unwinding {
	switch r {
	case RoleGoPanic, RoleGoRecovery, RoleGoexit:
		return UnwindingPanics
	case RoleThrow, RoleRethrow, RoleCatch, RoleUnwind, RoleRustPanic:
		return UnwindingExceptions
	case RoleLongjmp:
		return UnwindingJumps
	case RoleForced:
		return UnwindingThreads
	}
	return UnwindingNone
}

// String names the way: "panics", "jumps (longjmp)".
func (u Unwinding) String() string {
	return [...]string{"", "panics", "exceptions", "jumps (longjmp)", "ends of threads (pthread_exit)"}[u]
}

// Param is a parameter or a result.
type Param struct {
	Name     string
	Type     *Type
	Location string // where it is read: "rdi", "rax:rbx", "cfa+8", or why it can't be
}

// SiteKind is how the kernel executes the probed instruction, which decides its cost.
type SiteKind uint8

// Site kinds, from cheap to dear.
const (
	SiteNop5       SiteKind = iota // rewritten to a call since Linux 6.18
	SiteEmulated                   // emulated in the trap handler
	SiteSingleStep                 // executed out of line, with a second trap
)

// String gives list's name of the kind.
func (k SiteKind) String() string {
	switch k {
	case SiteNop5:
		return "nop5"
	case SiteEmulated:
		return "emulated"
	default:
		return "single-step"
	}
}

// Entry is where a function's calls are seen to begin.
type Entry struct {
	Offset uint64 // bytes from Function.Address
	Site   SiteKind
	Reason string // why this instruction, for list
}

// ExitKind is how a function's returns are seen.
type ExitKind uint8

// The exit kinds.
const (
	ExitNone   ExitKind = iota // never returns, or its returns can't be seen
	ExitSites                  // probes on its RET and tail-jump instructions
	ExitReturn                 // a uretprobe: nothing can unwind through the function
)

// String gives list's name of the kind.
func (k ExitKind) String() string {
	switch k {
	case ExitSites:
		return "return-sites"
	case ExitReturn:
		return "uretprobe"
	default:
		return "none"
	}
}

// Exit is where a function's calls are seen to end.
type Exit struct {
	Kind   ExitKind
	Sites  []ExitSite
	Reason string
}

// ExitSite is one instruction through which a function is left.
type ExitSite struct {
	Offset uint64 // bytes from Function.Address; may lie in a .cold part, before or after (wraps)
	Site   SiteKind
	Tail   bool // a jump to another function, which returns in this one's place
	// Cond is the x86 condition code (0 to 15, the low nibble of the jcc
	// opcode) under which a conditional tail jump is taken; -1 when it always is.
	Cond int8
}

// shapeMark is how the types begin in the name of a generic Go function's body, which is shared by
// all types of one shape: main.Max[go.shape.int].
const shapeMark = "[go.shape."

// Generic is the name of the generic Go function, or of the type, whose code a function is: main.Max, or
// main.List of main.(*List[go.shape.int]).Push. It is empty for other functions.
func (f *Function) Generic() string {
	before, _, ok := strings.Cut(f.Name, shapeMark)
	if !ok {
		return ""
	}
	return strings.Replace(before, "(*", "", 1)
}

// Instance is the function by the name that it has with its real type arguments, "[main.cents]": that of
// main.Max[go.shape.int] is then main.Max[main.cents]. Others than generic ones are their own.
func (f *Function) Instance(arguments string) *Function {
	before, shapes, ok := strings.Cut(f.Name, shapeMark)
	end := strings.LastIndexByte(shapes, ']')
	if !ok || end < 0 {
		return f
	}
	instance := *f
	instance.Name = before + arguments + shapes[end+1:]
	return &instance
}
