// Package trace holds the domain's types: what a traced function is, how its
// values are laid out, what one recorded call says, and what is missing.
//
// It does no I/O and imports nothing of this module, so that every other
// package can speak of the same things by the same names.
package trace
