package controller

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/rollout"
)

// TestRemember: whatever comes, goes and changes, what is remembered is what there is, in the
// order of the names, and only what has changed is read.
func TestRemember(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var m memory
		live, known := map[string]*installations.Mattermost{}, map[types.UID]string{}
		version := 0
		for range rapid.IntRange(1, 30).Draw(t, "rounds") {
			for range rapid.IntRange(0, 5).Draw(t, "moves") {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")
				version++
				mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name + strconv.Itoa(version)), ResourceVersion: strconv.Itoa(version)}}
				switch was := live[name]; {
				case was == nil:
					live[name] = mm
				case rapid.Bool().Draw(t, "goes"):
					delete(live, name)
				default: // It changes.
					mm.UID = was.UID
					live[name] = mm
				}
			}
			var all []*installations.Mattermost
			for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(live))).Draw(t, "order") {
				all = append(all, live[name])
			}
			read := 0
			got := remember(&m, all, func(mm *installations.Mattermost) *rollout.Installation {
				read++
				return rollout.Read(mm)
			})
			var want []string
			changed, next := 0, map[types.UID]string{}
			for _, name := range slices.Sorted(maps.Keys(live)) {
				mm := live[name]
				want = append(want, "ns/"+name+" "+mm.ResourceVersion)
				if next[mm.UID] = mm.ResourceVersion; known[mm.UID] != mm.ResourceVersion {
					changed++
				}
			}
			known = next
			var names []string
			for _, one := range got {
				names = append(names, one.Name+" "+one.Meta.ResourceVersion)
			}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Fatal(diff)
			}
			if read != changed {
				t.Fatalf("%d were read, and %d have changed", read, changed)
			}
		}
	})
}
