package virtual

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// A node that somebody else cordons while it is open is given back, and stays cordoned.
func TestGivenBackToWhoCordonedIt(t *testing.T) {
	t.Parallel()
	for _, end := range []v1alpha1.End{v1alpha1.EndAbort, v1alpha1.EndRollBack} {
		t.Run(string(end), func(t *testing.T) {
			t.Parallel()
			w := New(start)
			g := w.AddGroup(Group{Name: "apps", Size: 2, Max: 2, CPU: 1000}, v1alpha1.Worker)
			w.AddSet(Set{Name: "web", Replicas: 2, CPU: 100, Unavailable: 1, Available: -1})
			w.Settle()
			g.Version = 2
			w.PodEnd = time.Hour // So that the node is open for long enough.
			w.Begin(v1alpha1.NodeRotationSpec{Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromInt32(1)), MinReadySeconds: new(int32(0))}})
			w.Until(time.Hour, func() bool { return len(w.Records) > 0 && w.Evictions > 0 })
			for _, r := range w.Records {
				w.Cordon(r.Spec.Node, true)
			}
			w.Run.Spec.End = end
			if took, over := w.Go(6 * time.Hour); !over {
				t.Fatalf("not over after %s: %+v\n%s", took, w.Run.Status.Waits, w.Problems())
			}
			for range 3 {
				w.Pass()
			}
			w.Left()
			if !rotation.Finished(w.Run.Status.Phase) || w.Problems() != "" {
				t.Error(w.Run.Status.Phase, w.Problems())
			}
		})
	}
}
