#!/usr/bin/env bash
# Format all Go code in place.
set -euo pipefail
cd "$(dirname "$0")/.."
gofmt -s -w .
