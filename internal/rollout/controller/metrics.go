package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/rollout"
)

var (
	installationsDesc = prometheus.NewDesc("windlass_rollout_installations",
		"Installations of a roll-out, by how they stand to its revision. Each replica of Windlass counts all.", []string{"rollout", "state"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_rollout_condition_oldest_seconds",
		"How long the condition has been True on the roll-out on which it has been so the longest.", []string{"condition"}, nil)
)

var descs = []*prometheus.Desc{installationsDesc, oldestDesc}

// count tells of the roll-outs that are not ended.
func count(list *v1alpha1.InstallationRolloutList, now time.Time, tell kit.Tell) {
	oldest := kit.NewOldest(v1alpha1.ConditionStalled)
	for i := range list.Items {
		st := &list.Items[i].Status
		if rollout.Over(st.Phase) && st.Phase != v1alpha1.Succeeded {
			continue
		}
		for state, n := range map[string]int32{
			"updated": st.Updated, "updating": st.Updating, "hibernating": st.Hibernating, "pending_deletion": st.PendingDeletion,
			"awaiting_update": st.AwaitingUpdate, "failed": st.Failed, "rolled_back": st.RolledBack,
			"edited": st.Edited, "refused": st.Refused,
		} {
			tell(installationsDesc, float64(n), list.Items[i].Name, state)
		}
		oldest.Add(st.Conditions, now)
	}
	oldest.Tell(oldestDesc, tell)
}

// observer takes how long decisions took.
type observer = prometheus.Observer

func newDecided(registry prometheus.Registerer) observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "windlass_rollout_decide_seconds", Help: "How long decisions about roll-outs took.",
		Buckets: []float64{.001, .0025, .005, .01, .02, .03, .04, .05, .1, .25, .5, 1, 2.5},
	})
	registry.MustRegister(h)
	return h
}
