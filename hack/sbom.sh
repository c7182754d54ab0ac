#!/usr/bin/env bash
# Write a CycloneDX bill of materials of each binary that goes into an image to bin/sbom/: every module that
# is linked into it, with its version and hash, as the binary itself says. VERSION is that of the release.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

mkdir -p bin/sbom
for command in plimsoll-agent plimsoll-scheduler; do
  tags=
  [ "$command" != plimsoll-agent ] || tags=grpcnotrace
  go build -tags "$tags" -ldflags "-s -w" -o "bin/sbom/$command" "./cmd/$command"
  # Without a serial number and a time, the same source gives the same file.
  hack/tool.sh cyclonedx-gomod bin -json -std -noserial -notimestamp -version "${VERSION:-development}" \
    -output "bin/sbom/$command.cdx.json" "bin/sbom/$command" 2>/dev/null
  rm "bin/sbom/$command"
  echo "bin/sbom/$command.cdx.json: $(grep -c '"type": "library"' "bin/sbom/$command.cdx.json") modules"
done
