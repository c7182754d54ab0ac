package cgroup

import (
	"strconv"

	"github.com/plimsoll/plimsoll/pkg/qos"
)

// Who else writes what. Other writers of the batch branch itself are named where there are any.
const (
	kubeletAndRuntime = "kubelet (tiers each minute, pods at creation), container runtime (containers, at creation and update); nobody on the batch branch"
	nobody            = "nobody on the batch branch"
)

// Knobs is every knob that a strategy may claim.
func Knobs() []KnobSpec {
	knobs := append(cpuKnobs(), policyKnobs()...)
	knobs = append(knobs, memoryKnobs()...)
	knobs = append(knobs, ioKnobs()...)
	return append(knobs, otherKnobs()...)
}

// policyKnobs are about which threads run before others at all.
func policyKnobs() []KnobSpec {
	return []KnobSpec{
		{
			Knob: qos.CPURealtimeRuntime, Summary: "how much of each second real-time tasks of the group may run on each CPU",
			Unit: "microseconds", Range: "0 to 1000000",
			V1:            KnobFiles{Controller: "cpu", Files: []string{"cpu.rt_runtime_us"}, Format: "MICROSECONDS", Since: "2.6.25, with CONFIG_RT_GROUP_SCHED"},
			Rules:         "The budgets of all children together may not be above their parent's (EINVAL), nor the root's above 950000. Cannot go to 0 while a task of the group is real-time (EBUSY).",
			AlsoWrittenBy: "container runtime, where a container's runtime spec asks for it", Undo: "write 0, children first",
			codec: numberCodec{v1File: "cpu.rt_runtime_us", max: 1_000_000}.codec(),
		},
		{
			Knob: qos.CPUPolicy, Summary: "run the group's threads before all that are scheduled fairly",
			Unit: "scheduling policy", Range: `"other", or "rr 1" to "rr 99"`,
			V2:            KnobFiles{Files: []string{threadsFileV2}, Format: "no text: sched_setattr(2) on each thread that the file lists", Since: "4.14"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{threadsFileV1}, Format: "no text: sched_setattr(2) on each thread that the file lists", Since: "3.14"},
			Rules:         "Needs CAP_SYS_NICE and the host's PID namespace. Where the kernel counts real-time tasks by group, the group needs cpu.rt.runtime first (EPERM). A thread gives its policy to those that it starts.",
			AlsoWrittenBy: "the workload itself (sched_setscheduler(2), chrt)", Undo: "chrt --all-tasks --other --pid 0 PID",
			codec: policyCodec(),
		},
	}
}

func cpuKnobs() []KnobSpec {
	return []KnobSpec{
		{
			Knob: qos.CPUWeight, Summary: "share of contended CPU against the sibling groups",
			Unit: "weight", Range: "1 to 10000, default 100",
			V2:            KnobFiles{Files: []string{"cpu.weight"}, Format: "WEIGHT", Since: "4.15"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{"cpu.shares"}, Format: "SHARES, 2 to 262144: the most that container runtimes give that weight for", Since: "2.6.24"},
			Rules:         "Refused (EINVAL) while cpu.idle is 1. v1 has more values than v2: several shares read as one weight.",
			AlsoWrittenBy: kubeletAndRuntime, Undo: "write 100 (v1: 1024), or what the journal says",
			codec: numberCodec{
				v2File: "cpu.weight", v1File: "cpu.shares", min: 1, max: mostWeight,
				toV1: func(weight string) string { return strconv.FormatInt(sharesOfWeight(numberOf(weight)), 10) },
				fromV1: func(shares string) (string, error) {
					v, err := parseNumber(shares)
					return strconv.FormatInt(weightOfShares(v), 10), err
				},
				// While cpu.idle is 1 the kernel shows the weight 0 here, which cannot be written.
				fromV2: func(weight string) (string, error) {
					if weight == "0" {
						return "1", nil
					}
					return weight, nil
				},
			}.codec(),
		},
		{
			Knob: qos.CPUIdle, Summary: "run only when no sibling group wants the CPU",
			Unit: "flag", Range: "0 or 1",
			V2:            KnobFiles{Files: []string{"cpu.idle"}, Format: "0 or 1", Since: "5.15"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{"cpu.idle"}, Format: "0 or 1", Since: "5.15"},
			Rules:         "Counts only among siblings. While it is 1 the weight cannot be written. Going back to 0 sets the weight to its default.",
			AlsoWrittenBy: nobody, Undo: "write 0",
			codec: numberCodec{v2File: "cpu.idle", v1File: "cpu.idle", max: 1, lessIsWider: true}.codec(),
		},
		{
			Knob: qos.CPUQuota, Summary: "most CPU time in a period",
			Unit:          "microseconds of CPU time in each 100 ms",
			Range:         `1000 to 1000000000, or "max"; QUOTA/PERIOD where the period is not 100000 microseconds`,
			V2:            KnobFiles{Files: []string{"cpu.max"}, Format: "QUOTA PERIOD, or max PERIOD", Since: "4.15"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{"cpu.cfs_quota_us", "cpu.cfs_period_us"}, Format: "QUOTA, or -1; PERIOD", Since: "3.2"},
			Rules:         "Not below cpu.burst (EINVAL): lower the burst first. On v1 not above the share of the group above it (EINVAL); v2 takes the smaller of the two. The default period is always written.",
			AlsoWrittenBy: kubeletAndRuntime, Undo: `write "max" (v1: -1)`,
			codec: quotaCodec(),
		},
		{
			Knob: qos.CPUBurst, Summary: "unused quota that may be saved up and used above the quota",
			Unit: "microseconds of CPU time", Range: "0 to 1000000000",
			V2:            KnobFiles{Files: []string{"cpu.max.burst"}, Format: "BURST", Since: "5.14"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{"cpu.cfs_burst_us"}, Format: "BURST", Since: "5.14"},
			Rules:         "Not above the quota (EINVAL): raise the quota first. Any value is taken where the quota is max.",
			AlsoWrittenBy: "container runtime, where a pod's runtime spec asks for it; nobody on the batch branch", Undo: "write 0",
			codec: numberCodec{v2File: "cpu.max.burst", v1File: "cpu.cfs_burst_us", max: mostQuotaMicros}.codec(),
		},
		{
			Knob: qos.CPUSetCPUs, Summary: "the CPUs that tasks may run on",
			Unit: "CPU numbers", Range: `a list like 0-3,8; "inherit" on v2`,
			V2:            KnobFiles{Files: []string{"cpuset.cpus"}, Format: "LIST, or empty for what the group above has", Since: "5.0"},
			V1:            KnobFiles{Controller: "cpuset", Files: []string{"cpuset.cpus"}, Format: "LIST; empty only where there is no task", Since: "2.6.24"},
			Rules:         "On v1 within the group above (EACCES) and around the groups below (EBUSY); v2 takes what both have, or the parent's where that is nothing. A list cannot be emptied while there are tasks, on v2 also in groups below (ENOSPC).",
			AlsoWrittenBy: "kubelet's CPU manager and container runtime (containers); the kernel at CPU hotplug (v1)", Undo: "write an empty line on v2, the parent's list on v1",
			codec: setCodec("cpuset.cpus"),
		},
		{
			Knob: qos.CPUSetMems, Summary: "the NUMA nodes that memory comes from",
			Unit: "NUMA node numbers", Range: `a list like 0-1; "inherit" on v2`,
			V2:            KnobFiles{Files: []string{"cpuset.mems"}, Format: "LIST, or empty for what the group above has", Since: "5.0"},
			V1:            KnobFiles{Controller: "cpuset", Files: []string{"cpuset.mems"}, Format: "LIST; empty only where there is no task", Since: "2.6.24"},
			Rules:         "As cpuset.cpus. On v2, and on v1 with cpuset.memory_migrate, a change moves pages and may take long.",
			AlsoWrittenBy: "kubelet's memory manager and container runtime (containers)", Undo: "write an empty line on v2, the parent's list on v1",
			codec: setCodec("cpuset.mems"),
		},
	}
}

const bytesRange = `0 to 9223372036854771711 in whole pages, or "max"`

// memoryNumber is the codec of a number of bytes. The range ends where the kernel's own reader of numbers
// would silently wrap: it takes 100000000000000000000 for some other number.
func memoryNumber(v2File, v1File string) codec {
	return numberCodec{
		v2File: v2File, v1File: v1File, max: 1<<63 - 1, canBeMax: true, round: roundToPage,
		toV1: minusOneForMax, fromV1: fromV1Memory,
	}.codec()
}

func memoryKnobs() []KnobSpec {
	const memoryQoS = "kubelet with the feature MemoryQoS (tiers, pods, containers); nobody on the batch branch"
	v2 := func(file, since string) KnobFiles {
		return KnobFiles{Files: []string{file}, Format: "BYTES, or max", Since: since}
	}
	return []KnobSpec{
		{
			Knob: qos.MemoryMin, Summary: "memory that is never reclaimed from the group",
			Unit: "bytes", Range: bytesRange, V2: v2("memory.min", "4.18"),
			Rules:         "Counts only up to what the groups above have. More than the machine has leads to kills.",
			AlsoWrittenBy: memoryQoS, Undo: "write 0", codec: memoryNumber("memory.min", ""),
		},
		{
			Knob: qos.MemoryLow, Summary: "memory that is reclaimed only when nothing unprotected is left",
			Unit: "bytes", Range: bytesRange, V2: v2("memory.low", "4.5"),
			Rules:         "Counts only up to what the groups above have. v1 has nothing like it: memory.soft_limit_in_bytes does not hold at a limit of a group above.",
			AlsoWrittenBy: memoryQoS, Undo: "write 0", codec: memoryNumber("memory.low", ""),
		},
		{
			Knob: qos.MemoryHigh, Summary: "above it tasks are slowed and memory is reclaimed",
			Unit: "bytes", Range: bytesRange, V2: v2("memory.high", "4.5"),
			Rules:         "Below the group's use the write reclaims before it returns, which may take long.",
			AlsoWrittenBy: memoryQoS, Undo: `write "max"`, codec: memoryNumber("memory.high", ""),
		},
		{
			Knob: qos.MemoryMax, Summary: "at it memory is reclaimed, then tasks are killed",
			Unit: "bytes", Range: bytesRange, V2: v2("memory.max", "4.5"),
			V1:            KnobFiles{Controller: "memory", Files: []string{"memory.limit_in_bytes"}, Format: "BYTES, or -1", Since: "2.6.25"},
			Rules:         "Below the group's use: v2 reclaims, then kills; v1 reclaims, then refuses (EBUSY). May take long. On v1 not above memory.memsw.limit_in_bytes (EINVAL).",
			AlsoWrittenBy: kubeletAndRuntime, Undo: `write "max" (v1: -1)`, codec: memoryNumber("memory.max", "memory.limit_in_bytes"),
		},
		{
			Knob: qos.MemoryReclaim, Summary: "reclaim so much memory now", Action: true,
			Unit: "bytes", Range: "4096 to 1125899906842624 in whole pages",
			V2:            KnobFiles{Files: []string{"memory.reclaim"}, Format: "BYTES", Since: "5.19"},
			Rules:         "Blocks until it is done; EAGAIN where less was reclaimed than asked for.",
			AlsoWrittenBy: nobody, Undo: "nothing to undo: pages come back when they are used",
			codec: numberCodec{v2File: "memory.reclaim", min: 4096, max: mostLimit, round: roundToPage, lessIsWider: true}.codec(),
		},
	}
}

func ioKnobs() []KnobSpec {
	return []KnobSpec{
		{
			Knob: qos.IOWeight, Summary: "share of contended disks against the sibling groups",
			Unit: "weight", Range: "1 to 10000 (v1: 1000), default 100",
			V2:            KnobFiles{Files: []string{"io.weight"}, Format: "default WEIGHT; lines of single disks are left alone", Since: "5.4"},
			V1:            KnobFiles{Controller: "blkio", Files: []string{"blkio.bfq.weight"}, Format: "WEIGHT, the same number: both scales have 100 as the default", Since: "4.12"},
			Rules:         "Counts on disks with iocost switched on (v2) or the scheduler bfq (v1) only.",
			AlsoWrittenBy: "container runtime; nobody on the batch branch", Undo: "write default 100 (v1: 100)",
			codec: numberCodec{
				v2File: "io.weight", v1File: "blkio.bfq.weight", min: 1, max: 10000, v1Max: 1000,
				toV2: func(weight string) string { return "default " + weight }, fromV2: fromDefaultLine, fromV1: fromDefaultLine,
				lossless: true,
			}.codec(),
		},
		{
			Knob: qos.IOLatency, Summary: "latency below which the group is not slowed for others' sake",
			Unit: "microseconds of completion latency for each disk", Range: `"MAJOR:MINOR target=MICROSECONDS", more disks behind "; ", or "none"`,
			V2:            KnobFiles{Files: []string{"io.latency"}, Format: "MAJOR:MINOR target=MICROSECONDS, one line a write", Since: "4.19"},
			Rules:         "A smaller target is more protection. Counts only among siblings.",
			AlsoWrittenBy: nobody, Undo: "write MAJOR:MINOR target=max for each disk",
			codec: deviceCodec{v2File: "io.latency", keys: []string{"target"}, empty: noTarget, reset: unlimited, lessIsWider: true}.codec(),
		},
		{
			Knob: qos.IOMax, Summary: "most bytes and operations a second of each disk",
			Unit:  "bytes/s (rbps, wbps) and operations/s (riops, wiops) for each disk",
			Range: `"MAJOR:MINOR rbps=N wbps=N riops=N wiops=N", each N from 2 (v1: 1) or "max", more disks behind "; ", or "max"`,
			V2:    KnobFiles{Files: []string{"io.max"}, Format: "MAJOR:MINOR KEY=N..., one line a write", Since: "4.5"},
			V1: KnobFiles{
				Controller: "blkio",
				Files:      []string{"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"},
				Format:     "MAJOR:MINOR N, one line a write; N of 0 takes the limit away", Since: "2.6.37",
			},
			Rules:         "On v1 writes count only where they bypass the page cache. Disks that are not in the value lose their limits.",
			AlsoWrittenBy: "container runtime, where a pod's runtime spec asks for it; nobody on the batch branch", Undo: "write MAJOR:MINOR rbps=max wbps=max riops=max wiops=max for each disk (v1: MAJOR:MINOR 0)",
			codec: deviceCodec{
				v2File: "io.max", keys: []string{"rbps", "wbps", "riops", "wiops"}, empty: unlimited, reset: unlimited, v2Least: 2,
				v1Files: []string{"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"},
			}.codec(),
		},
	}
}

// mostPIDs is the kernel's PID_MAX_LIMIT.
const mostPIDs = 4 << 20

func otherKnobs() []KnobSpec {
	resctrl := KnobFiles{Files: []string{"schemata"}, Format: "RESOURCE:DOMAIN=SHARE;..., one line a resource, in the resctrl group " + resctrlGroup, Since: "4.10"}
	return []KnobSpec{
		{
			Knob: qos.PIDsMax, Summary: "most tasks",
			Unit: "tasks", Range: `0 to 4194304, or "max"`,
			V2:            KnobFiles{Files: []string{"pids.max"}, Format: "N, or max", Since: "4.5"},
			V1:            KnobFiles{Controller: "pids", Files: []string{"pids.max"}, Format: "N, or max", Since: "4.3"},
			Rules:         "Below what the group has nothing ends; new tasks are refused (EAGAIN).",
			AlsoWrittenBy: "kubelet (podPidsLimit), systemd (TasksMax); nobody on the batch branch", Undo: `write "max"`,
			codec: numberCodec{v2File: "pids.max", v1File: "pids.max", max: mostPIDs, canBeMax: true}.codec(),
		},
		{
			Knob: qos.ResctrlSchemata, Summary: "share of cache and memory bandwidth",
			Unit: "cache ways (hexadecimal mask), per cent or MB/s of bandwidth", Range: "RESOURCE:DOMAIN=SHARE;... for each resource, separated by a space; what is not named stays",
			V2: resctrl, V1: resctrl,
			Rules:         "Only the batch branch has a resctrl group. The number of groups is small (ENOSPC). Most CPUs want neighbouring ways (EINVAL).",
			AlsoWrittenBy: "container runtime with an RDT class, in groups of its own", Undo: "remove the resctrl group: its tasks go back to the default group",
			codec: schemataCodec(),
		},
		{
			Knob: qos.CoreCookie, Summary: "do not share a core's threads with tasks of other groups",
			Unit: "cookie", Range: `"none" or "own"`,
			V2:            KnobFiles{Files: []string{threadsFileV2}, Format: "no text: prctl(PR_SCHED_CORE) on each thread that the file lists, there and in groups below", Since: "5.14, with CONFIG_SCHED_CORE"},
			V1:            KnobFiles{Controller: "cpu", Files: []string{threadsFileV1}, Format: "no text: prctl(PR_SCHED_CORE) on each thread that the file lists, there and in groups below", Since: "5.14, with CONFIG_SCHED_CORE"},
			Rules:         "Needs CAP_SYS_PTRACE, the host's PID namespace, and CPUs of several threads a core (ENODEV). All groups that are given a cookie get the same one; threads that have one keep it. A thread gives its cookie to those that it starts.",
			AlsoWrittenBy: "container runtime (containerd's enable_core_scheduling), and the workload itself", Undo: "end the tasks, or share the cookie of a task that has none: coresched copy -s 1 -t tgid -d PID (util-linux 2.41)",
			codec: cookieCodec(),
		},
	}
}
