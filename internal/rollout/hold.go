package rollout

import (
	"fmt"
	"time"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/tell"
)

// judge takes in what the checks of gates saw.
func (d *decider) judge() {
	gates := Gates(d.s.Rollout)
	d.status.Gates = gate.Update(gates, d.recorded.Gates, d.s.Observed, d.now)
	if len(gates) == 0 {
		return
	}
	d.verdict = gate.VerdictOf(gates, d.status.Gates, d.now)
	if _, next := gate.Due(gates, d.status.Gates, d.now); !next.IsZero() {
		d.wakeAt(next)
	}
}

// holds reports whether something keeps further installations from being taken, and says
// what.
func (d *decider) holds() bool {
	switch {
	case d.tooMany():
		look := "windlass explain mattermost"
		if d.s.Rollout.Spec.Change.Migrate {
			look = "windlass migrate status"
		}
		d.wait("the roll-out", "", v1alpha1.ReasonFailureThreshold, "more installations have failed than may ("+d.haveFailed()+
			"): look at them with "+look+"; it goes on when they become stable with the change, or the change or failureThreshold is edited, or end it with windlass rollout rollback or abort", time.Time{})
	case d.s.Rollout.Spec.Paused:
		d.paused()
	case d.settings.maxInFlight(d.total) == 0 && d.total > 0:
		d.wait("the roll-out", "", v1alpha1.ReasonPaused, "strategy.maxInFlight is 0, so that none is taken", time.Time{})
	case d.outsideWindow(), d.gated():
	default:
		return false
	}
	return true
}

func (d *decider) paused() {
	d.wait("the roll-out", "", v1alpha1.ReasonPaused, "no further installation is taken until spec.paused is false: windlass rollout resume", time.Time{})
}

func (d *decider) outsideWindow() bool {
	open, until := d.settings.windows.Open(d.now)
	if open {
		if !until.IsZero() {
			d.wakeAt(until)
		}
		return false
	}
	message, next := "no further installation is taken until a window opens", d.settings.windows.Next(d.now)
	if next.IsZero() {
		message = "no window opens within five years: look at the schedules of strategy.windows"
	} else {
		d.wakeAt(next)
	}
	d.wait("the roll-out", "", v1alpha1.ReasonOutsideWindow, message, next)
	return true
}

func (d *decider) gated() bool {
	if d.verdict.Outcome == "" || d.verdict.Outcome == gate.Passing {
		return false
	}
	reason, message := v1alpha1.ReasonGatePending, d.verdict.Message
	if d.verdict.Outcome == gate.Failed {
		reason, message = v1alpha1.ReasonGateFailed, message+": no further installation is taken until it passes, or the roll-out is ended"
	}
	if !d.verdict.Until.IsZero() {
		d.wakeAt(d.verdict.Until)
	}
	d.wait("the roll-out", "gate "+d.verdict.Gate, reason, message, d.verdict.Until)
	return true
}

// tell notes what happened for those who want to know, and tells them of what is noted.
func (d *decider) tell() {
	all := d.settings.strategy.Notifications
	d.status.Untold = tell.Still(d.recorded.Untold, all, d.now)
	for _, u := range d.status.Untold {
		d.plan.Steps = append(d.plan.Steps, planStep(tell.Notify{Recipient: all[u.Recipient], Untold: u}))
		d.wakeIn(tell.Again)
	}
	say := func(event run.NotifiedEvent, sequence int64, format string, args ...any) {
		d.status.Untold = tell.Note(d.status.Untold, all, run.Untold{Event: event, Sequence: sequence, Text: fmt.Sprintf(format, args...)}, d.now)
	}
	was, is := d.recorded, d.status
	if is.Revision == nil {
		return
	}
	revision := is.Revision.Sequence
	if was.StartedAt == nil && is.StartedAt != nil {
		say(run.NotifyStarted, revision, "revision %d (%s) has begun", revision, is.Revision.Hash)
	}
	for reason, event := range map[string]run.NotifiedEvent{v1alpha1.ReasonPaused: run.NotifyPaused, v1alpha1.ReasonGateFailed: run.NotifyGateFailed, v1alpha1.ReasonFailureThreshold: run.NotifyBlocked} {
		if w := waitFor(is.Waits, reason); w != nil && waitFor(was.Waits, reason) == nil {
			say(event, w.Since.Unix(), "%s", w.Message)
		}
	}
	if was.WaveDoneAt == nil && is.WaveDoneAt != nil {
		say(run.NotifyWaveFinished, revision<<8+int64(is.Wave), "wave %d is done", is.Wave)
	}
	if was.Phase != is.Phase {
		d.ended(say)
	}
}

// ended says how a revision has ended, or begins to.
func (d *decider) ended(say func(event run.NotifiedEvent, sequence int64, format string, args ...any)) {
	is, revision := d.status, d.status.Revision.Sequence
	switch is.Phase {
	case v1alpha1.RollingBack:
		say(run.NotifyRollingBack, revision, "%s", is.OutcomeMessage)
	case v1alpha1.Succeeded:
		say(run.NotifySucceeded, revision, "revision %d reached all installations", revision)
	case v1alpha1.RolledBack:
		say(run.NotifyFailed, revision, "%s: %s", is.Phase, is.OutcomeMessage)
	case v1alpha1.Aborted:
		say(run.NotifyAborted, revision, "%s", is.OutcomeMessage)
	default: // It goes on.
	}
}

func waitFor(waits []run.Wait, reason string) *run.Wait {
	for i := range waits {
		if waits[i].Reason == reason {
			return &waits[i]
		}
	}
	return nil
}
