#!/usr/bin/env bash
# Installs what is missing on Debian 12: setup.sh [build|test|generate|deploy|bench|demo|lint ...]
#
# Says nothing when there is nothing to do. Without an argument: all of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What each purpose needs: a file that shows that it is there ("-": it is not), and the package that brings it.
needs() {
	case $1 in
	build)
		echo /usr/bin/gcc gcc
		echo /usr/include/stdio.h libc6-dev
		echo /usr/bin/git git
		;;
	generate)
		echo /usr/bin/clang-19 clang-19
		echo /usr/bin/llvm-strip-19 llvm-19
		echo /usr/include/bpf/bpf_helpers.h libbpf-dev
		echo /usr/include/linux/bpf.h linux-libc-dev
		;;
	test)
		needs build
		needs generate
		needs deploy
		echo /usr/bin/g++ g++
		echo /usr/bin/clang-14 clang-14
		echo /usr/bin/musl-gcc musl-tools
		echo /usr/lib/llvm-19/include/c++/v1/vector libc++-19-dev
		echo /usr/lib/llvm-19/lib/libc++abi.so libc++abi-19-dev
		echo /usr/bin/objdump binutils
		echo /usr/bin/sqlite3 sqlite3
		echo /usr/bin/ps procps
		echo /usr/bin/redis-benchmark redis-tools
		echo /usr/bin/redis-server redis-server
		echo /usr/lib/postgresql/15/bin/postgres postgresql-15
		echo /usr/bin/python3.11 python3.11
		echo /usr/bin/containerd containerd
		echo /usr/sbin/runc runc
		echo /usr/include/python3.11/Python.h libpython3.11-dev
		echo /usr/lib/x86_64-linux-gnu/libpython3.11d.so.1.0 libpython3.11-dbg
		echo /usr/include/nlohmann/json.hpp nlohmann-json3-dev
		scripts/rustc.sh >/dev/null 2>&1 || echo - rustc-web
		;;
	deploy)
		echo /usr/bin/containerd containerd
		echo /usr/bin/ctr containerd
		echo /usr/sbin/runc runc
		;;
	bench)
		needs build
		echo /usr/bin/bpftrace bpftrace
		echo /usr/bin/perf linux-perf
		echo /usr/bin/uftrace uftrace
		echo /usr/sbin/funclatency libbpf-tools
		echo /usr/bin/sqlite3 sqlite3
		;;
	demo)
		needs build
		;;
	lint)
		needs build
		echo /usr/bin/shellcheck shellcheck
		;;
	*)
		echo "setup: no purpose \"$1\": build, generate, test, deploy, bench, demo or lint" >&2
		return 2
		;;
	esac
}

[ $# -gt 0 ] || set -- build generate test bench demo lint

if ! command -v go >/dev/null; then
	echo "setup: go is missing: install Go 1.26 from https://go.dev/dl" >&2
	exit 1
fi

missing=()
for purpose in "$@"; do
	lines=$(needs "$purpose")
	while read -r file package; do
		[ -e "$file" ] || [[ " ${missing[*]-} " == *" $package "* ]] || missing+=("$package")
	done <<<"$lines"
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "setup: missing: run as root: apt-get install ${missing[*]}" >&2
	exit 1
fi

log=$(mktemp)
# Services that packages bring are not started: tests start their own.
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
	rm -f "$log"
	[ -z "$made_policy" ] || rm -f "$policy"
}
trap cleanup EXIT
if [ ! -e "$policy" ]; then
	made_policy=1
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

# apt runs apt-get quietly, again when a download fails or another one holds the lock.
apt() {
	local try
	for try in 1 2 3; do
		if DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" \
			>"$log" 2>&1 </dev/null; then
			return
		fi
		sleep $((try * 3))
	done
	cat "$log" >&2
	echo "setup: apt-get $* failed" >&2
	return 1
}

echo "setup: installing ${missing[*]}" >&2
# A list that cannot be fetched matters only if a package is then missing.
apt update || true
apt install --no-install-recommends -y "${missing[@]}"
