#!/usr/bin/env bash
# Fails when the committed BPF objects and bindings are not what go generate makes
# of the sources. It generates in a copy, so that the tree is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard -- go.mod go.sum bpf |
	xargs -0 cp --parents -t "$copy"
generated() { (cd "$1" && find bpf \( -name '*_bpfel.*' -o -name '*_bpfeb.*' \) | sort); }

before=$(generated "$copy")
if [ -z "$before" ]; then
	echo "generate-check: nothing is generated in bpf/: run make generate" >&2
	exit 1
fi
while read -r file; do rm "$copy/$file"; done <<<"$before"
(cd "$copy/bpf" && go generate .)

status=0
for file in $(printf '%s\n%s\n' "$before" "$(generated "$copy")" | sort -u); do
	if ! cmp -s "$file" "$copy/$file"; then
		echo "generate-check: $file is out of date" >&2
		status=1
	fi
done
[ $status = 0 ] || echo "generate-check: run make generate and commit the result" >&2
exit $status
