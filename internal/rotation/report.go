package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/tell"
)

// maxWaits is how many things a run says that it waits for.
const maxWaits = 20

// summarize puts what was decided into numbers and conditions.
func (d *decider) summarize() {
	st := d.status
	st.Outdated, st.Open, st.Replaced, st.Skipped = 0, 0, 0, 0
	for i := range st.Groups {
		g := &st.Groups[i]
		st.Outdated += g.Outdated
		st.Replaced += g.Replaced
	}
	for _, g := range d.groups {
		st.Open += int32(g.records)
		st.Skipped += int32(g.skipped)
	}
	slices.SortStableFunc(d.waits, func(a, b *v1alpha1.Wait) int {
		return cmp.Or(a.Since.Compare(b.Since.Time), strings.Compare(a.Subject, b.Subject))
	})
	st.Waits = nil
	for _, w := range d.waits[:min(len(d.waits), maxWaits)] {
		st.Waits = append(st.Waits, *w)
	}
	for _, w := range st.Waits {
		d.plan.Why = append(d.plan.Why, plan.Note{Subject: w.Subject, Reason: w.Reason, Message: strings.TrimSpace(w.For + " " + w.Message)})
	}
	d.estimate()
	d.conditions()
}

// conditions says in the usual terms how the run is.
func (d *decider) conditions() {
	st := d.status
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		condition := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: plan.Bounded(message, 1024), ObservedGeneration: st.ObservedGeneration, LastTransitionTime: metav1.NewTime(d.now)}
		if was := meta.FindStatusCondition(st.Conditions, kind); was != nil && was.Status == status {
			condition.LastTransitionTime = was.LastTransitionTime
		}
		meta.RemoveStatusCondition(&st.Conditions, kind)
		st.Conditions = append(st.Conditions, condition)
	}
	unset := func(kind string) { meta.RemoveStatusCondition(&st.Conditions, kind) }
	reason, message := d.inShort()
	ready := metav1.ConditionFalse
	if st.Phase == v1alpha1.Succeeded || st.Phase == v1alpha1.Planned || st.Phase == v1alpha1.RolledBack {
		ready = metav1.ConditionTrue
	}
	set(v1alpha1.ConditionReady, ready, reason, message)
	stalled := d.stalled()
	switch {
	case st.Phase == v1alpha1.Failed || stalled != nil:
		if stalled != nil {
			reason, message = stalled.Reason, sentence(*stalled)
		}
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
		unset(v1alpha1.ConditionReconciling)
	case Finished(st.Phase):
		unset(v1alpha1.ConditionStalled)
		unset(v1alpha1.ConditionReconciling)
	default:
		set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
		unset(v1alpha1.ConditionStalled)
	}
	if blocked := d.blocked(); blocked != nil {
		set(v1alpha1.ConditionBlocked, metav1.ConditionTrue, blocked.Reason, sentence(*blocked))
	} else {
		unset(v1alpha1.ConditionBlocked)
	}
	if d.s.Run.Spec.Paused && !Finished(st.Phase) {
		set(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPaused, "no further nodes are taken until spec.paused is false")
	} else {
		unset(v1alpha1.ConditionPaused)
	}
	slices.SortFunc(st.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

func sentence(w v1alpha1.Wait) string {
	text := w.Subject
	if w.For != "" {
		text += " waits for " + w.For
	}
	return text + ": " + w.Message
}

// inShort is the run in a sentence.
func (d *decider) inShort() (reason, message string) {
	st := d.status
	switch st.Phase {
	case v1alpha1.Succeeded:
		return v1alpha1.ReasonSucceeded, strings.TrimSuffix("every node runs what it should; "+st.OutcomeMessage, "; ")
	case v1alpha1.Planned:
		return v1alpha1.ReasonSucceeded, "the plan is in status.plan"
	case v1alpha1.RolledBack:
		return v1alpha1.ReasonRolledBack, cmp.Or(st.OutcomeMessage, "the former image is back")
	case v1alpha1.Aborted:
		return v1alpha1.ReasonAborted, st.OutcomeMessage
	case v1alpha1.Failed:
		if first, _, ok := strings.Cut(st.OutcomeMessage, ": "); ok && !strings.Contains(first, " ") {
			return first, st.OutcomeMessage
		}
		return v1alpha1.ReasonDrainTimeout, st.OutcomeMessage
	case v1alpha1.Aborting, v1alpha1.RollingBack:
		return string(st.Phase), st.OutcomeMessage
	case v1alpha1.Pending:
		if len(st.Waits) > 0 {
			return st.Waits[0].Reason, sentence(st.Waits[0])
		}
	default: // It is on its way.
	}
	// No counters: a message that changes by itself is of no use to who waits for a change.
	if len(st.Waits) > 0 && len(st.Waits) == len(d.waits) && d.status.Open == 0 {
		return st.Waits[0].Reason, sentence(st.Waits[0])
	}
	return v1alpha1.ReasonRotating, "nodes are being replaced"
}

// personal are the reasons for which somebody has to act.
var personal = []string{v1alpha1.ReasonBudgetNever, v1alpha1.ReasonTwoBudgets, v1alpha1.ReasonBarePod, v1alpha1.ReasonLocalVolume, v1alpha1.ReasonUnhealthyPod, v1alpha1.ReasonStuckTerminating, v1alpha1.ReasonNoCapacity}

// blocked is what keeps a node for which somebody has to act; nil if nothing does.
func (d *decider) blocked() *v1alpha1.Wait {
	for i := range d.waits {
		if slices.Contains(personal, d.waits[i].Reason) {
			return d.waits[i]
		}
	}
	return nil
}

// stalled is why nothing has moved for longer than it may, or cannot; nil if all is well.
func (d *decider) stalled() *v1alpha1.Wait {
	for i := range d.waits {
		if slices.Contains([]string{v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonUnsupported, v1alpha1.ReasonTargetChanged}, d.waits[i].Reason) {
			return d.waits[i]
		}
	}
	if d.status.ProgressedAt == nil || Finished(d.status.Phase) || d.s.Run.Spec.Paused {
		return nil
	}
	for i := range d.waits {
		if slices.Contains([]string{v1alpha1.ReasonOutsideWindow, v1alpha1.ReasonBaking, v1alpha1.ReasonGroupBusy, v1alpha1.ReasonGatePending}, d.waits[i].Reason) {
			return nil
		}
	}
	if len(d.groups) == 0 {
		return nil
	}
	limit := d.groups[0].strategy.progressDeadline
	if over := d.status.ProgressedAt.Add(limit); d.now.Before(over) {
		d.wakeAt(over)
		return nil
	}
	w := v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonNoProgress, Message: fmt.Sprintf("nothing has moved for %s", limit)}
	if len(d.waits) > 0 {
		w.Message += "; " + sentence(*d.waits[0])
	}
	return &w
}

// Report returns the run with the status that it should have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.NodeRotation {
	after := s.Run.DeepCopy()
	if decision, ok := p.Status.(Decision); ok {
		after.Status = decision.Status
	}
	for _, done := range outcome.Done {
		if n, ok := done.Action.(tell.Notify); ok {
			after.Status.Untold = tell.Done(after.Status.Untold, n)
		}
	}
	var worst *plan.Failure
	for i := range outcome.Failed {
		switch outcome.Failed[i].Step.Action.(type) {
		case Evict, tell.Notify: // A budget that says no is no failure, and who is not told waits for nothing.
			continue
		}
		worst = &outcome.Failed[i]
		break
	}
	if worst != nil {
		w := v1alpha1.Wait{Subject: worst.Step.Action.String(), Reason: v1alpha1.ReasonStepFailed, Message: plan.Bounded(worst.Err.Error(), 512), Since: metav1.NewTime(now)}
		for _, was := range s.Run.Status.Waits {
			if was.Subject == w.Subject && was.Reason == w.Reason {
				w.Since = was.Since
			}
		}
		after.Status.Waits = append([]v1alpha1.Wait{w}, after.Status.Waits...)
		if len(after.Status.Waits) > maxWaits {
			after.Status.Waits = after.Status.Waits[:maxWaits]
		}
	}
	return after
}

// Unknown returns the run with a status that says that nothing could be read.
func Unknown(run *v1alpha1.NodeRotation, err error, now time.Time) *v1alpha1.NodeRotation {
	after := run.DeepCopy()
	w := v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonObserveFailed, Message: plan.Bounded(err.Error(), 512), Since: metav1.NewTime(now)}
	for _, was := range run.Status.Waits {
		if was.Reason == w.Reason {
			w.Since = was.Since
		}
	}
	after.Status.Waits = []v1alpha1.Wait{w}
	meta.SetStatusCondition(&after.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonObserveFailed, Message: w.Message, ObservedGeneration: run.Generation, LastTransitionTime: metav1.NewTime(now)})
	return after
}
