package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// open opens further nodes, as many as may be unavailable or have a new one in their place.
func (d *decider) open(active []*group) {
	if why := d.held(active); why != nil {
		d.wait(*why)
		return
	}
	if d.recorded.WaveSize != d.status.WaveSize || d.recorded.Wave != d.status.Wave || d.recorded.Phase != d.status.Phase {
		return // Which wave it is, is written down before a node of it is taken.
	}
	for _, g := range active {
		if g.rec.Prepared && !d.changedMeanwhile(g) {
			d.openGroup(g, active)
		}
	}
}

// held says why no further nodes are taken at all; nil if some may be.
func (d *decider) held(active []*group) *v1alpha1.Wait {
	switch {
	case len(active) == 0 || d.ending():
		return nil
	case d.s.Run.Spec.Paused:
		return &v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonPaused, Message: "no further nodes are taken until spec.paused is false"}
	case d.status.Phase == v1alpha1.Baking:
		return &v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonBaking, Message: "no further nodes are taken while a wave is watched"}
	}
	if w := d.outsideWindow(active); w != nil {
		return w
	}
	return d.gateHolds()
}

// changedMeanwhile says that somebody else made the group launch other machines than the
// run wants. Whatever it replaced now would have to be replaced again, without an end.
func (d *decider) changedMeanwhile(g *group) bool {
	if d.aborting() || applied(d.targetOf(g), g.cloud.Revision) {
		return false
	}
	d.wait(v1alpha1.Wait{Subject: "NodeGroup/" + g.name, For: g.cloud.Revision.Template, Reason: v1alpha1.ReasonTargetChanged,
		Message: fmt.Sprintf("somebody else changed what its machines are made from, and the run wants %s: end the run and begin another", d.targetOf(g).Name)})
	return true
}

func (d *decider) openGroup(g *group, active []*group) {
	more := d.inWave(g) - g.open
	if g.node.Spec.Role == v1alpha1.ControlPlane {
		more = min(more, d.quorum(active))
	}
	if more <= 0 {
		return
	}
	all := d.candidates(g, d.usedUp(g))
	zones := zonesOpen(g)
	var lack *drain.Lack
	for more = min(more, opensAtOnce); more > 0; more-- {
		if d.usedUp(g) {
			all = slices.DeleteFunc(all, func(m *machine) bool { return d.ready(g, m) })
			if len(all) == 0 && g.untried > g.open {
				d.short(g)
				break
			}
		}
		best, why := d.next(g, active, all, zones, false)
		if best == nil && g.open == 0 && !d.coming(g) && why != nil {
			// Nothing is on its way that would make room: the room on nodes that have to go
			// themselves is better than none.
			best, _ = d.next(g, active, all, zones, true)
		}
		if best == nil {
			lack = why
			break
		}
		d.openNode(g, best)
		zones[best.Zone]++
		all = slices.DeleteFunc(all, func(m *machine) bool { return m == best })
	}
	if lack != nil {
		d.wait(v1alpha1.Wait{Subject: "NodeGroup/" + g.name, For: "Pod/" + lack.Pod.Key(), Reason: v1alpha1.ReasonNoCapacity, Message: lack.String() + ": add nodes, or raise maxSurge"})
	}
}

// usedUp says that no machine may be taken that takes pods: only those that take none anyway.
func (d *decider) usedUp(g *group) bool {
	return g.available+g.cordoned <= int(g.rec.Size)-g.unavailable
}

// opensAtOnce is how many nodes one decision opens of a group: the next follows as soon as
// these are written down, and what else is going on need not wait for all.
const opensAtOnce = 32

// candidates are the machines that could be opened, the best first; if down is true, only
// those that take no pods.
func (d *decider) candidates(g *group, down bool) []*machine {
	all := make([]*machine, 0, g.untried)
	for _, m := range g.machines {
		if !m.leaving || m.record != nil || m.State == cloud.Ending {
			continue
		}
		if m.skipped() && g.untried > 0 {
			continue // It is tried once more when all others are done.
		}
		if down && d.ready(g, m) {
			continue
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(a.attempts, b.attempts), cmp.Compare(urgency(b), urgency(a)), cmp.Compare(g.strategy.place(a), g.strategy.place(b)), strings.Compare(a.ID, b.ID))
	})
	return all
}

// urgency puts those first that are going to end by themselves, or that run nothing.
func urgency(m *machine) int {
	switch {
	case m.Interrupted:
		return 2
	case m.node == nil || !m.node.Ready():
		return 1
	default:
		return 0
	}
}

// place is the first rule of the order that selects a node.
func (s *strategy) place(m *machine) int {
	if m.node != nil {
		for i, selector := range s.order {
			if selector.Matches(m.node.Labels) {
				return i
			}
		}
	}
	return len(s.order)
}

// maxAttempts is how often a node is opened: once more than it was skipped.
const maxAttempts = 2

// coming says that machines are on their way, and nothing is known to keep them.
func (d *decider) coming(g *group) bool {
	return g.launching > 0 || g.live < int(g.rec.Wanted) && d.problem(g) == nil
}

// problem is the last that went wrong at the provider's during the run; nil if nothing did.
func (d *decider) problem(g *group) (last *cloud.Problem) {
	for i := range g.cloud.Problems {
		if p := &g.cloud.Problems[i]; !p.At.Before(d.status.StartedAt.Time) && (last == nil || !p.At.Before(last.At)) {
			last = p
		}
	}
	return last
}

// openNode writes the record of a node that is about to be replaced.
func (d *decider) openNode(g *group, m *machine) {
	if g.open++; d.ready(g, m) {
		g.available--
	} else if g.cordoned > 0 && cordoned(m) {
		g.cordoned--
	}
	record := &v1alpha1.NodeReplacement{
		ObjectMeta: metav1.ObjectMeta{Name: recordName(d.s.Run.Name, m), Labels: map[string]string{v1alpha1.RotationLabel: d.s.Run.Name}},
		Spec:       v1alpha1.NodeReplacementSpec{Rotation: d.s.Run.Name, Group: g.name, Instance: m.ID, Zone: m.Zone, Reason: cmp.Or(m.outdated, m.uneven, surplusReason), Attempt: m.attempts},
	}
	if m.node != nil {
		record.Spec.Node, record.Spec.NodeUID = m.node.Name, m.node.UID
		record.Spec.CordonedBefore, record.Spec.ExcludedBefore = m.node.Cordoned, m.node.Excluded
		d.room.bear(d.load(g, m))
	}
	if d.aborting() {
		record.Spec.Reason = surplusReason
	}
	d.status.ProgressedAt = new(metav1.NewTime(d.now))
	d.step(Open{Record: record}, record.Spec.Reason)
}

func recordName(run string, m *machine) string {
	name := run + "-" + strings.ToLower(m.ID)
	if m.attempts > 0 {
		name += fmt.Sprintf("-%d", m.attempts+1)
	}
	return name
}

// quorum is how many members of the control plane may be taken now: one, if all others are
// well, and none of any group is open.
func (d *decider) quorum(active []*group) int {
	problem := d.s.ControlPlane
	for _, g := range d.unknown {
		if g.node.Spec.Role == v1alpha1.ControlPlane {
			problem = cmp.Or(problem, "nothing is known of NodeGroup/"+g.name)
		}
	}
	for _, g := range active {
		if g.node.Spec.Role != v1alpha1.ControlPlane {
			continue
		}
		if g.open > 0 || g.records > 0 {
			return 0
		}
		up := d.members(g)
		if problem == "" && up < int(g.rec.Size) {
			problem = fmt.Sprintf("%d of %d nodes of NodeGroup/%s are Ready", up, g.rec.Size, g.name)
		}
	}
	if problem != "" {
		d.wait(v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonQuorum, Message: "the control plane has to be whole before one of its nodes is taken: " + problem})
		return 0
	}
	return 1
}

// members are the machines of a control plane that are well.
func (d *decider) members(g *group) (up int) {
	for _, m := range g.machines {
		if m.State == cloud.Running && (d.ready(g, m) || m.node != nil && m.node.Ready() && m.node.Cordoned) {
			up++ // A cordon keeps pods out, not the API server down.
		}
	}
	return up
}

// short waits for new nodes, unless all that may be there besides the group's size are there:
// then what is open has to go first.
func (d *decider) short(g *group) {
	if g.available+g.cordoned+g.open < int(g.rec.Size)+g.surge || d.problem(g) != nil {
		d.notReady(g)
	}
}

// notReady waits for new nodes, and fails the run if one takes too long.
func (d *decider) notReady(g *group) {
	w := v1alpha1.Wait{Subject: "NodeGroup/" + g.name, Reason: v1alpha1.ReasonSurgeNotReady, Message: fmt.Sprintf("%d nodes of %d are Ready and %d may be unavailable", g.available, g.rec.Size, g.unavailable)}
	if p := d.problem(g); p != nil {
		w.For, w.Reason, w.Message = p.Reason, v1alpha1.ReasonProviderProblem, p.Message
	}
	for _, m := range g.machines {
		if m.outdated != "" || !m.stays() || m.LaunchedAt.Before(d.status.StartedAt.Time) || m.node != nil && m.node.Ready() {
			continue
		}
		limit := m.LaunchedAt.Add(g.strategy.readyTimeout)
		if m.node != nil && m.node.UnreadySince.After(limit) { // It was Ready before.
			limit = m.node.UnreadySince.Add(g.strategy.readyTimeout)
		}
		if !d.now.Before(limit) && !d.ending() {
			d.fail(v1alpha1.ReasonNodeNotReady, fmt.Sprintf("machine %s did not become a Ready node within %s", m.ID, g.strategy.readyTimeout))
			return
		}
		if w.Until == nil || limit.Before(w.Until.Time) {
			w.Until = new(metav1.NewTime(limit))
		}
	}
	if w.Until != nil {
		d.wakeAt(w.Until.Time)
	}
	d.wake(pollEvery)
	d.wait(w)
}
