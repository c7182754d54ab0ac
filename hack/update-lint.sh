#!/usr/bin/env bash
# Mend what the linter can mend by itself. What it cannot is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
hack/tool.sh golangci-lint run --fix
