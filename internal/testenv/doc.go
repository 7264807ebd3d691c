// Package testenv is what tests need from the machine: privileges and kernel
// features, targets built with the compilers and options that a test asks for,
// processes that are started and certainly ended, and programs that nobody here
// wrote, such as a database server.
//
// Where the machine should be able to run a test its helpers fail; they don't
// skip. It must not depend on any other package of this module, so that every
// one of them can use it, and nothing but tests may import it.
package testenv
