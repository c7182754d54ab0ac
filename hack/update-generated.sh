#!/usr/bin/env bash
# Write every generated file anew.
#
#   hack/update-generated.sh [TREE]
#
# Generated files are checked in. With TREE they are written below that folder instead of into the
# repository: that is how verify-generated.sh compares without touching anything.
set -euo pipefail
tree=$(realpath -m "${1:-$(dirname "$0")/..}")
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

api=pkg/api/v1alpha1
crd=manifests/base/crd
mkdir -p "$tree/$api" "$tree/$crd" "$tree/docs"

# A type that is gone must take its CRD with it.
rm -f "$tree/$api/zz_generated.deepcopy.go" "$tree/$crd"/plimsoll.dev_*.yaml

# DeepCopy methods, and the CRDs with their schemas from the field comments and markers.
hack/tool.sh controller-gen paths="./$api" \
  object output:object:dir="$tree/$api" \
  crd output:crd:dir="$tree/$crd"

# The page of every kernel setting, from the table that the agent goes by.
go run ./hack/knobsdoc >"$tree/docs/knobs.md"

# Grafana's dashboards.
mkdir -p "$tree/manifests/monitoring/dashboards"
go run ./hack/dashboards "$tree/manifests/monitoring/dashboards"

# The arguments of the scheduler plugin, from their comments.
fence=$(printf '\140\140\140')
{
  echo '# Arguments of LoadAware'
  echo
  echo 'Written by hack/update-generated.sh from pkg/api/v1alpha1. They stand in a scheduler profile under'
  echo 'pluginConfig, name LoadAware, args; docs/scheduler.md has an example.'
  for type in LoadAwareArgs Estimates Estimate ScoringStrategy; do
    echo
    echo "${fence}go"
    go doc "./$api" "$type" | sed -e 1,2d -e '/^func (/d'
    echo "$fence"
  done
} >"$tree/docs/loadaware-args.md"
