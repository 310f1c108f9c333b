package fleetrotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/plan"
)

// rowLimit bounds the message of one cluster, in bytes: there may be hundreds.
const rowLimit = 256

// set moves a cluster to another phase. Nothing is done in that phase before it is stored.
func (r *run) set(row *v1alpha1.ClusterRotation, phase v1alpha1.ClusterPhase, reason, message string) {
	row.Phase, row.Since = phase, r.time()
	row.Reason, row.Message = reason, plan.Bounded(message, rowLimit)
	r.wakeIn(lookEvery)
}

// thaw moves a cluster to its end by way of lifting the freeze.
func (r *run) thaw(row *v1alpha1.ClusterRotation, outcome v1alpha1.ClusterPhase, reason, message string) {
	row.Outcome = outcome
	r.set(row, v1alpha1.ClusterThawing, reason, message)
}

// waitsFor says what a cluster waits for.
func (r *run) waitsFor(row *v1alpha1.ClusterRotation, what, reason, message string, since metav1.Time, until time.Time) {
	row.Reason, row.Message = reason, plan.Bounded(message, rowLimit)
	r.wait("Cluster/"+row.Name, what, reason, message, since, until)
}

// reach notes since when a cluster cannot be used, and reports whether it can be.
func (r *run) reach(row *v1alpha1.ClusterRotation, problem *Problem) bool {
	if problem == nil {
		row.UnreachableSince = nil
		return true
	}
	if row.UnreachableSince == nil {
		at := r.time()
		row.UnreachableSince = &at
	}
	r.wakeIn(lookEvery)
	return false
}

// away reports whether a cluster is on record as one that does not answer.
func (r *run) away(name string) bool {
	return slices.ContainsFunc(r.s.Fleet.Status.Clusters, func(row v1alpha1.ClusterRotation) bool {
		return row.Name == name && row.UnreachableSince != nil
	})
}

// gone reports whether a cluster could not be used for longer than it may.
func (r *run) gone(row *v1alpha1.ClusterRotation) bool {
	return row.UnreachableSince != nil && !r.now.Before(row.UnreachableSince.Add(timeout(r.fleet)))
}

func (r *run) waitsToBeReached(row *v1alpha1.ClusterRotation, problem Problem) {
	r.waitsFor(row, "", problem.Reason, problem.Message, *row.UnreachableSince, row.UnreachableSince.Add(timeout(r.fleet)))
}

// begin looks at a cluster in which nothing was done, and reports whether it is begun.
func (r *run) begin(row *v1alpha1.ClusterRotation, free bool) bool {
	if r.fleet.Status.Outcome != "" {
		r.set(row, v1alpha1.ClusterAborted, v1alpha1.ReasonAborted, "The run ended before the cluster was begun.")
		return false
	}
	if r.fleet.Spec.Paused {
		row.UnreachableSince = nil // Nobody wants anything of it.
		r.waitsFor(row, "", v1alpha1.ReasonPaused, "The cluster is begun when the run is resumed.", r.pausedSince(), time.Time{})
		return false
	}
	m, looked := r.s.Members[row.Name]
	if !looked {
		r.wakeIn(lookEvery)
		return false
	}
	problem := m.Problem
	if problem == nil && len(m.Unfit) > 0 {
		problem = &m.Unfit[0]
	}
	if m.Version != "" {
		row.Version = m.Version
	}
	switch held := admission.Of(m.Freeze, r.now); {
	case !r.reach(row, problem) && r.gone(row):
		r.set(row, v1alpha1.ClusterFailed, problem.Reason, problem.Message)
	case problem != nil:
		r.waitsToBeReached(row, *problem)
	case freezes(r.fleet) && held != nil && held.By != Holder(r.fleet):
		r.frozenByOther(row, held)
	case !free:
		r.waitsFor(row, "", v1alpha1.ReasonMaxParallel, "As many clusters of the wave as may are being rotated.", row.Since, time.Time{})
	default:
		r.set(row, v1alpha1.ClusterPreparing, v1alpha1.ReasonRotating, "Admission is being frozen.")
		return true
	}
	return false
}

func (r *run) frozenByOther(row *v1alpha1.ClusterRotation, held *admission.Freeze) {
	r.waitsFor(row, "Lease/"+r.lease(row), v1alpha1.ReasonFrozenByOther, held.By+" has frozen the cluster's admission.", metav1.NewTime(held.Since), held.Until)
	r.wakeIn(lookEvery)
}

// lease names the Lease of a cluster, for people.
func (r *run) lease(row *v1alpha1.ClusterRotation) string {
	if lease := r.s.Members[row.Name].Freeze; lease != nil {
		return lease.Namespace + "/" + lease.Name
	}
	return r.s.Members[row.Name].Namespace
}

// advance looks at a cluster in which something was, or is to be, done.
func (r *run) advance(row *v1alpha1.ClusterRotation) {
	r.wakeIn(lookEvery)
	m, looked := r.s.Members[row.Name]
	if !looked {
		return
	}
	reached := r.reach(row, m.Problem)
	if m.Rotation != nil && ours(r.fleet, m.Rotation) {
		count(row, m.Rotation)
	}
	switch row.Phase {
	case v1alpha1.ClusterThawing:
		r.lift(row, m, reached)
	case v1alpha1.ClusterAborting:
		r.abort(row, m, reached)
	case v1alpha1.ClusterPreparing, v1alpha1.ClusterRotating, v1alpha1.ClusterVerifying:
		r.forward(row, m, reached)
	case v1alpha1.ClusterPending, v1alpha1.ClusterSucceeded, v1alpha1.ClusterFailed, v1alpha1.ClusterAborted:
	}
}

// forward goes on towards the cluster's end, or turns back when the run is to end.
func (r *run) forward(row *v1alpha1.ClusterRotation, m Member, reached bool) {
	ending := r.fleet.Status.Outcome != ""
	switch {
	case ending && row.Phase == v1alpha1.ClusterPreparing:
		r.thaw(row, v1alpha1.ClusterAborted, v1alpha1.ReasonAborted, "The run ended before a node was touched.")
	case ending && row.Phase == v1alpha1.ClusterRotating:
		r.set(row, v1alpha1.ClusterAborting, v1alpha1.ReasonEnding, "The cluster's NodeRotation is told to end.")
	case !reached && r.gone(row):
		r.thaw(row, v1alpha1.ClusterFailed, m.Problem.Reason, m.Problem.Message)
	case !reached:
		r.waitsToBeReached(row, *m.Problem)
	default:
		r.work(row, m)
	}
}

// work goes on with a cluster that answers.
func (r *run) work(row *v1alpha1.ClusterRotation, m Member) {
	held := r.hold(row, m)
	switch row.Phase {
	case v1alpha1.ClusterPreparing:
		if held && m.Installations != nil {
			row.Baseline = baseline(m.Installations)
			row.Rotation = RotationName(r.fleet)
			r.set(row, v1alpha1.ClusterRotating, v1alpha1.ReasonRotating, "NodeRotation/"+row.Rotation+" is at work.")
		}
	case v1alpha1.ClusterRotating:
		r.rotate(row, m, held)
	default:
		r.verify(row, m)
	}
}

// hold keeps the cluster's admission frozen, and reports whether it is.
func (r *run) hold(row *v1alpha1.ClusterRotation, m Member) bool {
	if !freezes(r.fleet) {
		return true
	}
	now, by, lasts := r.now, Holder(r.fleet), freezeLasts(r.fleet)
	held := admission.Of(m.Freeze, now)
	if held != nil && held.By != by {
		r.frozenByOther(row, held)
		return false
	}
	if held != nil {
		if due := held.Until.Add(-lasts * 2 / 3); now.Before(due) {
			r.wakeAt(due)
			return true
		}
	}
	if r.away(row.Name) {
		// That it answers again is stored first: when a freeze that cannot be lifted ends by
		// itself is counted from since when the cluster does not answer.
		r.wakeIn(lookSoon)
		return held != nil
	}
	lease := admission.Hold(m.Freeze, m.Namespace, by, lasts, now)
	metav1.SetMetaDataLabel(&lease.ObjectMeta, v1alpha1.FleetRotationLabel, string(r.fleet.UID))
	why := "a third of its time is over"
	if held == nil {
		why = "no new installation is to come while nodes are replaced"
	}
	r.do(Freeze{Cluster: row.Name, Lease: lease}, why)
	r.wakeIn(lasts / 3)
	return held != nil
}

// rotate makes the cluster's NodeRotation and follows it.
func (r *run) rotate(row *v1alpha1.ClusterRotation, m Member, held bool) {
	rotation := m.Rotation
	switch {
	case rotation == nil && row.RotationUID != "":
		r.thaw(row, v1alpha1.ClusterFailed, v1alpha1.ReasonRotationGone, "Somebody has deleted NodeRotation/"+row.Rotation+".")
	case rotation == nil:
		if held {
			r.do(MakeRotation{Cluster: row.Name, Rotation: makeRotation(r.fleet)}, "the cluster is its turn")
		}
	case !ours(r.fleet, rotation):
		r.thaw(row, v1alpha1.ClusterFailed, v1alpha1.ReasonNotOwned, "NodeRotation/"+row.Rotation+" exists and is somebody else's.")
	case rotation.Status.Phase == v1alpha1.Succeeded:
		r.set(row, v1alpha1.ClusterVerifying, v1alpha1.ReasonRotating, "All has to become as well as before.")
	case ended(rotation):
		r.thaw(row, v1alpha1.ClusterFailed, v1alpha1.ReasonRotationFailed, said(rotation))
	default:
		reason := v1alpha1.ReasonRotating
		if len(rotation.Status.Waits) > 0 {
			reason = rotation.Status.Waits[0].Reason
		}
		r.waitsFor(row, "NodeRotation/"+row.Rotation, reason, said(rotation), row.Since, time.Time{})
	}
}

// verify waits until a cluster whose nodes are replaced is as well as before.
func (r *run) verify(row *v1alpha1.ClusterRotation, m Member) {
	until := row.Since.Add(timeout(r.fleet))
	problem := r.health(*row)
	switch {
	case m.Rotation != nil && failedGate(m.Rotation) != nil:
		gate := failedGate(m.Rotation)
		r.thaw(row, v1alpha1.ClusterFailed, v1alpha1.ReasonGateFailed, fmt.Sprintf("Gate %s fails: %s", gate.Name, gate.Message))
	case problem == nil:
		r.thaw(row, v1alpha1.ClusterSucceeded, v1alpha1.ReasonVerified, "Every node runs what it should, and all is as well as before.")
	case r.fleet.Status.Outcome != "":
		r.thaw(row, v1alpha1.ClusterAborted, v1alpha1.ReasonAborted, "The run ended before all was as well as before: "+problem.Message)
	case !r.now.Before(until):
		r.thaw(row, v1alpha1.ClusterFailed, problem.Reason, problem.Message)
	default:
		r.waitsFor(row, "", problem.Reason, problem.Message, row.Since, until)
	}
}

// health says what is not as well as before in a cluster; nil when nothing is.
func (r *run) health(row v1alpha1.ClusterRotation) *Problem {
	m, looked := r.s.Members[row.Name]
	switch {
	case looked && m.Problem != nil:
		return m.Problem
	case m.Installations == nil:
		return &Problem{v1alpha1.ReasonInstallations, "The installations were not looked at yet."}
	}
	if fell := fallen(row.Baseline, m.Installations.Unstable); len(fell) > 0 {
		return &Problem{v1alpha1.ReasonInstallations, "Not stable, and were before: " + listed(fell) + "."}
	}
	return nil
}

// abort has the cluster's NodeRotation give back what it has open. The freeze is lifted at
// once: no further node is taken.
func (r *run) abort(row *v1alpha1.ClusterRotation, m Member, reached bool) {
	until := row.Since.Add(timeout(r.fleet))
	late := !r.now.Before(until)
	switch {
	case !reached && late:
		r.thaw(row, v1alpha1.ClusterFailed, m.Problem.Reason, "Its NodeRotation could not be told to end: "+m.Problem.Message)
	case !reached:
		r.waitsToBeReached(row, *m.Problem)
	case m.Rotation == nil || !ours(r.fleet, m.Rotation):
		r.thaw(row, v1alpha1.ClusterAborted, v1alpha1.ReasonAborted, "The run ended before a node was touched.")
	case ended(m.Rotation):
		r.thaw(row, v1alpha1.ClusterAborted, v1alpha1.ReasonAborted, said(m.Rotation))
	case late:
		r.thaw(row, v1alpha1.ClusterFailed, v1alpha1.ReasonTimeout, "NodeRotation/"+row.Rotation+" did not end in time; it goes on giving back nodes by itself.")
	default:
		if mine(r.fleet, m) {
			r.do(Thaw{Cluster: row.Name, Lease: m.Freeze}, "no further node is taken")
		}
		if m.Rotation.Spec.End == "" {
			r.do(EndRotation{Cluster: row.Name, Name: m.Rotation.Name, UID: m.Rotation.UID}, "the run ends")
		}
		r.waitsFor(row, "NodeRotation/"+row.Rotation, v1alpha1.ReasonEnding, said(m.Rotation), row.Since, until)
	}
}

// lift lifts the freeze. Of a cluster that does not answer it is known when it ends.
func (r *run) lift(row *v1alpha1.ClusterRotation, m Member, reached bool) {
	held := admission.Of(m.Freeze, r.now)
	switch {
	case !freezes(r.fleet), reached && !mine(r.fleet, m):
	case reached && held != nil:
		r.do(Thaw{Cluster: row.Name, Lease: m.Freeze}, "the cluster is done")
		r.wait("Cluster/"+row.Name, "Lease/"+r.lease(row), row.Reason, "The freeze is being lifted.", row.Since, held.Until)
		return
	case reached: // It ran out already; what is left of it is removed if that can be done.
		r.do(Thaw{Cluster: row.Name, Lease: m.Freeze}, "the cluster is done")
	default:
		if over := row.UnreachableSince.Add(freezeLasts(r.fleet) + inFlight); r.now.Before(over) {
			r.wait("Cluster/"+row.Name, "", m.Problem.Reason, "The freeze ends by itself.", *row.UnreachableSince, over)
			r.wakeAt(over)
			return
		}
	}
	row.Phase, row.Outcome, row.Since = row.Outcome, "", r.time()
}

// mine reports whether the run has, or had, the cluster's freeze.
func mine(fleet *v1alpha1.FleetRotation, m Member) bool {
	return m.Freeze != nil && m.Freeze.Spec.HolderIdentity != nil && *m.Freeze.Spec.HolderIdentity == Holder(fleet)
}

// ours reports whether the run has made the rotation.
func ours(fleet *v1alpha1.FleetRotation, rotation *v1alpha1.NodeRotation) bool {
	return rotation.Labels[v1alpha1.FleetRotationLabel] == string(fleet.UID)
}

func makeRotation(fleet *v1alpha1.FleetRotation) *v1alpha1.NodeRotation {
	rotation := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{
		Name: RotationName(fleet), Labels: map[string]string{v1alpha1.FleetRotationLabel: string(fleet.UID)},
	}}
	if fleet.Spec.Rotation != nil {
		rotation.Spec = *fleet.Spec.Rotation.DeepCopy()
	}
	return rotation
}

// ended reports whether a NodeRotation changes nothing any more.
func ended(rotation *v1alpha1.NodeRotation) bool {
	switch rotation.Status.Phase {
	case v1alpha1.Succeeded, v1alpha1.Planned, v1alpha1.RolledBack, v1alpha1.Aborted, v1alpha1.Failed:
		return true
	case v1alpha1.Pending, v1alpha1.Rotating, v1alpha1.Baking, v1alpha1.Finishing, v1alpha1.RollingBack, v1alpha1.Aborting:
	}
	return false
}

// said is what a NodeRotation says of itself.
func said(rotation *v1alpha1.NodeRotation) string {
	text := "NodeRotation/" + rotation.Name + " is " + string(rotation.Status.Phase)
	if rotation.Status.Phase == "" {
		text = "NodeRotation/" + rotation.Name + " was not looked at yet"
	}
	i := slices.IndexFunc(rotation.Status.Conditions, func(c condition) bool { return c.Type == v1alpha1.ConditionReady })
	if i < 0 || rotation.Status.Conditions[i].Message == "" {
		return text + "."
	}
	return text + ": " + strings.TrimSpace(rotation.Status.Conditions[i].Message)
}

func failedGate(rotation *v1alpha1.NodeRotation) *gateStatus {
	for i, gate := range rotation.Status.Gates {
		if gate.Passing == metav1.ConditionFalse {
			return &rotation.Status.Gates[i]
		}
	}
	return nil
}

func count(row *v1alpha1.ClusterRotation, rotation *v1alpha1.NodeRotation) {
	row.RotationUID = rotation.UID
	row.Outdated, row.Open = rotation.Status.Outdated, rotation.Status.Open
	row.Replaced, row.Skipped = rotation.Status.Replaced, rotation.Status.Skipped
}

func baseline(now *Installations) *v1alpha1.Baseline {
	names := now.Unstable[:min(len(now.Unstable), namesLimit)]
	return &v1alpha1.Baseline{Installations: int32(now.Total), Unstable: int32(len(now.Unstable)), Names: slices.Clone(names)}
}

// fallen are the installations that are not stable and were before. If there were more
// that were not than a baseline names, as many are let pass.
func fallen(before *v1alpha1.Baseline, unstable []string) []string {
	if before == nil {
		before = &v1alpha1.Baseline{}
	}
	fell := slices.DeleteFunc(slices.Clone(unstable), func(name string) bool { return slices.Contains(before.Names, name) })
	if len(fell) <= int(before.Unstable)-len(before.Names) {
		return nil
	}
	return fell
}
