#!/usr/bin/env bash
# Print what this node's kernel says about its pods, as one file for pkg/cgroup/testdata.
#
#   hack/capture-node.sh [-kubelet-cgroup-root ROOT] [-note TEXT] >pkg/cgroup/testdata/MODE-DRIVER-NAME.txtar
#
# It only reads. On a node without Go, build the program elsewhere and copy it there:
#   CGO_ENABLED=0 go build -o capture-node ./hack/capturenode
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
exec go run ./hack/capturenode "$@"
