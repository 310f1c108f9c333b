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
	load map[*drain.Budget]float64 // relative to others
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
	o := &openings{load: map[*drain.Budget]float64{}}
	leaving, open, moving := d.moving(active)
	var targets, last []*drain.Node
	for _, n := range d.s.Cluster.Nodes() {
		switch {
		case !n.Ready() || n.Cordoned:
		case !leaving[n.Name] && !n.Tainted(v1alpha1.OutdatedTaint):
			targets = append(targets, n)
		case anywhere || active[0].surge == 0:
			last = append(last, n)
		}
	}
	o.room = d.s.Cluster.Room(append(targets, last...), open)
	o.room.Reserve(d.s.Cluster.Unscheduled())
	o.room.Reserve(moving)
	o.bear(moving)
	d.room = o
}

// moving are the nodes that have to go, those of them that are open, and the pods of these.
func (d *decider) moving(active []*group) (leaving map[string]bool, open []string, pods []*drain.Pod) {
	leaving = map[string]bool{}
	for _, g := range active {
		for _, m := range g.machines {
			if m.node == nil || !m.leaving && m.record == nil {
				continue
			}
			leaving[m.node.Name] = true
			if m.record != nil {
				open, pods = append(open, m.node.Name), append(pods, d.movable(g, m)...)
			}
		}
	}
	return leaving, open, pods
}

// movable are the pods of a machine that have to be made again elsewhere.
func (d *decider) movable(g *group, m *machine) []*drain.Pod {
	if m.movable == nil && m.node != nil {
		m.movable = d.s.Cluster.Movable(m.node.Name, &g.strategy.drain)
	}
	return m.movable
}

// fits places the pods of a machine, and says which one finds no place.
func (d *decider) fits(g *group, m *machine) *drain.Lack {
	if m.node == nil {
		return nil
	}
	return d.room.room.PlaceFrom(m.node.Name, d.movable(g, m))
}

// bear adds what pods cost their budgets.
func (o *openings) bear(pods []*drain.Pod) {
	for _, p := range pods {
		for _, b := range p.Budgets {
			o.load[b] += perPod(b)
		}
	}
}

// perPod is by how much one more pod makes a budget take longer, relative to others.
func perPod(b *drain.Budget) float64 { return 1 / float64(max(b.Expected-b.Wanted, 1)) }

// bears is how much one machine adds to a budget.
type bears struct {
	budget *drain.Budget
	cost   float64
}

// cost is how long the slowest budget of the machine's pods would need if it was opened.
func (d *decider) cost(g *group, m *machine) float64 {
	if m.bears == nil {
		m.bears = []bears{}
		at := map[*drain.Budget]int{}
		for _, p := range d.movable(g, m) {
			for _, b := range p.Budgets {
				i, known := at[b]
				if !known {
					i = len(m.bears)
					at[b], m.bears = i, append(m.bears, bears{budget: b})
				}
				m.bears[i].cost += perPod(b)
			}
		}
	}
	var worst, sum float64
	for _, one := range m.bears { // In the order of the pods: a sum depends on its order.
		load := d.room.load[one.budget]
		worst = max(worst, load+one.cost)
		sum += load * one.cost
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
