package rotation

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/tell"
)

// outsideWindow says that no window is open; nil if one is. The windows of all groups that
// are worked on have to agree.
func (d *decider) outsideWindow(active []*group) *v1alpha1.Wait {
	for _, g := range active {
		open, until := g.strategy.windows.Open(d.now)
		if open {
			if !until.IsZero() {
				d.wakeAt(until)
			}
			continue
		}
		w := &v1alpha1.Wait{Subject: "the run", Reason: v1alpha1.ReasonOutsideWindow, Message: "no further nodes are taken until a window opens"}
		if next := g.strategy.windows.Next(d.now); !next.IsZero() {
			w.Until = new(metav1.NewTime(next))
			d.wakeAt(next)
		} else {
			w.Message = "no window opens within five years: look at the schedules of strategy.windows"
		}
		return w
	}
	return nil
}

// Gates are those that a run has to pass: its own, or, if it names none, all that its
// groups name.
func Gates(r *v1alpha1.NodeRotation, groups map[string]*v1alpha1.NodeGroup) []run.Gate {
	if s := r.Spec.Strategy; s != nil && s.Gates != nil {
		return s.Gates
	}
	var all []run.Gate
	for _, rec := range r.Status.Groups {
		node := groups[rec.Name]
		if node == nil || node.Spec.Strategy == nil {
			continue
		}
		for _, g := range node.Spec.Strategy.Gates {
			if !slices.ContainsFunc(all, func(other run.Gate) bool { return other.Name == g.Name }) {
				all = append(all, g)
			}
		}
	}
	return all
}

// judge takes in what the gates' checks saw, and ends the run if one says so.
func (d *decider) judge() {
	gates := Gates(d.s.Run, d.s.Groups)
	d.status.Gates = gate.Update(gates, d.recorded.Gates, d.s.Observed, d.now)
	if len(gates) == 0 || d.ending() {
		return
	}
	d.verdict = gate.VerdictOf(gates, d.status.Gates, d.now)
	if _, next := gate.Due(gates, d.status.Gates, d.now); !next.IsZero() {
		d.wakeAt(next)
	}
	if d.verdict.Outcome == gate.Failed && d.verdict.OnFailure == run.RollBackOnFailure {
		d.failBack(v1alpha1.ReasonGateFailed, fmt.Sprintf("gate %s: %s", d.verdict.Gate, d.verdict.Message))
	}
}

// failBack rolls the run back, or, where the provider cannot, stops it.
func (d *decider) failBack(reason, message string) {
	for _, g := range d.groups {
		if !g.cloud.Capabilities.RollBack {
			d.abort(v1alpha1.Failed, reason+": "+message)
			return
		}
	}
	d.rollBack(reason + ": " + message)
}

// gateHolds says which gate keeps the run from taking further nodes; nil if none does.
func (d *decider) gateHolds() *v1alpha1.Wait {
	if d.verdict.Outcome == "" || d.verdict.Outcome == gate.Passing {
		return nil
	}
	w := &v1alpha1.Wait{Subject: "the run", For: "gate " + d.verdict.Gate, Reason: v1alpha1.ReasonGatePending, Message: d.verdict.Message}
	if d.verdict.Outcome == gate.Failed {
		w.Reason = v1alpha1.ReasonGateFailed
		w.Message += ": no further nodes are taken until it passes, or the run is ended"
	}
	if !d.verdict.Until.IsZero() {
		w.Until = new(metav1.NewTime(d.verdict.Until))
		d.wakeAt(d.verdict.Until)
	}
	return w
}

// gatesPass says whether the run may go on to its next wave.
func (d *decider) gatesPass() bool {
	w := d.gateHolds()
	if w != nil {
		d.wait(*w)
	}
	return w == nil
}

// recipients are who is told of a run: those that it names, or else its groups.
func recipients(r *v1alpha1.NodeRotation, groups map[string]*v1alpha1.NodeGroup) []run.Notification {
	if s := r.Spec.Strategy; s != nil && s.Notifications != nil {
		return s.Notifications
	}
	for _, rec := range r.Status.Groups {
		if node := groups[rec.Name]; node != nil && node.Spec.Strategy != nil && node.Spec.Strategy.Notifications != nil {
			return node.Spec.Strategy.Notifications
		}
	}
	return nil
}

// tell notes what happened for those who want to know, and tells them of what is noted.
func (d *decider) tell() {
	all := recipients(d.s.Run, d.s.Groups)
	d.status.Untold = tell.Still(d.status.Untold, all, d.now)
	for _, u := range d.status.Untold {
		d.step(tell.Notify{Recipient: all[u.Recipient], Untold: u}, "somebody wants to know")
		d.wake(tell.Again)
	}
	for _, happened := range d.happened() {
		d.status.Untold = tell.Note(d.status.Untold, all, happened, d.now)
	}
}

// happened is what is new since the status on record.
func (d *decider) happened() []v1alpha1.Untold {
	was, is := d.recorded, d.status
	var all []v1alpha1.Untold
	say := func(event run.NotifiedEvent, sequence int64, format string, args ...any) {
		all = append(all, v1alpha1.Untold{Event: event, Sequence: sequence, Text: fmt.Sprintf(format, args...)})
	}
	has := func(waits []v1alpha1.Wait, reasons ...string) *v1alpha1.Wait {
		for i := range waits {
			if slices.Contains(reasons, waits[i].Reason) {
				return &waits[i]
			}
		}
		return nil
	}
	if was.StartedAt == nil && is.StartedAt != nil {
		say(run.NotifyStarted, 0, "the rotation of %d groups has begun", len(is.Groups))
	}
	if w := has(is.Waits, personal...); w != nil && has(was.Waits, personal...) == nil {
		say(run.NotifyBlocked, w.Since.Unix(), "%s", sentence(*w))
	}
	if w := has(is.Waits, v1alpha1.ReasonPaused); w != nil && has(was.Waits, v1alpha1.ReasonPaused) == nil {
		say(run.NotifyPaused, w.Since.Unix(), "no further nodes are taken until spec.paused is false")
	}
	if w := has(is.Waits, v1alpha1.ReasonGateFailed); w != nil && has(was.Waits, v1alpha1.ReasonGateFailed) == nil {
		say(run.NotifyGateFailed, w.Since.Unix(), "%s", sentence(*w))
	}
	if was.WaveDoneAt == nil && is.WaveDoneAt != nil {
		say(run.NotifyWaveFinished, int64(is.Wave), "wave %d is done: %d nodes replaced", is.Wave, is.Replaced)
	}
	if was.Phase != is.Phase {
		d.ended(say)
	}
	return all
}

// ended says how a run has ended, or begins to.
func (d *decider) ended(say func(event run.NotifiedEvent, sequence int64, format string, args ...any)) {
	is := d.status
	switch is.Phase {
	case v1alpha1.RollingBack:
		say(run.NotifyRollingBack, 0, "%s", is.OutcomeMessage)
	case v1alpha1.Succeeded:
		say(run.NotifySucceeded, 0, "%d nodes were replaced in %s", is.Replaced, d.now.Sub(is.StartedAt.Time).Round(time.Second))
	case v1alpha1.Failed, v1alpha1.RolledBack:
		say(run.NotifyFailed, 0, "%s: %s", is.Phase, is.OutcomeMessage)
	case v1alpha1.Aborted:
		say(run.NotifyAborted, 0, "%s", is.OutcomeMessage)
	default: // It goes on.
	}
}
