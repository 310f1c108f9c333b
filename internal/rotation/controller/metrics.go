package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// metrics count what rotations do.
type metrics struct {
	steps     *prometheus.HistogramVec
	evictions *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "windlass_rotation_node_seconds", Help: "How long nodes were in each phase of their replacement.",
			Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400},
		}, []string{"group", "phase"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "windlass_rotation_evictions_total", Help: "Pods that were asked to leave a node, by whether they were evicted or deleted past their budget, and by what came of it.",
		}, []string{"kind", "outcome"}),
	}
	registry.MustRegister(m.steps, m.evictions)
	return m
}

// moved tells how long a node was in a phase that it leaves.
func (m *metrics) moved(was *v1alpha1.NodeReplacement, is *v1alpha1.NodeReplacementStatus) {
	if was.Status.Phase == is.Phase || is.Since == nil {
		return
	}
	since := was.CreationTimestamp.Time
	if was.Status.Since != nil {
		since = was.Status.Since.Time
	}
	phase := was.Status.Phase
	if phase == "" {
		phase = v1alpha1.Opened
	}
	m.steps.WithLabelValues(was.Spec.Group, string(phase)).Observe(max(is.Since.Sub(since), time.Duration(0)).Seconds())
}

func (m *metrics) evicted(a rotation.Evict, err error) {
	kind, outcome := "evict", "done"
	if a.Force {
		kind = "delete"
	}
	if err != nil {
		outcome = "refused"
	}
	m.evictions.WithLabelValues(kind, outcome).Inc()
}
