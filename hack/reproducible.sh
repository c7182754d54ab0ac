#!/usr/bin/env bash
# Build the images' binaries twice, from copies of the source in two folders and with two empty build caches,
# and compare them byte by byte.
#
#   hack/reproducible.sh [plimsoll-agent | plimsoll | plimsoll-scheduler | batch | ...]
#
# Without names: plimsoll-agent and plimsoll. Nothing comes out of a cache, so each build compiles everything that
# the binary links: minutes of both cores for the agent, half an hour for the scheduler. -trimpath takes the folder's
# name out of the binaries, as a release does.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

names=("$@")
[ $# -gt 0 ] || names=(plimsoll-agent plimsoll)
ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)"
work=$(mktemp -d)
# The go command makes its caches read-only.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

build() { # FOLDER: copies the source there and builds in it
  mkdir -p "$1/src" "$1/out"
  # What git knows and what it does not ignore: not bin/, not .cache/.
  git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - | tar -C "$1/src" -xf -
  for name in "${names[@]}"; do
    package=./cmd/$name
    [ -d "$package" ] || package=./examples/$name
    (cd "$1/src" && GOCACHE=$1/cache go build -tags grpcnotrace -trimpath -buildvcs=false -ldflags "$ldflags" -o "$1/out/$name" "$package")
  done
}

build "$work/one"
build "$work/another-folder"

differ=0
for name in "${names[@]}"; do
  read -r one _ < <(sha256sum "$work/one/out/$name")
  read -r two _ < <(sha256sum "$work/another-folder/out/$name")
  if [ "$one" = "$two" ]; then
    echo "$name: the same twice, sha256 $one"
  else
    echo "$name: $one and $two differ" >&2
    differ=1
  fi
done
exit $differ
