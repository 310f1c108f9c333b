package drain_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// TestDeparturesAreKept: what is kept of lists that come, change and go is what the lists
// say that there are.
func TestDeparturesAreKept(t *testing.T) {
	t.Parallel()
	owners := []string{"", "ReplicaSet/shop/web", "ReplicaSet/shop/api"}
	rapid.Check(t, func(t *rapid.T) {
		c, lists := drain.NewCluster(), map[types.UID][]v1alpha1.LeavingPod{}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			record := types.UID(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "record")))
			if delete(lists, record); rapid.IntRange(0, 3).Draw(t, "is open") > 0 {
				var list []v1alpha1.LeavingPod
				for range rapid.IntRange(0, 3).Draw(t, "pods") {
					p := v1alpha1.LeavingPod{Owner: rapid.SampledFrom(owners).Draw(t, "owner")}
					if rapid.Bool().Draw(t, "has left") {
						p.LeftAt = &metav1.Time{Time: now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "left")) * time.Second)}
					}
					list = append(list, p)
				}
				lists[record] = list
			}
			d := c.Departures("run")
			d.Update(maps.All(lists))
			for _, owner := range owners[1:] {
				for after := -1; after < 4; after++ {
					at, want := now.Add(time.Duration(after)*time.Second), 0
					for _, list := range lists {
						for _, p := range list {
							if p.Owner == owner && p.LeftAt != nil && p.LeftAt.After(at) {
								want++
							}
						}
					}
					if got := d.After(owner, at); got != want {
						t.Fatalf("%d pods of %s left after %d s, it says %d", want, owner, after, got)
					}
				}
			}
		}
	})
}
