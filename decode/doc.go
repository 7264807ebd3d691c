// Package decode turns the probes' records (bpf/event.h is the format) into
// calls: it reads the wire form, renders captured bytes as JSON by their
// types, and pairs entries with exits.
//
// It reads bytes by offset and asks everything else of its Config, so that it
// builds, tests and fuzzes on any system. Of this module it may import only
// trace, and secret below it: it must not know how records arrive, where symbols come from, or
// where calls go.
//
// Three layers, each usable without the next: [ParseEvent] (wire.go) checks
// one record; the printer (value.go, goerror.go) appends a value's JSON;
// [Decoder] (decoder.go, owner.go, raise.go) keeps the open calls of every
// thread and goroutine.
//
// # What functions with a role capture
//
// Their entries say why calls end without returning. A plan's root has, in order:
//
//   - RoleGoPanic: the panic's value, an empty interface.
//   - RoleGoRecovery: fields goid and hi (the upper end of the goroutine's
//     stack), and a pointer to a structure with fp (the canonical frame address
//     of the frame that recovers), as words by these names.
//   - RoleThrow: a pointer to the object, in which the first C string is the
//     message of the standard exceptions; a pointer to the type_info, in which
//     the first C string is the mangled name and a pointer called base leads on.
//   - RoleUnwind and RoleCatch: the address of the struct _Unwind_Exception.
//   - RoleRustPanic: the message is the first text found.
//
// Of what is missing, the type or message stays general.
package decode
