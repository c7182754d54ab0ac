// Command work prints, as the first thing it does, what its own control group allows it and whether the branch
// that its group is in is idle, one file a line. Then it waits for its end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	for _, file := range []string{
		"/sys/fs/cgroup/cpu.weight", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max",
		"/host/sys/fs/cgroup/kubepods.slice/kubepods-plimsollbatch.slice/cpu.idle",
	} {
		b, err := os.ReadFile(file)
		fmt.Printf("%s=%s %v\n", file, strings.TrimSpace(string(b)), err)
	}
	fmt.Println("that is all")
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
}
