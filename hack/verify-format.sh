#!/usr/bin/env bash
# Fail when a Go file is not formatted; show what would change.
set -euo pipefail
cd "$(dirname "$0")/.."
difference=$(gofmt -s -d .)
if [ -n "$difference" ]; then
  printf '%s\n' "$difference"
  echo "Go files are not formatted: run hack/update-format.sh" >&2
  exit 1
fi
