#!/usr/bin/env bash
# Make what krew, kubectl's plugin manager, installs: one archive for each platform in bin/krew/, and the
# manifest bin/krew/plimsoll.yaml with their checksums.
#
#   hack/krew.sh VERSION URL
#
# URL is the folder that the archives will be served from. The same sources give the same archives.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: hack/krew.sh VERSION URL}
url=${2:?usage: hack/krew.sh VERSION URL}
export CGO_ENABLED=0

out=bin/krew
rm -rf "$out"
mkdir -p "$out"
platforms=()
for arch in amd64 arm64; do
  stage=$(mktemp -d)
  GOOS=linux GOARCH=$arch go build -trimpath -ldflags "-s -w" -o "$stage/kubectl-plimsoll" ./cmd/plimsoll
  cp LICENSE "$stage/"
  archive=plimsoll-linux-$arch.tar.gz
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$stage" -c . | gzip -n >"$out/$archive"
  rm -rf "$stage"
  platforms+=("  - selector: {matchLabels: {os: linux, arch: $arch}}
    uri: $url/$archive
    sha256: $(sha256sum "$out/$archive" | cut -d' ' -f1)
    bin: kubectl-plimsoll
    files:
    - {from: ./kubectl-plimsoll, to: .}
    - {from: ./LICENSE, to: .}")
done
{
  cat <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: plimsoll
spec:
  version: $version
  homepage: https://github.com/plimsoll/plimsoll
  shortDescription: See what nodes use and lend, and why
  description: |
    Shows what the nodes of a cluster really use, what they lend to batch work and what holds it back,
    reports on a period, explains decisions, and checks configuration offline.
  platforms:
EOF
  printf '%s\n' "${platforms[@]}"
} >"$out/plimsoll.yaml"
# krew's own check, of all but the download: the archives are not at URL yet.
go run sigs.k8s.io/krew/cmd/validate-krew-manifest@v0.4.3 -manifest "$out/plimsoll.yaml" -skip-install
echo "$out/plimsoll.yaml"
