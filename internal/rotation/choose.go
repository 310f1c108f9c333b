package rotation

import (
	"math"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// openings is what decides which nodes to open: the room that is left for their pods, and
// how much each budget has to bear already.
type openings struct {
	room *drain.Room
	load []float64 // of budgets, by their slot, relative to others
}

// compared is how many nodes are compared for the next one to open: more would cost time
// in large groups and gain little.
const compared = 256

// next chooses the node whose pods make the least wait longer: the one after which the
// budget that needs most time needs the least, of those whose pods have room elsewhere.
func (d *decider) next(g *group, active []*group, all []*machine, zones map[string]int, anywhere bool) (best *machine, lack *drain.Lack) {
	d.openings(active, anywhere)
	all = all[:min(len(all), compared)]
	costs := make([]float64, len(all))
	for i, m := range all {
		costs[i] = math.Inf(1)
		if g.strategy.zoneAllows(m, zones, all) {
			costs[i] = d.cost(g, m)
		}
	}
	for {
		i := g.cheapest(all, costs, zones)
		if i < 0 {
			return nil, lack
		}
		why := d.fits(g, all[i])
		if why == nil {
			return all[i], nil
		}
		if lack == nil {
			lack = why
		}
		costs[i] = math.Inf(1)
	}
}

// cheapest is the place of the first machine that costs the least, among those that are as
// urgent as the first; negative if none is left.
func (g *group) cheapest(all []*machine, costs []float64, zones map[string]int) int {
	best := -1
	for i, m := range all {
		switch {
		case math.IsInf(costs[i], 1):
			continue
		case best < 0:
			best = i
			continue
		case g.strategy.later(m, all[best]):
			return best
		}
		turn := 0
		if g.strategy.zones == v1alpha1.Balanced {
			turn = zones[m.Zone] - zones[all[best].Zone]
		}
		if turn < 0 || turn == 0 && costs[i] < costs[best] {
			best = i
		}
	}
	return best
}

// later says that a machine has its turn only when those like the other are through.
func (s *strategy) later(m, other *machine) bool {
	return m.attempts != other.attempts || urgency(m) != urgency(other) || s.place(m) != s.place(other)
}

// openings finds out, once in a decision, what room there is for pods that leave.
func (d *decider) openings(active []*group, anywhere bool) {
	if d.room != nil && !anywhere {
		return
	}
	o := &openings{load: make([]float64, d.s.Cluster.Slots())}
	leaving, open, moving := d.moving(active)
	var targets, last []*drain.Node
	for _, n := range d.s.Cluster.Nodes() {
		switch {
		case !n.Ready() || n.Cordoned:
		case !leaving[n.Slot] && !n.Outdated:
			targets = append(targets, n)
		case anywhere || active[0].surge == 0:
			last = append(last, n)
		}
	}
	o.room = d.s.Cluster.Room(append(targets, last...), open)
	o.room.ReserveUnscheduled()
	o.room.Reserve(moving)
	for _, l := range moving {
		o.bear(l)
	}
	d.room = o
}

// moving are the nodes that have to go, by their slot, those of them that are open, and what
// these carry.
func (d *decider) moving(active []*group) (leaving []bool, open []*drain.Node, loads []*drain.Load) {
	leaving = make([]bool, d.s.Cluster.NodeSlots())
	for _, g := range active {
		for _, m := range g.machines {
			if m.node == nil || !m.leaving && m.record == nil {
				continue
			}
			leaving[m.node.Slot] = true
			if m.record != nil {
				open, loads = append(open, m.node), append(loads, d.load(g, m))
			}
		}
	}
	return leaving, open, loads
}

// load is what the node of a machine carries.
func (d *decider) load(g *group, m *machine) *drain.Load {
	return m.node.Load(&g.strategy.drain)
}

// fits places the pods of a machine, and says which one finds no place.
func (d *decider) fits(g *group, m *machine) *drain.Lack {
	if m.node == nil {
		return nil
	}
	return d.room.room.PlaceFrom(m.node, d.load(g, m).Movable)
}

// bear adds what a node's pods cost their budgets.
func (o *openings) bear(l *drain.Load) {
	for _, s := range l.Shares {
		o.load[s.Budget.Slot] += costOf(s)
	}
}

// costOf is by how much pods make their budget take longer, relative to others.
func costOf(s drain.Share) float64 {
	return float64(s.Pods) / float64(max(s.Budget.Expected-s.Budget.Wanted, 1))
}

// cost is how long the slowest budget of the machine's pods would need if it was opened.
func (d *decider) cost(g *group, m *machine) float64 {
	if m.node == nil {
		return 0
	}
	var worst, sum float64
	for _, s := range d.load(g, m).Shares {
		load, cost := d.room.load[s.Budget.Slot], costOf(s)
		worst = max(worst, load+cost)
		sum += load * cost
	}
	const ties = 1e-6 // Among equals the one whose budgets bear less on the whole.
	return worst + ties*sum
}

// zonesOpen counts the open nodes of a group by their zone.
func zonesOpen(g *group) map[string]int {
	zones := map[string]int{}
	for _, m := range g.machines {
		if m.record != nil {
			zones[m.Zone]++
		}
	}
	return zones
}

// zoneAllows says whether a zone has its turn.
func (s *strategy) zoneAllows(m *machine, open map[string]int, all []*machine) bool {
	if s.zones != v1alpha1.OneAtATime {
		return true
	}
	for zone, n := range open {
		if n > 0 {
			return zone == m.Zone
		}
	}
	first := m.Zone
	for _, other := range all {
		first = min(first, other.Zone)
	}
	return m.Zone == first
}
