# `make` alone lists what there is. The work is in hack/ and in plimsoll-local; this file names it.

# One setting everywhere: a build with cgo shares no package in the build cache with one without.
# runc is the exception, and plimsoll-local knows.
export CGO_ENABLED := 0

# The binaries that link Kubernetes report its version; the others ignore the -X.
kubernetes_version = $(shell go list -m -f '{{.Version}}' k8s.io/kubernetes)
ldflags = -s -w -X k8s.io/component-base/version.gitVersion=$(kubernetes_version)

.DEFAULT_GOAL := help
.PHONY: help build parts test test-unit test-kernel test-cluster test-vm test-systemd bench bench-protect bench-scheduler generate verify lint image chart sbom man demo local-up local-down clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Build Plimsoll's own binaries into bin/.
	go build -ldflags "$(ldflags)" -o bin/ ./cmd/...
	go build -tags grpcnotrace -ldflags "$(ldflags)" -o bin/ ./cmd/plimsoll-agent

parts: bin/plimsoll-local ## Build all that the local cluster runs (etcd, kube-apiserver, kubelet, containerd, ...) into bin/.
	bin/plimsoll-local build

# Go knows best whether it is up to date.
.PHONY: bin/plimsoll-local
bin/plimsoll-local:
	@go build -ldflags "$(ldflags)" -o bin/ ./cmd/plimsoll-local
test: ## Run every test that can run here, and say what was not covered. The one test command.
	@hack/test.sh

test-unit: ## Run the tests that need nothing but Go.
	@hack/test.sh unit

test-kernel: ## Run the tests on this machine's control groups (root).
	@hack/test.sh kernel

test-cluster: build parts ## Run the tests against a real API server and, as root, a real node.
	@hack/test.sh cluster

test-vm: ## Run the control group tests in a guest with cgroup v2 (QEMU).
	@hack/test.sh vm

test-systemd: build parts ## Run a kubelet with systemd and cgroup v2, with the agent on it, in a guest (QEMU).
	@hack/test.sh systemd

bench: ## Run the benchmarks.
	go test -run '^$$' -bench . -benchmem ./pkg/...

bench-scheduler: parts ## Measure what LoadAware costs a scheduler at 5,000 nodes, both profiles turn about (12 minutes, an idle machine).
	hack/bench-scheduler.sh

generate: ## Write the generated files anew (deepcopy, CRDs).
	hack/update-generated.sh

verify: ## Check format, generated files and lint. Each check says how to mend what it finds.
	@failed=0; for check in hack/verify-*.sh; do echo "$$check"; $$check || failed=1; done; exit $$failed

lint: ## Run the linter.
	hack/verify-lint.sh

image: bin/plimsoll-local ## Build the container images as OCI archives into bin/images/. No Docker needed.
	bin/plimsoll-local image --all

chart: ## Make the Helm chart in bin/chart/plimsoll, from the same manifests as the overlays.
	@mkdir -p bin/chart
	go run ./hack/chart manifests bin/chart/plimsoll

sbom: ## Write what each image's binary is made of to bin/sbom/, as CycloneDX.
	@hack/sbom.sh

man: ## Write the manual's pages of plimsoll to bin/man/.
	go run ./cmd/plimsoll man bin/man

demo: build parts ## Show with real pods what batch work does to a service, without Plimsoll and with it. KEEP=1 leaves the cluster up.
	go run ./examples/demo

bench-protect: build parts ## Measure services beside batch work in every arm (2.5 hours, an idle machine; ARGS="--services redis-1000" for less).
	go run ./examples/demo --matrix --rounds 7 --round-seconds 10 $(ARGS)

local-up: build parts ## Start a real one-machine Kubernetes (root).
	bin/plimsoll-local up

local-down: bin/plimsoll-local ## Stop it and leave nothing behind.
	bin/plimsoll-local down

clean: ## Remove what was built. Go's build cache stays.
	rm -rf bin .cache test-results demo-report.html demo-report.json
