#!/usr/bin/env bash
# Run everything that can be tested on this machine, and say what could not.
#
#   hack/test.sh                all stages, in this order
#   hack/test.sh unit kernel    only these
#
# A stage that fails does not stop the ones after it. The events of the tests stay in test-results/,
# one file a stage, as `go test -json` writes them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
exec </dev/null
export CGO_ENABLED=0

results=test-results
uncovered=$results/uncovered.txt

# What a stage could not cover, and why. It is repeated at the end.
not_covered() {
  echo "$*" >>"$uncovered"
}

# go_tests STAGE FORMAT GO-TEST-ARGUMENT...
# Vet has a stage of its own. A cached result could hide a change in what a test reads of its host.
go_tests() {
  local stage=$1 format=$2
  shift 2
  hack/tool.sh gotestsum --format "$format" --format-icons text --hide-summary skipped \
    --format-hide-empty-pkg --jsonfile "$results/$stage.json" -- -vet=off -count=1 "$@"
}

stage_prerequisites() {
  # Complains when go.mod asks for a newer Go.
  go list -m >/dev/null
  # What to install on a developer's machine is the developer's to decide.
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    hack/install-deps.sh
  fi
  hack/install-deps.sh --check
  if [ "$(id -u)" != 0 ]; then
    not_covered "what needs root (a kubelet with pods, control groups): run as root to cover it"
  fi
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    not_covered "a kubelet with pods on cgroup v1: this host has v2"
  fi
}

stage_verify() {
  hack/verify-format.sh
  hack/verify-generated.sh
  not_covered "the linter: run make lint (building it takes some minutes once)"
}

stage_build() {
  make --no-print-directory build parts
}

stage_vet() {
  go vet ./...
}

stage_unit() {
  go_tests unit pkgname -timeout 4m ./pkg/... ./cmd/... ./examples/... ./hack/... ./test/house/... ./test/vm/... ./test/perf/publishing ./test/monitoring
}

stage_cluster() {
  go_tests cluster testname -timeout 25m -p 1 ./test/cluster/...
}

stage_kernel() {
  go_tests kernel testname -timeout 10m -p 1 ./test/kernel/... ./test/perf/agentcost
}

# The tests of stage kernel once more, in an emulated machine that has cgroup v2 alone.
stage_vm() {
  if ! command -v qemu-system-x86_64 >/dev/null; then
    not_covered "control groups on pure cgroup v2: no qemu-system-x86_64: run hack/install-deps.sh as root"
    return
  fi
  local said
  if ! said=$(hack/vm-kernel.sh 2>&1); then
    not_covered "control groups on pure cgroup v2: no kernel for the guest: ${said##*$'\n'}"
    return
  fi
  go build -o bin/vmrun ./test/vm
  go_tests vm testname -timeout 15m -p 1 -exec "$PWD/bin/vmrun -kernel $PWD/.cache/vm" ./test/kernel/...
  # What no packaged kernel has is tried where somebody has built one that does.
  if [ -f .cache/vm-source/vmlinuz ]; then
    go_tests vm-source testname -timeout 15m -p 1 -run 'Core|Cookie|EachKnob' -exec "$PWD/bin/vmrun -kernel $PWD/.cache/vm-source -cpus 4 -threads 2" ./test/kernel
  else
    not_covered "core scheduling and io.latency: no packaged kernel has them: hack/vm-kernel.sh --from-source builds one that does, in some minutes"
  fi
  local programs=() name
  for name in containerd containerd-shim-runc-v2 runc pause; do
    if [ ! -x "bin/$name" ]; then
      not_covered "the runtime hook on pure cgroup v2: no bin/$name: run make parts"
      return
    fi
    programs+=("$PWD/bin/$name")
  done
  go_tests vm-hook testname -timeout 15m -p 1 -exec "$PWD/bin/vmrun -kernel $PWD/.cache/vm -memory 1536 -programs $(IFS=,; echo "${programs[*]}")" ./test/hooked
}

# A kubelet with systemd and cgroup v2 alone in that machine; the control plane is on this host.
stage_systemd() {
  local what="a kubelet with pods on pure cgroup v2 with systemd" said name
  if ! command -v qemu-system-x86_64 >/dev/null; then
    not_covered "$what: no qemu-system-x86_64: run hack/install-deps.sh as root"
    return
  fi
  for name in /usr/lib/systemd/systemd /usr/bin/dbus-daemon; do
    if [ ! -x "$name" ]; then
      not_covered "$what: no $name to take into the guest: install systemd and dbus-daemon, neither has to run"
      return
    fi
  done
  if ! said=$(hack/vm-kernel.sh 2>&1); then
    not_covered "$what: no kernel for the guest: ${said##*$'\n'}"
    return
  fi
  local programs=()
  for name in containerd containerd-shim-runc-v2 runc pause ptp host-local kubelet plimsoll-agent; do
    if [ ! -x "bin/$name" ]; then
      not_covered "$what: no bin/$name: run make build parts"
      return
    fi
    programs+=("$PWD/bin/$name")
  done
  go build -o bin/vmrun ./test/vm
  (systemd_node systemd .cache/vm -modules overlay,veth)
  # With core scheduling, which no packaged kernel has.
  if grep -qsx CONFIG_VIRTIO_NET=y .cache/vm-source/config; then
    (systemd_node systemd-source .cache/vm-source -modules= -threads 2)
  else
    not_covered "core scheduling with an agent: no kernel for it: hack/vm-kernel.sh --from-source builds one, in some minutes"
  fi
}

# systemd_node RESULTS KERNEL FLAG-OF-VMRUN... runs one such guest with a control plane of its own, which is taken down when
# the shell that this runs in ends.
systemd_node() {
  local stage=$1 kernel=$PWD/$2 port=$((20000 + RANDOM % 9000))
  shift 2
  # Not a local of the function: it is gone when the trap runs.
  systemd_dir=$(mktemp -d /tmp/plimsoll-test-XXXXXX)
  trap 'bin/plimsoll-local down --dir "$systemd_dir/cluster"; rm -rf "$systemd_dir"' EXIT
  go build -o "$systemd_dir/work" ./test/systemdnode/testdata/work
  programs+=("$systemd_dir/work")
  while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    port=$((20000 + RANDOM % 9000))
  done
  bin/plimsoll-local up --control-plane-only --dir "$systemd_dir/cluster" --port "$port"
  go_tests "$stage" testname -timeout 12m -p 1 -exec "$PWD/bin/vmrun -kernel $kernel $* -systemd -network -memory 3072 -timeout 13m \
    -programs $(IFS=,; echo "${programs[*]}") -files $systemd_dir/cluster/kubeconfig=/etc/kubernetes/admin.conf,$PWD/manifests=/manifests" ./test/systemdnode
}

all=(prerequisites verify build vet unit cluster kernel vm systemd)
chosen=("${@:-${all[@]}}")
for stage in "${chosen[@]}"; do
  if ! declare -F "stage_$stage" >/dev/null; then
    echo "hack/test.sh: no stage is called '$stage': there are ${all[*]}" >&2
    exit 2
  fi
done

rm -rf "$results"
mkdir -p "$results/screenshots"
# Pictures of the pages that tests open: what a build server keeps of a run beside its events.
export PLIMSOLL_SCREENSHOTS=${PLIMSOLL_SCREENSHOTS:-$PWD/$results/screenshots}
: >"$uncovered"
table=()
failed=()
for stage in "${chosen[@]}"; do
  printf '\n=== %s\n' "$stage"
  begin=$SECONDS
  # Not in the condition of an if: bash would ignore the -e there.
  (
    set -e
    "stage_$stage"
  )
  code=$?
  if [ $code = 0 ]; then
    outcome=ok
  else
    outcome=FAILED
    failed+=("$stage")
  fi
  took=$((SECONDS - begin))
  table+=("$(printf '%-14s %-7s %4d s' "$stage" "$outcome" "$took")")
  printf -- '--- %s: %s in %d s\n' "$stage" "$outcome" "$took"
done

printf '\n'
printf '%s\n' "${table[@]}"
printf '%-22s %4d s\n\n' total $SECONDS
if [ ${#failed[@]} != 0 ]; then
  printf 'failed stages: %s\n\n' "${failed[*]}"
fi
shopt -s nullglob
go run ./hack/testsummary -uncovered "$uncovered" "$results"/*.json || failed+=(summary)
[ ${#failed[@]} = 0 ]
