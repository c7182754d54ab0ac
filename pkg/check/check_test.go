package check

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func problemsOf(content string) []string {
	r := Result{}
	r.File("f.yaml", []byte(content))
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.String())
	}
	return all
}

const batchPodHead = `apiVersion: v1
kind: Pod
metadata:
  name: b
  namespace: risk
  labels: {plimsoll.dev/class: batch}
`

func TestEveryFaultIsNamedWithFileObjectAndField(t *testing.T) {
	tests := map[string]struct {
		content string
		// want are parts of the problems, one each, in order.
		want []string
	}{
		"an agent's file that is right": {"apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\n", nil},
		"an agent's file with four faults": {
			"apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\ntick: 1\ntickMilliseconds: 5\nlending: {mode: On}\npublish: {jump: 1}\n",
			[]string{
				`f.yaml: AgentConfiguration: decoding *v1alpha1.AgentConfiguration: unknown field "publish.jump"`, `unknown field "tick"`,
				"f.yaml: AgentConfiguration: tickMilliseconds: Invalid value: 5: must be from 100 to 60000", `lending.mode: Unsupported value: "true": supported values: "Off", "Observe", "Enforce"`,
			},
		},
		"an unknown strategy and a bad argument": {
			"apiVersion: plimsoll.dev/v1alpha1\nkind: AgentConfiguration\nstrategies: [{name: batchidel}, {name: realtime, args: {priority: 70}}]\n",
			[]string{`strategies[0].name: unknown strategy "batchidel"`, "strategies[1].args: args of strategy realtime: priority 70: must be 1 to 49"},
		},
		"no kind":          {"a: 1\n", []string{"f.yaml: document 1: kind and apiVersion must be set"}},
		"no YAML":          {"a: [1\n", []string{"f.yaml: document 1: it is no YAML or JSON object"}},
		"comments":         {"# nothing\n---\n# nothing\n", nil},
		"of a list":        {"[1]\n", []string{"document 1: it is no YAML or JSON object"}},
		"a misspelt field": {"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {container: []}\n", []string{`f.yaml: Pod p: decoding *v1.Pod: unknown field "spec.container"`}},
		"a scheduler's profile": {
			"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 101\nprofiles:\n" +
				"- schedulerName: a\n  pluginConfig:\n  - name: LoadAware\n    args: {apiVersion: plimsoll.dev/v1alpha1, kind: LoadAwareArgs, safeCPUPercent: 200}\n" +
				"  - name: NodeResourcesFit\n    args: {strategy: 1}\n- schedulerName: a\n",
			[]string{
				"profiles[0].pluginConfig[0].args.safeCPUPercent: Invalid value: 200: must be from 1 to 100",
				"profiles[0].pluginConfig[0].name: Invalid value: \"LoadAware\": it has arguments and is not enabled",
				`profiles[0].pluginConfig[1].args: decoding *v1.NodeResourcesFitArgs: unknown field "strategy"`,
				"percentageOfNodesToScore: Invalid value: 101: must be from 0 to 100", `profiles[1].schedulerName: Duplicate value: "a"`,
			},
		},
		"an old version of the scheduler's file": {"apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n", []string{`apiVersion: Unsupported value: "kubescheduler.config.k8s.io/v1beta3"`}},
		"a file in a ConfigMap": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: ns}\ndata:\n  agent.yaml: |\n    apiVersion: plimsoll.dev/v1alpha1\n    kind: AgentConfiguration\n    tickMilliseconds: 5\n  other: 'x: 1'\n",
			[]string{"f.yaml: ConfigMap ns/c data[agent.yaml]: tickMilliseconds: Invalid value: 5"},
		},
		"a namespace's class":       {"apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {plimsoll.dev/class: bach}}\n", []string{`metadata.labels[plimsoll.dev/class]: Unsupported value: "bach": supported values: "batch", "latency-sensitive"`}},
		"a batch pod that is right": {batchPodHead + "spec: {containers: [{name: w, resources: {requests: {cpu: 1, memory: 1Gi}}}]}\n", nil},
		"a batch pod in thousandths taken for cores, and silent about memory": {
			batchPodHead + "spec: {containers: [{name: w, resources: {requests: {plimsoll.dev/batch-cpu: 8}}}]}\n",
			[]string{
				"f.yaml: Pod risk/b: spec.containers[0].resources.requests[plimsoll.dev/batch-cpu]: Invalid value: \"8\": it is in thousandths of a core, and must be 100 or more",
				"spec.containers: Required value: requests of cpu and memory of w",
			},
		},
		"a batch pod that asks twice, with a system priority": {
			batchPodHead + "spec: {priorityClassName: system-node-critical, containers: [{name: w, resources: {requests: {cpu: 1, plimsoll.dev/batch-cpu: 1k, memory: 1Gi}}}]}\n",
			[]string{"spec.priorityClassName: Invalid value: \"system-node-critical\"", "requests[plimsoll.dev/batch-cpu]: Invalid value: \"1k\": cpu is asked for too"},
		},
		"pods that ask for whole cores": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {plimsoll.dev/whole-cores: all}}\nspec: {containers: [{name: c}]}\n---\n" +
				"apiVersion: v1\nkind: Pod\nmetadata: {name: q, annotations: {plimsoll.dev/whole-cores: \"2\"}}\nspec: {containers: [{name: c}]}\n---\n" +
				"apiVersion: v1\nkind: Pod\nmetadata: {name: r, labels: {plimsoll.dev/class: batch}, annotations: {plimsoll.dev/whole-cores: \"2\"}}\nspec: {containers: [{name: c, resources: {requests: {cpu: 1, memory: 1Gi}}}]}\n",
			[]string{
				`f.yaml: Pod p: metadata.annotations[plimsoll.dev/whole-cores]: Invalid value: "all": must be a whole number like 2`,
				`f.yaml: Pod r: metadata.annotations[plimsoll.dev/whole-cores]: Invalid value: "2": batch gives way to everything`,
			},
		},
		"pods that ask for unshared cores": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {plimsoll.dev/unshared-cores: yes please}}\nspec: {containers: [{name: c}]}\n---\n" +
				"apiVersion: v1\nkind: Pod\nmetadata: {name: q, annotations: {plimsoll.dev/unshared-cores: \"true\"}}\nspec: {containers: [{name: c}]}\n---\n" +
				"apiVersion: v1\nkind: Pod\nmetadata: {name: r, labels: {plimsoll.dev/class: batch}, annotations: {plimsoll.dev/unshared-cores: \"true\"}}\nspec: {containers: [{name: c, resources: {requests: {cpu: 1, memory: 1Gi}}}]}\n",
			[]string{
				`f.yaml: Pod p: metadata.annotations[plimsoll.dev/unshared-cores]: Unsupported value: "yes please"`,
				`f.yaml: Pod r: metadata.annotations[plimsoll.dev/unshared-cores]: Invalid value: "true": batch gives way to everything`,
			},
		},
		"a Guaranteed batch Deployment with a bad duration": {
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {}\n  template:\n    metadata: {labels: {plimsoll.dev/class: batch}, annotations: {plimsoll.dev/expected-duration: 2 days}}\n" +
				"    spec: {containers: [{name: w, resources: {limits: {cpu: 1, memory: 1Gi}}}]}\n",
			[]string{"f.yaml: Deployment d: spec.template.metadata.annotations[plimsoll.dev/expected-duration]: Invalid value: \"2 days\": must be a duration above 0", "spec.template.spec.containers: Invalid value"},
		},
		"batch resources without the class": {
			"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\nspec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: w, resources: {requests: {plimsoll.dev/batch-memory: 1Gi}}}]}}}}}\n",
			[]string{"f.yaml: CronJob j: spec.jobTemplate.spec.template.spec.containers[0].resources.requests[plimsoll.dev/batch-memory]: Invalid value: \"1Gi\": the pod is not batch"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(tc.content)
			if len(got) != len(tc.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(got), len(tc.want), strings.Join(got, "\n"))
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("problem %d is %s\nwant it to contain %s", i, got[i], want)
				}
			}
		})
	}
}

func TestKindsThatAreNotKnownAreNamedAndNotJudged(t *testing.T) {
	var r Result
	r.File("f.yaml", []byte("apiVersion: example.com/v1\nkind: Thing\n---\napiVersion: example.com/v1\nkind: Thing\n"))
	if diff := cmp.Diff(Result{Checked: 2, Unknown: []string{"example.com/v1 Thing"}}, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
