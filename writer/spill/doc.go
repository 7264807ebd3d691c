// Package spill keeps records in an append-only file until they can be written
// where they belong: each has a checksum and a number, and what was appended
// survives a crash. docs/spill.md describes the format, byte by byte.
//
// A file belongs to the process that holds its lock; what a dead one left is
// found by Find and read by Open. The package doesn't know what records mean,
// and must not depend on any package of this module.
package spill
