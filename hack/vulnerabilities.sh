#!/usr/bin/env bash
# Look for known vulnerabilities in what the binaries link and call.
#
#   hack/vulnerabilities.sh [PACKAGES]       all of ./cmd/... by default
#
# It needs Go's vulnerability database: https://vuln.go.dev, or what GOVULNDB names, which may be a copy in a folder
# (file:///path, as `go help environment` has it). Ends with 0 (nothing is known), 3 (govulncheck found something), 2
# (the database cannot be reached, so nothing was looked for) or 1 (another failure).
set -euo pipefail
cd "$(dirname "$0")/.."

database=${GOVULNDB:-https://vuln.go.dev}
if ! curl --fail --silent --show-error --max-time 20 --output /dev/null "$database/index/db.json"; then
  echo "vulnerabilities: $database cannot be reached, so nothing was looked for: run this where it can, or name a copy in GOVULNDB" >&2
  exit 2
fi
[ $# -gt 0 ] || set -- ./cmd/...
exec hack/tool.sh govulncheck -db "$database" "$@"
