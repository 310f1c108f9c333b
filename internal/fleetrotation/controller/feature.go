package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
)

// atOnce is how many clusters are read at the same time.
const atOnce = 32

// feature connects the engine with the pure package.
type feature struct {
	members *Members
	clock   clock.PassiveClock
}

var _ kit.Feature[*v1alpha1.FleetRotation, fleetrotation.Snapshot] = (*feature)(nil)

// Observe reads the clusters side by side. One that does not answer is a fact like others.
func (f *feature) Observe(ctx context.Context, fleet *v1alpha1.FleetRotation) (fleetrotation.Snapshot, error) {
	s := fleetrotation.Snapshot{Fleet: fleet, Members: map[string]fleetrotation.Member{}}
	if fleetrotation.Finished(fleet) {
		return s, nil
	}
	clusters, err := f.members.List(ctx)
	if err != nil {
		return s, err
	}
	byName := map[string]*Cluster{}
	for _, c := range clusters {
		s.Registered = append(s.Registered, fleetrotation.Registration{Name: c.Name, Labels: c.Labels})
		byName[c.Name] = c
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, look := range fleetrotation.Looks(fleet, f.clock.Now()) {
		group.Go(func() error {
			m := fleetrotation.Member{Problem: &fleetrotation.Problem{
				Reason:  v1alpha1.ReasonNotRegistered,
				Message: fmt.Sprintf("No Secret %s in namespace %s is labelled %s=true.", look.Cluster, f.members.Namespace, v1alpha1.FleetClusterLabel),
			}}
			if c := byName[look.Cluster]; c != nil {
				m = c.look(ctx, look, fleetrotation.RotationName(fleet))
			}
			mu.Lock()
			defer mu.Unlock()
			s.Members[look.Cluster] = m
			return nil
		})
	}
	return s, group.Wait()
}

func (*feature) Decide(s fleetrotation.Snapshot, now time.Time) plan.Plan {
	return fleetrotation.Decide(s, now)
}

func (f *feature) Act(ctx context.Context, _ *kit.Writer, _ fleetrotation.Snapshot, action plan.Action) error {
	switch action := action.(type) {
	case fleetrotation.Freeze:
		return f.in(ctx, action.Cluster, func(ctx context.Context, c *Cluster) error { return c.freeze(ctx, action.Lease) })
	case fleetrotation.Thaw:
		return f.in(ctx, action.Cluster, func(ctx context.Context, c *Cluster) error { return c.thaw(ctx, action.Lease) })
	case fleetrotation.MakeRotation:
		return f.in(ctx, action.Cluster, func(ctx context.Context, c *Cluster) error { return c.makeRotation(ctx, action.Rotation) })
	case fleetrotation.EndRotation:
		return f.in(ctx, action.Cluster, func(ctx context.Context, c *Cluster) error { return c.endRotation(ctx, action.Name, action.UID) })
	default:
		return fmt.Errorf("unknown action %q", action)
	}
}

// in does something in one cluster, within the time of one call.
func (f *feature) in(ctx context.Context, name string, do func(context.Context, *Cluster) error) error {
	c := f.members.known(name)
	if c == nil || c.client == nil {
		return fmt.Errorf("cluster %s is not registered", name)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.redacted(do(ctx, c))
}

func (*feature) Report(s fleetrotation.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.FleetRotation {
	return fleetrotation.Report(s, p, outcome, now)
}

func (*feature) Unknown(fleet *v1alpha1.FleetRotation, err error, now time.Time) *v1alpha1.FleetRotation {
	return fleetrotation.Unknown(fleet, err, now)
}

func (*feature) Announce(before, after *v1alpha1.FleetRotation, _ plan.Plan, _ plan.Outcome) []kit.Event {
	return announce(before, after)
}
