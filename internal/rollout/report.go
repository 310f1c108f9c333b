package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/tell"
)

const (
	// maxWaits is how many things a roll-out says that it waits for.
	maxWaits = 20
	// maxNames is how many installations of a kind the status names.
	maxNames = 20
	// maxFailures is how many of those that failed it names at most.
	maxFailures = 500
)

func planStep(action plan.Action) plan.Step {
	return plan.Step{Action: action, Why: "somebody wants to know"}
}

// summarize puts what was decided into numbers and conditions.
func (d *decider) summarize() {
	d.status.Waits = d.waits[:min(len(d.waits), maxWaits)]
	d.tell()
	d.conditions()
	if d.sorted {
		d.counts()
	}
}

func (d *decider) counts() {
	st, before := d.status, d.status.DeepCopy()
	st.Total, st.PendingDeletion = int32(len(d.members)), int32(d.tally[pendingDeletion])
	st.Updated, st.Updating, st.Failed, st.RolledBack = int32(d.tally[updated]), int32(d.tally[updating]), int32(d.tally[failed]), int32(d.tally[rolledBack])
	st.Hibernating, st.AwaitingUpdate = int32(d.tally[hibernating]), int32(d.tally[awaiting])
	st.Edited, st.Refused = int32(d.tally[edited]), int32(d.tally[refused])
	st.Superseded = 0
	for _, n := range d.superseded {
		st.Superseded += int32(n)
	}
	some := func(s state) []string { names := d.names(s); return names[:min(len(names), maxNames)] }
	st.FailedInstallations, st.UpdatingInstallations = d.failures(), some(updating)
	st.EditedInstallations, st.RefusedInstallations = some(edited), some(refused)
	if equality.Semantic.DeepEqual(before, st) {
		return
	}
	// What changes with every installation is written every few seconds, or together with
	// what is worth a write by itself, such as who has failed.
	alone := equality.Semantic.DeepEqual(before, d.recorded) && slices.Equal(st.FailedInstallations, before.FailedInstallations)
	if next := st.CountedAt; alone && next != nil && d.now.Before(next.Add(countEvery)) && !d.now.Before(next.Time) {
		d.wakeAt(next.Add(countEvery))
		*st = *before
		return
	}
	at := d.time()
	st.CountedAt = &at
}

// failures names those that failed. Of those that were helped nothing else tells it; and with one
// more than may fail the roll-out stays where it is.
func (d *decider) failures() []string {
	var names, others []string
	for _, m := range d.members {
		switch {
		case m.state != failed:
		case m.hadFailed:
			names = append(names, m.Name)
		default:
			others = append(others, m.Name)
		}
	}
	names = slices.Concat(names, others, d.away)
	most := max(maxNames, d.settings.mayFail(d.total)+1, len(d.recorded.FailedInstallations)) // Perhaps there are fewer now.
	names = names[:min(len(names), most, maxFailures)]
	slices.Sort(names)
	return names
}

// conditions says in the usual terms how the roll-out is, without numbers: a message that
// changes by itself is of no use to who waits for a change.
func (d *decider) conditions() {
	st := d.status
	reason, message := d.inShort()
	ready := metav1.ConditionFalse
	if st.Phase == v1alpha1.Succeeded {
		ready = metav1.ConditionTrue
	}
	d.setCondition(v1alpha1.ConditionReady, ready, reason, message)
	stuck := waitFor(d.waits, v1alpha1.ReasonInvalidSpec)
	for _, personal := range []string{v1alpha1.ReasonNothingSelected, v1alpha1.ReasonFailureThreshold, v1alpha1.ReasonGateFailed, v1alpha1.ReasonEdited} {
		if stuck == nil {
			stuck = waitFor(d.waits, personal)
		}
	}
	if stuck == nil && len(d.plan.Steps) == 0 && d.tally[updating] <= d.unheeded { // Nothing else moves.
		if stuck = waitFor(d.waits, v1alpha1.ReasonStepFailed); stuck == nil {
			stuck = waitFor(d.waits, v1alpha1.ReasonUnnoticed)
		}
	}
	stalled := stuck != nil && (!Over(st.Phase) || st.Phase == v1alpha1.Succeeded)
	if stalled {
		reason, message = stuck.Reason, stuck.Message
	}
	d.condition(v1alpha1.ConditionStalled, stalled, reason, message)
	d.condition(v1alpha1.ConditionReconciling, !stalled && !Over(st.Phase), reason, message)
	paused := d.s.Rollout.Spec.Paused && (!Over(st.Phase) || st.Phase == v1alpha1.Succeeded)
	d.condition(v1alpha1.ConditionPaused, paused, v1alpha1.ReasonPaused, "no further installation is taken until spec.paused is false")
	d.condition(v1alpha1.ConditionSuperseded, len(d.superseded) > 0, v1alpha1.ReasonSuperseded,
		"installations that are selected belong to newer roll-outs: "+listed(slices.Sorted(maps.Keys(d.superseded))))
	slices.SortFunc(st.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// inShort is the roll-out in a sentence.
func (d *decider) inShort() (reason, message string) {
	st := d.status
	switch st.Phase {
	case v1alpha1.Succeeded:
		parts := []string{"every installation that is awake has the revision"}
		for _, but := range []struct {
			state state
			what  string
		}{{edited, "those that were edited since, see status.editedInstallations"}, {refused, "those that cannot be migrated as they are, see status.refusedInstallations"}, {failed, "those that failed, see status.failedInstallations"}} {
			if d.tally[but.state] > 0 {
				parts = append(parts, "but for "+but.what)
			}
		}
		return v1alpha1.ReasonSucceeded, strings.Join(parts, ", ")
	case v1alpha1.Superseded:
		return v1alpha1.ReasonSuperseded, "all installations belong to newer roll-outs: " + listed(slices.Sorted(maps.Keys(d.superseded)))
	case v1alpha1.RolledBack:
		return v1alpha1.ReasonRolledBack, st.OutcomeMessage
	case v1alpha1.Aborted:
		return v1alpha1.ReasonAborted, st.OutcomeMessage
	case v1alpha1.RollingBack, v1alpha1.Aborting:
		return string(st.Phase), st.OutcomeMessage
	default:
	}
	for i := range d.waits {
		if d.waits[i].Reason != v1alpha1.ReasonUpdating {
			return d.waits[i].Reason, d.waits[i].Message
		}
	}
	return v1alpha1.ReasonRolling, "installations are being updated"
}

// Report returns the roll-out with the status that it should have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.InstallationRollout {
	after := s.Rollout.DeepCopy()
	if status, ok := p.Status.(*v1alpha1.InstallationRolloutStatus); ok {
		after.Status = *status.DeepCopy()
	}
	for _, done := range outcome.Done {
		if n, ok := done.Action.(tell.Notify); ok {
			after.Status.Untold = tell.Done(after.Status.Untold, n)
		}
	}
	for _, failure := range outcome.Failed {
		// Who is not told waits for nothing; and what has changed meanwhile is looked at anew.
		if _, ok := failure.Step.Action.(tell.Notify); ok || apierrors.IsConflict(failure.Err) || apierrors.IsNotFound(failure.Err) {
			continue
		}
		w := run.Wait{Subject: subject(failure.Step.Action), Reason: v1alpha1.ReasonStepFailed, Message: plan.Bounded(failure.Err.Error(), 512), Since: metav1.NewTime(now.Truncate(time.Second))}
		for _, waits := range [][]run.Wait{after.Status.Waits, s.Rollout.Status.Waits} {
			for _, was := range waits {
				if was.Subject == w.Subject && was.Reason == w.Reason {
					w.Since = was.Since
				}
			}
		}
		after.Status.Waits = slices.DeleteFunc(after.Status.Waits, func(was run.Wait) bool { return was.Subject == w.Subject && was.Reason == w.Reason })
		after.Status.Waits = append(after.Status.Waits, w)
		after.Status.Waits = after.Status.Waits[:min(len(after.Status.Waits), maxWaits)]
	}
	return after
}

// subject is what an action is about.
func subject(action plan.Action) string {
	if a, ok := action.(interface{ Subject() string }); ok {
		return a.Subject()
	}
	return action.String()
}

// Unknown returns the roll-out with a status that says that nothing could be read.
func Unknown(r *v1alpha1.InstallationRollout, err error, now time.Time) *v1alpha1.InstallationRollout {
	after := r.DeepCopy()
	meta.SetStatusCondition(&after.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonObserveFailed, ObservedGeneration: r.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		Message: plan.Bounded("nothing was changed, because the cluster could not be read: "+err.Error(), 1024),
	})
	return after
}
