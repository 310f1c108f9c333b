// Package condition says how an object is in kstatus' terms: Ready sums up, and
// Reconciling and Stalled are there only while they are True.
package condition

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/kit/plan"
)

// The types of conditions that a Summary sets.
const (
	Ready       = "Ready"
	Reconciling = "Reconciling"
	Stalled     = "Stalled"
)

// messageLimit is what people read, far below the 32 KiB that the API takes.
const messageLimit = 1024

// Summary is an object in a sentence.
type Summary struct {
	Ready           metav1.ConditionStatus
	Reason, Message string
	// Moving says that it will change by itself, and Stalled that nothing but an act of a
	// person changes it.
	Moving, Stalled bool
}

// Set puts the summary among the conditions. now is when what changes has changed.
func (s Summary) Set(conditions *[]metav1.Condition, generation int64, now time.Time) {
	Set(conditions, metav1.Condition{Type: Ready, Status: s.Ready, Reason: s.Reason, Message: s.Message}, generation, now)
	for kind, is := range map[string]bool{Reconciling: s.Moving, Stalled: s.Stalled} {
		if is {
			Set(conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: s.Reason, Message: s.Message}, generation, now)
		} else {
			meta.RemoveStatusCondition(conditions, kind)
		}
	}
	slices.SortFunc(*conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// Set puts one condition among the others; its time, in seconds as it is stored, stays while
// its status does.
func Set(conditions *[]metav1.Condition, c metav1.Condition, generation int64, now time.Time) {
	c.ObservedGeneration, c.LastTransitionTime, c.Message = generation, metav1.NewTime(now.Truncate(time.Second)), plan.Bounded(c.Message, messageLimit)
	meta.SetStatusCondition(conditions, c)
}
