package drain

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// owned are the pods of one owner, and how many of them there are of a kind. Those that have
// ended count for nothing.
type owned struct {
	text     string    // of the owner, which its pods share
	workload *Workload // nil if it is not known
	pods     map[types.UID]*Pod
	// alive were not asked to go, and ready ones of these are Ready.
	alive, ready, leaving int
}

// adopt counts a pod of its owner, and disown no longer does.
func (c *Cluster) adopt(p *Pod) {
	text := p.Owner.String()
	o := c.byOwner[text]
	if o == nil {
		o = &owned{text: text, workload: c.workloads[p.Owner], pods: map[types.UID]*Pod{}}
		c.byOwner[text] = o
	}
	p.OwnedBy, o.pods[p.UID] = o.text, p
	o.count(p, 1)
}

func (c *Cluster) disown(p *Pod) {
	o := c.byOwner[p.OwnedBy]
	o.count(p, -1)
	if delete(o.pods, p.UID); len(o.pods) == 0 {
		delete(c.byOwner, p.OwnedBy)
	}
}

// count has to be asked before a pod changes, and after.
func (o *owned) count(p *Pod, sign int) {
	switch {
	case p.Terminal:
	case p.Leaving():
		o.leaving += sign
	default:
		if o.alive += sign; p.Ready {
			o.ready += sign
		}
	}
}

// of are the pods of an owner.
func (c *Cluster) of(owner Owner) *owned {
	if o := c.byOwner[owner.String()]; o != nil {
		return o
	}
	return &owned{workload: c.workloads[owner]}
}

// Missing is how many pods of an owner are not Ready, or not there: what has to become
// Ready before the owner is as it wants to be. Of an owner whose wishes are not known
// those pods count that are there.
func (c *Cluster) Missing(owner Owner) int {
	o := c.of(owner)
	if o.workload != nil {
		return max(int(o.workload.Desired)-o.ready, 0)
	}
	return o.alive - o.ready + o.leaving
}

// named are the pods of an owner that is given as Owner.String has it: decisions ask of very
// many that records name.
func (c *Cluster) named(owner string) *owned {
	if o := c.byOwner[owner]; o != nil {
		return o
	}
	return c.of(OwnerOf(owner))
}

// Whole says that an owner, as Owner.String has it, has all its pods, and that all of them
// are Ready: then none is Late, since whenever.
func (c *Cluster) Whole(owner string) bool {
	o := c.named(owner)
	if o.workload != nil {
		return o.alive == o.ready && o.alive >= int(o.workload.Desired)
	}
	return o.alive == o.ready && o.leaving == 0
}

// Late is how many pods of an owner, as Owner.String has it, have still to become Ready after one left at a time: those
// that are not there, and those that were made since and are not Ready. Pods that were
// there before and are not Ready have nothing to do with it.
func (c *Cluster) Late(owner string, since time.Time) int {
	o, late := c.named(owner), 0
	for _, p := range o.pods {
		if !p.Terminal && !p.Leaving() && !p.Ready && !p.CreatedAt.Before(since) {
			late++
		}
	}
	if o.workload != nil {
		return max(int(o.workload.Desired)-o.alive, 0) + late
	}
	return o.leaving + late
}
