#!/usr/bin/env bash
# Measure what LoadAware costs a whole scheduler at 5,000 nodes, and print a table of benchstat.
#
#   hack/bench-scheduler.sh [ROUNDS] [WORKLOADS]   3 rounds of "Basic Mixed" unless given
#   PROFILES="default idle observe loadaware" ...  these profiles, "default loadaware" unless given
#
# A round takes about 4 minutes on 2 cores. It runs every workload with the default profile and with LoadAware, each
# in a process of its own: what the one before leaves on the heap slows the next. The order of the profiles
# is turned round from round to round. pods/s is what the harness calls the average; bound/s and CPU-ms/pod are by our
# own stopwatch, from the tenth to the nine tenths of the measured pods. Results are added to test-results/bench-scheduler/benchmarks.txt, so that rounds may
# be run in several calls; FRESH=1 begins anew. The machine should have nothing else to do.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
rounds=${1:-3}
workloads=${2:-Basic Mixed}
results=$PWD/test-results/bench-scheduler
mkdir -p "$results"
[ -x bin/etcd ] || { echo "no bin/etcd: run make parts first" >&2; exit 1; }
[ -z "${FRESH:-}" ] || rm -f "$results/benchmarks.txt"

[ -n "${PERF_TEST:-}" ] || { PERF_TEST=$results/perf.test; go test -c -o "$PERF_TEST" ./test/perf/scheduler; }
measure() { # WORKLOAD PROFILE
  log=$results/$1-$2.log
  (cd test/perf/scheduler && PATH=$OLDPWD/bin:$PATH "$PERF_TEST" -test.run '^$' -test.benchtime 1x \
    -test.bench "BenchmarkPerfScheduling/$1/profile=$2/" -perf-scheduling-label-filter=performance \
    -data-items-dir="$results") >"$log" 2>&1
  # Only the throughput: the harness reports some fifty numbers a workload.
  awk '/^BenchmarkPerfScheduling/ { for (i = 3; i < NF; i++) if ($(i+1) == "SchedulingThroughput/Average") line = $1 " 1 " $i " pods/s" }
    /^stopwatch: .* pods\/s/ { line = line " " $2 " bound/s " $4 " CPU-ms/pod" }
    END { print line }' "$log" >>"$results/benchmarks.txt"
}
for ((round = 0; round < rounds; round++)); do
  for workload in $workloads; do
    # By what is there already, so that the order alternates over several calls too.
    done=$(grep -c "/$workload/" "$results/benchmarks.txt" 2>/dev/null || true)
    order=${PROFILES:-default loadaware}
    [ $(( ${done:-0} / $(wc -w <<<"$order") % 2 )) = 0 ] || order=$(tr ' ' '\n' <<<"$order" | tac | tr '\n' ' ')
    for profile in $order; do
      measure "$workload" "$profile"
    done
  done
done
hack/tool.sh benchstat -col /profile "$results/benchmarks.txt"
