#!/usr/bin/env bash
# Fail when the linter finds something; .golangci.yml says what it looks for and why.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! hack/tool.sh golangci-lint run; then
  echo "the linter found something: run hack/update-lint.sh, which mends a part of it, or mend it by hand" >&2
  exit 1
fi
