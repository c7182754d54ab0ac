// Command bounds prints, as the first thing it does, what its own control group allows it, one file a
// line, and ends.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	for _, file := range []string{
		// v2
		"cpu.weight", "cpu.max", "memory.max", "pids.max",
		// v1
		"cpu/cpu.shares", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "memory/memory.limit_in_bytes", "pids/pids.max",
	} {
		b, err := os.ReadFile("/sys/fs/cgroup/" + file)
		if err == nil {
			fmt.Printf("%s=%s\n", file, strings.TrimSpace(string(b)))
		}
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	fmt.Printf("groups: %s %v\n", strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", " "), err)
}
