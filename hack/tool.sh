#!/usr/bin/env bash
# Run a development tool at the version that go.tools.mod pins.
#
#   hack/tool.sh controller-gen --version
#
# The tools have a module file of their own so that what a linter needs never decides which version
# of a library the product is built with.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
exec go tool -modfile=go.tools.mod "$@"
