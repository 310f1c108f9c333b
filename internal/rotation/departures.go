package rotation

import (
	"time"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// skewed is by how much the clock of the API server, which says when a pod was made, may
// be behind that of this process.
const skewed = time.Minute

// departed is an owner that is not whole, and when pods of it left open nodes.
type departed struct {
	owner drain.Owner
	left  []time.Time
}

// outstanding names an owner of which a pod that left this node is not Ready elsewhere;
// empty if there is none. If an owner misses n pods, they are the n that left last, from
// whatever node of the run.
func (r *replacement) outstanding() string {
	if !r.g.strategy.drain.WaitForReplacements {
		return ""
	}
	for i := range r.next.Pods {
		p := &r.next.Pods[i]
		if p.Owner == "" || p.LeftAt == nil {
			continue
		}
		o, known := r.departures()[p.Owner]
		if !known { // It has just left, and its record does not say so yet.
			o = r.departure(p.Owner)
		}
		if o == nil {
			continue
		}
		if late := r.s.Cluster.Late(o.owner, p.LeftAt.Add(-skewed)); late > 0 && o.after(p.LeftAt.Time) < late {
			return p.Owner
		}
	}
	return ""
}

// after is how many pods left after a time.
func (o *departed) after(at time.Time) (n int) {
	for _, left := range o.left {
		if left.After(at) {
			n++
		}
	}
	return n
}

// departures are the owners of which pods left nodes that wait for nothing else any more,
// found when they are first asked for; nil for one that is whole.
func (d *decider) departures() map[string]*departed {
	if d.left != nil {
		return d.left
	}
	d.left = map[string]*departed{}
	d.eachLeft(func(r *v1alpha1.NodeReplacement, p *v1alpha1.LeavingPod) {
		if _, known := d.left[p.Owner]; !known && r.Status.Phase != v1alpha1.Draining {
			d.left[p.Owner] = d.departure(p.Owner)
		}
	})
	d.eachLeft(func(_ *v1alpha1.NodeReplacement, p *v1alpha1.LeavingPod) {
		if o := d.left[p.Owner]; o != nil {
			o.left = append(o.left, p.LeftAt.Time)
		}
	})
	return d.left
}

func (d *decider) departure(text string) *departed {
	if d.s.Cluster.Whole(text) {
		return nil
	}
	return &departed{owner: drain.OwnerOf(text)}
}

// eachLeft goes over the pods that left open nodes, and that somebody makes again.
func (d *decider) eachLeft(do func(*v1alpha1.NodeReplacement, *v1alpha1.LeavingPod)) {
	for i := range d.s.Records {
		r := &d.s.Records[i]
		if Closed(r.Status.Phase) {
			continue
		}
		for j := range r.Status.Pods {
			if p := &r.Status.Pods[j]; p.LeftAt != nil && p.Owner != "" {
				do(r, p)
			}
		}
	}
}
