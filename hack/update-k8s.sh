#!/usr/bin/env bash
# Point every Kubernetes module in go.mod at one release.
#
#   hack/update-k8s.sh [--no-tidy] 1.37.2
#
# k8s.io/kubernetes keeps its staging modules (k8s.io/api, k8s.io/client-go, ...) behind replace
# directives, and replaces do not carry over to a module that requires it. So each of them is
# replaced here too, with the v0.x release that belongs to the v1.x asked for.
#
# --no-tidy leaves out the closing 'go mod tidy', which loads every package of the module.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  echo "hack/update-k8s.sh: $*" >&2
  exit 1
}

tidy=true
if [ "${1:-}" = --no-tidy ]; then
  tidy=false
  shift
fi
version=${1:-}
version=${version#v}
if [[ $# -ne 1 || ! $version =~ ^1\.[0-9]+\.[0-9]+$ ]]; then
  echo "usage: hack/update-k8s.sh [--no-tidy] 1.MINOR.PATCH (got '$*')" >&2
  exit 2
fi
staging=v0.${version#1.}

# Ask for all that is needed before the first change, so that a failure leaves go.mod as it was.
answer=$(GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@v$version") ||
  die "k8s.io/kubernetes v$version: the module proxy does not have it: $(sed -n 's/^\s*"Error": "\(.*\)".*/\1/p' <<<"$answer")"
kubernetes_mod=$(sed -n 's/^\s*"GoMod": "\(.*\)",\?$/\1/p' <<<"$answer")
[ -n "$kubernetes_mod" ] || die "k8s.io/kubernetes v$version: no go.mod from the module proxy"

# The staging modules of that release are the ones it replaces with ./staging/src/...
modules=$(sed -n 's|^\s*\(k8s\.io/[a-z0-9-]*\) => \./staging/src/.*|\1|p' "$kubernetes_mod")
[ -n "$modules" ] || die "k8s.io/kubernetes v$version lists no staging modules in $kubernetes_mod"

edits=(-require "k8s.io/kubernetes@v$version")
# Replacements of staging modules that this release no longer has are dropped.
while IFS= read -r old; do
  [ -z "$old" ] || edits+=(-dropreplace "$old")
done < <(sed -n 's|^\s*\(replace \)\?\(k8s\.io/[a-z0-9-]*\) => k8s\.io/.*|\2|p' go.mod)
for module in $modules; do
  edits+=(-replace "$module=$module@$staging")
  # A require that names an older release would still work, and mislead whoever reads it.
  if grep -qE "^\s*(require )?$module v" go.mod; then
    edits+=(-require "$module@$staging")
  fi
done
go mod edit "${edits[@]}"
echo "go.mod: k8s.io/kubernetes v$version and $(wc -w <<<"$modules") staging modules at $staging"

if $tidy; then
  go mod tidy || die "go mod tidy failed; go.mod has the new versions, 'git checkout go.mod go.sum' takes them back"
fi
