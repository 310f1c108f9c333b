package virtual

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
)

// bench is the workload of the benchmark: n nodes with 30 pods each, of workloads with ten
// replicas on as many nodes, one of which may be unavailable, and 15 % of room besides.
func bench(n int) *World {
	w := New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	g := w.AddGroup(Group{Name: "apps", Size: int32(n), Max: int32(n), CPU: 3529}, v1alpha1.Worker)
	nodes := w.Names()
	for i := range n * 3 {
		name := fmt.Sprintf("app-%04d", i)
		w.AddSet(Set{Name: name, CPU: 100, Unavailable: 1, Available: -1})
		for j := range 10 {
			w.Place(name, nodes[(i*10+j)%n])
		}
	}
	w.Settle()
	g.Version = 2
	return w
}

func TestRotation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		surge string
		limit time.Duration
	}{{"100%", 395 * time.Second}, {"25%", 700 * time.Second}, {"10%", 1600 * time.Second}} {
		t.Run(c.surge, func(t *testing.T) {
			t.Parallel()
			w := bench(100)
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
