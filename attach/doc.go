// Package attach finds processes, puts the probes into their files and takes
// them out again, and follows processes as they fork, execute and end.
//
// It hands out raw ring-buffer records; what they mean is decode's business. It
// must not depend on decode, nor on anything that stores or shows.
package attach
