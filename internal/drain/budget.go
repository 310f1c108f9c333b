package drain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Budget is a PodDisruptionBudget, as its controller last counted.
type Budget struct {
	Namespace, Name string
	// Allowed is how many more pods may be evicted now.
	Allowed int
	// Expected, Healthy and Wanted are how many pods it covers, are Ready, and have to be.
	Expected, Healthy, Wanted int
	// AlwaysUnhealthy lets pods go that are not Ready.
	AlwaysUnhealthy bool
	// Current says that the counts are of the budget as it is now.
	Current bool
	// Slot is a small number that no other budget of the cluster has, for tables.
	Slot int
	// Surgeable says that one more replica would let one pod go.
	Surgeable bool

	selector labels.Selector
	selects  *metav1.LabelSelector // what selector was made from
	// assumed are the pods, by UID, that were asked to go and that the counts do not contain yet.
	assumed map[types.UID]string
}

// String is as people name it.
func (b *Budget) String() string { return "PodDisruptionBudget/" + b.Namespace + "/" + b.Name }

// Free is how many pods may be asked to go now.
func (b *Budget) Free() int {
	if !b.Current {
		return 0
	}
	return max(b.Allowed-len(b.assumed), 0)
}

// Never says that the budget lets no pod go however healthy all of them are.
func (b *Budget) Never() bool { return b.Current && b.Expected > 0 && b.Wanted >= b.Expected }

// SetBudget takes in a budget as it is now.
func (c *Cluster) SetBudget(pdb *policyv1.PodDisruptionBudget) error {
	was := c.budgets[pdb.Namespace][pdb.Name]
	same := was != nil && equality.Semantic.DeepEqual(was.selects, pdb.Spec.Selector)
	var selector labels.Selector
	if same { // Budgets change whenever a pod of theirs does, and what they select hardly ever.
		selector = was.selector
	} else {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(pdb.Spec.Selector); err != nil {
			c.DeleteBudget(pdb.Namespace, pdb.Name)
			return fmt.Errorf("PodDisruptionBudget/%s/%s: selector: %w", pdb.Namespace, pdb.Name, err)
		}
	}
	b := &Budget{
		Namespace: pdb.Namespace, Name: pdb.Name, selector: selector, selects: pdb.Spec.Selector,
		Allowed: int(pdb.Status.DisruptionsAllowed), Expected: int(pdb.Status.ExpectedPods), Healthy: int(pdb.Status.CurrentHealthy), Wanted: int(pdb.Status.DesiredHealthy),
		AlwaysUnhealthy: pdb.Spec.UnhealthyPodEvictionPolicy != nil && *pdb.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow,
		Current:         pdb.Status.ObservedGeneration >= pdb.Generation,
		// A percentage, and a maximum of unavailable ones, grow with the replicas.
		Surgeable: pdb.Spec.MinAvailable != nil && !strings.HasSuffix(pdb.Spec.MinAvailable.String(), "%"),
		assumed:   map[types.UID]string{},
	}
	if was == nil {
		b.Slot = c.budgetSlots.take()
	} else {
		b.Slot = was.Slot
		for uid, pod := range was.assumed {
			if _, counted := pdb.Status.DisruptedPods[pod]; !counted {
				b.assumed[uid] = pod
			}
		}
	}
	if same {
		*was = *b // The pods that it covers know it by its address.
		return nil
	}
	if c.budgets[b.Namespace] == nil {
		c.budgets[b.Namespace] = map[string]*Budget{}
	}
	c.budgets[b.Namespace][b.Name] = b
	if was != nil {
		c.cover(b.Namespace)
		return nil
	}
	for _, p := range c.inNamespace[b.Namespace] {
		if b.selector.Matches(p.Labels) {
			p.Budgets = c.covering(p)
			c.touch(p.Node)
		}
	}
	return nil
}

// Slots is by how much all budgets' slots are less.
func (c *Cluster) Slots() int { return c.budgetSlots.n }

// DeleteBudget forgets a budget.
func (c *Cluster) DeleteBudget(namespace, name string) {
	b := c.budgets[namespace][name]
	if b == nil {
		return
	}
	c.budgetSlots.give(b.Slot)
	delete(c.budgets[namespace], name)
	c.cover(namespace)
}

// cover finds anew which budgets the pods of a namespace have. It is rare: only when a
// selector changes.
func (c *Cluster) cover(namespace string) {
	for _, p := range c.inNamespace[namespace] {
		p.Budgets = c.covering(p)
		c.touch(p.Node)
	}
}

func (c *Cluster) covering(p *Pod) []*Budget {
	var all []*Budget
	for _, b := range c.budgets[p.Namespace] {
		if b.selector.Matches(p.Labels) {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *Budget) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Budgets returns all budgets, sorted by namespace and name.
func (c *Cluster) Budgets() []*Budget {
	var all []*Budget
	for _, namespace := range slices.Sorted(maps.Keys(c.budgets)) {
		for _, name := range slices.Sorted(maps.Keys(c.budgets[namespace])) {
			all = append(all, c.budgets[namespace][name])
		}
	}
	return all
}
