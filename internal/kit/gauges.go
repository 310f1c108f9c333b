package kit

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Tell gives one value of a gauge.
type Tell func(desc *prometheus.Desc, value float64, labels ...string)

// collectTimeout bounds a scrape: reading the cache takes milliseconds.
const collectTimeout = 5 * time.Second

// Gauges tell how all objects of a kind are. They are read when somebody asks, from the
// cache, so that one that is deleted leaves nothing behind. A scrape comes with no context
// of its own: what it reads ends with ctx.
func Gauges[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, cache client.Reader, tell func(P, Tell), descs ...*prometheus.Desc) prometheus.Collector {
	return &gauges{descs: descs, collect: func(t Tell) {
		ctx, cancel := context.WithTimeout(ctx, collectTimeout)
		defer cancel()
		list := P(new(L))
		if err := cache.List(ctx, list); err != nil {
			return // The cache is not filled yet.
		}
		tell(list, t)
	}}
}

type gauges struct {
	descs   []*prometheus.Desc
	collect func(Tell)
}

func (g *gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range g.descs {
		descs <- desc
	}
}

func (g *gauges) Collect(metrics chan<- prometheus.Metric) { g.collect(TellTo(metrics)) }

// TellTo gives values as metrics.
func TellTo(metrics chan<- prometheus.Metric) Tell {
	return func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
}

// Oldest is for how long conditions have been True, of the object on which each has been so
// the longest; 0 for one that is True on none.
type Oldest map[string]time.Duration

// NewOldest is of these conditions.
func NewOldest(conditions ...string) Oldest {
	o := Oldest{}
	for _, kind := range conditions {
		o[kind] = 0
	}
	return o
}

// Add takes in the conditions of one more object.
func (o Oldest) Add(conditions []metav1.Condition, now time.Time) {
	for kind, age := range o {
		if c := meta.FindStatusCondition(conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			o[kind] = max(age, now.Sub(c.LastTransitionTime.Time))
		}
	}
}

// Tell tells of all conditions.
func (o Oldest) Tell(desc *prometheus.Desc, tell Tell) {
	for kind, age := range o {
		tell(desc, age.Seconds(), kind)
	}
}
