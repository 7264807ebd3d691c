// Package types turns DWARF descriptions of functions into signatures and
// capture plans: which registers and which words of the caller's frame hold
// each parameter and each result, and how those bytes are read.
//
// Where values lie is computed from the calling conventions (Go's ABIInternal
// and ABI0, System V AMD64, Rust's, AAPCS64), because optimised code seldom
// has results in its location lists; where a location list speaks of a
// function's first instruction and contradicts the convention, it wins.
//
// Nothing here opens files or knows symbol tables: sections come in, plans go
// out. Of this module it may import only trace.
package types
