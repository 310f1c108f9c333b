package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
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

// runs reads the runs when it is asked, from the cache, so that one that is over leaves
// nothing behind.
type runs struct {
	run   context.Context //nolint:containedctx // A scrape comes with none; what it reads ends with the run.
	cache client.Reader
	clock clock.PassiveClock
}

// collectTimeout bounds a scrape: reading the cache takes milliseconds.
const collectTimeout = 5 * time.Second

func (runs) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{nodesDesc, waitingDesc, remainingDesc, oldestDesc} {
		descs <- desc
	}
}

func (r runs) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(r.run, collectTimeout)
	defer cancel()
	var list v1alpha1.NodeRotationList
	if err := r.cache.List(ctx, &list); err != nil {
		return // The cache is not filled yet.
	}
	now := r.clock.Now()
	tell := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	oldest := map[string]time.Duration{v1alpha1.ConditionBlocked: 0, v1alpha1.ConditionStalled: 0}
	for i := range list.Items {
		one := &list.Items[i]
		if rotation.Finished(one.Status.Phase) {
			continue
		}
		collect(one, now, tell)
		for condition, age := range oldest {
			if c := meta.FindStatusCondition(one.Status.Conditions, condition); c != nil && c.Status == metav1.ConditionTrue {
				oldest[condition] = max(age, now.Sub(c.LastTransitionTime.Time))
			}
		}
	}
	for condition, age := range oldest {
		tell(oldestDesc, age.Seconds(), condition)
	}
}

// collect tells of one run.
func collect(one *v1alpha1.NodeRotation, now time.Time, tell func(desc *prometheus.Desc, value float64, labels ...string)) {
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
