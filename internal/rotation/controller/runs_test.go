package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
)

// What a run waits for, and how long it will take, is told while it goes on, and no longer.
func TestRunsAreTold(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	one := func(name string, phase v1alpha1.Phase) v1alpha1.NodeRotation {
		return v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.NodeRotationStatus{
			Phase: phase, Outdated: 4, Open: 2, Replaced: 3, Skipped: 1,
			Waits: []v1alpha1.Wait{
				{Reason: v1alpha1.ReasonBudget, Since: ago(time.Minute)}, {Reason: v1alpha1.ReasonBudgetNever, Since: ago(time.Hour)}, {Reason: v1alpha1.ReasonBudget, Since: ago(2 * time.Minute)},
			},
			Estimate:   &v1alpha1.Estimate{Finish: ago(-5 * time.Minute)},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionBlocked, Status: metav1.ConditionTrue, LastTransitionTime: ago(time.Hour)}},
		}}
	}
	late := one("late", v1alpha1.Rotating)
	late.Status.Waits, late.Status.Conditions, late.Status.Estimate.Finish = nil, nil, ago(time.Minute)
	list := &v1alpha1.NodeRotationList{Items: []v1alpha1.NodeRotation{one("june", v1alpha1.Rotating), late, one("may", v1alpha1.Failed)}}
	told := prometheus.CollectorFunc(func(metrics chan<- prometheus.Metric) { count(list, now, kit.TellTo(metrics)) })
	const want = `
# HELP windlass_rotation_condition_oldest_seconds How long the condition has been True on the run on which it has been so the longest, of those that are not over.
# TYPE windlass_rotation_condition_oldest_seconds gauge
windlass_rotation_condition_oldest_seconds{condition="Blocked"} 3600
windlass_rotation_condition_oldest_seconds{condition="Stalled"} 0
# HELP windlass_rotation_nodes Nodes of a run that is not over, by their state. Each replica of Windlass counts all.
# TYPE windlass_rotation_nodes gauge
windlass_rotation_nodes{rotation="june",state="open"} 2
windlass_rotation_nodes{rotation="june",state="outdated"} 4
windlass_rotation_nodes{rotation="june",state="replaced"} 3
windlass_rotation_nodes{rotation="june",state="skipped"} 1
windlass_rotation_nodes{rotation="late",state="open"} 2
windlass_rotation_nodes{rotation="late",state="outdated"} 4
windlass_rotation_nodes{rotation="late",state="replaced"} 3
windlass_rotation_nodes{rotation="late",state="skipped"} 1
# HELP windlass_rotation_remaining_seconds How much longer a run is estimated to take.
# TYPE windlass_rotation_remaining_seconds gauge
windlass_rotation_remaining_seconds{rotation="june"} 300
windlass_rotation_remaining_seconds{rotation="late"} 0
# HELP windlass_rotation_waiting_seconds How long a run that is not over has waited for the reason, of all for which it waits for it the longest.
# TYPE windlass_rotation_waiting_seconds gauge
windlass_rotation_waiting_seconds{reason="DisruptionBudget",rotation="june"} 120
windlass_rotation_waiting_seconds{reason="DisruptionBudgetNever",rotation="june"} 3600
`
	if err := testutil.CollectAndCompare(told, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
