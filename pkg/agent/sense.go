package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
	"github.com/plimsoll/plimsoll/pkg/usage"
)

// pod is one pod of this node and the groups that its tasks are in.
type pod struct {
	UID  string
	Info podInfo
	// Key is the pod's own group; containers of a batch pod are in the batch branch instead.
	Key usage.GroupKey
	// sample is where the sample of that group is among all.
	sample          int
	BatchContainers []usage.GroupKey
	// Containers are the groups of its containers, where it asks for real-time priority or did.
	Containers []string
	// Bounds is what a batch pod's own group is to be held to, and Unplaced the groups in it, where no hook
	// places its containers.
	Bounds   *qos.Bounds
	Unplaced []unplaced
	// Reduced is what containers in the batch branch are to be held to that the hook could not bound at their
	// creation, by their group.
	Reduced map[string]*qos.Bounds
}

// reading is all that one tick saw.
type reading struct {
	Capacity cgroup.Capacity
	Sample   usage.Sample
	// Kubepods is the group above all pods, Branch the batch branch; its Path is empty where there is none.
	Kubepods, Branch usage.GroupKey
	Tiers            []string
	Pods             []pod
	// Throttled is the share of the time since the tick before in which its limit stopped a container, for
	// pods that ask to burst.
	Throttled map[string]usage.Reading
	// Strays are containers in the batch branch whose pod is not known.
	Strays   []usage.GroupKey
	Settings map[string]map[qos.Knob]qos.Setting
	// PodsTold is false while the API server has not told of all pods.
	PodsTold bool
	// CPUSets is nil where no strategy asks for it.
	CPUSets *qos.CPUSets
	// Skipped is how many groups vanished, or could not be read, while they were being read.
	Skipped int
}

// settingsOf is the settings of a group, to add to.
func (r *reading) settingsOf(group string) map[qos.Knob]qos.Setting {
	if r.Settings[group] == nil {
		r.Settings[group] = map[qos.Knob]qos.Setting{}
	}
	return r.Settings[group]
}

// sampleOf is the sample of a group, which is most likely at that place; nil where it was not read.
func (r *reading) sampleOf(key usage.GroupKey, at int) *usage.GroupSample {
	groups := r.Sample.Groups
	if at >= len(groups) || groups[at].Key != key {
		at = slices.IndexFunc(groups, func(g usage.GroupSample) bool { return g.Key == key })
	}
	if at < 0 {
		return nil
	}
	return &groups[at]
}

// podLookup finds pods by UID and by container. Any of its answers may be missing.
type podLookup interface {
	byUID(uid string) (podInfo, bool)
	podOfContainer(id string) (uid string, ok bool)
	// batchPod is what the limits of a batch pod's containers are made of.
	batchPod(uid string) (batchPod, bool)
	// changes is a number that is another one once something about some pod may have changed.
	changes() uint64
	// told says whether the API server has told of all pods of the node.
	told() bool
	// loans is what each pod has asked for of what the node lends, by UID.
	loans() map[string]v1alpha1.Resources
}

// sensor reads one host.
type sensor struct {
	host    cgroup.Host
	tracker *cgroup.Tracker
	reader  *cgroup.Reader
	node    *cgroup.NodeReader
	delays  *cgroup.RunDelays
	// knobs are those that some strategy claims, by the kind of group that it claims them on.
	knobs map[qos.Kind][]qos.Knob
	pods  podLookup
	// askedRealtime are the pods, by UID, that ask for real-time priority or did.
	askedRealtime map[string]bool
	bursts        bursts
	throttles     throttles
	cpuSets       cpuSets
	// hadRealtime are the groups of the pods that an agent before this one gave it.
	hadRealtime map[string]bool
	// cookied are the groups that Plimsoll gave core cookies.
	cookied func() map[string]bool
	// limits bound batch containers that nothing else bounds.
	limits limits
	// placing says whether the runtime hook places and bounds batch containers at their creation now.
	placing func() bool
	// reduced says whether a container was placed, but not bounded.
	reduced func(containerID string) bool
}

// scanEvery is after how many readings the groups are scanned whole: half a minute at the default tick.
const scanEvery = 30

func newSensor(host cgroup.Host, strategies []running, pods podLookup) *sensor {
	knobs := map[qos.Kind][]qos.Knob{}
	for _, kind := range []qos.Kind{qos.KindBatchBranch, qos.KindBatchContainer, qos.KindPod, qos.KindContainer, qos.KindUnplaced} {
		knobs[kind] = knobsOf(strategies, kind)
	}
	return &sensor{host: host, tracker: cgroup.NewTracker(host, scanEvery), reader: cgroup.NewReader(host), knobs: knobs, pods: pods,
		askedRealtime: map[string]bool{}, cookied: func() map[string]bool { return nil }, placing: func() bool { return true }, reduced: func(string) bool { return false }}
}

func (s *sensor) close() {
	s.tracker.Close()
	s.reader.Close()
	if s.node != nil {
		s.node.Close()
	}
	if s.delays != nil {
		s.delays.Close()
	}
}

// readNode reads the node's counters. Its files are opened anew after a failure.
func (s *sensor) readNode() (usage.NodeSample, cgroup.Capacity, error) {
	if s.node == nil {
		var err error
		if s.node, err = cgroup.NewNodeReader(s.host); err != nil {
			return usage.NodeSample{}, cgroup.Capacity{}, err
		}
	}
	sample, capacity, err := s.node.Read()
	if err != nil {
		s.node.Close()
		s.node = nil
	}
	return sample, capacity, err
}

// sense reads everything once. A pod whose groups vanish meanwhile is left out and counted; a node
// whose own counters cannot be read is an error.
func (s *sensor) sense(now time.Time) (reading, error) {
	groups, err := s.tracker.Groups()
	if err != nil {
		return reading{}, err
	}
	r := reading{Sample: usage.Sample{At: now}, Tiers: groups.Tiers, PodsTold: s.pods.told(), Settings: map[string]map[qos.Knob]qos.Setting{}}
	if r.Sample.Node, r.Capacity, err = s.readNode(); err != nil {
		return reading{}, err
	}
	keep := map[string]bool{}
	// read adds a group to the sample.
	read := func(group string) (usage.GroupKey, error) {
		g, err := s.reader.Read(group)
		if err != nil {
			r.Skipped++
			return usage.GroupKey{}, err
		}
		keep[group] = true
		r.Sample.Groups = append(r.Sample.Groups, g)
		return g.Key, nil
	}
	if r.Kubepods, err = read(s.host.Kubepods); err != nil {
		return reading{}, fmt.Errorf("reading the group above all pods: %w", err)
	}
	if groups.BatchBranch != "" {
		if r.Branch, err = read(groups.BatchBranch); err != nil {
			return reading{}, fmt.Errorf("reading the batch branch: %w", err)
		}
		if err := s.readSettings(&r, groups.BatchBranch); err != nil {
			return reading{}, err
		}
	}
	s.readPods(&r, groups, read)
	s.readCPUSets(&r, groups)
	s.readCookies(&r, groups)
	s.reader.Keep(keep)
	return r, nil
}

// readPods reads each pod's group, and the containers in the batch branch, which it gives to their pods.
func (s *sensor) readPods(r *reading, groups cgroup.Groups, read func(string) (usage.GroupKey, error)) {
	index, groupOf := map[string]int{}, map[string]cgroup.Pod{}
	for _, p := range groups.Pods {
		key, err := read(p.Path)
		if err != nil {
			continue // vanished: counted by read
		}
		info, known := s.pods.byUID(p.UID)
		if !known {
			info.Class = v1alpha1.ClassLatencySensitive // what is not known to be batch is protected
		}
		index[p.UID], groupOf[p.UID] = len(r.Pods), p
		entry := pod{UID: p.UID, Info: info, Key: key, sample: len(r.Sample.Groups) - 1}
		s.readRealtime(r, &entry, p, known)
		s.readBurst(r, &entry, p)
		r.Pods = append(r.Pods, entry)
	}
	s.forgetRealtime(r.Pods)
	s.bursts.keep(r)
	s.readRunDelays(r, groups.Pods)
	s.readThrottles(r, groupOf)
	for _, c := range groups.BatchContainers {
		key, err := read(c.Path)
		if err != nil {
			continue
		}
		uid, _ := s.pods.podOfContainer(c.ID)
		if i, ok := index[uid]; ok {
			r.Pods[i].BatchContainers = append(r.Pods[i].BatchContainers, key)
			s.readReduced(r, &r.Pods[i], c)
		} else {
			r.Strays = append(r.Strays, key) // in the branch's own total all the same
		}
	}
	for i := range r.Pods {
		s.readUnplaced(r, &r.Pods[i], groupOf[r.Pods[i].UID], len(r.Pods[i].BatchContainers) > 0)
	}
}

// readSettings reads the settings of the batch branch.
func (s *sensor) readSettings(r *reading, branch string) (err error) {
	r.Settings[branch], err = s.settings(branch, s.knobs[qos.KindBatchBranch])
	return err
}

// settings reads knobs of a group. One that cannot be read is in the error, and not OK.
func (s *sensor) settings(group string, knobs []qos.Knob) (map[qos.Knob]qos.Setting, error) {
	settings := make(map[qos.Knob]qos.Setting, len(knobs))
	var errs []error
	for _, k := range knobs {
		v, err := s.host.ReadSetting(group, k)
		if err != nil {
			errs = append(errs, err)
		}
		settings[k] = v
	}
	return settings, errors.Join(errs...)
}

// state is what the strategies may see of a reading.
func (r reading) state(now time.Time, u usage.Usage, blind bool) qos.State {
	s := qos.State{Now: now, Blind: blind, PodsTold: r.PodsTold, CPUSets: r.CPUSets}
	rates := func(k usage.GroupKey) usage.Rates {
		if blind {
			return usage.Rates{}
		}
		return u.Groups[k]
	}
	if !blind {
		s.Node = u.Node
	}
	for _, t := range r.Tiers {
		g := qos.Group{Path: t, Kind: qos.KindTier, Settings: r.Settings[t]}
		if t == r.Kubepods.Path {
			g.Rates = rates(r.Kubepods)
		}
		s.Groups = append(s.Groups, g)
	}
	if r.Branch.Path != "" {
		s.Groups = append(s.Groups, qos.Group{Path: r.Branch.Path, Kind: qos.KindBatchBranch, Rates: rates(r.Branch), Settings: r.Settings[r.Branch.Path]})
	}
	for _, c := range r.Strays {
		s.Groups = append(s.Groups, qos.Group{Path: c.Path, Kind: qos.KindBatchContainer, Rates: rates(c), Settings: r.Settings[c.Path]})
	}
	for _, p := range r.Pods {
		g := qos.Group{Path: p.Key.Path, Kind: qos.KindPod, Namespace: p.Info.Namespace, Realtime: p.Info.Realtime, Bounds: p.Bounds}
		g.Online, g.Burst, g.WholeCores = p.Info.Class == v1alpha1.ClassLatencySensitive, p.Info.Burst, p.Info.WholeCores
		g.UnsharedCores = p.Info.UnsharedCores
		g.Rates, g.Settings = rates(p.Key), r.Settings[p.Key.Path]
		s.Groups = append(s.Groups, g)
		for _, c := range p.Containers {
			s.Groups = append(s.Groups, qos.Group{
				Path: c, Kind: qos.KindContainer, Namespace: g.Namespace, Realtime: g.Realtime, Burst: g.Burst, Settings: r.Settings[c],
				Harm: usage.Harm{ThrottledPermille: r.Throttled[c]},
			})
		}
		for _, c := range p.Unplaced {
			s.Groups = append(s.Groups, qos.Group{Path: c.Path, Kind: qos.KindUnplaced, Namespace: g.Namespace, Bounds: &c.Bounds, Settings: r.Settings[c.Path]})
		}
		for _, c := range p.BatchContainers {
			s.Groups = append(s.Groups, qos.Group{
				Path: c.Path, Kind: qos.KindBatchContainer, Rates: rates(c), Bounds: p.Reduced[c.Path], Settings: r.Settings[c.Path],
			})
		}
	}
	return s
}
