#!/usr/bin/env bash
# Measure what LoadAware costs a whole scheduler at 5,000 nodes, and print a table of benchstat.
#
#   hack/bench-scheduler.sh [ROUNDS]      3 unless given; a round takes about 4 minutes on 2 cores
#
# Each round runs every workload with the default profile and with LoadAware, turn about. The machine should
# have nothing else to do. Results stay in test-results/bench-scheduler/.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
rounds=${1:-3}
results=$PWD/test-results/bench-scheduler
mkdir -p "$results"
[ -x bin/etcd ] || { echo "no bin/etcd: run make parts first" >&2; exit 1; }

go test -c -o "$results/perf.test" ./test/perf/scheduler
: >"$results/benchmarks.txt"
for round in $(seq "$rounds"); do
  (cd test/perf/scheduler && PATH=$OLDPWD/bin:$PATH "$results/perf.test" -test.run '^$' -test.benchtime 1x \
    -test.bench BenchmarkPerfScheduling -perf-scheduling-label-filter="performance,round$round" \
    -data-items-dir="$results") >"$results/round$round.log" 2>&1
  # Only the throughput: the harness reports some fifty numbers a workload.
  awk '/^BenchmarkPerfScheduling/ { for (i = 3; i < NF; i++) if ($(i+1) == "SchedulingThroughput/Average") {
    sub(/\/round=[0-9]+/, "", $1); print $1, 1, $i, "pods/s" } }' "$results/round$round.log" >>"$results/benchmarks.txt"
done
hack/tool.sh benchstat -col /profile "$results/benchmarks.txt"
