#!/usr/bin/env bash
# Build and test pkg/loadaware against the Kubernetes releases whose schedulers it is made for.
#
#   hack/test-scheduler-versions.sh [VERSION...]      v0.35.4 v0.36.3 v0.37.2 unless given
#
# Each release gets a module file of its own, made from go.mod, in a folder that is removed afterwards. The
# plugin reaches no k8s.io/kubernetes, so this takes a minute a release and not a quarter of an hour. With
# SCHEDULER=1 the scheduler itself is built too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export CGO_ENABLED=0 GOFLAGS=-mod=mod
[ $# -gt 0 ] || set -- v0.35.4 v0.36.3 v0.37.2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0
for version in "$@"; do
  # All modules of one release have the same version; k8s.io/kubernetes has a 1 in place of the 0.
  sed -E "s#(k8s.io/[a-z-]+ => k8s.io/[a-z-]+) v0\.[0-9.]+#\1 $version#
    s#^(\s*k8s.io/(api|apimachinery|client-go|component-base|component-helpers|apiextensions-apiserver|apiserver)) v0\.[0-9.]+#\1 $version#
    s#^(\s*k8s.io/kubernetes) v1\.[0-9.]+#\1 v1${version#v0}#" go.mod >"$dir/go.mod"
  cp go.sum "$dir/go.sum"
  if go test -modfile="$dir/go.mod" -count=1 ./pkg/loadaware >"$dir/log" 2>&1 &&
    { [ "${SCHEDULER:-}" != 1 ] || go build -modfile="$dir/go.mod" -o "$dir/scheduler" ./cmd/plimsoll-scheduler >>"$dir/log" 2>&1; }; then
    echo "$version: pass"
  else
    echo "$version: FAIL"; grep -v '^[IE][0-9]' "$dir/log" | tail -30; failed=1
  fi
done
exit $failed
