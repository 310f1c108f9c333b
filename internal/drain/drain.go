package drain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
)

// Eviction is one pod that may be asked to go now.
type Eviction struct {
	Pod *Pod
	// Grace in seconds; nil for the pod's own.
	Grace *int64
	// Force deletes the pod, past its budget; Why says why that may be.
	Force bool
	Why   string
}

// Wait is why a node is not empty yet.
type Wait struct {
	For, Reason, Message string
	// Forever says that nothing but a person or a time-out will help.
	Forever bool
}

// Answer is what a node's drain needs next.
type Answer struct {
	Evict []Eviction
	// Surge are workloads of which one more replica would let a pod go.
	Surge []Owner
	// Left is how many pods still have to leave.
	Left int
	// Wait is what keeps the node from being empty; nil if nothing does but what is in Evict.
	Wait *Wait
	// Look is when to look again although nothing changed; zero for never.
	Look time.Time
}

// Allowance shares out, over all nodes that drain at a time, how many pods may go now. It
// is for one decision.
type Allowance struct {
	cluster *Cluster
	taken   map[*Budget]int // of budgets
	owners  map[Owner]int
}

// Allowance returns what budgets and owners allow now.
func (c *Cluster) Allowance() *Allowance {
	return &Allowance{cluster: c, taken: map[*Budget]int{}, owners: map[Owner]int{}}
}

// take takes one from the budget, if it has one left.
func (a *Allowance) take(b *Budget) bool {
	if a.left(b) <= 0 {
		return false
	}
	a.taken[b]++
	return true
}

// left is how much of the budget is left.
func (a *Allowance) left(b *Budget) int {
	free := b.Free()
	if free > 0 { // Of most nothing is, and this is asked for every budget of every open node.
		free -= a.taken[b]
	}
	return free
}

// takeOwner is take for an owner that has no budget.
func (a *Allowance) takeOwner(owner Owner, budget intstr.IntOrString) bool {
	left, known := a.owners[owner]
	if !known {
		o := a.cluster.of(owner)
		size := len(o.pods)
		if o.workload != nil {
			size = int(o.workload.Desired)
		}
		allowed, err := intstr.GetScaledValueFromIntOrPercent(&budget, size, false)
		if err != nil || allowed < 1 {
			allowed = 1
		}
		left = allowed - a.cluster.Missing(owner)
	}
	a.owners[owner] = max(left-1, 0)
	return left > 0
}

// stuckAfter is how long after its grace period a pod that is still there is called stuck:
// kubelets take a while to tell.
const stuckAfter = 30 * time.Second

// Drain says which pods of a node may be asked to go now, and what it waits for. late says
// that the node's time is over and that what is left may be forced.
func (c *Cluster) Drain(node string, p *Policy, a *Allowance, now time.Time, late bool) Answer {
	d := drainer{Answer: Answer{}, c: c, p: p, a: a, now: now, force: late && p.OnTimeout == v1alpha1.ForceNode}
	if l := c.Load(node, p); !d.force && l.standsStill(a, now) {
		d.Left = l.Left
		d.Wait, d.Look = l.still()
		return d.Answer
	}
	pods := slices.DeleteFunc(c.PodsOn(node), func(pod *Pod) bool { return p.stays(pod) })
	d.Left = len(pods)
	slices.SortStableFunc(pods, func(x, y *Pod) int {
		if len(p.rules) > 0 {
			if by := cmp.Compare(p.ruleOf(x).order, p.ruleOf(y).order); by != 0 {
				return by
			}
		}
		return cmp.Compare(y.Grace, x.Grace)
	})
	for i, pod := range pods {
		if i > 0 && p.ruleOf(pod).order > p.ruleOf(pods[0]).order {
			break // Pods of a later order stay until those before are gone.
		}
		d.one(pod)
	}
	return d.Answer
}

// Blockers tells of every pod of a node that nothing but a person could move.
func (c *Cluster) Blockers(node string, p *Policy, now time.Time, tell func(*Pod, Wait)) {
	for _, pod := range c.podsOn(node) {
		if p.stays(pod) || pod.Ready && pod.Owner != (Owner{}) && len(pod.claims) == 0 && len(pod.Budgets) == 1 && !pod.Budgets[0].Never() {
			continue // Most are like that.
		}
		d := drainer{c: c, p: p, a: c.Allowance(), now: now}
		if d.one(pod); d.Wait != nil && d.Wait.Forever {
			tell(pod, *d.Wait)
		}
	}
}

// What pods wait for most of the time.
const (
	podEnding    = "it is ending"
	budgetUsedUp = "no more of its pods may be unavailable now"
)

// drainer goes over the pods of one node.
type drainer struct {
	Answer
	c     *Cluster
	p     *Policy
	a     *Allowance
	now   time.Time
	force bool
}

// one decides on one pod.
func (d *drainer) one(pod *Pod) {
	r := d.p.ruleOf(pod)
	switch {
	case pod.Leaving():
		d.leaving(pod)
	case d.force:
		d.evict(pod, r, true, "the node was not empty in time")
	case r.action == v1alpha1.WaitCompleted:
		d.wait(pod, Wait{Reason: v1alpha1.ReasonWaitCompleted, Message: "it is left to end by itself, as a rule says"})
	case pod.Owner == (Owner{}) && d.p.BarePods == v1alpha1.BlockNode:
		d.wait(pod, Wait{Reason: v1alpha1.ReasonBarePod, Forever: true, Message: "nobody would make it again: delete it, or set drain.barePods to Evict"})
	case d.c.localVolume(pod) != "" && d.p.LocalVolumes == v1alpha1.BlockNode:
		d.wait(pod, Wait{Reason: v1alpha1.ReasonLocalVolume, Forever: true, Message: fmt.Sprintf("its volume %s stays on the node: delete pod and claim, or set drain.localVolumes to Evict", d.c.localVolume(pod))})
	case pod.Pending: // The API server asks no budget about it.
		d.evict(pod, r, false, "it does not run yet")
	case len(pod.Budgets) > 1:
		d.wait(pod, Wait{Reason: v1alpha1.ReasonTwoBudgets, Forever: true, Message: fmt.Sprintf("%s and %s cover it, and the API server evicts no such pod: make them disjoint", pod.Budgets[0], pod.Budgets[1])})
	case len(pod.Budgets) == 0:
		d.unguarded(pod, r)
	case !pod.Ready:
		d.unhealthy(pod, pod.Budgets[0], r)
	default:
		d.guarded(pod, pod.Budgets[0], r)
	}
}

// leaving waits for a pod that was asked to go.
func (d *drainer) leaving(pod *Pod) {
	if pod.DeletedAt.IsZero() || d.now.Before(pod.GoneBy.Add(stuckAfter)) {
		if !pod.DeletedAt.IsZero() {
			d.look(pod.GoneBy.Add(stuckAfter))
		}
		d.wait(pod, Wait{Reason: v1alpha1.ReasonTerminating, Message: podEnding})
		return
	}
	if d.p.Stuck > 0 && !d.now.Before(pod.GoneBy.Add(d.p.Stuck)) || d.force {
		d.evict(pod, rule{graceCap: 0}, true, "it did not end in its grace period")
		return
	}
	w := Wait{Reason: v1alpha1.ReasonStuckTerminating, Forever: d.p.Stuck == 0, Message: "its grace period is over and it is still there: look at its finalizers and its node, or set drain.stuckTerminatingSeconds"}
	if d.p.Stuck > 0 {
		d.look(pod.GoneBy.Add(d.p.Stuck))
	}
	d.wait(pod, w)
}

// unguarded decides on a pod without a budget.
func (d *drainer) unguarded(pod *Pod, r rule) {
	if !pod.Ready || pod.Owner == (Owner{}) || d.a.takeOwner(pod.Owner, d.p.Budget) {
		d.evict(pod, r, false, "has to leave the node")
		return
	}
	d.wait(pod, Wait{For: pod.Owner.String(), Reason: v1alpha1.ReasonBudget, Message: "enough of its pods are unavailable already"})
}

// unhealthy decides on a pod that is not Ready, as the API server would.
func (d *drainer) unhealthy(pod *Pod, b *Budget, r rule) {
	if b.AlwaysUnhealthy || b.Current && b.Wanted > 0 && b.Healthy >= b.Wanted || d.a.take(b) {
		d.evict(pod, r, false, "it is not Ready, and its budget lets such pods go")
		return
	}
	since := pod.ReadyAt
	if since.IsZero() {
		since = pod.CreatedAt
	}
	if d.p.Unhealthy > 0 && !d.now.Before(since.Add(d.p.Unhealthy)) {
		d.evict(pod, r, true, "it has not been Ready for longer than drain.unhealthyPodsSeconds")
		return
	}
	if d.p.Unhealthy > 0 {
		d.look(since.Add(d.p.Unhealthy))
	}
	d.wait(pod, Wait{For: b.String(), Reason: v1alpha1.ReasonUnhealthyPod, Forever: d.p.Unhealthy == 0,
		Message: fmt.Sprintf("Pod %s is not Ready, and its budget does not let such pods go: repair it, set the budget's unhealthyPodEvictionPolicy to AlwaysAllow, or set drain.unhealthyPodsSeconds", pod.Key())})
}

// guarded decides on a Ready pod with a budget.
func (d *drainer) guarded(pod *Pod, b *Budget, r rule) {
	switch {
	case d.a.take(b):
		d.evict(pod, r, false, "has to leave the node")
	case !b.Never():
		d.wait(pod, Wait{For: b.String(), Reason: v1alpha1.ReasonBudget, Message: budgetUsedUp})
	case !builtIn(pod.Owner):
		d.wait(pod, Wait{For: b.String(), Reason: v1alpha1.ReasonBudget, Message: fmt.Sprintf("it is left to the operator of %s to move Pod %s", pod.Owner, pod.Key())})
	case b.Surgeable && d.p.PodSurge == v1alpha1.SurgeWhenBlocked && d.c.Parent(pod.Owner).Kind == "Deployment":
		if parent := d.c.Parent(pod.Owner); !slices.Contains(d.Surge, parent) {
			d.Surge = append(d.Surge, parent)
		}
		d.wait(pod, Wait{For: b.String(), Reason: v1alpha1.ReasonBudget, Message: fmt.Sprintf("%s gets one more replica, since its budget wants all there are", d.c.Parent(pod.Owner))})
	default:
		d.wait(pod, Wait{For: b.String(), Reason: v1alpha1.ReasonBudgetNever, Forever: true,
			Message: fmt.Sprintf("it never lets a pod go, such as Pod %s: let it allow one disruption", pod.Key())})
	}
}

// builtIn says whether nobody but Kubernetes itself makes the owner's pods.
func builtIn(o Owner) bool {
	return slices.Contains([]string{"ReplicaSet", "StatefulSet", "ReplicationController", "Job"}, o.Kind)
}

func (d *drainer) evict(pod *Pod, r rule, force bool, why string) {
	e := Eviction{Pod: pod, Grace: d.p.grace(pod, r), Force: force, Why: why}
	if force && pod.Leaving() {
		e.Grace = new(int64(0))
	}
	d.Evict = append(d.Evict, e)
}

// wait keeps the worst reason, and of those the first.
func (d *drainer) wait(pod *Pod, w Wait) {
	if w.For == "" {
		w.For = "Pod/" + pod.Key()
	}
	if d.Wait == nil || rank(&w) < rank(d.Wait) || rank(&w) == rank(d.Wait) && strings.Compare(w.For, d.Wait.For) < 0 {
		d.Wait = &w
	}
}

func rank(w *Wait) int {
	switch {
	case w.Forever:
		return 0
	case w.Reason == v1alpha1.ReasonTerminating:
		return 2
	default:
		return 1
	}
}

func (d *drainer) look(at time.Time) {
	if d.Look.IsZero() || at.Before(d.Look) {
		d.Look = at
	}
}
