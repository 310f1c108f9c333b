// Package rotationmodels executes what other tools do to replace the nodes of a cluster: the
// sleeps, batches and polls that were read in their source, or in their documentation where
// there is no source, against one model of a cluster and in virtual time.
//
// It compares flows of control. It does not predict how long a tool takes in a given cluster:
// calls of APIs take no time and nothing goes wrong, which favours every tool.
package rotationmodels

import (
	"math"
	"time"
)

// Result is what a tool took.
type Result struct {
	Name string
	// SurgePercent is how many nodes it was let replace at a time, in percent of all,
	// rounded up.
	SurgePercent int
	// Seconds until the last outdated node has gone.
	Seconds float64
	// EvictionsPerPod is 1 if no pod was moved onto a node that was to go as well.
	EvictionsPerPod float64
	// PeakExtra is how many nodes there were at most beyond those of the cluster.
	PeakExtra int
}

// Model is a tool with a setting.
type Model struct {
	Name string
	// Batch is how many nodes it replaces at a time.
	Batch int
	run   func(*cluster, flow)
}

// Run replaces all nodes of a workload.
func (m Model) Run(w Workload) Result {
	c := m.simulate(w)
	return Result{
		Name: m.Name, SurgePercent: int(math.Ceil(100 * float64(m.Batch) / float64(w.Nodes))), Seconds: c.done.Seconds(),
		EvictionsPerPod: float64(c.evictions) / float64(c.placed), PeakExtra: c.peak,
	}
}

func (m Model) simulate(w Workload) *cluster {
	c := newCluster(w)
	c.start(func(f flow) { m.run(c, f) })
	c.run()
	return c
}

// Models are the tools that are compared, for a cluster of so many nodes.
func Models(nodes int) []Model {
	share := func(percent int) int { return max(1, nodes*percent/100) }
	return []Model{
		Rotatorctl(),
		Kops("kops, surge 1", 1), Kops("kops, surge 25 %", share(25)),
		ManagedNodegroup("EKS managed node group, 1 at a time", 1), ManagedNodegroup("EKS managed node group, 25 %", share(25)),
		Karpenter("Karpenter, budget 10 %", share(10)), Karpenter("Karpenter, budget 25 %", share(25)), Karpenter("Karpenter, budget 100 %", nodes),
		ClusterAPI("Cluster API, surge 25 %", share(25)), ClusterAPI("Cluster API, surge 100 %", nodes),
	}
}

// Bound is the time in seconds that no tool can beat which replaces so many nodes at a time:
// at least one node has to boot, the pods of an application have to leave one by one, and
// nodes take turns. Calls are taken to take no time, and no node to be empty.
func Bound(w Workload, surge int) float64 {
	budget := w.Boot + time.Duration(w.Replicas-1)*w.Ready + w.Termination
	turns := (w.Nodes + surge - 1) / surge
	slots := time.Duration(turns) * (w.Boot + w.Termination)
	return max(w.Boot, budget, slots).Seconds()
}
