#!/usr/bin/env bash
# Prints the path of a rustc that is new enough (1.66: black_box; it can be told which DWARF to write):
# the one on the path, else the one that rustup puts into the user's home.
set -euo pipefail
for rustc in "$(command -v rustc || true)" "${HOME:-/}/.cargo/bin/rustc"; do
	[ -x "$rustc" ] || continue
	version=$("$rustc" --version) || continue
	if [[ $version =~ ^rustc\ 1\.([0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" -ge 66 ]; then
		echo "$rustc"
		exit
	fi
done
echo "rustc: none, or one before 1.66" >&2
exit 1
