// Package bpf holds the probes: the C programs, their wire format (event.h), the
// generated objects, and what loads them and fills their maps.
//
// It knows neither symbols nor values: it imports nothing of this module. What a
// probe does for a function is data, handed over as Tables.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu" -target amd64,arm64 -type control probe probe.bpf.c
