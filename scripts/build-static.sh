#!/usr/bin/env bash
# Builds observatory-trace as one file that needs no other, for images:
# build-static.sh OUTPUT [VERSION]
set -euo pipefail
output=$(realpath -m "${1:?usage: build-static.sh OUTPUT [VERSION]}")
version=${2:-unknown}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The tags leave out what would ask the C library for shared objects. The linker warns of
# SQLite's dlopen, which is for extensions: none is ever loaded. Other flags are those of
# the tests, so that both share what Go's cache has of the C code.
CGO_ENABLED=1 go build -buildvcs=false -tags netgo,osusergo \
	-ldflags "-X main.stamped=$version -linkmode external -extldflags '-static -Wl,--no-warnings'" \
	-o "$output" ./cmd/observatory-trace
