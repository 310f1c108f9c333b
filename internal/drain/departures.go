package drain

import (
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
)

// Departures are the times at which pods of each owner left the nodes of one run, as the
// records of its open nodes say. It is kept from one decision to the next, since few of
// thousands of records change between them.
type Departures struct {
	lists map[types.UID]*departed
	left  map[string][]time.Time // by owner, as Owner.String has it
	round int
}

// departed is what a record said when it was last looked at.
type departed struct {
	list  []v1alpha1.LeavingPod
	round int
}

// Departures returns those of a run, of which nothing is known at first.
func (c *Cluster) Departures(run types.UID) *Departures {
	d := c.departures[run]
	if d == nil {
		d = &Departures{lists: map[types.UID]*departed{}, left: map[string][]time.Time{}}
		c.departures[run] = d
	}
	return d
}

// DeleteDepartures forgets a run.
func (c *Cluster) DeleteDepartures(run types.UID) { delete(c.departures, run) }

// Update takes in the lists of all records that are open, by the record's UID. Lists are
// replaced, and never changed.
func (d *Departures) Update(all iter.Seq2[types.UID, []v1alpha1.LeavingPod]) {
	d.round++
	n := 0
	for record, list := range all {
		n++
		known := d.lists[record]
		if known == nil {
			known = &departed{}
			d.lists[record] = known
		}
		if known.round = d.round; !sameList(known.list, list) {
			d.count(known.list, false)
			d.count(list, true)
			known.list = list
		}
	}
	if len(d.lists) == n {
		return
	}
	for record, known := range d.lists {
		if known.round != d.round {
			d.count(known.list, false)
			delete(d.lists, record)
		}
	}
}

func sameList(a, b []v1alpha1.LeavingPod) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (d *Departures) count(list []v1alpha1.LeavingPod, in bool) {
	for i := range list {
		p := &list[i]
		if p.LeftAt == nil || p.Owner == "" {
			continue
		}
		times := d.left[p.Owner]
		if in {
			d.left[p.Owner] = append(times, p.LeftAt.Time)
			continue
		}
		if at := slices.IndexFunc(times, p.LeftAt.Time.Equal); at >= 0 {
			times = slices.Delete(times, at, at+1)
		}
		if d.left[p.Owner] = times; len(times) == 0 {
			delete(d.left, p.Owner)
		}
	}
}

// After is how many pods of an owner left after a time.
func (d *Departures) After(owner string, at time.Time) (n int) {
	for _, left := range d.left[owner] {
		if left.After(at) {
			n++
		}
	}
	return n
}
