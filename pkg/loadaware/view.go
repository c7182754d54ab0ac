package loadaware

import (
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// View is what the scheduler keeps of one node's NodeUtilization. What it says of the node never changes. A
// nil View is a node of which nothing is known.
type View struct {
	uid      types.UID // of the NodeUtilization: another one is another node of the same name
	nodeUID  types.UID // of the Node it is owned by; empty where it does not say
	observed time.Time // by the node's clock
	written  time.Time // by the API server's clock, to the second below; zero where it does not say
	received time.Time // by the scheduler's clock; when this observed time first arrived
	offset   clockOffset
	// measuredAt is observed by the scheduler's clock, with the offset of the node's clock taken out.
	measuredAt time.Time

	windowMilliseconds int64 // that the node's use is averaged over
	capacity           v1alpha1.Resources
	node               v1alpha1.Resources
	batch              v1alpha1.Resources // zero when batch was not measured: then it counts as online use
	system             v1alpha1.Resources // what is neither batch nor latency-sensitive; zero when it was not measured
	pressurePermille   int64              // share of time in which some latency-sensitive task waited for CPU; 0 where not measured
	pods               map[types.UID]podUse
	forecast           *forecast
	workloads          []*workload

	born int64        // the first Snapshot that has this View
	died atomic.Int64 // the first one that has it no more; 0 as long as it is there
	// outlooks is for each profile of the scheduler what it last made of this View: a cache that lives and
	// dies with the View, each entry valid for one state of the node's pods.
	outlooks []atomic.Pointer[outlook]
}

// podUse is what was measured of one pod.
type podUse struct {
	milliCPU             int64
	memoryBytes          int64
	measuredMilliseconds int64
}

// forecast is what is kept of a Forecast.
type forecast struct {
	start            time.Time
	stepSeconds      int64
	quantilePermille int64
	peak, median     []int64
	peakMemoryBytes  int64
}

// maxNodeMilliCPU is the largest use of CPU that is believed; the bound of the field in the API.
const maxNodeMilliCPU = 100_000_000

// newView excerpts u, received now. previous is the node's last View, or nil; serverOffset is how far the scheduler's
// clock is ahead of the API server's; profiles is how many profiles the scheduler has. An error says that u makes no
// sense and must not be believed.
func newView(u *v1alpha1.NodeUtilization, now time.Time, previous *View, serverOffset time.Duration, profiles int) (*View, error) {
	s := &u.Status
	v := &View{
		uid: u.UID, observed: s.ObservedTime.Time, written: writtenAt(u.ManagedFields), capacity: s.Capacity, node: s.Node,
		windowMilliseconds: clamp(s.WindowMilliseconds, 1, 3_600_000),
		pods:               make(map[types.UID]podUse, len(s.Pods)),
		workloads:          workloadsOf(s.Workloads),
		outlooks:           make([]atomic.Pointer[outlook], profiles),
	}
	v.nodeUID = ownerNode(u.OwnerReferences)
	if err := v.takeClasses(s); err != nil {
		return nil, err
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if !plausible(p.Resources) {
			continue // as if it had not been measured: it counts by estimate
		}
		v.pods[types.UID(p.UID)] = podUse{milliCPU: p.MilliCPU, memoryBytes: p.MemoryBytes, measuredMilliseconds: max(0, p.MeasuredMilliseconds)}
	}
	v.forecast = newForecast(s.Forecast)
	v.received, v.offset = arrival(v, now, previous, serverOffset)
	v.measuredAt = v.received.Add(-v.ageOnArrival())
	return v, nil
}

// takeClasses takes in the use of the node and its classes.
func (v *View) takeClasses(s *v1alpha1.NodeUtilizationStatus) error {
	if !plausible(v.capacity) {
		return fmt.Errorf("status.capacity is out of range: %+v", v.capacity)
	}
	if !plausible(v.node) {
		return fmt.Errorf("status.node is out of range: %+v", v.node)
	}
	var online v1alpha1.Resources
	haveOnline := false
	for i := range s.Classes {
		c := &s.Classes[i]
		if !plausible(c.Resources) {
			return fmt.Errorf("status.classes[%s] is out of range: %+v", c.Class, c.Resources)
		}
		switch c.Class {
		case v1alpha1.ClassBatch:
			v.batch = c.Resources
		case v1alpha1.ClassLatencySensitive:
			online, haveOnline = c.Resources, true
			if c.Pressure != nil && c.Pressure.CPUSomePermille != nil {
				v.pressurePermille = clamp(int64(*c.Pressure.CPUSomePermille), 0, 1000)
			}
		}
	}
	if haveOnline {
		v.system.MilliCPU = max(0, v.node.MilliCPU-v.batch.MilliCPU-online.MilliCPU)
		v.system.MemoryBytes = max(0, v.node.MemoryBytes-v.batch.MemoryBytes-online.MemoryBytes)
	}
	return nil
}

// newForecast is nil for a forecast that is absent or makes no sense: then what is used now counts for all hours.
func newForecast(f *v1alpha1.Forecast) *forecast {
	if f == nil || f.StepSeconds < 60 || f.StepSeconds > 86_400 || len(f.PeakMilliCPU) == 0 ||
		len(f.PeakMilliCPU) > 1000 || len(f.MedianMilliCPU) != len(f.PeakMilliCPU) {
		return nil
	}
	for i, peak := range f.PeakMilliCPU {
		if peak < 0 || peak > maxNodeMilliCPU || f.MedianMilliCPU[i] < 0 || f.MedianMilliCPU[i] > maxNodeMilliCPU {
			return nil
		}
	}
	return &forecast{
		start: f.Start.Time, stepSeconds: int64(f.StepSeconds),
		// Below 600 the quantile says next to nothing of how wide the distribution is.
		quantilePermille: clamp(int64(f.QuantilePermille), 600, 999),
		peak:             f.PeakMilliCPU, median: f.MedianMilliCPU,
		peakMemoryBytes: clamp(f.PeakMemoryBytes, 0, maxBytes),
	}
}

// replaced tells the View, and what was made of it, that the Snapshot has another one instead.
func (v *View) replaced(s *Snapshot, profiles []*Plugin) {
	v.died.Store(s.sequence)
	for i := range v.outlooks {
		if o := v.outlooks[i].Load(); o != nil {
			profiles[i].shortcut.replaced(o, s.sequence)
		}
	}
}

func ownerNode(owners []metav1.OwnerReference) types.UID {
	for i := range owners {
		if owners[i].Kind == "Node" {
			return owners[i].UID
		}
	}
	return ""
}

func plausible(r v1alpha1.Resources) bool {
	return r.MilliCPU >= 0 && r.MilliCPU <= maxNodeMilliCPU && r.MemoryBytes >= 0 && r.MemoryBytes <= maxBytes
}

// onlineMilliCPU is the measured use of all but batch.
func (v *View) onlineMilliCPU() int64 {
	if v == nil {
		return 0
	}
	return max(0, v.node.MilliCPU-v.batch.MilliCPU)
}

// onlineMemory is the memory that all but batch uses now, or at the peak that is forecast.
func (v *View) onlineMemory() int64 {
	online := max(0, v.node.MemoryBytes-v.batch.MemoryBytes)
	if v.forecast != nil {
		online = max(online, v.forecast.peakMemoryBytes+v.system.MemoryBytes)
	}
	return online
}
