// Package sites chooses where a function is probed: bytes in, probe sites and
// reasons out.
//
// A probe on a wrong byte corrupts its target, so every answer here is either
// argued for by the function's own code or refused. The package knows two
// things: how amd64 and arm64 code is laid out, and what Linux's uprobes do
// with an instruction (arch/x86/kernel/uprobes.c up to 6.18 and
// arch/arm64/kernel/probes/decode-insn.c): which they emulate in the trap
// handler, which they single-step out of line, which they refuse, and which
// they accept but execute wrongly.
//
// It is pure: it does no I/O, keeps no state, and must import nothing of this
// module, so that it can be fuzzed and tested against any binary anywhere.
// Everything in it is safe for concurrent use.
package sites
