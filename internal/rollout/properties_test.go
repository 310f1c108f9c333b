package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

var planOutcome plan.Outcome

func number(n int) *intstr.IntOrString { return new(intstr.FromInt32(int32(n))) }

func drawSpec(t *rapid.T) v1alpha1.InstallationRolloutSpec {
	strategy := &v1alpha1.RolloutStrategy{
		MaxInFlight:             number(rapid.IntRange(1, 6).Draw(t, "maxInFlight")),
		FailureThreshold:        number(rapid.IntRange(0, 3).Draw(t, "failureThreshold")),
		ProgressDeadlineSeconds: new(int32(60)),
		OnFailure:               rapid.SampledFrom([]run.OnGateFailure{run.PauseOnFailure, run.RollBackOnFailure}).Draw(t, "onFailure"),
		Order:                   rapid.SampledFrom([]v1alpha1.Order{v1alpha1.ByName, v1alpha1.ByPriority, v1alpha1.AtRandom}).Draw(t, "order"),
	}
	if rapid.Bool().Draw(t, "limited") {
		strategy.Limits = []v1alpha1.LabelLimit{{Label: "zone", MaxInFlight: *number(rapid.IntRange(1, 2).Draw(t, "zone"))}}
	}
	for range rapid.IntRange(0, 3).Draw(t, "waves") {
		w := v1alpha1.InstallationWave{SoakSeconds: int32(rapid.SampledFrom([]int{0, 20}).Draw(t, "soak"))}
		if rapid.Bool().Draw(t, "by size") {
			w.Size = number(rapid.IntRange(1, 5).Draw(t, "size"))
		} else { // They may overlap, and nothing has the last one.
			rings := rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "2", "none"}), 1, 2).Draw(t, "rings")
			w.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "ring", Operator: metav1.LabelSelectorOpIn, Values: rings}}}
		}
		strategy.Waves = append(strategy.Waves, w)
	}
	return v1alpha1.InstallationRolloutSpec{Change: drawChange(t), Strategy: strategy}
}

func drawChange(t *rapid.T) v1alpha1.InstallationChange {
	c := v1alpha1.InstallationChange{Version: rapid.SampledFrom([]string{"", "2", "3", bad}).Draw(t, "version"), Restart: rapid.SampledFrom([]string{"", "once", "twice"}).Draw(t, "restart")}
	if rapid.IntRange(0, 3).Draw(t, "size") == 0 {
		c.Size = "miniHA"
	}
	if c.Version == "" || rapid.Bool().Draw(t, "env") {
		c.Env = []corev1.EnvVar{{Name: "SHARED", Value: rapid.StringMatching("[a-c]").Draw(t, "value")}, {Name: "ADDED", Value: "x"}}
	}
	return c
}

// TestNoLimitIsExceeded does everything to a fleet that can happen to one, with a controller
// that is killed after any write and sees installations late.
func TestNoLimitIsExceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 14).Draw(t, "installations"), drawSpec(t))
		some := func() string { return rapid.SampledFrom(w.names()).Draw(t, "installation") }
		t.Repeat(map[string]func(*rapid.T){
			"tick": func(t *rapid.T) {
				paused, before := w.rollout.Spec.Paused, w.changes
				old := w.rollout.DeepCopy()
				w.tick(func(n int) int { return n - 1 - rapid.IntRange(0, n-1).Draw(t, "late") }, rapid.IntRange(-1, 4).Draw(t, "dies"))
				if paused && w.changes != before {
					t.Fatalf("%d installations were changed while it is paused", w.changes-before)
				}
				if old.Status.Outcome != "" && w.rollout.Status.Revision.Sequence == old.Status.Revision.Sequence && w.rollout.Status.Outcome == "" {
					t.Fatal("an outcome was forgotten")
				}
			},
			"settle": func(t *rapid.T) { w.settle(some()) },
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"pause":   func(*rapid.T) { w.rollout.Spec.Paused = !w.rollout.Spec.Paused },
			"create":  func(*rapid.T) { w.create() },
			"restart": func(*rapid.T) { w.rollout = w.rollout.DeepCopy() },
			"delete": func(t *rapid.T) {
				if len(w.live) > 1 {
					name := some()
					delete(w.live, name)
					delete(w.past, name)
				}
			},
			"terminate": func(t *rapid.T) {
				w.edit(some(), func(mm *installations.Mattermost) { mm.DeletionTimestamp = new(metav1.NewTime(w.now)) })
			},
			"hibernate or wake": func(t *rapid.T) {
				w.edit(some(), func(mm *installations.Mattermost) { *mm.Spec.Replicas = max(1-*mm.Spec.Replicas, 0) })
			},
			"edit": func(t *rapid.T) {
				name, value := some(), fmt.Sprint(w.version)
				w.edit(name, func(mm *installations.Mattermost) {
					mm.Spec.MattermostEnv = append([]corev1.EnvVar{{Name: "USERS", Value: value}}, mm.Spec.MattermostEnv[1:]...)
					mm.ManagedFields = nil // The list is its user's now; so is the rest, for simplicity.
				})
				w.wants[name] = value
			},
			"take back": func(t *rapid.T) {
				w.edit(some(), func(mm *installations.Mattermost) { mm.Spec.Version, mm.ManagedFields = "1", nil })
			},
			"pause or resume one": func(t *rapid.T) { w.hold(some()) },
			"revise": func(t *rapid.T) {
				w.rollout.Spec.Change = drawChange(t)
				w.rollout.Generation++
			},
			"": func(*rapid.T) { w.userFields() },
		})
		// When nobody disturbs it any more and the change is good, it comes to its end.
		w.create()
		w.rollout.Spec.Paused = false
		w.rollout.Spec.Change = v1alpha1.InstallationChange{Version: "9"}
		for _, name := range w.names() {
			if w.live[name].Annotations[installations.PausedAnnotation] != "" {
				w.hold(name)
			}
			w.settle(name)
		}
		w.run(t)
		for name, mm := range w.live {
			if mm.Spec.Version != "9" && *mm.Spec.Replicas > 0 && mm.DeletionTimestamp == nil {
				t.Fatalf("%s still has version %s", name, mm.Spec.Version)
			}
		}
		w.userFields()
	})
}

// TestRollBackGivesBackWhatWasThere: whatever was changed, in how many revisions, and
// wherever the controller was killed.
func TestRollBackGivesBackWhatWasThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		spec.Strategy.FailureThreshold = number(100)
		w := newWorld(t, rapid.IntRange(1, 10).Draw(t, "installations"), spec)
		if rapid.Bool().Draw(t, "revised") {
			w.rollout.Spec.Change.Version = "4"
			w.run(t)
			w.rollout.Spec.Change = v1alpha1.InstallationChange{Version: "5", Restart: "thrice"}
		}
		w.tick(fresh, -1) // What is rolled back is the revision on record.
		before := map[string]string{}
		for name, mm := range w.live {
			before[name] = string(must(mm.Spec))
		}
		for range rapid.IntRange(0, 30).Draw(t, "ticks") {
			w.tick(fresh, rapid.IntRange(-1, 3).Draw(t, "dies"))
			w.settle(rapid.SampledFrom(w.names()).Draw(t, "installation"))
			w.now = w.now.Add(5 * time.Second)
		}
		w.rollout.Spec.End = v1alpha1.EndRollBack
		for range rapid.IntRange(0, 10).Draw(t, "ticks of the way back") {
			w.tick(fresh, rapid.IntRange(-1, 3).Draw(t, "dies"))
		}
		w.run(t)
		for name, mm := range w.live {
			if got := string(must(mm.Spec)); got != before[name] {
				t.Fatalf("%s\nhad %s\nhas %s", name, before[name], got)
			}
		}
	})
}

func must(value any) []byte {
	content, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return content
}

func sortedParts(all map[string]any) []string { return slices.Sorted(maps.Keys(all)) }
