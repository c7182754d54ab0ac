package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

func spec(t testing.TB, knob qos.Knob) KnobSpec {
	t.Helper()
	k, err := Knob(knob)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// v1Quota is what the files of a quota hold on v1.
func v1Quota(quota, period string) Raw { return Raw{quota, period} }

func TestKnobsAreWrittenAsTheKernelReadsThem(t *testing.T) {
	throttles := func(i int, text string) FileText {
		return FileText{[]string{"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"}[i], text}
	}
	quotaUS, periodUS := "cpu.cfs_quota_us", "cpu.cfs_period_us"
	tests := map[string]struct {
		knob  qos.Knob
		mode  Mode
		value string
		now   Raw
		want  []FileText
	}{
		"weight, v2":      {qos.CPUWeight, V2, "100", nil, []FileText{{"cpu.weight", "100"}}},
		"weight, v1":      {qos.CPUWeight, V1, "100", nil, []FileText{{"cpu.shares", "1024"}}},
		"weight 1, v1":    {qos.CPUWeight, Hybrid, "1", nil, []FileText{{"cpu.shares", "2"}}},
		"idle":            {qos.CPUIdle, V1, "1", nil, []FileText{{"cpu.idle", "1"}}},
		"quota, v2":       {qos.CPUQuota, V2, "50000", nil, []FileText{{"cpu.max", "50000 100000"}}},
		"no quota, v2":    {qos.CPUQuota, V2, "max", nil, []FileText{{"cpu.max", "max 100000"}}},
		"own period, v2":  {qos.CPUQuota, V2, "5000/10000", nil, []FileText{{"cpu.max", "5000 10000"}}},
		"quota, v1":       {qos.CPUQuota, V1, "50000", v1Quota("-1", "100000"), []FileText{{quotaUS, "50000"}}},
		"no quota, v1":    {qos.CPUQuota, V1, "max", v1Quota("5000", "100000"), []FileText{{quotaUS, "-1"}}},
		"longer period":   {qos.CPUQuota, V1, "50000", v1Quota("5000", "10000"), []FileText{{periodUS, "100000"}, {quotaUS, "50000"}}},
		"shorter period":  {qos.CPUQuota, V1, "5000/10000", v1Quota("60000", "100000"), []FileText{{quotaUS, "5000"}, {periodUS, "10000"}}},
		"burst":           {qos.CPUBurst, V2, "20000", nil, []FileText{{"cpu.max.burst", "20000"}}},
		"CPUs":            {qos.CPUSetCPUs, V1, "3,1,2", nil, []FileText{{"cpuset.cpus", "1-3"}}},
		"inherited CPUs":  {qos.CPUSetCPUs, V2, "inherit", nil, []FileText{{"cpuset.cpus", "\n"}}},
		"whole pages":     {qos.MemoryHigh, V2, "1000000", nil, []FileText{{"memory.high", "999424"}}}, // 244 x 4096
		"no limit, v2":    {qos.MemoryMax, V2, "max", nil, []FileText{{"memory.max", "max"}}},
		"no limit, v1":    {qos.MemoryMax, V1, "max", nil, []FileText{{"memory.limit_in_bytes", "-1"}}},
		"reclaim":         {qos.MemoryReclaim, V2, "8192", nil, []FileText{{"memory.reclaim", "8192"}}},
		"disk weight, v2": {qos.IOWeight, V2, "50", nil, []FileText{{"io.weight", "default 50"}}},
		"disk weight, v1": {qos.IOWeight, V1, "50", nil, []FileText{{"blkio.bfq.weight", "50"}}},
		"tasks":           {qos.PIDsMax, V1, "100", nil, []FileText{{"pids.max", "100"}}},
		"disk limits, v2, and those of another disk go": {
			qos.IOMax, V2, "8:0 wbps=1048576", Raw{"8:16 rbps=5 wbps=max riops=max wiops=max\n8:0 rbps=7 wbps=max riops=max wiops=max"},
			[]FileText{{"io.max", "8:0 rbps=max wbps=1048576 riops=max wiops=max"}, {"io.max", "8:16 rbps=max wbps=max riops=max wiops=max"}},
		},
		"disk limits, v1, and those of another disk go": {
			qos.IOMax, V1, "8:0 wbps=1048576 riops=9", Raw{"8:16 5\n8:0 7", "", "", ""},
			[]FileText{throttles(0, "8:0 0"), throttles(1, "8:0 1048576"), throttles(2, "8:0 9"), throttles(0, "8:16 0")},
		},
		"disk limits that are not there need not go": {qos.IOMax, V1, "max", Raw{"", "", "", ""}, nil},
		"latency":          {qos.IOLatency, V2, "8:0 target=5000", Raw{""}, []FileText{{"io.latency", "8:0 target=5000"}}},
		"latency, no more": {qos.IOLatency, V2, "none", Raw{"8:0 target=5000"}, []FileText{{"io.latency", "8:0 target=max"}}},
		"cache ways":       {qos.ResctrlSchemata, V2, "MB:0=50 L3:1=F;0=0f", nil, []FileText{{"schemata", "L3:0=f;1=f\nMB:0=50\n"}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := spec(t, tc.knob).Encode(tc.mode, tc.value, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKnobsAreReadInTheirNeutralUnit(t *testing.T) {
	f := func(knob qos.Knob, mode Mode, want string, raw ...string) {
		t.Helper()
		got, err := spec(t, knob).Decode(mode, raw)
		if err != nil || got != want {
			t.Errorf("%s on %s: %q is %q, %v, want %q", knob, mode, raw, got, err, want)
		}
	}
	f(qos.CPUWeight, V2, "79", "79")
	f(qos.CPUWeight, V2, "1", "0") // what the kernel shows while cpu.idle is 1
	f(qos.CPUWeight, V1, "100", "1024")
	f(qos.CPUWeight, V1, "59", "512")
	f(qos.CPUWeight, V1, "10000", "262144")
	f(qos.CPUQuota, V2, "max", "max 100000")
	f(qos.CPUQuota, V2, "150000", "150000 100000")
	f(qos.CPUQuota, V2, "max/50000", "max 50000")
	f(qos.CPUQuota, V1, "max", "-1", "100000")
	f(qos.CPUQuota, V1, "5000/10000", "5000", "10000")
	f(qos.CPUSetCPUs, V2, "inherit", "")
	f(qos.CPUSetCPUs, V1, "none", "")
	f(qos.CPUSetMems, Hybrid, "0-1", "0-1")
	f(qos.MemoryMax, V1, "max", "9223372036854771712")
	f(qos.MemoryMax, V2, "4096", "4096")
	f(qos.IOWeight, V2, "100", "default 100\n8:0 200")
	f(qos.IOWeight, V1, "100", "100")
	f(qos.IOMax, V2, "max", "")
	f(qos.IOMax, V2, "8:0 rbps=9 wbps=max riops=max wiops=2; 8:16 rbps=max wbps=3 riops=max wiops=max", "8:16 rbps=max wbps=3 riops=max wiops=max\n8:0 rbps=9 wbps=max riops=max wiops=2")
	f(qos.IOMax, V1, "8:0 rbps=1 wbps=max riops=max wiops=2; 8:16 rbps=max wbps=3 riops=max wiops=max", "8:0 1", "8:16 3", "", "8:0 2")
	f(qos.IOLatency, V2, "none", "")
	f(qos.PIDsMax, V1, "max", "max")
	f(qos.ResctrlSchemata, V2, "L3:0=fffff;1=fffff MB:0=100;1=100", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff")
}

func TestAValueOutsideItsRangeNamesKnobValueAndRange(t *testing.T) {
	f := func(knob qos.Knob, mode Mode, value string, wants ...string) {
		t.Helper()
		_, err := spec(t, knob).Encode(mode, value, make(Raw, len(spec(t, knob).In(mode).Files)))
		wantError(t, err, append(wants, string(knob))...)
	}
	f(qos.CPUWeight, V2, "0", `"0"`, "1 to 10000")
	f(qos.CPUWeight, V1, "10001", `"10001"`, "1 to 10000")
	f(qos.CPUWeight, V2, "+5", "1 to 10000")
	f(qos.CPUIdle, V2, "2", "0 to 1")
	f(qos.CPUQuota, V2, "999", "1000 to 1000000000")
	f(qos.CPUQuota, V2, "5000/999", "a period of 1000 to 1000000")
	f(qos.CPUQuota, V2, "", `""`, "1000 to 1000000000")
	f(qos.CPUQuota, V1, "-1", `"max"`)
	f(qos.CPUBurst, V2, "max", "0 to 1000000000")
	f(qos.CPUSetCPUs, V2, "3-1", "list like 0-3,8")
	f(qos.CPUSetCPUs, V2, "0-4294967295", "up to 8191")
	f(qos.CPUSetCPUs, V2, "", "list like 0-3,8")
	f(qos.CPUSetCPUs, V1, "inherit", "name the members")
	f(qos.CPUSetCPUs, V2, "none", "list like")
	f(qos.MemoryMax, V2, "100000000000000000000", `or "max"`)
	f(qos.MemoryMax, V2, "4096 ", `or "max"`)
	f(qos.MemoryReclaim, V2, "max", "4096 to")
	f(qos.IOWeight, V1, "1001", "1 to 1000")
	f(qos.IOMax, V2, "8:0 rbps=0", "MAJOR:MINOR", "rbps=")
	f(qos.IOMax, V2, "8:0 rbps=1", "rbps of disk 8:0", "2 or more") // EINVAL, found on a real kernel
	f(qos.IOMax, V2, "sda rbps=1", "MAJOR:MINOR")
	f(qos.IOMax, V2, "8:0 rbps=1; 8:0 rbps=2", "MAJOR:MINOR")
	f(qos.IOLatency, V2, "8:0 rbps=1", "target=")
	f(qos.PIDsMax, V2, "4194305", "0 to 4194304")
	f(qos.ResctrlSchemata, V2, "L3:0=zz", "L3:0=ff;1=f")
	f(qos.MemoryLow, V2, strings.Repeat("9", 5000), "...") // an error stays short
}

func TestTextThatTheKernelDoesNotWriteIsAnErrorThatQuotesIt(t *testing.T) {
	for _, k := range Knobs() {
		for _, mode := range []Mode{V1, V2} {
			files := k.In(mode).Files
			if len(files) == 0 || k.Action {
				continue
			}
			for _, text := range []string{"garbage", "-7", "\xff\xfe", "99999999999999999999", "1 2 3 4 5", "\x00", "8:0", "0-"} {
				raw := make(Raw, len(files))
				for i := range raw {
					raw[i] = text
				}
				v, err := k.Decode(mode, raw)
				if err == nil {
					t.Errorf("%s on %s: %q is taken for %q", k.Knob, mode, text, v)
					continue
				}
				wantError(t, err, string(k.Knob), files[0], strings.Trim(fmt.Sprintf("%q", text), `"`))
			}
		}
	}
}

func TestKnobsThatAHostDoesNotHaveAreUnsupportedThere(t *testing.T) {
	for knob, modes := range map[qos.Knob][]Mode{
		qos.MemoryMin: {V1, Hybrid}, qos.MemoryLow: {V1}, qos.MemoryHigh: {V1}, qos.MemoryReclaim: {V1}, qos.IOLatency: {V1},
		qos.ResctrlSchemata: {V2}, // which is not mounted
	} {
		for _, mode := range modes {
			h := Host{FSRoot: t.TempDir(), Mode: mode, Kubepods: "/kubepods"}
			got, err := h.ReadSetting("/g", knob)
			if err != nil || got != (qos.Setting{Unsupported: true}) {
				t.Errorf("%s on %s: %+v, %v, want Unsupported", knob, mode, got, err)
			}
			if _, err := h.KnobFile("/g", knob); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s on %s: %v, want ErrUnsupported", knob, mode, err)
			}
		}
	}
}

func TestShiftTellsWideningFromTightening(t *testing.T) {
	f := func(knob qos.Knob, from, to string, want Shift) {
		t.Helper()
		back := map[Shift]Shift{Wider: Tighter, Tighter: Wider, Mixed: Mixed, Unchanged: Unchanged}
		k := spec(t, knob)
		if got := k.Shift(from, to); got != want {
			t.Errorf("%s from %q to %q: %s, want %s", knob, from, to, got, want)
		}
		if got := k.Shift(to, from); got != back[want] {
			t.Errorf("%s from %q to %q: %s, want %s", knob, to, from, got, back[want])
		}
	}
	f(qos.CPUWeight, "100", "200", Wider)
	f(qos.CPUIdle, "0", "1", Tighter)
	f(qos.CPUQuota, "max", "50000", Tighter)
	f(qos.CPUQuota, "50000", "60000/50000", Wider)     // 0.5 of a core, 1.2 cores
	f(qos.CPUQuota, "50000", "5000/10000", Unchanged)  // both half a core
	f(qos.CPUQuota, "max", "max/10000", Unchanged)     // no limit is no limit
	f(qos.CPUQuota, "100000", "90000/100000", Tighter) // the default period, named
	f(qos.CPUBurst, "0", "1000", Wider)
	f(qos.CPUSetCPUs, "0-1", "0-3", Wider)
	f(qos.CPUSetCPUs, "0-1", "2-3", Mixed)
	f(qos.CPUSetCPUs, "0-1", "1,0", Unchanged)
	f(qos.CPUSetCPUs, "inherit", "0-3", Tighter)
	f(qos.MemoryMin, "0", "4096", Wider) // what it has for certain
	f(qos.MemoryMax, "max", "4096", Tighter)
	f(qos.IOWeight, "100", "50", Tighter)
	f(qos.IOLatency, "none", "8:0 target=5000", Wider) // protection from the others
	f(qos.IOLatency, "8:0 target=5000", "8:0 target=9000", Tighter)
	f(qos.IOMax, "max", "8:0 rbps=5", Tighter)
	f(qos.IOMax, "8:0 rbps=5", "8:16 rbps=5", Mixed)
	f(qos.PIDsMax, "100", "max", Wider)
	f(qos.ResctrlSchemata, "L3:0=f", "L3:0=3", Tighter)
	f(qos.ResctrlSchemata, "L3:0=f MB:0=10", "L3:0=f0 MB:0=10", Mixed)
	f(qos.CoreCookie, "none", "own", Tighter)
	// A mistake is never a tightening.
	if k := spec(t, qos.CPUQuota); !k.Widens("garbage", "50000") || !k.Widens("50000", "garbage") {
		t.Error("a quota that is not understood counts as a tightening")
	}
	if k := spec(t, qos.CPUSetCPUs); !k.Widens("0-1", "1-2") {
		t.Error("moving to other CPUs is not counted as widening")
	}
}

func TestEachWeightSurvivesTheWayThroughShares(t *testing.T) {
	for w := int64(1); w <= mostWeight; w++ {
		if got := weightOfShares(sharesOfWeight(w)); got != w {
			t.Fatalf("weight %d is written as %d shares, which read as %d", w, sharesOfWeight(w), got)
		}
	}
	if got := []int64{weightOfShares(2), weightOfShares(512), weightOfShares(1024), weightOfShares(262144)}; !cmp.Equal(got, []int64{1, 59, 100, 10000}) {
		t.Errorf("weights of 2, 512, 1024 and 262144 shares are %v, want 1, 59, 100 and 10000", got)
	}
}

// On the way from any quota to any other, no state is wider than both ends.
func TestAQuotasTwoFilesAreWrittenInAnOrderThatNeverWidens(t *testing.T) {
	k := spec(t, qos.CPUQuota)
	holds := func(fromQuota, fromPeriod, toQuota, toPeriod uint32) bool {
		bound := func(v, least, most uint32) int64 { return int64(least + v%(most-least+1)) }
		from := quota{bound(fromQuota, leastQuotaMicros, 4_000_000), bound(fromPeriod, leastPeriodMicros, mostPeriodMicros)}
		to := quota{bound(toQuota, leastQuotaMicros, 4_000_000), bound(toPeriod, leastPeriodMicros, mostPeriodMicros)}
		if fromQuota%7 == 0 {
			from.quotaMicros = -1
		}
		if toQuota%7 == 0 {
			to.quotaMicros = -1
		}
		raw := Raw{fmt.Sprint(from.quotaMicros), fmt.Sprint(from.periodMicros)}
		writes, err := k.Encode(V1, to.String(), raw)
		if err != nil {
			t.Error(err)
			return false
		}
		for _, w := range writes {
			raw[map[string]int{"cpu.cfs_quota_us": 0, "cpu.cfs_period_us": 1}[w.File]] = w.Text
			now, err := k.Decode(V1, raw)
			if err != nil || k.Widens(from.String(), now) && k.Widens(to.String(), now) {
				t.Errorf("from %s to %s by way of %s, %v", from, to, now, err)
				return false
			}
		}
		got, err := k.Decode(V1, raw)
		return err == nil && got == to.String()
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestRestoringGivesBackExactlyWhatWas(t *testing.T) {
	f := func(knob qos.Knob, mode Mode, original, now Raw, want ...FileText) {
		t.Helper()
		got, err := spec(t, knob).Restore(mode, original, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: writes that restore %q (-want +got):\n%s", knob, original, diff)
		}
	}
	f(qos.CPUWeight, V1, Raw{"513"}, Raw{"2"}, FileText{"cpu.shares", "513"}) // the weight 60 would be 512 or 516
	f(qos.CPUQuota, V1, Raw{"5000", "10000"}, Raw{"60000", "100000"}, FileText{"cpu.cfs_quota_us", "5000"}, FileText{"cpu.cfs_period_us", "10000"})
	f(qos.CPUSetCPUs, V2, Raw{""}, Raw{"0-1"}, FileText{"cpuset.cpus", "\n"})
	f(qos.IOMax, V2, Raw{""}, Raw{"8:0 rbps=5 wbps=max riops=max wiops=max"}, FileText{"io.max", "8:0 rbps=max wbps=max riops=max wiops=max"})
	f(qos.IOWeight, V2, Raw{"default 100\n8:0 200"}, Raw{"default 50\n8:0 200"}, FileText{"io.weight", "default 100"})
	f(qos.MemoryMax, V1, Raw{"9223372036854771712"}, Raw{"4096"}, FileText{"memory.limit_in_bytes", "9223372036854771712"})
	if _, err := spec(t, qos.MemoryReclaim).Restore(V2, Raw{""}, Raw{""}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("restoring an action: %v, want ErrUnsupported", err)
	}
}

// A release gives no thread a cookie, and takes none away that may have been there before.
func TestCookiesAreRestoredAsFarAsTheyAreKnown(t *testing.T) {
	k := spec(t, qos.CoreCookie)
	for original, want := range map[string]string{
		qos.CookieNone: qos.CookieNone, qos.CookieOwn: qos.CookieOwn, qos.CookieSome: qos.CookieOwn, qos.CookieNoThreads: qos.CookieOwn,
	} {
		for mode, file := range map[Mode]string{V1: "tasks", Hybrid: "tasks", V2: "cgroup.threads"} {
			got, err := k.Restore(mode, Raw{original}, Raw{qos.CookieOwn})
			if diff := cmp.Diff([]FileText{{File: file, Text: want}}, got); err != nil || diff != "" {
				t.Errorf("restoring %q on %s: %v (-want +got):\n%s", original, mode, err, diff)
			}
		}
	}
	for _, value := range []string{qos.CookieSome, qos.CookieNoThreads, qos.CookieOthers, "1234", ""} {
		if _, err := k.Canonical(V2, value); err == nil || !strings.Contains(err.Error(), `"none" or "own"`) {
			t.Errorf("asking for %q: error %v, want one that says what is allowed", value, err)
		}
	}
}
