package drain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Room is the room that nodes have for pods that have to leave others. Pods are placed in
// it one by one, as a scheduler might; a set that fits so can be scheduled.
type Room struct {
	cluster *Cluster
	zones   map[string][]*target
	names   []string
	targets []*target // by the node's slot; nil for those that are none
	// next is from which target of a zone to look on for a shape: what has no room for it
	// will have none later, since room only gets less.
	next  map[spot]int
	count map[Owner]*spreadCount
	lost  []bool // by the node's slot, of those whose pods do not count, since they have to leave
}

type spot struct {
	shape *Shape
	zone  string
}

type target struct {
	node *Node
	free Resources
}

// spreadCount is where the pods of an owner are.
type spreadCount struct{ nodes, zones map[string]int }

// Room returns the room on the targets, in their order; leaving are nodes whose pods are
// going to be placed and do not count where they are.
func (c *Cluster) Room(targets, leaving []*Node) *Room {
	r := &Room{cluster: c, targets: make([]*target, c.NodeSlots()), zones: map[string][]*target{}, next: map[spot]int{}, count: map[Owner]*spreadCount{}, lost: make([]bool, c.NodeSlots())}
	for _, n := range leaving {
		r.lost[n.Slot] = true
	}
	all := make([]target, len(targets)) // At once: there may be thousands.
	for i, n := range targets {
		t := &all[i]
		t.node, t.free = n, n.Capacity.less(n.place.used)
		r.zones[n.Zone], r.targets[n.Slot] = append(r.zones[n.Zone], t), t
	}
	r.names = slices.Sorted(maps.Keys(r.zones))
	return r
}

// Lack is why a pod has no place.
type Lack struct {
	Pod *Pod
	// Of names the resource that is short, or says what no node satisfies.
	Of string
}

func (l Lack) String() string { return fmt.Sprintf("Pod %s finds no node: %s", l.Pod.Key(), l.Of) }

// Place finds a place for all pods, or for none and says why.
func (r *Room) Place(pods []*Pod) *Lack {
	next := maps.Clone(r.next)
	var undo []func()
	for _, p := range pods {
		taken, lack := r.place(p)
		if lack != "" {
			for _, u := range slices.Backward(undo) {
				u()
			}
			r.next = next
			return &Lack{Pod: p, Of: lack}
		}
		undo = append(undo, taken)
	}
	return nil
}

// PlaceFrom is Place for the pods of a node, which is no target for them, or for others
// after them, if it was one.
func (r *Room) PlaceFrom(node *Node, pods []*Pod) *Lack {
	t := r.targets[node.Slot]
	if t == nil {
		return r.Place(pods)
	}
	free := t.free
	t.free = Resources{}
	lack := r.Place(pods)
	if lack != nil {
		t.free = free
	}
	return lack
}

// ReserveUnscheduled places the pods that wait for a node, as far as they find a place.
func (r *Room) ReserveUnscheduled() {
	r.fill(demandOf(slices.DeleteFunc(r.cluster.PodsOn(""), func(p *Pod) bool { return p.Leaving() || p.Terminal })))
}

// Reserve places what is going to leave nodes, as far as it finds a place.
func (r *Room) Reserve(loads []*Load) {
	var all demand
	at := map[*Shape]int{}
	for _, l := range loads {
		all.bound = append(all.bound, l.room.bound...)
		for _, n := range l.room.alike {
			i, known := at[n.shape]
			if !known {
				i = len(all.alike)
				at[n.shape], all.alike = i, append(all.alike, number{shape: n.shape})
			}
			all.alike[i].pods += n.pods
		}
	}
	r.fill(all)
}

func (r *Room) fill(d demand) {
	for _, p := range d.bound {
		_, _ = r.place(p)
	}
	for _, n := range d.alike {
		r.reserve(n.shape, n.pods)
	}
}

// reserve places as many pods as find a place, where place would put them.
func (r *Room) reserve(shape *Shape, pods int) {
	for _, zone := range r.names {
		at := spot{shape, zone}
		for targets := r.zones[zone]; r.next[at] < len(targets); r.next[at]++ {
			t := targets[r.next[at]]
			if !shape.accepts(t.node) {
				continue
			}
			for ; pods > 0 && t.free.lacks(&shape.Requests) == ""; pods-- {
				t.free.add(shape.Requests, -1)
			}
			if pods == 0 {
				return
			}
		}
	}
}

func (r *Room) place(p *Pod) (undo func(), lack string) {
	zones, nodes := r.cluster.zonesOf(p)
	where := r.names
	if len(zones) > 0 {
		where = narrow(r.names, zones)
	}
	counts := r.counts(p)
	if counts != nil {
		where = slices.Clone(where)
		slices.SortStableFunc(where, func(a, b string) int { return cmp.Compare(counts.zones[a], counts.zones[b]) })
	}
	lack = "no node accepts it"
	switch {
	case len(r.names) == 0:
		return nil, "none is there to take it"
	case len(where) == 0:
		return nil, fmt.Sprintf("its volumes are in %v", zones)
	}
	for _, zone := range where {
		if counts != nil && !p.Shape.allows(counts, zone, r.names) {
			lack = "its spread over zones"
			continue
		}
		t, why := r.inZone(p, zone, nodes, counts)
		if t == nil {
			if why != "" {
				lack = why
			}
			continue
		}
		return r.take(p, t, counts), ""
	}
	return nil, lack
}

// inZone finds the first target of a zone that takes the pod.
func (r *Room) inZone(p *Pod, zone string, nodes []string, counts *spreadCount) (t *target, lack string) {
	at := spot{p.Shape, zone}
	targets := r.zones[zone]
	bound := len(nodes) > 0 // A pod that is bound to nodes says nothing of others like it.
	for i := r.next[at]; i < len(targets); i++ {
		t := targets[i]
		switch {
		case bound && !slices.Contains(nodes, t.node.Name):
			lack = fmt.Sprintf("its volumes are on %v", nodes)
			continue
		case !p.Shape.accepts(t.node):
		case counts != nil && p.Shape.perNode > 0 && counts.nodes[t.node.Name] >= p.Shape.perNode:
			lack = "it stays apart from pods like itself"
		default:
			if short := t.free.lacks(&p.Shape.Requests); short != "" {
				lack = "not enough " + string(short)
				break
			}
			return t, ""
		}
		if !bound && i == r.next[at] {
			r.next[at] = i + 1
		}
	}
	return nil, lack
}

func (r *Room) take(p *Pod, t *target, counts *spreadCount) (undo func()) {
	t.free.add(p.Shape.Requests, -1)
	if counts != nil {
		counts.nodes[t.node.Name]++
		counts.zones[t.node.Zone]++
	}
	return func() {
		t.free.add(p.Shape.Requests, 1)
		if counts != nil {
			counts.nodes[t.node.Name]--
			counts.zones[t.node.Zone]--
		}
	}
}

// counts says where the pods of the owner are, if that matters.
func (r *Room) counts(p *Pod) *spreadCount {
	if !p.Shape.spreads() {
		return nil
	}
	if known := r.count[p.Owner]; known != nil {
		return known
	}
	s := &spreadCount{nodes: map[string]int{}, zones: map[string]int{}}
	for _, other := range r.cluster.of(p.Owner).pods {
		if n := r.cluster.nodes[other.Node]; n != nil && !r.lost[n.Slot] && !other.Leaving() && !other.Terminal {
			s.nodes[n.Name]++
			s.zones[n.Zone]++
		}
	}
	r.count[p.Owner] = s
	return s
}

// allows says whether one more pod in the zone keeps to the spread.
func (s *Shape) allows(counts *spreadCount, zone string, zones []string) bool {
	if s.perZone > 0 && counts.zones[zone] >= s.perZone {
		return false
	}
	if s.skew == 0 {
		return true
	}
	least := counts.zones[zone]
	for _, other := range zones {
		least = min(least, counts.zones[other])
	}
	return counts.zones[zone]+1-least <= s.skew
}
