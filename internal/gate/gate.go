// Package gate judges the gates of a run: what their checks agree on, and whether the run
// may go on. It makes no check itself (package probe does) and reads no clock.
//
// A check can also be impossible, as when Prometheus is down. Then nothing is known: the
// run waits, and after the gate's timeout it pauses, but nothing is ever rolled back for it.
package gate

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

const (
	defaultInterval    = 15 * time.Second
	defaultTimeout     = 5 * time.Minute
	defaultConsecutive = 1
	// patience is how much later than due a check may be, beside one interval, before
	// what was seen earlier no longer counts: longer than a restart of the controller.
	patience = 30 * time.Second
	// maxMessage is in bytes.
	maxMessage = 512
)

// Observation is what one check saw.
type Observation struct {
	// Passing is Unknown if the check could not be made.
	Passing metav1.ConditionStatus
	// Message says what was seen, in a sentence that has no secret in it.
	Message string
}

// Judge returns what is known of a gate after one more check. A gate whose checks had a
// gap begins anew.
func Judge(g run.Gate, previous run.GateStatus, seen Observation, now time.Time) run.GateStatus {
	checked := metav1.NewTime(now).Rfc3339Copy() // As it will be read back.
	if previous.CheckedAt == nil || previous.Since == nil || overdue(g, previous, now) {
		previous = run.GateStatus{Passing: metav1.ConditionUnknown, Since: &checked}
	}
	next := run.GateStatus{
		Name: g.Name, Passing: previous.Passing, Since: previous.Since,
		Message: plan.Bounded(seen.Message, maxMessage), Row: 1, Last: seen.Passing, CheckedAt: &checked,
	}
	if previous.Last == seen.Passing {
		next.Row = min(previous.Row+1, consecutive(g))
	}
	// What fails does so until it is seen to pass.
	stillFails := previous.Passing == metav1.ConditionFalse && seen.Passing == metav1.ConditionUnknown
	if next.Row >= consecutive(g) && next.Passing != seen.Passing && !stillFails {
		next.Passing, next.Since = seen.Passing, &checked
	}
	return next
}

// Update judges all gates of a run that were checked, by their names, and leaves the
// others as they are. Gates that there no longer are have no status.
func Update(gates []run.Gate, previous []run.GateStatus, seen map[string]Observation, now time.Time) []run.GateStatus {
	var next []run.GateStatus
	for _, g := range gates {
		status, known := find(previous, g.Name)
		if observation, ok := seen[g.Name]; ok {
			status, known = Judge(g, status, observation, now), true
		}
		if known {
			next = append(next, status)
		}
	}
	return next
}

// Due returns the gates that are to be checked now, and when the next of the others is. It
// is zero if there are no others.
func Due(gates []run.Gate, statuses []run.GateStatus, now time.Time) (due []run.Gate, next time.Time) {
	for _, g := range gates {
		status, _ := find(statuses, g.Name)
		// A check in the future was noted by another clock.
		if status.CheckedAt == nil || status.CheckedAt.After(now) || !now.Before(status.CheckedAt.Add(interval(g))) {
			due = append(due, g)
		} else if at := status.CheckedAt.Add(interval(g)); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return due, next
}

// Outcome is what gates say together.
type Outcome string

const (
	// Passing: the run may go on.
	Passing Outcome = "Passing"
	// Pending: a gate does not pass, or not yet; the run waits.
	Pending Outcome = "Pending"
	// Failed: a gate has not passed for as long as it may.
	Failed Outcome = "Failed"
)

// Verdict is what the gates of a run say together.
type Verdict struct {
	Outcome Outcome
	// Gate is the name of the one that decides; empty if all pass.
	Gate string
	// OnFailure is what the run is to do, if it failed.
	OnFailure run.OnGateFailure
	// Message is about that gate.
	Message string
	// Until is when the gate will have failed if it does not pass before; zero if that is
	// not known yet, or the verdict is not Pending.
	Until time.Time
}

// VerdictOf sums up: what rolls back comes before what pauses, this before what is pending,
// and of those the one that fails first.
func VerdictOf(gates []run.Gate, statuses []run.GateStatus, now time.Time) Verdict {
	sum := Verdict{Outcome: Passing, Message: "all gates pass"}
	if len(gates) == 0 {
		sum.Message = "there are no gates"
	}
	for _, g := range gates {
		status, _ := find(statuses, g.Name)
		if v := verdict(g, status, now); v.graver(sum) {
			sum = v
		}
	}
	return sum
}

func verdict(g run.Gate, status run.GateStatus, now time.Time) Verdict {
	v := Verdict{Outcome: Pending, Gate: g.Name}
	switch {
	case status.CheckedAt == nil || status.Since == nil:
		v.Message = fmt.Sprintf("gate %s was not checked yet", g.Name)
		return v
	case overdue(g, status, now):
		v.Message = fmt.Sprintf("gate %s was last checked at %s", g.Name, status.CheckedAt.UTC().Format(time.RFC3339))
		return v
	case status.Passing == metav1.ConditionTrue:
		return Verdict{Outcome: Passing}
	}
	v.Message = fmt.Sprintf("gate %s %s: %s", g.Name, state(status), status.Message)
	if until := status.Since.Add(timeout(g)); now.Before(until) {
		v.Until = until
		return v
	}
	v.Outcome, v.OnFailure = Failed, run.PauseOnFailure
	if g.OnFailure != "" && status.Passing == metav1.ConditionFalse && status.Last == metav1.ConditionFalse {
		v.OnFailure = g.OnFailure
	}
	return v
}

// state says in words how far a gate is that does not pass.
func state(status run.GateStatus) string {
	switch {
	case status.Last == metav1.ConditionUnknown:
		return "cannot be checked"
	case status.Last == metav1.ConditionTrue:
		return "passes, but not for long enough"
	case status.Passing == metav1.ConditionUnknown:
		return "does not pass yet"
	default:
		return "fails"
	}
}

func (v Verdict) graver(than Verdict) bool {
	if v.rank() != than.rank() {
		return v.rank() > than.rank()
	}
	return v.Outcome == Pending && !v.Until.IsZero() && (than.Until.IsZero() || v.Until.Before(than.Until))
}

func (v Verdict) rank() int {
	switch {
	case v.Outcome == Passing:
		return 0
	case v.Outcome == Pending:
		return 1
	case v.OnFailure == run.RollBackOnFailure:
		return 3
	default:
		return 2
	}
}

func overdue(g run.Gate, status run.GateStatus, now time.Time) bool {
	return now.After(status.CheckedAt.Add(2*interval(g) + patience))
}

func find(statuses []run.GateStatus, name string) (run.GateStatus, bool) {
	for _, status := range statuses {
		if status.Name == name {
			return status, true
		}
	}
	return run.GateStatus{}, false
}

func interval(g run.Gate) time.Duration {
	if g.IntervalSeconds == 0 {
		return defaultInterval
	}
	return time.Duration(g.IntervalSeconds) * time.Second
}

func timeout(g run.Gate) time.Duration {
	if g.TimeoutSeconds == 0 {
		return defaultTimeout
	}
	return time.Duration(g.TimeoutSeconds) * time.Second
}

func consecutive(g run.Gate) int32 { return max(g.Consecutive, defaultConsecutive) }
