package v1alpha1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBatchResourcesAreReadByContainer(t *testing.T) {
	got, err := ParseBatchResources(`{"work":{"milliCPU":1500,"memoryBytes":1073741824,"limitMilliCPU":3000},"log":{"milliCPU":0,"memoryBytes":1,"limitMilliCPU":1}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]BatchResources{
		"work": {MilliCPU: 1500, MemoryBytes: 1 << 30, LimitMilliCPU: 3000},
		"log":  {MilliCPU: 0, MemoryBytes: 1, LimitMilliCPU: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("amounts (-want +got):\n%s", d)
	}
}

func TestBatchResourcesThatBoundNothingAreRefused(t *testing.T) {
	for annotation, want := range map[string]string{
		``:                                       "decoding plimsoll.dev/batch-resources",
		`{"a":1`:                                 "decoding plimsoll.dev/batch-resources",
		`{"a":{"milliCPU":1,"memoryBytes":1}}`:   "limitMilliCPU 0",
		`{"a":{"milliCPU":1,"limitMilliCPU":1}}`: "memoryBytes 0",
		`{"a":{"milliCPU":-1,"memoryBytes":1,"limitMilliCPU":1}}`:             "milliCPU -1",
		`{"a":{"milliCPU":1,"memoryBytes":-5,"limitMilliCPU":1}}`:             "container a",
		`{"a":{"milliCPU":1,"memoryBytes":1,"limitMilliCPU":"9999999999 m"}}`: "decoding",
	} {
		if _, err := ParseBatchResources(annotation); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", annotation, err, want)
		}
	}
}
