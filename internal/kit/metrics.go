package kit

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"windlass.dev/internal/kit/plan"
)

// Metrics counts what the engines of one process do.
type Metrics struct {
	steps   *prometheus.CounterVec
	reports *prometheus.CounterVec
	stale   *prometheus.CounterVec
}

// NewMetrics registers the engine's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "windlass_engine_steps_total",
			Help: "Steps of plans by what they do (apply, delete, …) and what became of them (done, failed).",
		}, []string{"kind", "action", "outcome"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "windlass_engine_status_writes_total",
			Help: "Statuses that changed and were stored.",
		}, []string{"kind"}),
		stale: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "windlass_engine_stale_passes_total",
			Help: "Passes put off because the cache had not seen the controller's own last write.",
		}, []string{"kind"}),
	}
	registry.MustRegister(m.steps, m.reports, m.stale)
	return m
}

// verb is the first word of an action, of which there are few.
func verb(action plan.Action) string {
	word, _, _ := strings.Cut(action.String(), " ")
	return word
}
