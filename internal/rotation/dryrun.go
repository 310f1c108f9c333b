package rotation

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// Bounds of what a plan tells.
const (
	maxPlanned  = 500
	maxBlockers = 100
)

// dryRun says what the run would do, and ends it.
func (d *decider) dryRun() {
	now := metav1.NewTime(d.now)
	d.status.StartedAt = &now
	d.find()
	p := &v1alpha1.RotationPlan{}
	for _, g := range d.groups {
		d.assess(g)
		p.Nodes = append(p.Nodes, d.planned(g)...)
		p.Blockers = append(p.Blockers, d.blockers(g)...)
	}
	p.Nodes, p.Blockers = p.Nodes[:min(len(p.Nodes), maxPlanned)], p.Blockers[:min(len(p.Blockers), maxBlockers)]
	d.status.Plan = p
	d.estimate()
	d.status.FinishedAt, d.status.Phase = &now, v1alpha1.Planned
}

// planned are the nodes that a group would have replaced, in the order in which they would
// be opened if all could be at once.
func (d *decider) planned(g *group) []v1alpha1.PlannedNode {
	var all []v1alpha1.PlannedNode
	left := d.candidates(g, false)
	for len(left) > 0 && len(all) < maxPlanned {
		best := left[0]
		name := best.ID
		if best.node != nil {
			name = best.node.Name
		}
		all = append(all, v1alpha1.PlannedNode{Name: name, Group: g.name, Reason: best.outdated})
		left = left[1:]
	}
	return all
}

// blockers are what would keep the nodes of a group from being emptied, whatever happens.
func (d *decider) blockers(g *group) []v1alpha1.Wait {
	var all []v1alpha1.Wait
	for _, m := range g.machines {
		if !m.leaving || m.node == nil || m.State == cloud.Ending {
			continue
		}
		d.s.Cluster.Blockers(m.node.Name, &g.strategy.drain, d.now, func(pod *drain.Pod, w drain.Wait) {
			all = append(all, v1alpha1.Wait{Subject: "Node/" + m.node.Name, For: w.For, Reason: w.Reason, Message: w.Message, Since: metav1.NewTime(d.now)})
		})
		if len(all) > maxBlockers {
			break
		}
	}
	return all
}
