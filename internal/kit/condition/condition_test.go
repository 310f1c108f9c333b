package condition_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/kit/condition"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_000_000, 0).UTC()
	first := condition.Summary{Ready: metav1.ConditionFalse, Reason: "Working", Message: "it is at it", Moving: true}
	of := func(kind string, status metav1.ConditionStatus, s condition.Summary, generation int64, at time.Time) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: s.Reason, Message: s.Message, ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(at)}
	}
	later := begin.Add(time.Minute)
	for name, c := range map[string]struct {
		next condition.Summary
		want func(condition.Summary) []metav1.Condition
	}{
		"the same": {first, func(s condition.Summary) []metav1.Condition {
			return []metav1.Condition{of("Ready", "False", s, 2, begin), of("Reconciling", "True", s, 2, begin)}
		}},
		"done": {condition.Summary{Ready: metav1.ConditionTrue, Reason: "Done", Message: "it is done"}, func(s condition.Summary) []metav1.Condition {
			return []metav1.Condition{of("Ready", "True", s, 2, later)}
		}},
		"stuck": {condition.Summary{Ready: metav1.ConditionFalse, Reason: "Wrong", Message: "see the spec", Stalled: true}, func(s condition.Summary) []metav1.Condition {
			return []metav1.Condition{of("Ready", "False", s, 2, begin), of("Stalled", "True", s, 2, later)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []metav1.Condition
			first.Set(&got, 1, begin)
			c.next.Set(&got, 2, later)
			if diff := cmp.Diff(c.want(c.next), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	var got []metav1.Condition
	condition.Summary{Ready: metav1.ConditionFalse, Reason: "Long", Message: strings.Repeat("a", 5000)}.Set(&got, 1, time.Unix(0, 0))
	if n := len(got[0].Message); n != 1024 {
		t.Errorf("the message has %d bytes", n)
	}
}
