package main

import (
	"slices"
	"strings"
)

// Where things are in the guest.
const (
	jobPath     = "/job.json"
	programPath = "/program"
	coverPath   = "/cover.out"
	coverDir    = "/cover"
	// scratchDir is the guest's TMPDIR, a file system of its own. It is not /tmp: the working directory,
	// which is the host's, may be below that and would be hidden.
	scratchDir = "/scratch"
)

// The virtio serial ports over which the guest answers.
const (
	portOutput = "output"
	portResult = "result"
	portCover  = "cover"
)

// job is what the host tells the guest to do.
type job struct {
	// Dir is the working directory, the same on both sides, so that file names in messages can be followed.
	Dir     string   `json:"dir"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Modules []string `json:"modules"`
	// Systemd has systemd as the machine's first process, and the program as a service of it.
	Systemd bool `json:"systemd"`
	// Network has the machine reach the host.
	Network bool `json:"network"`
}

// newJob makes a job of a test binary's arguments and environment. Arguments that name files of the
// host are led elsewhere; coverProfile is where the host wants the profile, or empty.
func newJob(dir string, args, env []string) (j job, coverProfile string) {
	j.Dir = dir
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch strings.TrimPrefix(name, "-") {
		case "-test.testlogfile", "test.testlogfile": // what a test read, for go test's cache: not files of the host
			continue
		case "-test.coverprofile", "test.coverprofile":
			coverProfile = value
			a = name + "=" + coverPath
		case "-test.gocoverdir", "test.gocoverdir":
			a = name + "=" + coverDir
		}
		j.Args = append(j.Args, a)
	}
	j.Env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return !strings.HasPrefix(e, "PLIMSOLL_") && !strings.HasPrefix(e, "GODEBUG=")
	})
	return j, coverProfile
}
