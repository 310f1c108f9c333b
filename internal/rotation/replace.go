package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// replacement is one node that is being replaced: the record that is to be, beside that
// which is.
type replacement struct {
	*decider
	g   *group
	m   *machine // nil if the provider no longer has it
	was *v1alpha1.NodeReplacement
	// next begins as what is: what is behind its pointers is replaced, never changed.
	next v1alpha1.NodeReplacementStatus
	// node is the one that is being replaced; nil if it is gone, or is another of that name.
	node *drain.Node
	pods int // on it
	// needs are the steps that have to succeed before the record may say so.
	needs []string
}

// replaceAll takes every open node of a group a step further. Nodes with the fewest pods
// left come first, so that they are done, and others can be opened, the sooner.
func (d *decider) replaceAll(g *group) {
	all := make([]*replacement, 0, g.records)
	for i := range d.s.Records {
		r := &d.s.Records[i]
		switch {
		case r.Spec.Group != g.name:
		case Closed(r.Status.Phase):
			d.closeRecord(r)
		default:
			m := g.view.machine(r.Spec.Instance)
			n := d.replaced(r, m)
			if d.atRest(g, r, m, n) {
				continue
			}
			one := &replacement{decider: d, g: g, m: m, was: r, next: r.Status, node: n}
			if n != nil {
				one.pods = d.s.Cluster.Count(n.Name)
			}
			all = append(all, one)
		}
	}
	// Those that are asked to end come first, each for the size that it was asked for.
	slices.SortStableFunc(all, func(a, b *replacement) int {
		return cmp.Or(cmp.Compare(b.sizeAfter(), a.sizeAfter()), cmp.Compare(a.pods, b.pods), strings.Compare(a.was.Name, b.was.Name))
	})
	for _, r := range all {
		r.decide()
	}
}

// sizeAfter is the size that was written down; negative if none was.
func (r *replacement) sizeAfter() int32 {
	if size := r.was.Status.SizeAfter; size != nil {
		return *size
	}
	return -1
}

// replaced is the node that a record is of; nil if there is none. A machine that had none when
// it was opened may have one by now.
func (d *decider) replaced(was *v1alpha1.NodeReplacement, m *machine) *drain.Node {
	if was.Spec.Node == "" && m != nil {
		return m.node
	}
	if n := d.s.Cluster.Node(was.Spec.Node); n != nil && n.UID == was.Spec.NodeUID {
		return n
	}
	return nil
}

func (r *replacement) decide() {
	r.next.Wait = nil
	switch {
	case r.g.lost:
		r.reverting()
	case r.m == nil || r.m.State == cloud.Ending:
		r.ending()
	case r.was.Status.Phase == v1alpha1.Terminating:
		r.terminating()
	case r.was.Status.Phase == v1alpha1.Reverting || r.unwanted():
		r.reverting()
	case r.was.Status.Phase == v1alpha1.Drained:
		r.drained()
	case r.was.Status.Phase == v1alpha1.Draining:
		r.draining()
	default:
		r.opened()
	}
	if r.next.Wait != nil {
		r.keepSince()
		r.waits = append(r.waits, r.next.Wait)
	}
	if !sameStatus(&r.was.Status, &r.next) {
		r.step(Record{Name: r.was.Name, UID: r.was.UID, Status: r.next}, string(r.next.Phase), r.needs...)
	}
}

// unwanted says that the node need not go any more, since the run is being ended.
func (r *replacement) unwanted() bool { return !r.m.leaving }

// subject is the node as people are told of it.
func (r *replacement) subject() string {
	if n := r.node; n != nil {
		return "Node/" + n.Name
	}
	return "Node/" + cmp.Or(r.was.Spec.Node, r.was.Spec.Instance)
}

func (r *replacement) phase(p v1alpha1.ReplacementPhase) {
	now := metav1.NewTime(r.now)
	r.next.Phase, r.next.Since = p, &now
	if Closed(p) {
		r.next.FinishedAt = &now
	}
	r.status.ProgressedAt = &now
}

// opened keeps new pods from the node and notes which ones have to leave it.
func (r *replacement) opened() {
	n := r.node
	if n != nil && (!n.Cordoned || !n.Excluded) {
		r.step(Mark{Node: n.Name, UID: n.UID, Cordon: new(true)}, r.was.Spec.Reason)
	}
	r.next.DrainDeadline = new(metav1.NewTime(r.now.Add(r.g.strategy.drain.Timeout)))
	r.note(n)
	r.phase(v1alpha1.Draining)
}

// maxPods is how many pods a record can hold.
const maxPods = 1000

// note keeps the list of pods that have to leave, and of those that have. Of one that is not
// Ready the replacement may never be: it is not waited for, and so has no owner in the list.
func (r *replacement) note(n *drain.Node) {
	l := &drain.Load{}
	if n != nil {
		l = n.Load(&r.g.strategy.drain)
	}
	if l.Noted(r.next.Pods) {
		return
	}
	r.next.Pods = slices.Clone(r.next.Pods)
	here, known := map[types.UID]bool{}, map[types.UID]int{}
	for i := range r.next.Pods {
		known[r.next.Pods[i].UID] = i
	}
	for _, pod := range l.Movable {
		here[pod.UID] = true
		if i, ok := known[pod.UID]; ok {
			r.next.Pods[i].Owner = pod.Awaited()
		} else if len(r.next.Pods) < maxPods {
			r.next.Pods = append(r.next.Pods, v1alpha1.LeavingPod{UID: pod.UID, Owner: pod.Awaited()})
		}
	}
	for i := range r.next.Pods {
		p := &r.next.Pods[i]
		if here[p.UID] || p.LeftAt != nil {
			continue
		}
		at := r.now
		if pod := r.s.Cluster.Pod(p.UID); pod != nil && !pod.DeletedAt.IsZero() {
			at = pod.DeletedAt
		}
		p.LeftAt = new(metav1.NewTime(at))
	}
}

// draining lets the pods leave, as far as their budgets allow.
func (r *replacement) draining() {
	n := r.node
	if n == nil { // Somebody deleted the Node: its pods are gone with it, or will be.
		r.phase(v1alpha1.Drained)
		r.next.DrainedAt = r.next.Since
		return
	}
	if !n.Cordoned || !n.Excluded {
		r.step(Mark{Node: n.Name, UID: n.UID, Cordon: new(true)}, r.was.Spec.Reason)
		return
	}
	policy := &r.g.strategy.drain
	if r.m.Registered && policy.LoadBalancers > 0 { // They let go while the pods leave.
		r.step(Deregister{Group: r.g.name, Machine: r.m.ID}, "its pods are leaving")
	}
	late := r.next.DrainDeadline != nil && !r.now.Before(r.next.DrainDeadline.Time)
	if late && r.onTimeout() == v1alpha1.SkipNode {
		r.skip()
		return
	}
	answer := r.s.Cluster.Drain(n.Name, policy, r.allow, r.now, late)
	r.evict(n.Name, answer.Evict)
	for _, owner := range answer.Surge {
		r.surge(owner)
	}
	r.note(n)
	if answer.Left == 0 {
		r.phase(v1alpha1.Drained)
		r.next.DrainedAt = r.next.Since
		return
	}
	r.waitFor(answer.Wait, r.next.DrainDeadline)
	if !answer.Look.IsZero() {
		r.wakeAt(answer.Look)
	}
	if !late && r.next.DrainDeadline != nil {
		r.wakeAt(r.next.DrainDeadline.Time)
	}
}

// evict asks pods to go.
func (r *replacement) evict(node string, all []drain.Eviction) {
	for _, e := range all {
		r.step(Evict{Namespace: e.Pod.Namespace, Name: e.Pod.Name, UID: e.Pod.UID, Node: node, Grace: e.Grace, Force: e.Force}, e.Why)
		if e.Force {
			r.forced("some pods were deleted: " + e.Why)
		}
	}
}

// forced notes what was done against a rule, beside what was before.
func (r *replacement) forced(why string) {
	switch {
	case r.next.Forced == "":
		r.next.Forced = why
	case !strings.Contains(r.next.Forced, why):
		r.next.Forced += "; " + why
	}
}

func (r *replacement) waitFor(w *drain.Wait, until *metav1.Time) {
	if w == nil {
		return
	}
	message := w.Message
	if w.Forever {
		message += "; then: " + map[v1alpha1.OnDrainTimeout]string{
			v1alpha1.SkipNode: "the node is given back and tried once more at the end", v1alpha1.BlockRun: "it goes on waiting", v1alpha1.ForceNode: "what is left is deleted",
		}[r.onTimeout()]
	}
	r.next.Wait = &v1alpha1.Wait{Subject: r.subject(), For: w.For, Reason: w.Reason, Message: message, Until: until}
}

// onTimeout is what becomes of the node when it cannot be emptied in time. One that need not
// go holds up nothing, and nothing is forced for it.
func (r *replacement) onTimeout() v1alpha1.OnDrainTimeout {
	if isUneven(r.was) {
		return v1alpha1.SkipNode
	}
	return r.g.strategy.drain.OnTimeout
}

// skip gives the node back: it could not be emptied in time.
func (r *replacement) skip() {
	r.next.Message = "it was not empty in time"
	if w := r.was.Status.Wait; w != nil {
		r.next.Message += fmt.Sprintf(": %s %s: %s", w.For, w.Reason, w.Message)
	}
	r.phase(v1alpha1.Reverting)
}

// drained waits for what the pods left behind, and for those that took their place.
func (r *replacement) drained() {
	n := r.node
	if n == nil {
		r.terminate()
		return
	}
	policy := &r.g.strategy.drain
	// A pod that came back, because somebody uncordoned the node or it tolerates a cordon,
	// has to leave first.
	if n.Load(policy).Left > 0 || !n.Cordoned {
		r.phase(v1alpha1.Draining)
		r.next.DrainedAt = nil
		return
	}
	r.note(n)
	since := r.was.Status.DrainedAt.Time
	deadline := r.was.Status.DrainDeadline
	if volumes := r.s.Cluster.Attached(n.Name); len(volumes) > 0 {
		until := metav1.NewTime(since.Add(policy.Volumes))
		if r.now.Before(until.Time) {
			r.next.Wait = &v1alpha1.Wait{Subject: "Node/" + n.Name, For: "PersistentVolume/" + volumes[0], Reason: v1alpha1.ReasonVolumes, Message: "the volume is still attached to it", Until: &until}
			r.wakeAt(until.Time)
			return
		}
		r.forced("volumes were still attached: " + strings.Join(volumes, ", "))
	}
	if owner := r.outstanding(r.g, r.next.Pods); owner != "" {
		if deadline != nil && !r.now.Before(deadline.Time) && r.onTimeout() == v1alpha1.SkipNode {
			r.skip()
			return
		}
		if r.onTimeout() != v1alpha1.ForceNode || deadline == nil || r.now.Before(deadline.Time) {
			r.next.Wait = &v1alpha1.Wait{Subject: "Node/" + n.Name, For: owner, Reason: v1alpha1.ReasonReplacements, Message: notReadyElsewhere, Until: deadline}
			if deadline != nil {
				r.wakeAt(deadline.Time)
			}
			return
		}
		r.forced("pods of " + owner + " were not Ready elsewhere in time")
	}
	r.terminate()
}

// terminate writes down that the machine is going to be ended.
func (r *replacement) terminate() {
	if !r.restoreSurges() {
		return
	}
	r.phase(v1alpha1.Terminating)
	r.next.TerminateAt = r.next.Since
}

// terminating ends the machine, if nothing has come back to it since that was decided.
func (r *replacement) terminating() {
	if n := r.node; n != nil && r.next.Forced == "" {
		if n.Load(&r.g.strategy.drain).Left > 0 || !n.Cordoned {
			r.phase(v1alpha1.Draining)
			r.next.DrainedAt, r.next.TerminateAt, r.next.SizeAfter = nil, nil, nil
			return
		}
	}
	if !r.restoreSurges() {
		return
	}
	if policy := &r.g.strategy.drain; r.m.Registered && policy.LoadBalancers > 0 {
		if until := metav1.NewTime(r.was.Status.TerminateAt.Add(policy.LoadBalancers)); r.now.Before(until.Time) {
			ask := Deregister{Group: r.g.name, Machine: r.m.ID}
			r.step(ask, "it has no pods any more") // Again and again, for the answer says when they have let it go.
			if was := r.was.Status.Wait; was == nil || was.Reason != v1alpha1.ReasonLoadBalancers {
				r.needs = append(r.needs, ask.String())
			}
			r.next.Wait = &v1alpha1.Wait{Subject: r.subject(), Reason: v1alpha1.ReasonLoadBalancers, Message: "load balancers still finish requests through it", Until: &until}
			r.wake(pollEvery)
			return
		}
	}
	r.end()
}

// end ends the machine. The size that its group has then is absolute, and is written down
// first: so the call is the same when it is repeated, whatever the provider shows meanwhile,
// and nobody else is taken to have changed it.
func (r *replacement) end() {
	g, was := r.g, r.recordedGroup(r.g)
	if was.Wanted > g.cloud.Size {
		r.wake(pollEvery) // It is about to grow, and would not if it was told otherwise.
		return
	}
	size := r.was.Status.SizeAfter
	if size == nil || *size > g.cloud.Size || *size < g.after-1 {
		size = new(g.after)
		if g.wanted(r.surging(g)-g.ended-1) < g.after {
			*size--
		}
	}
	g.ended++
	g.after = min(g.after, *size)
	if *size < was.Wanted {
		g.rec.Wanted, g.rec.Before = g.after, g.cloud.Size
	}
	r.next.SizeAfter = size
	if r.sizeAfter() != *size || *size < was.Wanted {
		return // It is written down first.
	}
	r.step(End{Group: g.name, Machine: r.was.Spec.Instance, Size: *size}, r.was.Spec.Reason)
	r.wake(pollEvery)
}

// nodeOutlives is how long a Node may outlive its machine before the run deletes it: a
// cloud controller does so sooner.
const nodeOutlives = time.Minute

// ending waits until the machine, and its node, are gone.
func (r *replacement) ending() {
	if r.was.Status.Phase != v1alpha1.Terminating && r.next.TerminateAt == nil {
		r.next.Message = "somebody else ended the machine"
		r.phase(v1alpha1.Terminating)
		r.next.TerminateAt = r.next.Since
		return
	}
	if !r.restoreSurges() {
		return
	}
	n := r.node
	if r.m != nil {
		r.wake(pollEvery)
		return
	}
	if n == nil {
		r.phase(v1alpha1.Replaced)
		return
	}
	if over := r.was.Status.TerminateAt.Add(nodeOutlives); r.now.Before(over) {
		r.wakeAt(over)
		return
	}
	r.step(DeleteNode{Name: n.Name, UID: n.UID}, "its machine is gone")
}

// reverting gives the node back.
func (r *replacement) reverting() {
	if r.was.Status.Phase != v1alpha1.Reverting {
		r.phase(v1alpha1.Reverting)
		return
	}
	n := r.node
	if !r.restoreSurges() {
		return
	}
	if n != nil {
		// Somebody else may have cordoned it since, and what is theirs stays: so it cannot be
		// seen on the node that the run's own is gone, but only that it was taken off.
		back := Mark{Node: n.Name, UID: n.UID, Cordon: new(false)}
		r.step(back, "the node is given back")
		r.needs = append(r.needs, back.String())
	}
	if r.next.Message != "" {
		r.phase(v1alpha1.SkippedPhase)
	} else {
		r.phase(v1alpha1.Reverted)
	}
}

// keepSince keeps from when the node waits for the same thing.
func (r *replacement) keepSince() {
	was, now := r.was.Status.Wait, r.next.Wait
	if was != nil && was.Reason == now.Reason && was.For == now.For {
		now.Since = was.Since
	} else {
		now.Since = metav1.NewTime(r.now)
	}
}
