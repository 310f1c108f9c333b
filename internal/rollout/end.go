package rollout

import (
	"fmt"
	"slices"
	"time"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

// end notes, once, that the revision will not succeed, and why.
func (d *decider) end() {
	st := d.status
	switch {
	case st.Outcome == v1alpha1.RolledBack:
	case d.s.Rollout.Spec.End == v1alpha1.EndRollBack:
		st.Outcome, st.OutcomeMessage, st.FinishedAt = v1alpha1.RolledBack, "somebody asked for it", nil
		st.Phase = v1alpha1.RollingBack
	case st.Outcome != "":
	case d.s.Rollout.Spec.End == v1alpha1.EndAbort:
		st.Outcome, st.OutcomeMessage, st.FinishedAt = v1alpha1.Aborted, "somebody ended the roll-out", nil
		st.Phase = v1alpha1.Aborting
	case st.FinishedAt != nil:
	case d.tooMany() && d.settings.rollsBack():
		st.Outcome, st.OutcomeMessage = v1alpha1.RolledBack, fmt.Sprintf("%s: more installations have failed than may: %s", v1alpha1.ReasonFailureThreshold, d.haveFailed())
		st.Phase = v1alpha1.RollingBack
	case d.verdict.Outcome == gate.Failed && d.verdict.OnFailure == run.RollBackOnFailure:
		st.Outcome, st.OutcomeMessage = v1alpha1.RolledBack, fmt.Sprintf("%s: %s", v1alpha1.ReasonGateFailed, d.verdict.Message)
		st.Phase = v1alpha1.RollingBack
	}
}

// rollBack gives back what the revision has changed, those first that failed or are not
// stable yet.
func (d *decider) rollBack() {
	d.status.Phase = v1alpha1.RollingBack
	defer d.tellKept() // Last, for there may be many.
	if d.status.FinishedAt != nil {
		d.status.Phase = v1alpha1.RolledBack
		return
	}
	free := d.slots(max(d.settings.maxInFlight(d.total), 1)).without(d.members, flying)
	left := d.changed()
	for _, m := range d.due(left) {
		if d.s.Rollout.Spec.Paused || len(d.plan.Steps) == perPass {
			break
		}
		switch {
		case m.inFlight: // It has its place, and what it gets back is known to work.
		case free.room(m):
			free.use(m)
		default:
			continue
		}
		d.step(m, "the roll-out is rolled back", giveBack)
	}
	d.stopped()
	d.unnoticed()
	switch {
	case len(left) > 0 && d.s.Rollout.Spec.Paused:
		d.paused()
	case len(left) > 0 || slices.ContainsFunc(d.members, d.settling):
		d.wait("the roll-out", "installations that get back what they had", v1alpha1.ReasonRollingBack, d.status.OutcomeMessage, time.Time{})
	default:
		d.finish(v1alpha1.RolledBack)
	}
	if len(left) > 0 {
		d.wakeIn(lookAgain)
	}
}

// settling says that the member has back what it had, and is waited for.
func (d *decider) settling(m *member) bool {
	return m.state == rolledBack && m.inFlight && !d.unheard(m)
}

// changed are the members that can be given back what they had, in the order in which they are.
func (d *decider) changed() (all []*member) {
	for _, s := range []state{updating, failed, updated, edited, refused} {
		for _, m := range d.members {
			if m.state == s && !m.final && !m.kept() {
				all = append(all, m)
			}
		}
	}
	return all
}

// kept says that to take the member back may lose what somebody has edited.
func (m *member) kept() bool { return m.diverged && m.touched() && m.state != rolledBack }

func (d *decider) tellKept() {
	for _, m := range d.members {
		if m.kept() {
			d.wait(m.Kind+"/"+m.Name, "", v1alpha1.ReasonMigrationKept, "its Mattermost is not what it says any more, so that it is not taken back: windlass migrate revert says what that would lose, and windlass migrate finalize ends it as it is", time.Time{})
		}
	}
}

// lookAgain is when to look again at what no watch event may tell of.
const lookAgain = 10 * time.Second

func (d *decider) abort() {
	if d.status.FinishedAt != nil {
		d.status.Phase = v1alpha1.Aborted
		return
	}
	d.status.Phase = v1alpha1.Aborting
	d.unnoticed()
	switch {
	case d.tally[updating] <= d.unheeded:
		d.finish(v1alpha1.Aborted)
	default:
		d.wait("the roll-out", "installations that are updating", v1alpha1.ReasonAborted, "no further one is taken", time.Time{})
	}
}
