#!/usr/bin/env bash
# Build Kueue's controller and gather its CRDs, for the test that LoadAware and Kueue get on: bin/kueue and
# bin/kueue-crds/. Kueue is a module of its own in test/kueue: it is built against the Kubernetes that its release is
# made for, and nothing of it is in ours. A few minutes once, then seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
bin=$PWD/bin
(cd test/kueue && go build -o "$bin/kueue" sigs.k8s.io/kueue/cmd/kueue)
rm -rf "$bin/kueue-crds"
mkdir -p "$bin/kueue-crds"
cp "$(cd test/kueue && go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)"/config/components/crd/bases/*.yaml "$bin/kueue-crds/"
chmod u+w "$bin"/kueue-crds/*
echo "built $bin/kueue"
