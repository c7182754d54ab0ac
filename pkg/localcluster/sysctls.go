package localcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// changedSysctls are what the kubelet and the ptp plugin write, with no way to tell them not to.
func changedSysctls() []string {
	return []string{
		"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
		"net/ipv4/ip_forward", "vm/overcommit_memory", "vm/panic_on_oom",
	}
}

// readSysctls takes their present values. A second instance would record what the first one's kubelet
// wrote; so it takes over what that one recorded.
func readSysctls(procRoot string, others []*Instance) (map[string]string, error) {
	for _, o := range others {
		if len(o.Sysctls) > 0 {
			return o.Sysctls, nil
		}
	}
	values := map[string]string{}
	for _, s := range changedSysctls() {
		b, err := os.ReadFile(filepath.Join(procRoot, "sys", s))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading sysctl %s: %w", s, err)
		}
		values[s] = strings.TrimSpace(string(b))
	}
	return values, nil
}

// restoreSysctls writes back what differs.
func restoreSysctls(procRoot string, values map[string]string) error {
	var errs []error
	for s, want := range values {
		path := filepath.Join(procRoot, "sys", s)
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == want {
			continue
		}
		if err := writeKernelFile(path, want); err != nil {
			errs = append(errs, fmt.Errorf("restoring a sysctl: %w", err))
		}
	}
	return errors.Join(errs...)
}
