// Package tell keeps account, in the status of a run, of what somebody has still to be told:
// an event is noted before it is told, so that a crash in between tells it again rather than
// not at all. It tells nobody itself; package notify does.
package tell

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	run "windlass.dev/api/run/v1alpha1"
)

const (
	// For is for how long it is tried to tell somebody of something.
	For = 10 * time.Minute
	// Again is when to try once more.
	Again = 30 * time.Second
)

// Notify tells somebody of what happened.
type Notify struct {
	Recipient run.Notification
	Untold    run.Untold
}

func (a Notify) String() string {
	return fmt.Sprintf("notify %d of %s %d", a.Untold.Recipient, a.Untold.Event, a.Untold.Sequence)
}

// Still is what is worth telling of what is noted: what is not too old, to those who are
// still to be told of anything.
func Still(noted []run.Untold, recipients []run.Notification, now time.Time) []run.Untold {
	return slices.DeleteFunc(slices.Clone(noted), func(u run.Untold) bool {
		return int(u.Recipient) >= len(recipients) || !now.Before(u.At.Add(For))
	})
}

// Note adds an event for all who want to know of it.
func Note(noted []run.Untold, recipients []run.Notification, happened run.Untold, now time.Time) []run.Untold {
	for i := range recipients {
		if len(recipients[i].Events) == 0 || slices.Contains(recipients[i].Events, happened.Event) {
			happened.Recipient, happened.At = int32(i), metav1.NewTime(now)
			noted = append(noted, happened)
		}
	}
	return noted
}

// Done returns what is left when a step is done.
func Done(noted []run.Untold, done Notify) []run.Untold {
	return slices.DeleteFunc(noted, func(u run.Untold) bool { return u == done.Untold })
}
