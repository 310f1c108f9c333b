package rotationmodels

import (
	"math"
	"slices"
	"time"
)

// Workload is a cluster whose nodes are to be replaced.
type Workload struct {
	Nodes       int
	PodsPerNode int
	// Replicas of each application, on nodes of their own. Its budget lets one be
	// unavailable.
	Replicas int
	// Boot is how long a new node takes to be Ready, Ready a pod from its eviction until
	// its replacement serves, once there is room for it, and Termination the old pod to end.
	Boot, Ready, Termination time.Duration
	// Headroom is how much more a node has room for than it runs.
	Headroom float64
}

// Standard is what the published figures are for: 30 pods on each node, 10 replicas, or 5 in
// a cluster of 20 nodes.
func Standard(nodes int) Workload {
	return Workload{
		Nodes: nodes, PodsPerNode: 30, Replicas: max(1, min(10, nodes/4)),
		Boot: 90 * time.Second, Ready: 30 * time.Second, Termination: 10 * time.Second, Headroom: 0.15,
	}
}

// cluster is what the models act upon: nodes, pods with a budget, and a scheduler.
type cluster struct {
	simulation
	Workload
	nodes   []*node
	pending []*application

	placed, evictions, peak int
	// broken counts how often a budget was exceeded, which no model may do.
	broken int
	// done is when the model was through.
	done time.Duration
}

type application struct{ replicas, serving int }

type pod struct {
	of      *application
	on      *node
	serving bool
}

type node struct {
	ready bool
	// cordoned nodes take no pods, and avoided ones only if no other has room.
	cordoned, avoided bool
	// pods run, and terminating ones still take up room.
	pods        []*pod
	terminating int
	up          signal
}

func (n *node) empty() bool { return len(n.pods) == 0 && n.terminating == 0 }

func (n *node) used() int { return len(n.pods) + n.terminating }

// newCluster places the replicas of each application on nodes of their own, at random among
// those that have the fewest pods.
func newCluster(w Workload) *cluster {
	c := &cluster{Workload: w}
	for range w.Nodes {
		c.nodes = append(c.nodes, &node{ready: true})
	}
	random := sequence(1)
	for range w.Nodes * w.PodsPerNode / w.Replicas {
		app := &application{replicas: w.Replicas, serving: w.Replicas}
		free := random.shuffled(c.nodes)
		slices.SortStableFunc(free, func(a, b *node) int { return a.used() - b.used() })
		for _, n := range free[:w.Replicas] {
			n.pods = append(n.pods, &pod{of: app, on: n, serving: true})
			c.placed++
		}
	}
	return c
}

// sequence is of numbers that look random and are always the same: SplitMix64.
type sequence uint64

func (s *sequence) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *sequence) shuffled(nodes []*node) []*node {
	nodes = slices.Clone(nodes)
	for i := len(nodes) - 1; i > 0; i-- {
		j := s.next() % uint64(i+1)
		nodes[i], nodes[j] = nodes[j], nodes[i]
	}
	return nodes
}

// launch adds a node, which is Ready when it has booted.
func (c *cluster) launch() *node {
	n := &node{}
	c.nodes = append(c.nodes, n)
	c.peak = max(c.peak, len(c.nodes)-c.Nodes)
	c.after(c.Boot, func() {
		n.ready = true
		c.schedule()
		c.raise(&n.up)
	})
	return n
}

func (c *cluster) launchAll(count int) []*node {
	var launched []*node
	for range count {
		launched = append(launched, c.launch())
	}
	return launched
}

// end removes a node. Models end only what is empty.
func (c *cluster) end(n *node) {
	if !n.empty() {
		panic("a node was ended that was not empty")
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(other *node) bool { return other == n })
}

// evict reports whether the pod may leave, as the API server does, and lets it if so.
func (c *cluster) evict(p *pod) bool {
	app, from := p.of, p.on
	if p.serving && app.serving < app.replicas {
		return false
	}
	if p.serving {
		app.serving--
	}
	if app.serving < app.replicas-1 {
		c.broken++
	}
	c.evictions++
	from.pods = slices.DeleteFunc(from.pods, func(other *pod) bool { return other == p })
	from.terminating++
	c.pending = append(c.pending, app)
	c.schedule()
	c.after(c.Termination, func() {
		from.terminating--
		c.schedule()
	})
	return true
}

// schedule places what waits, in its order, on the node that has the fewest pods.
func (c *cluster) schedule() {
	for len(c.pending) > 0 {
		to := c.roomiest()
		if to == nil {
			return
		}
		app := c.pending[0]
		c.pending = c.pending[1:]
		p := &pod{of: app, on: to}
		to.pods = append(to.pods, p)
		c.after(c.Ready, func() {
			// It may have been evicted meanwhile.
			if slices.Contains(to.pods, p) {
				p.serving = true
				app.serving++
			}
		})
	}
}

func (c *cluster) roomiest() *node {
	room := int(math.Ceil(float64(c.PodsPerNode) * (1 + c.Headroom)))
	var best *node
	for _, n := range c.nodes {
		if !n.ready || n.cordoned || n.used() >= room {
			continue
		}
		if best == nil || best.avoided && !n.avoided || best.avoided == n.avoided && n.used() < best.used() {
			best = n
		}
	}
	return best
}

// drain empties a node as kubectl's library does: each pod by itself, begun a while after
// the one before, and again 5 s after each refusal.
func (c *cluster) drain(f flow, n *node, between time.Duration) {
	const again, poll = 5 * time.Second, time.Second
	n.cordoned = true
	pods := slices.Clone(n.pods)
	left := len(pods)
	for _, p := range pods {
		if between > 0 {
			f.sleep(between)
		}
		c.start(func(f flow) {
			for !c.evict(p) {
				f.sleep(again)
			}
			left--
		})
	}
	for left > 0 || !n.empty() {
		f.sleep(poll)
	}
}

func allReady(nodes []*node) bool {
	return !slices.ContainsFunc(nodes, func(n *node) bool { return !n.ready })
}
