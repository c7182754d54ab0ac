#!/usr/bin/env bash
# Fail when a generated file is not what its source would give now.
#
#   hack/verify-generated.sh [TREE]
#
# TREE, by default the repository, is where the checked-in files are. Nothing in it is written.
set -euo pipefail
tree=$(realpath -m "${1:-$(dirname "$0")/..}")
cd "$(dirname "$0")/.."

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
hack/update-generated.sh "$fresh"

stale=0
# What generation gives must be there and equal ...
while IFS= read -r file; do
  if [ ! -e "$tree/$file" ]; then
    echo "$file: missing"
    stale=1
  elif ! diff -u --label "$file (checked in)" --label "$file (generated now)" "$tree/$file" "$fresh/$file"; then
    stale=1
  fi
done < <(cd "$fresh" && find . -type f | sed 's|^\./||' | sort)

# ... and nothing else may look generated.
while IFS= read -r file; do
  if [ ! -e "$fresh/$file" ]; then
    echo "$file: nothing generates this file any more"
    stale=1
  fi
done < <(cd "$tree" && find pkg manifests/base/crd -type f \( -name 'zz_generated*' -o -path 'manifests/base/crd/plimsoll.dev_*.yaml' \) 2>/dev/null | sort)

if [ "$stale" != 0 ]; then
  echo "generated files are out of date: run hack/update-generated.sh" >&2
  exit 1
fi
