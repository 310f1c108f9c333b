package rotation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Some providers keep the machines of a group even between its zones, and end one to make
// another elsewhere, with no drain. A run suspends that, and makes machines where there is
// room for them: so it leaves the zones even itself, or pods would end with no notice as soon
// as the group is given back.

// unevenReason begins the reason of a machine that goes for that.
const unevenReason = "is in a zone that has more machines than another"

// uneven is the reason of a machine of a group that has so many in each zone.
func uneven(zones spread) string { return fmt.Sprintf("%s (%s)", unevenReason, zones) }

// isUneven says that a machine goes because of its zone.
func isUneven(r *v1alpha1.NodeReplacement) bool {
	return strings.HasPrefix(r.Spec.Reason, unevenReason)
}

// spread is how many machines each zone has among which a group is kept even.
type spread map[string]int

func spreadOver(zones []string) spread {
	s := spread{}
	for _, zone := range zones {
		s[zone] = 0
	}
	return s
}

// add counts a machine, and take takes it off, unless its zone is none of them.
func (s spread) add(m *machine) { s.change(m, 1) }

func (s spread) take(m *machine) { s.change(m, -1) }

func (s spread) change(m *machine, by int) {
	if _, known := s[m.Zone]; known {
		s[m.Zone] += by
	}
}

// ends are the zones with the fewest and with the most machines.
func (s spread) ends() (fewest, most string) {
	order := slices.SortedFunc(maps.Keys(s), func(a, b string) int { return cmp.Or(cmp.Compare(s[a], s[b]), strings.Compare(a, b)) })
	return order[0], order[len(order)-1]
}

// even reports whether no machine would be ended to even the zones out.
func (s spread) even() bool {
	if len(s) < 2 {
		return true
	}
	fewest, most := s.ends()
	return s[most]-s[fewest] < 2
}

func (s spread) String() string {
	var all []string
	for _, zone := range slices.Sorted(maps.Keys(s)) {
		all = append(all, fmt.Sprintf("%s %d", zone, s[zone]))
	}
	return strings.Join(all, ", ")
}

// spread counts the machines of a group that stay.
func (g *group) spread() spread {
	s := spreadOver(g.cloud.Zones)
	for _, m := range g.machines {
		if m.stays() {
			s.add(m)
		}
	}
	return s
}

// filled is the spread when those are there, too, that the group has still to get: the provider
// makes them where there are the fewest.
func (g *group) filled() spread {
	s := g.spread()
	for range int(g.rec.Size) - g.staying() {
		fewest, _ := s.ends()
		s[fewest]++
	}
	return s
}

// movedAway says that a machine goes because of its zone, and is on record so.
func (m *machine) movedAway() bool { return m.record != nil && isUneven(m.record) }

// even chooses machines that go because of their zones, when nothing else is left to do for
// the group. How many there are is written down first. One is tried alone, and when the next
// machine is not made where one was missing, because there is no capacity, no other is.
func (d *decider) even(g *group) {
	if len(g.cloud.Zones) == 0 || d.aborting() || !g.rec.Prepared || d.untouched(g) || g.busy() {
		return
	}
	zones := g.filled()
	why, begun := uneven(zones), g.rec.Rebalance
	if begun == nil && (zones.even() || g.staying() > int(g.rec.Size) || !d.wellOff(g, int(g.rec.Size))) {
		return
	}
	// A drain that is under way has a time of its own; and once the machine is there that comes
	// first, the others can wait for as long as they have to.
	waits := g.moved > g.movedGone || d.wellOff(g, int(g.rec.Size)+min(g.surge, 1))
	chosen := d.chooseUneven(g, zones)
	if begun == nil && len(chosen) > 0 {
		g.rec.Rebalance = &v1alpha1.Rebalance{Nodes: int32(len(chosen)), Before: int32(g.moved), Since: metav1.NewTime(d.now)}
	}
	allowed := 0
	if begun != nil {
		allowed = d.mayMove(g, len(chosen), waits)
	}
	for i, m := range chosen {
		m.leaving, m.uneven = i < allowed, why
	}
}

// wellOff says that the group has at least so many machines, and that each takes pods.
func (d *decider) wellOff(g *group, size int) bool {
	return g.staying() >= size && !slices.ContainsFunc(g.machines, func(m *machine) bool { return m.stays() && !d.ready(g, m) })
}

// mayMove is how many of those machines may go now that should, because of their zones.
func (d *decider) mayMove(g *group, left int, waits bool) int {
	begun := g.rec.Rebalance
	moved := g.moved - int(begun.Before)
	until := begun.Since.Time
	if g.movedAt.After(until) {
		until = g.movedAt
	}
	until = until.Add(g.strategy.readyTimeout)
	switch {
	case left == 0 || begun.GivenUp:
		return 0
	case moved+left > int(begun.Nodes), !waits && !d.now.Before(until):
		g.rec.Rebalance = begun.DeepCopy()
		g.rec.Rebalance.GivenUp = true
		return 0
	}
	if !waits {
		d.wakeAt(until)
	}
	if g.movedGone == int(begun.Before) {
		return 1 - moved
	}
	return int(begun.Nodes) - moved
}

// unwritten says that it has still to be written down what there is to even out.
func (d *decider) unwritten(g *group) bool {
	was, is := d.recordedGroup(g).Rebalance, g.rec.Rebalance
	return is != nil && (was == nil || was.GivenUp != is.GivenUp)
}

// busy says that machines have to go for other reasons than their zones.
func (g *group) busy() bool {
	return slices.ContainsFunc(g.machines, func(m *machine) bool { return m.leaving && !m.movedAway() })
}

// chooseUneven chooses the machines without which the zones are even, or as even as they can
// be: as many as there are besides the group's size, and those for which the provider makes
// others where there are the fewest.
func (d *decider) chooseUneven(g *group, zones spread) (chosen []*machine) {
	for extra := g.staying() - int(g.rec.Size); extra > 0 || !zones.even(); extra-- {
		fewest, most := zones.ends()
		m := d.emptiest(g, most)
		if m == nil {
			break
		}
		m.leaving = true
		chosen = append(chosen, m)
		if zones[most]--; extra <= 0 {
			zones[fewest]++
		}
	}
	return chosen
}

// staying counts the machines of a group that stay.
func (g *group) staying() (n int) {
	for _, m := range g.machines {
		if m.stays() {
			n++
		}
	}
	return n
}

// emptiest is the machine of a zone whose end moves the fewest pods, of those that were not
// tried before; nil if none may go.
func (d *decider) emptiest(g *group, zone string) (best *machine) {
	for _, m := range g.machines {
		if m.Zone != zone || !m.stays() || m.State != cloud.Running || m.record != nil || m.last != nil {
			continue
		}
		if best == nil || d.burden(g, m) < d.burden(g, best) {
			best = m
		}
	}
	return best
}

// unevenText says of groups that were given back uneven what may come of that.
func (d *decider) unevenText() string {
	var all []string
	for _, g := range d.groups {
		if zones := g.spread(); !g.unknown && !zones.even() {
			all = append(all, fmt.Sprintf("NodeGroup/%s is left uneven (%s), and its provider may end nodes without a drain to even it out", g.name, zones))
		}
	}
	return strings.Join(all, "; ")
}
