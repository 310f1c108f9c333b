package rotation

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// skewed is by how much the clock of the API server, which says when a pod was made, may
// be behind that of this process.
const skewed = time.Minute

// outstanding names an owner of which a pod that left a node, as its list says, is not Ready
// elsewhere; empty if there is none. If an owner misses n pods, they are the n that left last,
// from whatever node of the run.
func (d *decider) outstanding(g *group, pods []v1alpha1.LeavingPod) string {
	if !g.strategy.drain.WaitForReplacements {
		return ""
	}
	for i := range pods {
		p := &pods[i]
		if p.Owner == "" || p.LeftAt == nil || d.s.Cluster.Whole(p.Owner) {
			continue
		}
		late := d.s.Cluster.Late(p.Owner, p.LeftAt.Add(-skewed))
		if late > 0 && d.departures().After(p.Owner, p.LeftAt.Time) < late {
			return p.Owner
		}
	}
	return ""
}

// departures are those of all open nodes of the run.
func (d *decider) departures() *drain.Departures {
	if d.left == nil {
		d.left = d.s.Cluster.Departures(d.s.Run.UID)
		d.left.Update(func(yield func(types.UID, []v1alpha1.LeavingPod) bool) {
			for i := range d.s.Records {
				if r := &d.s.Records[i]; !Closed(r.Status.Phase) && !yield(r.UID, r.Status.Pods) {
					return
				}
			}
		})
	}
	return d.left
}
