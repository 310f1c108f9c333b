package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/rotation"
)

// clouds are what the providers last said of the groups. None of them tells of a change,
// so each is asked again after a while, and after everything that was asked of it.
type clouds struct {
	providers cloud.Providers
	clock     clock.PassiveClock

	mu    sync.Mutex
	known map[string]description
	// deregistered are machines that load balancers were asked to let go. Who starts anew asks
	// again, and is told.
	deregistered map[string]deregistration
}

type deregistration struct {
	// group is that of the machine.
	group string
	// asked is when load balancers were last asked; zero once they have let it go.
	asked time.Time
}

type description struct {
	rotation.Cloud
	at time.Time
}

// describeEvery is how old a description may be.
const describeEvery = 4 * time.Second

// describeTimeout bounds one description: a large group takes several calls.
const describeTimeout = 30 * time.Second

// describe returns what is known of a group, asked anew if that is old.
func (c *clouds) describe(ctx context.Context, group *v1alpha1.NodeGroup) rotation.Cloud {
	c.mu.Lock()
	was, ok := c.known[group.Name]
	c.mu.Unlock()
	now := c.clock.Now()
	if ok && now.Sub(was.at) < describeEvery {
		return c.registered(was.Cloud)
	}
	is := description{Cloud: c.ask(ctx, group), at: now}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]description{}
	}
	c.known[group.Name] = is
	c.forget(group.Name, is.Cloud)
	return c.registered(is.Cloud)
}

// forget leaves out the machines that a group has no more.
func (c *clouds) forget(group string, is rotation.Cloud) {
	if is.Problem != "" {
		return // Nobody knows.
	}
	maps.DeleteFunc(c.deregistered, func(machine string, d deregistration) bool {
		return d.group == group && !slices.ContainsFunc(is.Machines, func(m cloud.Machine) bool { return m.ID == machine })
	})
}

// registered says of each machine whether load balancers have let it go.
func (c *clouds) registered(g rotation.Cloud) rotation.Cloud {
	if !g.Capabilities.Deregister {
		return g
	}
	g.Machines = slices.Clone(g.Machines)
	for i := range g.Machines {
		d, known := c.deregistered[g.Machines[i].ID]
		g.Machines[i].Registered = !known || !d.asked.IsZero()
	}
	return g
}

// deregister asks load balancers to let a machine go, if they were not asked a moment ago.
func (c *clouds) deregister(ctx context.Context, provider cloud.Provider, ref v1alpha1.Provider, a rotation.Deregister) error {
	c.mu.Lock()
	was, known := c.deregistered[a.Machine]
	c.mu.Unlock()
	now := c.clock.Now()
	if known && now.Sub(was.asked) < describeEvery {
		return nil
	}
	done, err := provider.Deregister(ctx, ref, a.Machine)
	if err != nil {
		return err
	}
	if done {
		now = time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deregistered == nil {
		c.deregistered = map[string]deregistration{}
	}
	c.deregistered[a.Machine] = deregistration{a.Group, now}
	return nil
}

func (c *clouds) ask(ctx context.Context, group *v1alpha1.NodeGroup) rotation.Cloud {
	provider, err := c.providers(group.Spec.Provider)
	if err != nil {
		return rotation.Cloud{Problem: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	described, err := provider.Describe(ctx, group.Spec.Provider)
	if err != nil {
		return rotation.Cloud{Problem: cloud.Explain(err)}
	}
	return rotation.Cloud{Group: described, Capabilities: provider.Capabilities()}
}

// stale makes the next pass ask anew.
func (c *clouds) stale(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, group)
}
