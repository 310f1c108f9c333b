package fleetrotation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/plan"
)

func always(plan.Action) fate { return works }
func ignore(plan.Action)      {}

// TestFleetIsSafe lets a fleet be rotated while steps fail, their answers are lost, the
// process dies after any step, clusters do not answer, installations fall, and people
// pause, abort and delete the run. Whatever happens:
//
//   - no cluster is touched before the wave before its own has passed, and no more at a
//     time than may;
//   - a NodeRotation is made once in a cluster, while its admission is frozen, and never
//     once the run is to end;
//   - the run ends, and no freeze of it outlives it.
func TestFleetIsSafe(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		trouble := rapid.IntRange(0, 60).Draw(t, "passes with trouble")
		for i := 0; !isOver(w); i++ {
			if i > 4000 {
				t.Fatalf("the run does not end: %+v", w.fleet.Status)
			}
			troubled := i < trouble
			if troubled {
				makeTrouble(t, w)
			} else if i == trouble {
				calm(t, w)
			}
			before := w.fleet.DeepCopy()
			ending := w.fleet.Status.Outcome != ""
			wake := w.pass(t, func(action plan.Action) fate {
				check(t, w, action, ending)
				if !troubled {
					return works
				}
				return rapid.SampledFrom([]fate{works, works, works, fails, hides, crashes}).Draw(t, "fate of "+action.String())
			}, ignore)
			for _, name := range w.names() {
				w.clusters[name].tick()
			}
			invariants(t, w)
			if wake == 0 {
				if !w.fleet.Spec.Paused && !troubled && !isOver(w) && cmp.Equal(before, w.fleet) {
					t.Fatalf("nobody will look again: %+v", w.fleet.Status)
				}
				wake = time.Minute
			}
			w.now = w.now.Add(min(wake, time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds"))*time.Second))
		}
		for _, name := range w.names() {
			if c := w.clusters[name]; w.frozen(c) {
				t.Fatalf("the run is over and %s is frozen; it is %+v", name, w.fleet.Status)
			}
		}
	})
}

// isOver reports whether the run is over, and the resource gone if it was deleted.
func isOver(w *world) bool {
	return w.gone || Finished(w.fleet) && w.fleet.DeletionTimestamp == nil
}

func anyWorld(t *rapid.T) *world {
	stages := []string{"canary", "eu", "us"}
	fleet := &v1alpha1.FleetRotation{Spec: v1alpha1.FleetRotationSpec{
		FailureThreshold:      rapid.Int32Range(0, 3).Draw(t, "threshold"),
		FreezeAdmission:       rapid.SampledFrom([]*bool{nil, new(true), new(false)}).Draw(t, "freeze"),
		FreezeSeconds:         new(rapid.Int32Range(15, 60).Draw(t, "freeze seconds")),
		ClusterTimeoutSeconds: new(rapid.Int32Range(10, 120).Draw(t, "timeout")),
	}}
	for _, stage := range stages {
		fleet.Spec.Waves = append(fleet.Spec.Waves, v1alpha1.FleetWave{
			ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": stage}},
			MaxParallel:     rapid.Int32Range(0, 3).Draw(t, "parallel"), BakeSeconds: rapid.Int32Range(0, 30).Draw(t, "bake"),
		})
	}
	var clusters []*cluster
	for i := range rapid.IntRange(1, 6).Draw(t, "clusters") {
		clusters = append(clusters, &cluster{
			name: fmt.Sprintf("c%d", i), labels: map[string]string{"stage": rapid.SampledFrom(stages).Draw(t, "stage")},
			ticks:   rapid.IntRange(0, 20).Draw(t, "ticks"),
			becomes: rapid.SampledFrom([]v1alpha1.Phase{v1alpha1.Succeeded, v1alpha1.Succeeded, v1alpha1.Succeeded, v1alpha1.Failed, v1alpha1.RolledBack}).Draw(t, "end"),
			gate:    rapid.IntRange(0, 9).Draw(t, "gate") == 0,
		})
	}
	return newWorld(fleet, clusters...)
}

// makeTrouble does one thing that nobody wants, or none.
func makeTrouble(t *rapid.T, w *world) {
	c := w.clusters[rapid.SampledFrom(w.names()).Draw(t, "cluster")]
	switch rapid.IntRange(0, 19).Draw(t, "trouble") {
	case 0, 1, 2:
		c.unreachable = !c.unreachable
	case 3:
		c.installations.Unstable = []string{"team/chat"}
	case 4:
		c.installations.Unstable = nil
	case 5:
		w.fleet.Spec.Paused = !w.fleet.Spec.Paused
	case 6:
		if rapid.IntRange(0, 4).Draw(t, "abort") == 0 {
			w.fleet.Spec.End = v1alpha1.EndAbort
		}
	case 7:
		if w.fleet.DeletionTimestamp == nil && rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
			at := metav1.NewTime(w.now)
			w.fleet.DeletionTimestamp = &at
			w.gone = len(w.fleet.Finalizers) == 0
		}
	case 8:
		c.lease = nil // Somebody lifts the freeze by hand.
	case 9:
		w.now = w.now.Add(3 * time.Minute) // The management cluster is down for a while.
	case 10:
		c.unfit = !c.unfit
	case 11, 12: // Somebody else freezes it, for a while.
		if admission.Of(c.lease, w.now) == nil {
			c.lease = admission.Hold(c.lease, "windlass-system", "alice", 40*time.Second, w.now)
			w.version++
			c.lease.ResourceVersion = fmt.Sprint(w.version)
		}
	}
}

// calm ends all trouble but clusters that never answer again.
func calm(t *rapid.T, w *world) {
	w.fleet.Spec.Paused = false
	for _, name := range w.names() {
		c := w.clusters[name]
		c.unreachable = c.unreachable && rapid.Bool().Draw(t, "for ever")
	}
}

// check looks at a step before it is carried out.
func check(t *rapid.T, w *world, action plan.Action, ending bool) {
	name := clusterOf(action)
	if name == "" {
		return
	}
	c := w.clusters[name]
	i := slices.IndexFunc(w.fleet.Status.Clusters, func(row v1alpha1.ClusterRotation) bool { return row.Name == name })
	if i < 0 || !active(w.fleet.Status.Clusters[i]) {
		t.Fatalf("%s, and it is not on record that the cluster is begun: %+v", action, w.fleet.Status)
	}
	row := w.fleet.Status.Clusters[i]
	if row.Wave != w.fleet.Status.Wave {
		t.Fatalf("%s in wave %d while wave %d is at work", action, row.Wave, w.fleet.Status.Wave)
	}
	for _, other := range w.fleet.Status.Clusters {
		if other.Wave < row.Wave && !over(other) {
			t.Fatalf("%s in wave %d, and %s of wave %d is %s", action, row.Wave, other.Name, other.Wave, other.Phase)
		}
	}
	switch action.(type) {
	case MakeRotation:
		switch {
		case freezes(w.fleet) && !w.frozen(c):
			t.Fatalf("%s, and its admission is not frozen", action)
		case ending:
			t.Fatalf("%s, and the run is to end", action)
		case row.Baseline == nil:
			t.Fatalf("%s, and nobody noted how it is", action)
		}
	case Freeze:
		if !freezes(w.fleet) {
			t.Fatalf("%s, and nobody wants that", action)
		}
	}
}

// invariants hold after every pass.
func invariants(t *rapid.T, w *world) {
	busy := 0
	for _, row := range w.fleet.Status.Clusters {
		if active(row) {
			busy++
		}
		if over(row) && w.frozen(w.clusters[row.Name]) {
			t.Fatalf("%s is %s and still frozen", row.Name, row.Phase)
		}
		if made := w.clusters[row.Name].made; made > 1 {
			t.Fatalf("%d rotations were made in %s", made, row.Name)
		}
	}
	if most := parallel(currentWave(w.fleet)); busy > most {
		t.Fatalf("%d clusters at a time, and %d may", busy, most)
	}
	for _, name := range w.names() {
		c := w.clusters[name]
		begun := slices.ContainsFunc(w.fleet.Status.Clusters, func(row v1alpha1.ClusterRotation) bool {
			return row.Name == name && row.Phase != v1alpha1.ClusterPending
		})
		if (c.rotation != nil || w.frozen(c)) && !begun {
			t.Fatalf("%s was touched, and that is not on record", name)
		}
	}
}
