// Package sample decides how much of each function is traced: which share of its calls is recorded,
// for which part of each second its probes are in place, and whether they are there at all; so that
// the targets, and the tracer, stay within budgets. It is arithmetic: no clock, no I/O. It must not
// depend on how rates are set or loads are measured.
package sample
