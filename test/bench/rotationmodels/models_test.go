package rotationmodels

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// within reports whether got is at most so much off, as a part of want.
func within(got, want, part float64) bool { return math.Abs(got-want) <= part*want }

// The published figures were made with another order of nodes and another placement, which
// matters where budgets are what takes time.
func TestPublishedFigures(t *testing.T) {
	t.Parallel()
	published := map[int]map[string]struct {
		seconds float64
		peak    int
	}{
		20: {
			"rotatorctl, defaults": {1740, 5}, "kops, surge 1": {2635, 1}, "EKS managed node group, 1 at a time": {1550, 6}, "EKS managed node group, 25 %": {880, 6},
			"Karpenter, budget 10 %": {1081, 2}, "Karpenter, budget 100 %": {239, 20}, "Cluster API, surge 25 %": {580, 5},
		},
		100: {
			"rotatorctl, defaults": {8940, 5}, "kops, surge 1": {13035, 1}, "kops, surge 25 %": {1145, 25}, "EKS managed node group, 1 at a time": {7150, 6},
			"EKS managed node group, 25 %": {1210, 25}, "Karpenter, budget 10 %": {1446, 10}, "Karpenter, budget 25 %": {798, 25}, "Karpenter, budget 100 %": {423, 100},
			"Cluster API, surge 25 %": {840, 25}, "Cluster API, surge 100 %": {470, 100},
		},
		500: {
			"rotatorctl, defaults": {44940, 5}, "kops, surge 1": {65035, 1}, "EKS managed node group, 1 at a time": {35150, 6}, "EKS managed node group, 25 %": {1330, 125},
			"Karpenter, budget 10 %": {1539, 50}, "Karpenter, budget 100 %": {694, 199}, "Cluster API, surge 25 %": {890, 125},
		},
	}
	for nodes, figures := range published {
		for _, m := range Models(nodes) {
			t.Run(fmt.Sprintf("%d nodes/%s", nodes, m.Name), func(t *testing.T) {
				t.Parallel()
				got := m.Run(Standard(nodes))
				t.Logf("%+v", got)
				want, ok := figures[m.Name]
				if !ok {
					return
				}
				if !within(got.Seconds, want.seconds, 0.1) {
					t.Errorf("it took %.0f s, and %.0f s were published", got.Seconds, want.seconds)
				}
				if !within(float64(got.PeakExtra), float64(want.peak), 0.1) {
					t.Errorf("there were up to %d more nodes, and %d were published", got.PeakExtra, want.peak)
				}
				if got.EvictionsPerPod != 1 {
					t.Errorf("pods were evicted %v times, and once was published", got.EvictionsPerPod)
				}
			})
		}
	}
}

// What the flows of control come to if budgets hold nobody up.
func TestClosedForms(t *testing.T) {
	t.Parallel()
	const minute = 60
	for _, nodes := range []int{20, 100} {
		w := Standard(nodes)
		n, boot, drain := float64(nodes), w.Boot.Seconds(), w.Termination.Seconds()
		up := func(seconds, step float64) float64 { return step * math.Ceil(seconds/step) }
		// Batches, pauses between rotations and drains, and between evictions.
		rotators := map[string]rotator{
			"rotator":          {batch: 1, betweenRotations: time.Minute, betweenDrains: time.Minute},
			"rotatorctl":       {batch: 5, betweenRotations: time.Minute, betweenDrains: time.Minute},
			"mattermost-cloud": {batch: 5, betweenRotations: 2 * time.Minute, betweenDrains: 15 * time.Minute, betweenEvictions: 5 * time.Second},
		}
		want, models := map[string]float64{}, map[string]Model{}
		for name, r := range rotators {
			batches := math.Ceil(n / float64(r.batch))
			perNode := float64(w.PodsPerNode)*r.betweenEvictions.Seconds() + drain
			want[name] = batches*(minute+up(boot-minute, 20)) + n*perNode + (n-batches)*r.betweenDrains.Seconds() + (batches-1)*r.betweenRotations.Seconds()
			models[name] = Model{Batch: r.batch, run: r.run}
		}
		want["kops"], models["kops"] = (15+20)+n*(drain+5+15+10+up(boot-15, 30)), Kops("", 1)
		want["managed node group"], models["managed node group"] = 60+boot+n*(drain+60), ManagedNodegroup("", 1)
		want["Cluster API"], models["Cluster API"] = n*(boot+up(drain, 20)), ClusterAPI("", 1)
		want["Karpenter"], models["Karpenter"] = n*(boot+drain+5), Karpenter("", 1)
		for name, m := range models {
			t.Run(fmt.Sprintf("%d nodes/%s", nodes, name), func(t *testing.T) {
				t.Parallel()
				got, exact := m.Run(w).Seconds, name != "Karpenter"
				if exact && got != want[name] || !within(got, want[name], 0.02) {
					t.Errorf("it took %v s, and should take %v s", got, want[name])
				}
			})
		}
	}
}

func TestBound(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		nodes, surge int
		want         float64
	}{
		"budgets bound 20 nodes":            {20, 20, 220},
		"budgets bound 100 nodes":           {100, 100, 370},
		"and 5 000 as well":                 {5000, 5000, 370},
		"turns bound a small surge":         {100, 10, 1000},
		"a quarter":                         {100, 25, 400},
		"half of them: budgets again":       {100, 50, 370},
		"a turn that is not full is a turn": {101, 25, 500},
	}
	for name, c := range cases {
		if got := Bound(Standard(c.nodes), c.surge); got != c.want {
			t.Errorf("%s: the bound is %v, not %v", name, got, c.want)
		}
	}
}

// Whatever the cluster and the setting: a model ends, breaks no budget, moves every pod at
// least once, has no more nodes than it may, and does not beat the bound.
func TestModelsKeepTheRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Second
		}
		nodes := rapid.IntRange(5, 40).Draw(t, "nodes")
		replicas := rapid.IntRange(1, 5).Draw(t, "replicas")
		w := Workload{ // No node is empty, so that the bound holds.
			Nodes: nodes, PodsPerNode: replicas * rapid.IntRange(1, 4).Draw(t, "pods"), Replicas: replicas,
			Boot: seconds("boot", 5, 300), Termination: seconds("termination", 1, 60), Headroom: float64(rapid.IntRange(0, 50).Draw(t, "headroom")) / 100,
		}
		w.Ready = w.Termination + seconds("ready", 0, 60)
		batch := rapid.IntRange(1, nodes).Draw(t, "batch")
		m := rapid.SampledFrom([]Model{Rotatorctl(), Kops("kops", batch), ManagedNodegroup("EKS", batch), Karpenter("Karpenter", batch), ClusterAPI("Cluster API", batch)}).Draw(t, "model")
		c := m.simulate(w)
		switch {
		case c.broken > 0:
			t.Errorf("budgets were exceeded %d times", c.broken)
		case c.evictions < c.placed:
			t.Errorf("%d of %d pods were evicted", c.evictions, c.placed)
		case c.peak > max(6, m.Batch):
			t.Errorf("there were %d more nodes", c.peak)
		case c.done == 0 || len(c.pending) > 0:
			t.Errorf("it ended at %v with %d pods that had no room", c.done, len(c.pending))
		case m.Name != "EKS" && c.done.Seconds() < Bound(w, m.Batch):
			t.Errorf("it took %v, less than the bound of %v s", c.done, Bound(w, m.Batch))
		}
		for _, n := range c.nodes {
			for _, p := range n.pods {
				if !p.serving {
					t.Errorf("a pod does not serve in the end")
				}
			}
		}
		if diff := cmp.Diff(m.Run(w), m.Run(w)); diff != "" {
			t.Errorf("it is another result each time:\n%s", diff)
		}
	})
}
