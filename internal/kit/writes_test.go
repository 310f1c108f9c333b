package kit

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestWritesAreAwaited(t *testing.T) {
	t.Parallel()
	owner := types.NamespacedName{Namespace: "a", Name: "owner"}
	name := types.NamespacedName{Namespace: "a", Name: "thing"}
	kind := Metadata(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	thing := func(version string, uid types.UID) *metav1.PartialObjectMetadata {
		o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "thing", ResourceVersion: version, UID: uid}}
		o.SetGroupVersionKind(kind.GroupVersionKind)
		return o
	}
	wrote := func(w *Writes) { w.Wrote(owner, kind, name, "20") }
	deleted := func(w *Writes) { w.Deleted(owner, kind, name, "old") }
	for title, c := range map[string]struct {
		write  func(*Writes)
		cached client.Object
		after  time.Duration
		want   bool
	}{
		"nothing was written":              {write: func(*Writes) {}, want: false},
		"not seen yet":                     {write: wrote, want: true},
		"an older version is seen":         {write: wrote, cached: thing("19", ""), want: true},
		"the version is seen":              {write: wrote, cached: thing("20", ""), want: false},
		"a newer version is seen":          {write: wrote, cached: thing("100", ""), want: false},
		"it never shows up":                {write: wrote, after: writeDeadline, want: false},
		"it does not show up for a while":  {write: wrote, after: writeDeadline - time.Second, want: true},
		"the deleted one is still seen":    {write: deleted, cached: thing("19", "old"), want: true},
		"the deleted one is gone":          {write: deleted, want: false},
		"a namesake took its place":        {write: deleted, cached: thing("30", "new"), want: false},
		"the owner is gone, and forgotten": {write: func(w *Writes) { wrote(w); w.Forget(owner) }, want: false},
		"somebody else's write":            {write: func(w *Writes) { w.Wrote(types.NamespacedName{Name: "other"}, kind, name, "20") }, want: false},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			clock := clocktesting.NewFakePassiveClock(time.Unix(1_000_000, 0))
			writes := NewWrites(clock)
			c.write(writes)
			clock.SetTime(clock.Now().Add(c.after))
			cache := fake.NewClientBuilder()
			if c.cached != nil {
				cache.WithObjects(c.cached)
			}
			reader := cache.Build()
			for range 2 { // Asking changes nothing.
				got, err := writes.Pending(t.Context(), reader, owner)
				if err != nil || got != c.want {
					t.Fatalf("pending is %v, %v; want %v", got, err, c.want)
				}
			}
		})
	}
}
