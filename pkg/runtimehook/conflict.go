package runtimehook

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// depth is how much of a container's creation the hook takes part in.
type depth int

// Each failed creation of a container takes one step down.
const (
	// placedAndBounded is all of it.
	placedAndBounded depth = iota
	// placedOnly leaves the bounds to an update after the creation.
	placedOnly
	// boundedAfterwards leaves the place alone too.
	boundedAfterwards
)

// creation is a container that the runtime asked about.
type creation struct {
	// what is the pod's UID and the container's name: the kubelet tries again with another container ID.
	what  string
	depth depth
}

// conflicts keeps count of creations that failed after the hook adjusted them. The runtime refuses a
// container for which two plugins set one field, and tells neither of them, so a creation that was
// adjusted, did not come about, and is tried again, is taken for that. Other causes look the same; giving up
// adjustments then does no good and no harm, since the bounds follow right after the creation.
type conflicts struct {
	mu sync.Mutex
	// pending are creations that have not come about yet, by container ID.
	pending map[string]creation
	// reduced are containers that exist with less than placedAndBounded, by container ID, for people to read.
	reduced map[string]string
}

func newConflicts() *conflicts {
	return &conflicts{pending: map[string]creation{}, reduced: map[string]string{}}
}

// begin says how far to go with a creation.
func (c *conflicts) begin(id, podUID, container string) depth {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := creation{what: podUID + "/" + container}
	for old, was := range c.pending {
		if was.what == next.what && old != id {
			next.depth = max(next.depth, min(was.depth+1, boundedAfterwards))
			delete(c.pending, old)
		}
	}
	c.pending[id] = next
	return next.depth
}

// done ends a creation that came about, and remembers it where the hook went less far than it should.
func (c *conflicts) done(id, pod, container string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.pending[id]
	delete(c.pending, id)
	if ok && was.depth != placedAndBounded {
		left := "its limits were"
		if was.depth != placedOnly {
			left = "its place and limits were"
		}
		c.reduced[id] = fmt.Sprintf("container %s of pod %s was not created while the hook adjusted it, so %s left alone at creation: another NRI plugin may adjust the same fields", container, pod, left)
	}
}

// has reports whether a container exists with less.
func (c *conflicts) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.reduced[id]
	return ok
}

// forget drops what is known of a container that is gone. A creation that has not come about is kept: the runtime
// tells of the removal of what it could not create too, and the next try must know of this one.
func (c *conflicts) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reduced, id)
}

// forgetPod drops creations that never came about.
func (c *conflicts) forgetPod(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, was := range c.pending {
		if strings.HasPrefix(was.what, uid+"/") {
			delete(c.pending, id)
		}
	}
}

// say tells of one of the containers that exist with less; empty for none.
func (c *conflicts) say() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reduced) == 0 {
		return ""
	}
	return c.reduced[slices.Min(slices.Collect(maps.Keys(c.reduced)))]
}
