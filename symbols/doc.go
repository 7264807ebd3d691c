// Package symbols turns an executable or shared object into the functions that
// can be traced in it: their names, places, signatures, probe sites and
// capture plans.
//
// A [File] reads lazily: nothing beyond the ELF headers until something is
// selected, and then only what the selection needs. It never attaches to
// anything and knows nothing of processes; it imports trace and its own
// subpackages only.
package symbols
