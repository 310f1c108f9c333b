// Package karpenter keeps the NodePools of Karpenter. It knows them as unstructured objects
// of karpenter.sh/v1, and needs nothing of a cloud.
//
// A machine is a NodeClaim. A NodePool has no size: Karpenter makes NodeClaims for pods that
// are pending, and ends those that it finds empty, underused, drifted or expired. So its
// size here is how many NodeClaims it has, and how many the provider still owes it: those
// that it was asked for, and that are not machines yet, are noted on the NodePool before
// they are made. What Karpenter makes or ends besides makes the group larger or smaller.
//
// NodeClaims that others make are launched like Karpenter's own, if they name a NodeClass
// that it knows (pkg/controllers/nodeclaim/lifecycle/controller.go: Reconcile asks for no
// more than IsManaged). They are made as Karpenter would make them for a static pool
// (pkg/controllers/provisioning/scheduling/nodeclaimtemplate.go), and, since nobody
// simulates which pods they are for, like a machine that the group has: in its zone, of its
// architecture, and about as large.
//
// While a run has a group, Karpenter itself replaces nothing of it: a disruption budget of
// no nodes, for the reasons Drifted, Empty and Underutilized, is added to those that the
// NodePool has, of which the strictest counts (pkg/apis/v1/nodepool.go:
// GetAllowedDisruptionsByReason). Budgets are no part of the hash by which machines drift.
// Nodes that expire, that their cloud takes back, or that are broken are ended all the same:
// no budget of those reasons is asked, or should be.
//
// A NodeClaim that is deleted has its node drained by eviction, waits until its volumes are
// detached, and is not made again (pkg/controllers/node/termination/controller.go). So a
// machine that a run has drained is ended by deleting its NodeClaim.
//
// What is said of Karpenter is so in sigs.k8s.io/karpenter v1.15.0.
package karpenter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Provider keeps NodePools.
type Provider struct {
	// Client writes, and reads past any cache.
	Client client.Client
	// Clock tells when to try again what Karpenter gave up; nil for that of the machine.
	Clock clock.PassiveClock

	// filling keeps two who look at a group from both writing what they make.
	filling sync.Mutex
}

// Capabilities: a NodePool can be made larger than its pods need. Its template and its
// NodeClass belong to whoever wrote them, often a repository that would write them again,
// and Karpenter keeps no former ones: so neither images nor templates are applied.
func (p *Provider) Capabilities() cloud.Capabilities { return cloud.Capabilities{Surge: true} }

// Describe costs four calls. It makes the NodeClaims that the group is owed, since nobody
// else does.
func (p *Provider) Describe(ctx context.Context, ref v1alpha1.Provider) (cloud.Group, error) {
	g, err := p.read(ctx, ref)
	if err != nil {
		return cloud.Group{}, err
	}
	if err := g.looked(); err != nil {
		return cloud.Group{}, err
	}
	blocked, err := p.fill(ctx, g)
	if err != nil {
		return cloud.Group{}, err
	}
	nodes, err := g.nodes(ctx)
	if err != nil {
		return cloud.Group{}, err
	}
	out := cloud.Group{
		ID: "karpenter/" + string(g.UID), Size: g.size(), Max: g.limit(), Revision: g.revision(),
		Suspended: g.suspended(), Suspendable: slices.Clone(suspendable), Problems: append(blocked, g.problems()...),
	}
	if held := g.mark(); held != nil {
		out.Run, out.Guard = held.Run, held.Guard()
	}
	for i := range g.claims {
		c := &g.claims[i]
		m := g.describe(c)
		m.Protected = nodes[c.Status.NodeName][doNotDisrupt] == "true"
		out.Machines = append(out.Machines, m)
	}
	slices.SortFunc(out.Machines, func(a, b cloud.Machine) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Deregister is of no use: Karpenter knows no load balancers.
func (p *Provider) Deregister(ctx context.Context, ref v1alpha1.Provider, _ string) (bool, error) {
	if _, err := p.read(ctx, ref); err != nil {
		return false, err
	}
	return false, fmt.Errorf("load balancers are not known to Karpenter: %w", cloud.ErrUnsupported)
}
