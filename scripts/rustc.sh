#!/usr/bin/env bash
# Prints the path of a rustc that can be told which DWARF to write (1.64 or later):
# the one on the path, else the one that rustup puts into the user's home.
set -euo pipefail
for rustc in "$(command -v rustc || true)" "${HOME:-/}/.cargo/bin/rustc"; do
	[ -x "$rustc" ] || continue
	version=$("$rustc" --version) || continue
	if [[ $version =~ ^rustc\ 1\.([0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" -ge 64 ]; then
		echo "$rustc"
		exit
	fi
done
echo "rustc: none, or one before 1.64" >&2
exit 1
