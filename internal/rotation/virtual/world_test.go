package virtual

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		surge string
		limit time.Duration
	}{{"100%", 395 * time.Second}, {"25%", 700 * time.Second}, {"10%", 1600 * time.Second}} {
		t.Run(c.surge, func(t *testing.T) {
			t.Parallel()
			w := Standard(100)
			w.Begin(v1alpha1.NodeRotationSpec{Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.Parse(c.surge)), MinReadySeconds: new(int32(0))}})
			pods := w.Pods()
			began := time.Now()
			_, over := w.Go(2 * time.Hour)
			took := w.Emptied.Sub(w.Run.Status.StartedAt.Time)
			t.Logf("surge %s: %s, %d passes in %s, evictions per pod %.2f", c.surge, took, w.Passes, time.Since(began), float64(w.Evictions)/float64(pods))
			if !over || w.Run.Status.Phase != v1alpha1.Succeeded || took > c.limit {
				t.Errorf("after %s: %s %v\n%v", took, w.Run.Status.Phase, w.Run.Status.Waits, w.Run.Status.OutcomeMessage)
			}
			if len(w.Violations) > 0 {
				t.Errorf("%d violations, the first: %s", len(w.Violations), w.Violations[0])
			}
		})
	}
}
