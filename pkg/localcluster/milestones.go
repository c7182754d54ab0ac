package localcluster

import (
	"context"
	"sync"
)

// milestones lets the parts of up that run side by side wait for components by name.
type milestones struct {
	mu sync.Mutex
	at map[string]chan struct{}
}

func newMilestones() *milestones { return &milestones{at: map[string]chan struct{}{}} }

func (m *milestones) channel(name string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at[name] == nil {
		m.at[name] = make(chan struct{})
	}
	return m.at[name]
}

// reach reports whether this is the first time. Only one goroutine may call it.
func (m *milestones) reach(name string) bool {
	if m.reached(name) {
		return false
	}
	close(m.channel(name))
	return true
}

func (m *milestones) reached(name string) bool {
	select {
	case <-m.channel(name):
		return true
	default:
		return false
	}
}

func (m *milestones) wait(ctx context.Context, name string) error {
	select {
	case <-m.channel(name):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
