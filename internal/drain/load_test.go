package drain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// history is what an index was told, to tell another one the same.
type history struct {
	pods map[types.UID]*corev1.Pod
	all  []func(*drain.Cluster)
}

// more adds one thing that may happen.
func (h *history) more(t *rapid.T) {
	name := fmt.Sprintf("pod-%d", rapid.IntRange(0, 5).Draw(t, "pod"))
	uid := types.UID(name)
	b := budget(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "budget"), int32(rapid.IntRange(0, 2).Draw(t, "allowed")), 3, int32(rapid.IntRange(1, 3).Draw(t, "wanted")), 3)
	going := rapid.Bool().Draw(t, "going")
	h.all = append(h.all, rapid.SampledFrom([]func(*drain.Cluster){
		h.pod(t, name),
		func(c *drain.Cluster) { c.DeletePod(uid) },
		func(c *drain.Cluster) { c.SetAssumed(uid, going) },
		func(c *drain.Cluster) { _ = c.SetBudget(b) },
		func(c *drain.Cluster) {
			other := b.DeepCopy()
			other.Spec.Selector.MatchLabels = map[string]string{"other": "yes"}
			_ = c.SetBudget(other)
		},
		func(c *drain.Cluster) { c.DeleteBudget(b.Namespace, b.Name) },
	}).Draw(t, "change"))
}

// pod is a change of a pod; what never changes of one does not.
func (h *history) pod(t *rapid.T, name string) func(*drain.Cluster) {
	how := []func(*corev1.Pod){unready(time.Minute), pending, finished, bare, leaving(0), leaving(2 * time.Minute), claims("data"), owned("DaemonSet"), labelled("other", "yes"), labelled("app", "other"), func(p *corev1.Pod) { p.Spec.NodeName = "m" }}
	p := pod(name)
	if i := rapid.IntRange(0, 2*len(how)).Draw(t, "how"); i < len(how) { // Half are as most pods are.
		how[i](p)
	}
	return func(c *drain.Cluster) {
		if was := c.Pod(p.UID); was != nil && h.pods[p.UID] != nil {
			p.Spec.NodeName, p.Spec.Volumes, p.OwnerReferences = was.Node, h.pods[p.UID].Spec.Volumes, h.pods[p.UID].OwnerReferences
		}
		h.pods[p.UID] = p
		c.SetPod(p)
	}
}

// TestLoadIsKept: what an index has found out of a node and kept is what one says that has
// just been filled, and that looks at every pod.
func TestLoadIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kept, all := drain.NewCluster(), &history{pods: map[types.UID]*corev1.Pod{}}
		plain := policy(t, v1alpha1.Drain{})
		// With a rule, even one that selects nothing, every pod is looked at.
		thorough := policy(t, v1alpha1.Drain{Rules: []v1alpha1.PodRule{{Namespaces: []string{"none"}}}})
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			all.more(t)
			all.all[len(all.all)-1](kept)
			fresh := drain.NewCluster()
			for _, change := range all.all {
				change(fresh)
			}
			for _, node := range []string{"n", "m"} {
				got, want := told(kept.Drain(node, &plain, kept.Allowance(), now, false)), told(fresh.Drain(node, &thorough, fresh.Allowance(), now, false))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("node %s (-filled anew +kept): %s", node, diff)
				}
				if diff := cmp.Diff(told(fresh.Load(node, &plain)), told(kept.Load(node, &plain))); diff != "" {
					t.Fatalf("the load of node %s (-filled anew +kept): %s", node, diff)
				}
			}
		}
	})
}

// TestOwnersAreCounted: what an index says of an owner is what its pods say.
func TestOwnersAreCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, all := drain.NewCluster(), &history{pods: map[types.UID]*corev1.Pod{}}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			all.more(t)
			all.all[len(all.all)-1](c)
			for _, owner := range []drain.Owner{{}, {Kind: "ReplicaSet", Namespace: "shop", Name: "web"}, {Kind: "DaemonSet", Namespace: "shop", Name: "web"}} {
				missing, wanted := 0, int32(0)
				for _, p := range append(c.PodsOn("n"), c.PodsOn("m")...) {
					if p.Owner == owner && !p.Terminal {
						if wanted++; p.Leaving() || !p.Ready {
							missing++
						}
					}
				}
				if got := c.Missing(owner); got != missing || c.Whole(owner.String()) != (missing == 0) {
					t.Fatalf("of %s %d pods are missing, it says %d and whole is %t", owner, missing, got, c.Whole(owner.String()))
				}
				c.SetWorkload(drain.Workload{Owner: owner, Desired: wanted})
				if got := c.Missing(owner); got != missing || c.Whole(owner.String()) != (c.Late(owner.String(), time.Time{}) == 0) {
					t.Fatalf("of %d pods of %s %d are missing, it says %d and whole is %t", wanted, owner, missing, got, c.Whole(owner.String()))
				}
				c.DeleteWorkload(owner)
			}
		}
	})
}

// told is an answer, or a load, as text: what points into an index differs between two.
func told(of any) string {
	switch of := of.(type) {
	case drain.Answer:
		text := fmt.Sprintf("%d left, surge %v, look %v", of.Left, of.Surge, of.Look)
		if of.Wait != nil {
			text += fmt.Sprintf(", wait %+v", *of.Wait)
		}
		for _, e := range of.Evict {
			text += fmt.Sprintf(", evict %s force %t: %s", e.Pod.Key(), e.Force, e.Why)
		}
		return text
	case *drain.Load:
		text := fmt.Sprintf("%d left", of.Left)
		for _, p := range of.Movable {
			text += ", " + p.Key()
		}
		for _, s := range of.Shares {
			text += fmt.Sprintf(", %d of %s", s.Pods, s.Budget)
		}
		return text
	default:
		return fmt.Sprint(of)
	}
}

func policy(t *rapid.T, d v1alpha1.Drain) drain.Policy {
	p, err := drain.NewPolicy(&d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
