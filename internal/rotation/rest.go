package rotation

import (
	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// notReadyElsewhere is what a node waits for whose pods have all left.
const notReadyElsewhere = "a pod that left it is not Ready elsewhere yet"

// atRest says that an open node waits for just what its record says, and that nothing can be
// done for it now. So it is with most of them in most decisions: with a thousand open, the
// time of a decision is that of those that are not. What it finds, draining and drained would
// find; in doubt it says no. It takes nothing from the allowance, so that it may be asked in
// any order before them.
func (d *decider) atRest(g *group, was *v1alpha1.NodeReplacement, m *machine, n *drain.Node) bool {
	st := &was.Status
	if d.thorough || !d.isOpen(g, m, n) || !d.inTime(st) || st.Wait.Subject != "Node/"+n.Name || !n.Load(&g.strategy.drain).Noted(st.Pods) {
		return false
	}
	rests := false
	switch st.Phase {
	case v1alpha1.Draining:
		rests = d.drainRests(g, st.Wait, m, n)
	case v1alpha1.Drained:
		rests = d.drainedRests(g, st, n)
	default: // There is something to do.
	}
	if rests {
		d.waits = append(d.waits, st.Wait)
		d.wakeAt(st.DrainDeadline.Time)
	}
	return rests
}

// isOpen says that the node is as open ones are, and still has to go.
func (d *decider) isOpen(g *group, m *machine, n *drain.Node) bool {
	return !g.lost && m != nil && m.State != cloud.Ending && m.leaving && n != nil && n.Cordoned && n.Excluded
}

// inTime says that the record waits for something, until a time that is not over.
func (d *decider) inTime(st *v1alpha1.NodeReplacementStatus) bool {
	return st.Wait != nil && st.SizeAfter == nil && st.DrainDeadline != nil && d.now.Before(st.DrainDeadline.Time) && st.DrainDeadline.Equal(st.Wait.Until)
}

// drainRests says that no pod of the node may go now.
func (d *decider) drainRests(g *group, says *v1alpha1.Wait, m *machine, n *drain.Node) bool {
	policy := &g.strategy.drain
	if m.Registered && policy.LoadBalancers > 0 {
		return false
	}
	w, look := n.Load(policy).Still(d.allow, d.now)
	if w == nil || w.Forever || w.For != says.For || w.Reason != says.Reason || w.Message != says.Message {
		return false
	}
	if !look.IsZero() {
		d.wakeAt(look)
	}
	return true
}

// drainedRests says that the node is empty, and a pod that left it is not Ready elsewhere.
func (d *decider) drainedRests(g *group, st *v1alpha1.NodeReplacementStatus, n *drain.Node) bool {
	return st.Wait.Reason == v1alpha1.ReasonReplacements && st.Wait.Message == notReadyElsewhere &&
		n.Load(&g.strategy.drain).Left == 0 && !d.s.Cluster.HasAttached(n.Name) && d.outstanding(g, st.Pods) == st.Wait.For
}
