// Package layout holds the tests of how the source tree is laid out: which
// folder may import which, and that every package says what it is. It has no
// code of its own, and nothing imports it.
package layout
