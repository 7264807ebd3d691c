#!/usr/bin/env bash
# Builds the container image of deploy/Containerfile: image.sh NAME [VERSION]
set -euo pipefail
name=${1:?usage: image.sh NAME [VERSION]}
version=${2:-unknown}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in podman docker buildah; do
	if command -v "$tool" >/dev/null; then
		exec "$tool" build --file deploy/Containerfile --build-arg "VERSION=$version" --tag "$name" .
	fi
done
echo "image: none of podman, docker and buildah is there: apt-get install buildah" >&2
exit 1
