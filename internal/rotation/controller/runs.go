package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/rotation"
)

var (
	nodesDesc = prometheus.NewDesc("windlass_rotation_nodes",
		"Nodes of a run that is not over, by their state. Each replica of Windlass counts all.", []string{"rotation", "state"}, nil)
	waitingDesc = prometheus.NewDesc("windlass_rotation_waiting_seconds",
		"How long a run that is not over has waited for the reason, of all for which it waits for it the longest.", []string{"rotation", "reason"}, nil)
	remainingDesc = prometheus.NewDesc("windlass_rotation_remaining_seconds",
		"How much longer a run is estimated to take.", []string{"rotation"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_rotation_condition_oldest_seconds",
		"How long the condition has been True on the run on which it has been so the longest, of those that are not over.", []string{"condition"}, nil)
)

var runDescs = []*prometheus.Desc{nodesDesc, waitingDesc, remainingDesc, oldestDesc}

// count tells of the runs that are not over.
func count(list *v1alpha1.NodeRotationList, now time.Time, tell kit.Tell) {
	oldest := kit.NewOldest(v1alpha1.ConditionBlocked, v1alpha1.ConditionStalled)
	for i := range list.Items {
		one := &list.Items[i]
		if rotation.Finished(one.Status.Phase) {
			continue
		}
		countOne(one, now, tell)
		oldest.Add(one.Status.Conditions, now)
	}
	oldest.Tell(oldestDesc, tell)
}

// countOne tells of one run.
func countOne(one *v1alpha1.NodeRotation, now time.Time, tell kit.Tell) {
	st := &one.Status
	for state, n := range map[string]int32{"outdated": st.Outdated, "open": st.Open, "replaced": st.Replaced, "skipped": st.Skipped} {
		tell(nodesDesc, float64(n), one.Name, state)
	}
	waits := map[string]time.Duration{}
	for i := range st.Waits {
		waits[st.Waits[i].Reason] = max(waits[st.Waits[i].Reason], now.Sub(st.Waits[i].Since.Time))
	}
	for reason, age := range waits {
		tell(waitingDesc, age.Seconds(), one.Name, reason)
	}
	if st.Estimate != nil {
		tell(remainingDesc, max(st.Estimate.Finish.Sub(now), 0).Seconds(), one.Name)
	}
}
