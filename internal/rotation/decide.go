package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit/plan"
)

// decider makes one decision. It reads the snapshot and fills the plan and the status.
type decider struct {
	s   *Snapshot
	now time.Time
	// thorough says that nothing is told at a glance: see atRest.
	thorough bool
	plan     plan.Plan
	status   *v1alpha1.NodeRotationStatus
	// recorded is the status as it is on record: what may be acted upon.
	recorded *v1alpha1.NodeRotationStatus
	groups   []*group
	// unknown are those that would be worked on if anything was known of them.
	unknown []*group
	allow   *drain.Allowance
	waits   []*v1alpha1.Wait
	// verdict is what the gates say together; its zero value is of a run without gates.
	verdict gate.Verdict
	// surged are workloads that get one more replica by this decision.
	surged map[string]bool
	left   *drain.Departures // see departures
	// room is what open nodes need, computed when the first node could be opened.
	room *openings
}

func newDecider(s Snapshot, now time.Time) *decider {
	d := &decider{s: &s, now: now, recorded: &s.Run.Status, status: s.Run.Status.DeepCopy(), surged: map[string]bool{}, allow: s.Cluster.Allowance()}
	d.status.ObservedGeneration = s.Run.Generation
	if s.Views == nil {
		s.Views = NewViews()
	}
	return d
}

// run is the order of a run's life.
func (d *decider) run() {
	switch {
	case Finished(d.recorded.Phase):
		d.release()
	case d.recorded.StartedAt == nil && d.s.Run.DeletionTimestamp != nil:
		d.release()
	case d.recorded.StartedAt == nil && d.s.Run.Spec.End != "":
		d.status.FinishedAt, d.status.Phase, d.status.OutcomeMessage = new(metav1.NewTime(d.now)), v1alpha1.Aborted, "somebody asked for it before it began"
	case d.recorded.StartedAt == nil:
		d.begin()
	case !d.guarded():
		d.step(Guard{On: true}, "what the run changes has to be undone before it is deleted")
	default:
		d.goOn()
	}
}

func (d *decider) goOn() {
	d.wake(lookEvery)
	d.find()
	d.end()
	d.judge()
	active := d.active()
	for _, g := range active {
		d.assess(g)
	}
	for _, g := range active {
		d.replaceAll(g)
	}
	for _, g := range active {
		d.resize(g)
	}
	d.waves(active)
	for _, g := range active {
		d.prePull(g)
	}
	d.open(active)
	for _, g := range active {
		if !d.finish(g) {
			d.mark(g)
		}
	}
	d.conclude()
}

// guarded says whether the run has its finalizer.
func (d *decider) guarded() bool { return slices.Contains(d.s.Run.Finalizers, v1alpha1.Finalizer) }

// release lets a run that is over, or has not begun, be deleted.
func (d *decider) release() {
	for i := range d.s.Records {
		d.closeRecord(&d.s.Records[i])
	}
	if d.guarded() {
		d.step(Guard{On: false}, "nothing is left to undo")
	}
}

func (d *decider) closeRecord(r *v1alpha1.NodeReplacement) {
	if slices.Contains(r.Finalizers, v1alpha1.Finalizer) {
		d.step(Close{Name: r.Name, UID: r.UID}, "nothing is left to undo")
	}
}

// find finds the groups of the run, and what their providers say of them. A group of which
// nothing is known keeps its place, and holds up no other.
func (d *decider) find() {
	for i := range d.status.Groups {
		rec := &d.status.Groups[i]
		node := d.s.Groups[rec.Name]
		if node == nil || node.UID != rec.UID {
			d.lose(rec)
			continue
		}
		g := &group{name: rec.Name, node: node, rec: rec, cloud: d.s.Clouds[rec.Name]}
		st, err := resolve(d.s.Run.Spec.Strategy, node.Spec.Strategy, node.Spec.Role)
		switch {
		case err != nil:
			g.unknown = true
			d.wait(v1alpha1.Wait{Subject: "NodeGroup/" + rec.Name, Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error()})
		case g.cloud.Problem != "":
			g.unknown = true
			d.wait(v1alpha1.Wait{Subject: "NodeGroup/" + rec.Name, Reason: v1alpha1.ReasonProviderProblem, Message: g.cloud.Problem})
			d.wake(pollEvery)
		}
		g.strategy = st
		d.look(g)
		d.groups = append(d.groups, g)
	}
	slices.SortStableFunc(d.groups, func(a, b *group) int { return cmp.Or(cmp.Compare(a.rank(), b.rank()), strings.Compare(a.name, b.name)) })
}

// look finds the machines of a group, and what the run has of them on record.
func (d *decider) look(g *group) {
	g.view = d.s.Views.of(g.name, g.cloud.Machines, d.s.Cluster)
	g.machines = g.view.machines
	d.recall(g)
}

// lose gives up a group whose NodeGroup was deleted: nobody can be asked about its machines
// any more. What is on nodes is taken off.
func (d *decider) lose(rec *v1alpha1.GroupRotation) {
	if rec.Restored {
		return
	}
	if !d.ending() && d.status.Outcome == "" {
		d.status.Outcome = v1alpha1.Failed
		d.status.OutcomeMessage = fmt.Sprintf("NodeGroup/%s was deleted during the run: see whether its provider still has processes suspended, or more machines than it should", rec.Name)
	}
	g := &group{name: rec.Name, node: &v1alpha1.NodeGroup{}, rec: rec, lost: true}
	d.look(g)
	d.replaceAll(g)
	known := map[string]bool{}
	for _, c := range d.s.Clouds {
		for i := range c.Machines {
			if n := nodeOf(&c.Machines[i], d.s.Cluster); n != nil {
				known[n.Name] = true
			}
		}
	}
	clean := g.records == 0
	for _, n := range d.s.Cluster.Nodes() {
		if !known[n.Name] && n.Outdated {
			d.step(Mark{Node: n.Name, UID: n.UID, Outdated: new(false)}, "its NodeGroup was deleted")
			clean = false
		}
	}
	rec.Restored = clean
}

// rank is the order of groups: control planes first.
func (g *group) rank() int64 {
	const controlPlanesFirst = 1 << 40
	if g.node.Spec.Role == v1alpha1.ControlPlane {
		return int64(g.node.Spec.Order) - controlPlanesFirst
	}
	return int64(g.node.Spec.Order)
}

// active are the groups that are worked on: those of the first rank that is not done,
// or, when the run is being ended, all that it has touched.
func (d *decider) active() []*group {
	var all []*group
	var first *group
	for _, g := range d.groups {
		switch {
		case g.rec.Restored:
		case d.ending() && !d.recordedGroup(g).Touched:
			g.rec.Restored = true // It was never changed.
		case !d.ending() && first != nil && g.rank() != first.rank():
		case g.unknown:
			first = cmp.Or(first, g)
			d.unknown = append(d.unknown, g)
		default:
			first = cmp.Or(first, g)
			all = append(all, g)
		}
	}
	return all
}

// untouched says that the provider has nothing of the run any more, or not yet.
func (d *decider) untouched(g *group) bool { return g.cloud.Run != d.s.Run.Name }

func (d *decider) aborting() bool { return d.status.Phase == v1alpha1.Aborting }

// ending says that the run undoes rather than does.
func (d *decider) ending() bool {
	return d.aborting() || d.status.Phase == v1alpha1.RollingBack
}

// end looks whether the run has to be ended before its time.
func (d *decider) end() {
	end := d.s.Run.Spec.End
	if d.s.Run.DeletionTimestamp != nil && end == "" {
		end = v1alpha1.EndAbort
	}
	switch {
	case end == v1alpha1.EndRollBack && d.status.Phase != v1alpha1.RollingBack:
		d.rollBack("somebody asked for it")
	case end == v1alpha1.EndAbort && !d.ending():
		d.abort(v1alpha1.Aborted, "somebody asked for it")
	case d.ending():
	default:
		for _, g := range d.groups {
			if limit := g.strategy.deadline; limit > 0 {
				if over := d.status.StartedAt.Add(limit); d.now.Before(over) {
					d.wakeAt(over)
				} else {
					d.fail(v1alpha1.ReasonDeadline, fmt.Sprintf("the run took longer than %s", limit))
					return
				}
			}
		}
	}
}

// fail ends the run as its strategy says.
func (d *decider) fail(reason, message string) {
	if d.ending() {
		return
	}
	for _, g := range d.groups {
		if g.strategy.onFailure == v1alpha1.RollBack && g.cloud.Capabilities.RollBack {
			d.rollBack(reason + ": " + message)
			return
		}
	}
	outcome := v1alpha1.Failed
	if reason == v1alpha1.ReasonDeadline {
		outcome = v1alpha1.Aborted
	}
	d.abort(outcome, reason+": "+message)
}

func (d *decider) abort(outcome v1alpha1.Phase, message string) {
	d.status.Phase, d.status.Outcome, d.status.OutcomeMessage = v1alpha1.Aborting, outcome, message
}

func (d *decider) rollBack(message string) {
	for _, g := range d.groups {
		if g.rec.Touched && !g.unknown && !g.cloud.Capabilities.RollBack {
			if !d.aborting() {
				d.abort(v1alpha1.Failed, fmt.Sprintf("%s; the provider of NodeGroup/%s cannot go back to a former template", message, g.name))
			}
			return
		}
	}
	d.status.Phase, d.status.Outcome, d.status.OutcomeMessage = v1alpha1.RollingBack, v1alpha1.RolledBack, message
	d.status.WaveDoneAt, d.status.WaveSize = nil, 0
	for i := range d.status.Groups {
		// Those that were done are begun again, and all get their former template.
		d.status.Groups[i].Restored, d.status.Groups[i].Prepared, d.status.Groups[i].Rebalance = false, false, nil
	}
}

// conclude ends the run when every group has its settings back.
func (d *decider) conclude() {
	for i := range d.status.Groups {
		if !d.status.Groups[i].Restored {
			return
		}
	}
	if slices.ContainsFunc(d.s.Records, func(r v1alpha1.NodeReplacement) bool { return !Closed(r.Status.Phase) }) {
		return
	}
	d.s.Cluster.DeleteDepartures(d.s.Run.UID)
	d.status.FinishedAt = new(metav1.NewTime(d.now))
	d.status.Phase = cmp.Or(d.status.Outcome, v1alpha1.Succeeded)
	skipped := 0
	for i := range d.s.Records {
		if r := &d.s.Records[i]; r.Status.Phase == v1alpha1.SkippedPhase && r.Spec.Attempt+1 >= maxAttempts && !isUneven(r) {
			skipped++
		}
	}
	if skipped > 0 && d.status.Outcome != v1alpha1.Aborted {
		d.status.Phase = v1alpha1.Failed
		d.status.OutcomeMessage = strings.TrimPrefix(fmt.Sprintf("%s; %d nodes could not be emptied, and were given back", d.status.OutcomeMessage, skipped), "; ")
	}
	if text := d.unevenText(); text != "" {
		d.status.OutcomeMessage = strings.TrimPrefix(d.status.OutcomeMessage+"; "+text, "; ")
	}
}

func (d *decider) step(a plan.Action, why string, needs ...string) {
	d.plan.Steps = append(d.plan.Steps, plan.Step{Action: a, Why: why, Needs: needs})
}

// wait says that the run waits for something. Since is kept from when it first did.
func (d *decider) wait(w v1alpha1.Wait) {
	w.Since = metav1.NewTime(d.now)
	for _, was := range d.recorded.Waits {
		if was.Subject == w.Subject && was.Reason == w.Reason && was.For == w.For {
			w.Since = was.Since
		}
	}
	d.waits = append(d.waits, &w)
}

// pollEvery is how often to look at a provider while it does what was asked: none of them
// tells when it is done.
const pollEvery = 5 * time.Second

// lookEvery is how often to look at them otherwise: somebody else may have changed a group,
// and what was seen may have been old.
const lookEvery = 30 * time.Second

func (d *decider) wake(after time.Duration) {
	if d.plan.Wake == 0 || after < d.plan.Wake {
		d.plan.Wake = max(after, time.Millisecond)
	}
}

func (d *decider) wakeAt(at time.Time) { d.wake(at.Sub(d.now)) }

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return sorted(all)
}
