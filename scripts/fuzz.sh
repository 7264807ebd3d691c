#!/usr/bin/env bash
# Runs every fuzz target for a moment: fuzz.sh [TIME], where TIME is as -fuzztime takes it. A
# number of executions (3000x) is safer than a time, at whose end a run can fail for nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${1:-3000x}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r folder; do
	grep -h -o '^func Fuzz[A-Za-z]*' "$folder"/*_test.go | cut -d' ' -f2 | sort | while read -r target; do
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=10x "$folder" </dev/null >"${TMPDIR:-/tmp}/fuzz.$$" 2>&1 || {
			cat "${TMPDIR:-/tmp}/fuzz.$$" >&2
			echo "fuzz: $folder $target failed" >&2
			exit 1
		}
		echo "fuzz: $folder $target: $(grep -o 'execs: [0-9]*' "${TMPDIR:-/tmp}/fuzz.$$" | tail -1)"
	done
done
rm -f "${TMPDIR:-/tmp}/fuzz.$$"
