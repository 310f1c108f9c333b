package rotationmodels

import (
	"slices"
	"time"
)

// rotator is how mattermost/rotator is set.
type rotator struct {
	batch                                             int
	betweenRotations, betweenDrains, betweenEvictions time.Duration
}

// Rotatorctl is rotatorctl with its defaults (be0916e, rotate_commands.go).
func Rotatorctl() Model {
	r := rotator{batch: 5, betweenRotations: time.Minute, betweenDrains: time.Minute}
	return Model{Name: "rotatorctl, defaults", Batch: r.batch, run: r.run}
}

// run is WorkerNodeRotation of rotator.go (a91f993): detach a batch, sleep, wait for the new
// nodes one after the other, and drain the old ones one after the other.
func (r rotator) run(c *cluster, f flow) {
	const afterDetach, poll = time.Minute, 20 * time.Second
	old := slices.Clone(c.nodes)
	for len(old) > 0 {
		batch := old[:min(r.batch, len(old))]
		launched := c.launchAll(len(batch)) // By the group, for those that were detached.
		f.sleep(afterDetach)
		for _, n := range launched {
			for !n.ready {
				f.sleep(poll)
			}
		}
		for i, n := range batch {
			c.drain(f, n, r.betweenEvictions)
			c.end(n)
			if i < len(batch)-1 {
				f.sleep(r.betweenDrains)
			}
		}
		if old = old[len(batch):]; len(old) > 0 {
			f.sleep(r.betweenRotations)
		}
	}
	c.done = c.now
}

// Kops is kops rolling-update (268927e, pkg/instancegroups). It avoids all outdated nodes,
// detaches as many as its surge from the group, and then works on as many at a time; after
// each one the whole cluster has to validate, twice.
func Kops(name string, surge int) Model {
	const (
		afterDrain = 5 * time.Second
		interval   = 15 * time.Second
		tick       = 30 * time.Second
		again      = 10 * time.Second
	)
	validate := func(c *cluster, f flow) {
		for passed := 0; passed < 2; {
			switch {
			case !allReady(c.nodes):
				passed = 0
				f.sleep(tick)
			case passed == 0:
				passed++
				f.sleep(again)
			default:
				passed++
			}
		}
	}
	return Model{Name: name, Batch: surge, run: func(c *cluster, f flow) {
		old := slices.Clone(c.nodes)
		avoid(old)
		detached := old[len(old)-surge:]
		c.launchAll(surge)
		f.sleep(interval)
		validate(c, f)
		running, finished := 0, 0
		var oneFinished signal
		collect := func() {
			running, finished = running-finished, 0
		}
		for _, n := range old {
			running++
			c.start(func(f flow) {
				c.drain(f, n, 0)
				f.sleep(afterDrain)
				c.end(n)
				if !slices.Contains(detached, n) {
					c.launch() // By the group, which had it.
				}
				f.sleep(interval)
				finished++
				c.raise(&oneFinished)
			})
			if running < surge {
				continue
			}
			for finished == 0 {
				f.await(&oneFinished)
			}
			validate(c, f)
			collect() // All that have finished meanwhile.
		}
		for running > 0 {
			for finished == 0 {
				f.await(&oneFinished)
			}
			collect()
		}
		validate(c, f)
		c.done = c.now
	}}
}

// ManagedNodegroup is an update of an EKS managed node group, as its documentation says
// ("managed node update behavior"): it makes the group larger, cordons all outdated nodes, and
// drains a batch at a time, each node of which is ended a minute after it is empty. How long
// the setup takes is not documented, and the last phase, which makes the group smaller again,
// is left out.
func ManagedNodegroup(name string, batch int) Model {
	const (
		zones    = 3
		setup    = time.Minute
		poll     = 5 * time.Second
		afterPod = time.Minute
	)
	return Model{Name: name, Batch: batch, run: func(c *cluster, f flow) {
		old := slices.Clone(c.nodes)
		f.sleep(setup)
		extra := max(2*zones, batch)
		for launched := c.launchAll(extra); !allReady(launched); {
			f.sleep(poll)
		}
		for _, n := range old {
			n.cordoned = true
		}
		for len(old) > 0 {
			now := old[:min(batch, len(old))]
			old = old[len(now):]
			left := len(now)
			var all signal
			for _, n := range now {
				c.start(func(f flow) {
					c.drain(f, n, 0)
					f.sleep(afterPod)
					c.end(n)
					if left--; left == 0 {
						c.raise(&all)
					}
				})
			}
			f.await(&all)
			c.launchAll(c.Nodes + extra - len(c.nodes)) // By the group.
		}
		c.done = c.now
	}}
}

// Karpenter is drift of Karpenter (2266468, pkg/controllers/disruption): one decision at a
// time, each of which launches a node, waits for it and then drains the old one. A second for
// a decision is generous: it simulates scheduling, which takes longer the larger the cluster
// is. So are 5 s between evictions that are refused, for which it waits up to 10.
func Karpenter(name string, budget int) Model {
	const (
		decision = time.Second
		poll     = time.Second
		detach   = 5 * time.Second // Until its volumes are seen to be detached.
	)
	return Model{Name: name, Batch: budget, run: func(c *cluster, f flow) {
		disrupted := 0
		for _, n := range slices.Clone(c.nodes) {
			for disrupted >= budget {
				f.sleep(poll)
			}
			disrupted++
			c.start(func(f flow) {
				n.cordoned = true
				for replacement := c.launch(); !replacement.ready; {
					f.sleep(poll)
				}
				c.drain(f, n, 0)
				f.sleep(detach)
				c.end(n)
				disrupted--
				c.done = c.now
			})
			f.sleep(decision)
		}
	}}
}

// ClusterAPI is the rolling update of a MachineDeployment (ae7ff04). It avoids all outdated
// nodes; a new machine is made when one has gone, and an old one is deleted when a new one is
// Ready. A drain tries each pod once, and again 20 s later.
func ClusterAPI(name string, surge int) Model {
	const again = 20 * time.Second
	return Model{Name: name, Batch: surge, run: func(c *cluster, _ flow) {
		old := slices.Clone(c.nodes)
		avoid(old)
		for range surge {
			c.start(func(f flow) {
				for len(old) > 0 {
					if launched := c.launch(); !launched.ready {
						f.await(&launched.up)
					}
					if len(old) == 0 {
						return
					}
					n := old[0]
					old = old[1:]
					n.cordoned = true
					for !n.empty() {
						for _, p := range slices.Clone(n.pods) {
							c.evict(p)
						}
						f.sleep(again)
					}
					c.end(n)
					c.done = c.now
				}
			})
		}
	}}
}

// avoid taints nodes PreferNoSchedule.
func avoid(nodes []*node) {
	for _, n := range nodes {
		n.avoided = true
	}
}
