// Package clusterapi keeps the MachineDeployments of Cluster API, in this cluster or in
// that of its management. It knows them as unstructured objects, in whichever of its
// versions the cluster serves.
//
// For the time of a run a MachineDeployment replaces only what somebody deletes, and
// machines that the run has to drain are held by a pre-drain hook: so whoever deletes one,
// be it an autoscaler or a health check, waits until it is drained.
package clusterapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Provider keeps MachineDeployments.
type Provider struct {
	// Client is of this cluster, and reads past any cache: it finds the kubeconfigs of
	// management clusters, and the groups that need none.
	Client client.Client

	others managers
}

// Capabilities: new machines are made from templates whose versions are objects that
// somebody has to make, so images cannot be applied, nor versions be counted.
func (p *Provider) Capabilities() cloud.Capabilities {
	return cloud.Capabilities{Surge: true, RollBack: true}
}

// rollingUpdate is what is suspended: that Cluster API replaces machines by itself when
// their template changes.
const rollingUpdate = "RollingUpdate"

// group finds the group itself.
func (p *Provider) group(ctx context.Context, ref v1alpha1.Provider) (*group, error) {
	if ref.ClusterAPI == nil {
		return nil, fmt.Errorf("the group is not of Cluster API: %w", cloud.ErrUnsupported)
	}
	c, err := p.manager(ctx, ref.ClusterAPI.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return find(ctx, c, ref.ClusterAPI.Namespace, ref.ClusterAPI.Name)
}

// Describe costs three calls, and one more for each infrastructure template.
func (p *Provider) Describe(ctx context.Context, ref v1alpha1.Provider) (cloud.Group, error) {
	g, err := p.group(ctx, ref)
	if err != nil {
		return cloud.Group{}, err
	}
	sets, err := g.sets(ctx)
	if err != nil {
		return cloud.Group{}, err
	}
	machines, err := g.machines(ctx)
	if err != nil {
		return cloud.Group{}, err
	}
	images := imageFinder{group: g, known: map[string]string{}}
	now := templateOf(g.deployment)
	image, err := images.find(ctx, now)
	if err != nil {
		return cloud.Group{}, err
	}
	least, most := g.limits()
	out := cloud.Group{
		ID: fmt.Sprintf("clusterapi/%s/%s", g.where(ref), g.deployment.GetUID()), Size: g.size(), Min: least, Max: most,
		Revision:    cloud.Revision{Template: now.String(), Images: []string{image}},
		Suspendable: []string{rollingUpdate}, Problems: g.problems(machines),
	}
	if g.onDelete() {
		out.Suspended = []string{rollingUpdate}
	}
	if held := g.mark(); held != nil {
		out.Run, out.Guard = held.Run, held.Guard()
	}
	for i := range machines {
		m := &machines[i]
		t := templateOf(sets[setOf(m)])
		image, err := images.find(ctx, t)
		if err != nil {
			return cloud.Group{}, err
		}
		out.Machines = append(out.Machines, describe(m, t.String(), image))
	}
	slices.SortFunc(out.Machines, func(a, b cloud.Machine) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Deregister is of no use: who balances over machines of Cluster API looks at nodes.
func (p *Provider) Deregister(ctx context.Context, ref v1alpha1.Provider, _ string) (bool, error) {
	if _, err := p.group(ctx, ref); err != nil {
		return false, err
	}
	return false, fmt.Errorf("no load balancers of nodes are known to Cluster API: %w", cloud.ErrUnsupported)
}
