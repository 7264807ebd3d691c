// Package decode turns the probes' records (bpf/event.h is the format) into
// calls: it reads the wire form, renders captured bytes as JSON by their
// types, and pairs entries with exits.
//
// It reads bytes by offset and asks everything else of its Config, so that it
// builds, tests and fuzzes on any system. Of this module it may import only
// trace: it must not know how records arrive, where symbols come from, or
// where calls go.
//
// Three layers, each usable without the next: [ParseEvent] (wire.go) checks
// one record; the printer (value.go, goerror.go) appends a value's JSON;
// [Decoder] (decoder.go, owner.go, raise.go) keeps the open calls of every
// thread and goroutine.
package decode
