package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

func (cp *controlPlane) utilizations() dynamic.NamespaceableResourceInterface {
	return cp.objects.Resource(v1alpha1.NodeUtilizationResource())
}

func testCRDIsEstablished(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	crds := cp.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	crd, err := crds.Get(t.Context(), v1alpha1.NodeUtilizationResource().GroupResource().String(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for conditionType, want := range map[string]string{"Established": "True", "NamesAccepted": "True"} {
		if status, message, err := condition(crd, conditionType); status != want {
			t.Errorf("condition %s = %q (%s, %v), want %s", conditionType, status, message, err, want)
		}
	}
	if status, message, err := condition(crd, "NonStructuralSchema"); err == nil && status != "False" {
		t.Errorf("the schema is not structural: %s", message)
	}
}

// goodUtilization uses every field.
func goodUtilization(node string) *v1alpha1.NodeUtilization {
	permille := func(v int32) *int32 { return &v }
	pressure := &v1alpha1.Pressure{CPUSomePermille: permille(102), MemorySomePermille: permille(0), IOSomePermille: permille(1000)}
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &v1alpha1.NodeUtilization{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindNodeUtilization},
		ObjectMeta: metav1.ObjectMeta{Name: node},
		Status: v1alpha1.NodeUtilizationStatus{
			ObservedTime:       metav1.NewMicroTime(now),
			WindowMilliseconds: 10_000,
			Capacity:           v1alpha1.Resources{MilliCPU: 4000, MemoryBytes: 8 << 30},
			Node:               v1alpha1.Resources{MilliCPU: 2100, MemoryBytes: 3 << 30},
			Classes: []v1alpha1.ClassUtilization{
				{Class: v1alpha1.ClassLatencySensitive, Pods: 1, Resources: v1alpha1.Resources{MilliCPU: 800, MemoryBytes: 1 << 30}, Pressure: pressure},
				{Class: v1alpha1.ClassBatch, Pods: 1, Resources: v1alpha1.Resources{MilliCPU: 1200}},
			},
			Pods: []v1alpha1.PodUtilization{
				{UID: "0b1f", Namespace: "default", Name: "web", Class: v1alpha1.ClassLatencySensitive, MeasuredMilliseconds: 60_000, Resources: v1alpha1.Resources{MilliCPU: 800, MemoryBytes: 1 << 30}, Pressure: pressure},
				{UID: "0b20", Class: v1alpha1.ClassBatch, Resources: v1alpha1.Resources{MilliCPU: 1200}},
			},
			CgroupMode:    "v2",
			KernelVersion: "6.12.0",
			Strategies:    []v1alpha1.StrategyStatus{{Name: "batchidle", Mode: v1alpha1.ModeEnforce}},
			Changes: []v1alpha1.ChangeStatus{{
				Time: metav1.NewMicroTime(now), Strategy: "batchidle", Group: "kubepods/plimsoll-batch", Knob: "cpu.idle", Value: "1",
				Outcome: v1alpha1.OutcomeApplied, Reason: "batch gives way to online work",
			}},
			Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionBatchProtected, Status: metav1.ConditionTrue, Reason: "Idle", Message: "cpu.idle is 1",
				LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
			}},
		},
	}
}

func asUnstructured(t *testing.T, u *v1alpha1.NodeUtilization) *unstructured.Unstructured {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(u)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: m}
}

// putUtilization creates the object if needed and writes its status. Its observed time is taken at its word: the
// scheduler compares clocks by what the agent writes, under the agent's name, and this is under the test's.
func (cp *controlPlane) putUtilization(t *testing.T, u *v1alpha1.NodeUtilization) {
	t.Helper()
	cp.putUtilizationAs(t, u, "")
}

func (cp *controlPlane) putUtilizationAs(t *testing.T, u *v1alpha1.NodeUtilization, manager string) {
	t.Helper()
	ctx := t.Context()
	current, err := cp.utilizations().Get(ctx, u.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		current, err = cp.utilizations().Create(ctx, asUnstructured(t, u), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		t.Cleanup(func() {
			_ = cp.utilizations().Delete(context.Background(), u.Name, metav1.DeleteOptions{})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	current.Object["status"] = asUnstructured(t, u).Object["status"]
	if _, err = cp.utilizations().UpdateStatus(ctx, current, metav1.UpdateOptions{FieldManager: manager, FieldValidation: metav1.FieldValidationStrict}); err != nil {
		t.Fatal(err)
	}
}

func testGoodObject(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	want := goodUtilization("good")
	cp.putUtilization(t, want)
	got, err := cp.utilizations().Get(t.Context(), want.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var back v1alpha1.NodeUtilization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Status, back.Status); d != "" {
		t.Errorf("status (-written +read):\n%s", d)
	}
}

// at returns the value at a path of map keys and list indices.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

func testBadObjects(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	cp.putUtilization(t, goodUtilization("spoilt"))

	set := func(value any, path ...any) func(status map[string]any) {
		return func(status map[string]any) {
			last := len(path) - 1
			parent := at(status, path[:last]...).(map[string]any)
			if value == nil {
				delete(parent, path[last].(string))
			} else {
				parent[path[last].(string)] = value
			}
		}
	}
	repeat := func(n int, list string, change func(i int, item map[string]any)) func(status map[string]any) {
		return func(status map[string]any) {
			items := status[list].([]any)[:1]
			for i := 1; i < n; i++ {
				item := runtime.DeepCopyJSON(items[0].(map[string]any))
				change(i, item)
				items = append(items, item)
			}
			status[list] = items
		}
	}
	long := func(n int) string { return strings.Repeat("x", n) }

	tests := map[string]struct {
		spoil func(status map[string]any)
		want  []string
	}{
		"negative CPU of the node":               {set(int64(-1), "node", "milliCPU"), []string{"status.node.milliCPU", "greater than or equal to 0"}},
		"negative memory of the node":            {set(int64(-1), "node", "memoryBytes"), []string{"status.node.memoryBytes", "greater than or equal to 0"}},
		"absurd CPU of the node":                 {set(int64(100_000_001), "node", "milliCPU"), []string{"status.node.milliCPU", "less than or equal to 100000000"}},
		"CPU that is no whole number":            {set(1.5, "node", "milliCPU"), []string{"status.node.milliCPU", "integer"}},
		"CPU that is a quantity":                 {set("2100m", "node", "milliCPU"), []string{"status.node.milliCPU", "integer"}},
		"no CPU of the node":                     {set(nil, "node", "milliCPU"), []string{"status.node.milliCPU", "Required"}},
		"no node":                                {set(nil, "node"), []string{"status.node", "Required"}},
		"negative capacity":                      {set(int64(-1), "capacity", "milliCPU"), []string{"status.capacity.milliCPU"}},
		"no time":                                {set(nil, "observedTime"), []string{"status.observedTime", "Required"}},
		"a time that is none":                    {set("yesterday", "observedTime"), []string{"status.observedTime", "date-time"}},
		"an empty window":                        {set(int64(0), "windowMilliseconds"), []string{"status.windowMilliseconds", "greater than or equal to 1"}},
		"a window above an hour":                 {set(int64(3_600_001), "windowMilliseconds"), []string{"status.windowMilliseconds", "less than or equal to 3600000"}},
		"an unknown class":                       {set("Bronze", "classes", 0, "class"), []string{"status.classes[0].class", `"LatencySensitive"`}},
		"a class twice":                          {set("Batch", "classes", 0, "class"), []string{"status.classes[1]", "Duplicate"}},
		"negative CPU of a class":                {set(int64(-1), "classes", 1, "milliCPU"), []string{"status.classes[1].milliCPU"}},
		"negative pods of a class":               {set(int64(-1), "classes", 0, "pods"), []string{"status.classes[0].pods"}},
		"pressure above the whole":               {set(int64(1001), "classes", 0, "pressure", "cpuSomePermille"), []string{"status.classes[0].pressure.cpuSomePermille", "less than or equal to 1000"}},
		"negative pressure":                      {set(int64(-1), "pods", 0, "pressure", "ioSomePermille"), []string{"status.pods[0].pressure.ioSomePermille"}},
		"a pod twice":                            {set("0b20", "pods", 0, "uid"), []string{"status.pods[1]", "Duplicate"}},
		"a pod without UID":                      {set("", "pods", 0, "uid"), []string{"status.pods[0].uid", "at least 1"}},
		"a UID that is too long":                 {set(long(65), "pods", 0, "uid"), []string{"status.pods[0].uid", "64"}},
		"a pod's name that is too long":          {set(long(254), "pods", 0, "name"), []string{"status.pods[0].name", "253"}},
		"a namespace that is too long":           {set(long(64), "pods", 0, "namespace"), []string{"status.pods[0].namespace", "63"}},
		"an unknown class of a pod":              {set("batch", "pods", 0, "class"), []string{"status.pods[0].class", `"Batch"`}},
		"a pod measured for a negative time":     {set(int64(-1), "pods", 0, "measuredMilliseconds"), []string{"status.pods[0].measuredMilliseconds"}},
		"more pods than a node can have":         {repeat(1025, "pods", func(i int, p map[string]any) { p["uid"] = fmt.Sprint(i) }), []string{"status.pods", "1024"}},
		"an unknown cgroup mode":                 {set("v3", "cgroupMode"), []string{"status.cgroupMode", `"hybrid"`}},
		"a kernel release that is too long":      {set(long(129), "kernelVersion"), []string{"status.kernelVersion", "128"}},
		"an unknown mode of a strategy":          {set("Maybe", "strategies", 0, "mode"), []string{"status.strategies[0].mode", `"Enforce"`}},
		"a strategy twice":                       {repeat(2, "strategies", func(int, map[string]any) {}), []string{"status.strategies[1]", "Duplicate"}},
		"a strategy without a name":              {set("", "strategies", 0, "name"), []string{"status.strategies[0].name", "at least 1"}},
		"an unknown outcome":                     {set("Tried", "changes", 0, "outcome"), []string{"status.changes[0].outcome", `"Refused"`}},
		"a reason that is too long":              {set(long(513), "changes", 0, "reason"), []string{"status.changes[0].reason", "512"}},
		"a change without a group":               {set(nil, "changes", 0, "group"), []string{"status.changes[0].group", "Required"}},
		"more changes than are worth a read":     {repeat(17, "changes", func(int, map[string]any) {}), []string{"status.changes", "16"}},
		"a condition with an unknown status":     {set("Yes", "conditions", 0, "status"), []string{"status.conditions[0].status", `"Unknown"`}},
		"a field that does not exist":            {set(int64(1), "nodes"), []string{"unknown field", "status.nodes"}},
		"a nested field that does not exist":     {set(int64(1), "node", "cpu"), []string{"unknown field", "status.node.cpu"}},
		"a field of a pod that does not exist":   {set("n1", "pods", 0, "nodeName"), []string{"unknown field", "status.pods[0].nodeName"}},
		"a field of a class that does not exist": {set(int64(1), "classes", 0, "milliCpu"), []string{"unknown field", "status.classes[0].milliCpu"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			current, err := cp.utilizations().Get(t.Context(), "spoilt", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tt.spoil(current.Object["status"].(map[string]any))
			_, err = cp.utilizations().UpdateStatus(t.Context(), current, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
			if err == nil {
				t.Fatal("the API server accepts it")
			}
			if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
				t.Errorf("error is %v, want one about the object", apierrors.ReasonForError(err))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want it to contain %q", err, want)
				}
			}
		})
	}
}

// testTable reads what `kubectl get nodeutilizations -o wide` prints.
func testTable(t *testing.T, cp *controlPlane) {
	cp.installCRDs(t)
	cp.putUtilization(t, goodUtilization("full"))
	// An agent that has just started on a node without pods and PSI.
	bare := goodUtilization("bare")
	bare.Status = v1alpha1.NodeUtilizationStatus{
		ObservedTime: bare.Status.ObservedTime, WindowMilliseconds: 1,
		Capacity: v1alpha1.Resources{MilliCPU: 2000}, Node: v1alpha1.Resources{MilliCPU: 7},
	}
	cp.putUtilization(t, bare)

	for name, want := range map[string]map[string]any{
		"full": {"Name": "full", "Capacity": 4000.0, "Used": 2100.0, "Online": 800.0, "Batch": 1200.0, "Stall": 102.0, "Protected": "True", "Cgroup": "v2"},
		"bare": {"Name": "bare", "Capacity": 2000.0, "Used": 7.0, "Online": nil, "Batch": nil, "Stall": nil, "Protected": nil, "Cgroup": nil},
	} {
		raw, err := cp.client.CoreV1().RESTClient().Get().
			AbsPath("/apis", v1alpha1.GroupName, v1alpha1.Version, "nodeutilizations", name).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(raw, &table); err != nil {
			t.Fatalf("decoding %s: %v", raw, err)
		}
		if len(table.Rows) != 1 {
			t.Fatalf("%d rows, want 1: %s", len(table.Rows), raw)
		}
		got := map[string]any{}
		for i, c := range table.ColumnDefinitions {
			got[c.Name] = table.Rows[0].Cells[i]
		}
		// The age of the measurement: "0s", "1s" and so on, whatever this machine takes.
		if _, err := time.ParseDuration(fmt.Sprint(got["Measured"])); err != nil {
			t.Errorf("%s: Measured is %q, want how long ago it was", name, got["Measured"])
		}
		delete(got, "Measured")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
