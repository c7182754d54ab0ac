#!/usr/bin/env bash
# Take Plimsoll off a cluster: put every kernel setting on every node back as it was, take what nodes lend off
# them, and delete every object that was installed.
#
#   hack/uninstall.sh [--kubectl "kubectl --context x"] [--agent-image IMAGE] [--cgroup-root ROOT] [--keep-state]
#
# Batch pods must be gone before: without an agent nothing holds them below online work. IMAGE is by default
# that of the agents that run, ROOT their kubelet's cgroupRoot. --keep-state leaves each node's /var/lib/plimsoll,
# in which the audit log is.
set -euo pipefail
cd "$(dirname "$0")/.."

kubectl=(kubectl)
image=
cgroup_root=
forget=--forget
while [ $# -gt 0 ]; do
  case $1 in
    --kubectl) read -ra kubectl <<<"$2"; shift 2 ;;
    --agent-image) image=$2; shift 2 ;;
    --cgroup-root) cgroup_root=$2; shift 2 ;;
    --keep-state) forget=; shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
namespace=plimsoll-system

say() { printf 'uninstall: %s\n' "$*"; }

running=$("${kubectl[@]}" get pods -A -l plimsoll.dev/class=batch --field-selector=status.phase=Running -o name | wc -l)
if [ "$running" != 0 ]; then
  say "$running batch pods run (kubectl get pods -A -l plimsoll.dev/class=batch): delete them or wait for their end first" >&2
  exit 1
fi

# Nothing new is converted from here on.
"${kubectl[@]}" delete --ignore-not-found mutatingadmissionpolicybindings plimsoll-batch-by-pod plimsoll-batch-by-namespace
"${kubectl[@]}" delete --ignore-not-found validatingadmissionpolicybindings plimsoll-batch-pods plimsoll-batch-resources

# An agent that runs would set everything again.
agents=$("${kubectl[@]}" -n "$namespace" get daemonsets -l app.kubernetes.io/name=plimsoll-agent -o name)
if [ -n "$agents" ]; then
  first=${agents%%$'\n'*}
  [ -n "$image" ] || image=$("${kubectl[@]}" -n "$namespace" get "$first" -o 'jsonpath={.spec.template.spec.containers[0].image}')
  [ -n "$cgroup_root" ] || cgroup_root=$("${kubectl[@]}" -n "$namespace" get "$first" -o 'jsonpath={.spec.template.spec.containers[0].env[?(@.name=="KUBELET_CGROUP_ROOT")].value}')
  # shellcheck disable=SC2086 # one name a word
  "${kubectl[@]}" -n "$namespace" delete --cascade=foreground --wait $agents
fi
if [ -z "$image" ]; then
  say "no agent is installed any more: say with --agent-image what image can release the nodes" >&2
  exit 1
fi

say "releasing every node"
"${kubectl[@]}" kustomize manifests/uninstall |
  sed -e "s|image: plimsoll-agent\$|image: $image|" -e "s|value: /\$|value: ${cgroup_root:-/}|" -e "s|^\( *\)- --forget\$|\1${forget:+- $forget}|" |
  "${kubectl[@]}" apply -f -
if ! "${kubectl[@]}" -n "$namespace" rollout status daemonset/plimsoll-release --timeout=5m; then
  say "some node was not released; see: kubectl -n $namespace logs daemonset/plimsoll-release -c release" >&2
  exit 1
fi
"${kubectl[@]}" -n "$namespace" delete --cascade=foreground --wait daemonset plimsoll-release

say "taking what nodes lend off them"
for resource in batch-cpu batch-memory; do
  for field in capacity allocatable; do
    for node in $("${kubectl[@]}" get nodes -o "jsonpath={range .items[?(@.status.$field.plimsoll\\.dev/$resource)]}{.metadata.name}{'\\n'}{end}"); do
      "${kubectl[@]}" patch node "$node" --subresource=status --type=json -p "[{\"op\":\"remove\",\"path\":\"/status/$field/plimsoll.dev~1$resource\"}]"
    done
  done
done

say "deleting what was installed"
# Some of it may be missing: each overlay has only a part, and enforce has all names but those of the pools.
"${kubectl[@]}" kustomize manifests/overlays/enforce | "${kubectl[@]}" delete --ignore-not-found --wait -f -
say "done"
