// Package query reads the database that tracing writes: exact summaries,
// calls, their trees and errors, what is being written just now, and any SQL
// that only reads.
//
// It never writes and never keeps a writer waiting. It must not depend on any
// package of this module but trace: docs/schema.md is what it shares with the
// writer.
package query
