#!/usr/bin/env bash
# Run Kubernetes' own integration tests of the scheduler with LoadAware in the default profile.
#
#   hack/test-upstream-scheduler.sh [PACKAGE...]    folders of test/integration/scheduler; "." is the folder itself
#   RUN=REGEXP hack/test-upstream-scheduler.sh ...  some of their tests
#
# Tests and helpers are read from the module that go.mod pins and compiled as if they were below test/upstream; no
# file is copied into the repository. In them two things differ: the paths by which they import each other, and one
# line of InitTestSchedulerWithOptions, which puts the options of test/upstream before the test's own. A test that
# brings a profile of its own runs with that one. Needs bin/etcd (make parts).
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(. bind eventhandler extender filters taint)
[ -x bin/etcd ] || { echo "no bin/etcd: run make parts first" >&2; exit 1; }

upstream=$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/integration
ours=github.com/plimsoll/plimsoll/test/upstream
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
entries=()
add() { # FILE of upstream, FOLDER below test/upstream
  local copy
  copy=$dir/$(echo "$2/$(basename "$1")" | tr / _)
  sed -e "s#\"k8s.io/kubernetes/test/integration/util\"#\"$ours/util\"#" \
    -e "s#\"k8s.io/kubernetes/test/integration/scheduler\(\"\|/podgroup/\)#\"$ours/scheduler\1#" "$1" >"$copy"
  entries+=("\"$PWD/test/upstream/$2/$(basename "$1")\": \"$copy\"")
}
add "$upstream/util/util.go" util
sed -i -e "s|^import (|&\n\t\"$ours\"|" \
  -e 's|^\topts = append(opts, scheduler.WithKubeConfig.*|\topts = append(upstream.Options(t), opts...)\n&|' "$dir/util_util.go"
grep -q 'upstream.Options' "$dir/util_util.go" || { echo "InitTestSchedulerWithOptions is not as expected" >&2; exit 1; }
add "$upstream/scheduler/util.go" scheduler
add "$upstream/scheduler/podgroup/stepsframework/stepsframework.go" scheduler/podgroup/stepsframework
targets=()
for package in "${packages[@]}"; do
  folder=scheduler/$package
  [ "$package" != . ] || folder=scheduler
  for file in "$upstream/$folder"/*.go; do
    [ "$file" = "$upstream/scheduler/util.go" ] || add "$file" "$folder"
  done
  targets+=("./test/upstream/$folder")
done
printf '{"Replace": {%s}}\n' "$(IFS=,; echo "${entries[*]}")" >"$dir/overlay.json"
export PATH=$PWD/bin:$PATH
logs=$PWD/test-results/upstream-scheduler
mkdir -p "$logs"
failed=0
for target in "${targets[@]}"; do
  log=$logs/$(echo "${target#./test/upstream/}" | tr / _).log
  # The folder of the package does not exist, so it runs in one that does.
  if go test -c -vet=off -overlay "$dir/overlay.json" -o "$dir/upstream.test" "$target" >"$log" 2>&1 &&
    (cd "$dir" && ./upstream.test -test.timeout="${TIMEOUT:-20m}" ${RUN:+-test.run "$RUN"} -test.v) >"$log" 2>&1; then
    echo "ok   $target: $(grep -c -E '^ *--- PASS' "$log") passed, $(grep -c -E '^ *--- SKIP' "$log" || true) skipped," \
      "$(grep -c 'LoadAware is in the profile' "$log" || true) schedulers with LoadAware"
  else
    failed=1
    echo "FAIL $target: see $log"
    grep -E '^ *--- FAIL|^panic' "$log" | head -n 40 || tail -n 20 "$log"
  fi
done
exit "$failed"
