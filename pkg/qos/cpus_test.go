package qos

import (
	"slices"
	"testing"
	"testing/quick"
)

func TestCPUsAreReadAndWrittenAsTheKernelDoes(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		cpus, err := ParseCPUs(in)
		if got := FormatCPUs(cpus); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", in, got, err, want)
		}
	}
	f("0", "0")
	f("0-3,8", "0-3,8")
	f("8,1,0", "0-1,8")
	f("2-3,3-5", "2-5")
	f("8191", "8191")
	for _, bad := range []string{"", "a", "3-1", "-1", "0-8192", "0,,1", "0-4294967295"} {
		if cpus, err := ParseCPUs(bad); err == nil {
			t.Errorf("%q is %v, want an error", bad, cpus)
		}
	}
	same := func(picks []uint8) bool {
		var want []int
		for _, p := range picks {
			want = append(want, int(p))
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if len(want) == 0 {
			return true
		}
		got, err := ParseCPUs(FormatCPUs(want))
		return err == nil && slices.Equal(got, want)
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}
