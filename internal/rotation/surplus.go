package rotation

import (
	"cmp"
	"slices"
	"strings"

	"windlass.dev/api/nodes/v1alpha1"
)

// surplusReason is why a machine goes that the group has too many of.
const surplusReason = "is one more than the group's size"

// isSurplus says that a machine goes for that: it is not replaced.
func isSurplus(r *v1alpha1.NodeReplacement) bool { return r.Spec.Reason == surplusReason }

// chooseSurplus chooses which machines go if more would stay than the group should have:
// when the run is aborted, and when somebody ended machines that had to go anyway. Those of
// one order go from the fullest zone first, and of one zone the emptiest, since nothing is to
// be moved without need.
func (d *decider) chooseSurplus(g *group) {
	surplus := g.staying() - int(g.rec.Size)
	if surplus <= 0 {
		return
	}
	var all []*machine
	for _, m := range g.machines {
		if m.stays() && !m.givenUp() && (m.record == nil || m.record.Status.Phase != v1alpha1.Reverting) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(d.surplusOrder(a), d.surplusOrder(b)), cmp.Compare(d.burden(g, a), d.burden(g, b)), strings.Compare(a.ID, b.ID))
	})
	zones := g.spread()
	for ; surplus > 0 && len(all) > 0; surplus-- {
		i := 0
		if len(zones) > 0 {
			_, most := zones.ends()
			i = max(slices.IndexFunc(all, func(m *machine) bool {
				return d.surplusOrder(m) == d.surplusOrder(all[0]) && zones[m.Zone] == zones[most]
			}), 0)
		}
		all[i].leaving = true
		zones.take(all[i])
		all = slices.Delete(all, i, i+1)
	}
}

// surplusOrder puts those machines first that were chosen before, and then those of the run,
// of which the ones that are no Ready nodes run nothing.
func (d *decider) surplusOrder(m *machine) int {
	ours, ready := m.record != nil || d.made(m), m.node != nil && m.node.Ready()
	switch {
	case m.record != nil && isSurplus(m.record):
		return 0
	case ours && !ready:
		return 1
	case ours:
		return 2
	case !ready:
		return 3
	default:
		return 4
	}
}

// burden is how many pods have to leave a machine, those too that would block it.
func (d *decider) burden(g *group, m *machine) int {
	if m.node == nil {
		return 0
	}
	return d.load(g, m).Left
}
