package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
)

func TestKeeps(t *testing.T) {
	t.Parallel()
	change := v1alpha1.InstallationChange{
		Image: "i", Version: "v", Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		Scheduling: &v1alpha1.SchedulingChange{NodeSelector: map[string]string{"x/pool": "a"}, Tolerations: []corev1.Toleration{{Key: "k"}}},
	}
	cases := map[string]struct {
		keeps string
		want  []string
	}{
		"nothing":        {"", []string{"env/A", "env/B", "image", "nodeSelector/x/pool", "tolerations", "version"}},
		"a field":        {"version", []string{"env/A", "env/B", "image", "nodeSelector/x/pool", "tolerations"}},
		"a variable":     {"env/A, image", []string{"env/B", "nodeSelector/x/pool", "tolerations", "version"}},
		"all variables":  {"env", []string{"image", "nodeSelector/x/pool", "tolerations", "version"}},
		"all scheduling": {"scheduling", []string{"env/A", "env/B", "image", "version"}},
		"one label":      {"nodeSelector/x/pool", []string{"env/A", "env/B", "image", "tolerations", "version"}},
		"a typing error": {"versions", []string{"env/A", "env/B", "image", "nodeSelector/x/pool", "tolerations", "version"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, sortedParts(parts(change, c.keeps))); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	const at = `{"rollout":"june","uid":"u","sequence":1,"at":"2026-11-26T12:00:00Z","generation":3}`
	condition := func(kind string, status metav1.ConditionStatus, after time.Duration) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(epoch.Add(after))}
	}
	ready := func(status metav1.ConditionStatus, after time.Duration) metav1.Condition {
		return condition(installations.ConditionReady, status, after)
	}
	cases := map[string]struct {
		observed   int64
		conditions []metav1.Condition
		after      time.Duration
		want       bool
	}{
		"nobody looks, in time":               {3, []metav1.Condition{ready("True", -time.Hour)}, 59 * time.Second, false},
		"nobody looks":                        {3, []metav1.Condition{ready("True", -time.Hour)}, time.Hour, false},
		"was paused, and nobody looks":        {3, []metav1.Condition{ready("True", -time.Hour), condition(installations.ConditionPaused, "True", 0)}, time.Minute, false},
		"not ready, in time":                  {4, []metav1.Condition{ready("False", 10*time.Second)}, 69 * time.Second, false},
		"not ready":                           {4, []metav1.Condition{ready("False", 10*time.Second)}, 70 * time.Second, true},
		"was not ready before, in time":       {4, []metav1.Condition{ready("False", -time.Hour)}, 59 * time.Second, false},
		"was not ready before":                {4, []metav1.Condition{ready("False", -time.Hour)}, time.Minute, true},
		"edited long after it became stable":  {4, []metav1.Condition{ready("True", 20*time.Second)}, time.Hour, false},
		"broke long after it became stable":   {5, []metav1.Condition{ready("False", time.Hour)}, time.Hour + time.Second, false},
		"no conditions, as others report":     {4, nil, time.Minute, true},
		"stalled by the change":               {5, []metav1.Condition{ready("False", time.Second), condition(installations.ConditionStalled, "True", time.Second)}, 2 * time.Second, true},
		"stalled before the change":           {5, []metav1.Condition{ready("False", -time.Second), condition(installations.ConditionStalled, "True", -time.Second)}, 2 * time.Second, false},
		"stalled with a generation before it": {4, []metav1.Condition{ready("False", time.Second), condition(installations.ConditionStalled, "True", time.Second)}, 2 * time.Second, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{Generation: 5, Annotations: map[string]string{v1alpha1.ChangeAnnotation: at}}}
			mm.Status.ObservedGeneration, mm.Status.Conditions = c.observed, c.conditions
			mm.Status.State = installations.Reconciling
			if got, _ := Read(mm).failed(epoch.Add(c.after), time.Minute); got != c.want {
				t.Errorf("failed is %t", got)
			}
		})
	}
}

func TestHashIsStable(t *testing.T) {
	t.Parallel()
	if got := Hash(v1alpha1.InstallationChange{Version: "10.6.0"}); got != Hash(v1alpha1.InstallationChange{Version: "10.6.0"}) || got == Hash(v1alpha1.InstallationChange{Version: "10.6.1"}) || len(got) != 10 {
		t.Errorf("hash %s", got)
	}
}

// BenchmarkDecide is a pass over 5000 installations: one that takes as many as a pass may, and
// one while as many are in flight as may be.
func BenchmarkDecide(b *testing.B) {
	strategy := &v1alpha1.RolloutStrategy{
		MaxInFlight: new(intstr.FromInt32(100)), ProgressDeadlineSeconds: new(int32(600)), Order: v1alpha1.AtRandom,
		Limits: []v1alpha1.LabelLimit{{Label: "zone", MaxInFlight: intstr.FromInt32(50)}},
		Waves:  []v1alpha1.InstallationWave{{Size: new(intstr.FromInt32(4000))}},
	}
	w := newWorld(b, 5000, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: bad}, Strategy: strategy})
	for range 2 {
		s := w.observe(fresh)
		w.rollout = Report(s, Decide(s, w.now), planOutcome, w.now)
	}
	for _, steps := range []int{perPass, 0} {
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			for s := w.observe(fresh); b.Loop(); {
				if p := Decide(s, w.now); len(p.Steps) != steps {
					b.Fatalf("%d steps", len(p.Steps))
				}
			}
		})
		w.tick(fresh, -1)
		w.tick(fresh, -1)
	}
}

// TestWhatIsInFlightGetsTheNextRevisionWithinTheLimit: also if all are unstable, whatever for,
// no more get a revision at a time than may be in flight.
func TestWhatIsInFlightGetsTheNextRevisionWithinTheLimit(t *testing.T) {
	t.Parallel()
	strategy := &v1alpha1.RolloutStrategy{MaxInFlight: number(6), ProgressDeadlineSeconds: new(int32(600))}
	w := newWorld(t, 6, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: bad}, Strategy: strategy})
	w.tick(fresh, -1)
	w.tick(fresh, -1)
	if w.changes != 6 {
		t.Fatalf("%d are in flight", w.changes)
	}
	strategy.MaxInFlight, w.rollout.Spec.Change.Version = number(2), "3"
	w.rollout.Spec.Strategy = strategy
	w.tick(fresh, -1)
	for round := 1; round <= 3; round++ {
		w.tick(fresh, -1)
		w.tick(fresh, -1)
		if got := w.changes - 6; got != 2*round {
			t.Fatalf("%d have the revision after %d rounds of 2", got, round)
		}
		for name, mm := range w.live {
			if mm.Spec.Version == "3" {
				w.settle(name)
			}
		}
	}
}

// TestARefusedInstallationTakesNobodysPlace: it waits, and is tried again after all others.
func TestARefusedInstallationTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		refused map[string]time.Duration // Again, after now.
		most    int
		want    []string
	}{
		"none":               {nil, 1, []string{"change Mattermost/ns/i001"}},
		"lately":             {map[string]time.Duration{"ns/i001": time.Second}, 2, []string{"change Mattermost/ns/i002", "change Mattermost/ns/i003"}},
		"a while ago":        {map[string]time.Duration{"ns/i001": 0}, 2, []string{"change Mattermost/ns/i002", "change Mattermost/ns/i003"}},
		"a while ago, alone": {map[string]time.Duration{"ns/i001": 0, "ns/i002": time.Second, "ns/i003": time.Second}, 2, []string{"change Mattermost/ns/i001"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: "2"}, Strategy: &v1alpha1.RolloutStrategy{MaxInFlight: number(c.most)}})
			w.tick(fresh, -1)
			s := w.observe(fresh)
			s.Refused = map[string]Refusal{}
			for installation, after := range c.refused {
				s.Refused[installation] = Refusal{Message: "denied by a policy", Again: w.now.Add(after)}
			}
			p := Decide(s, w.now)
			var got []string
			for _, step := range p.Steps {
				got = append(got, step.Action.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			waits := 0
			for _, wait := range Report(s, p, planOutcome, w.now).Status.Waits {
				if wait.Reason == v1alpha1.ReasonStepFailed && s.Refused[strings.TrimPrefix(wait.Subject, "Mattermost/")].Message == wait.Message {
					waits++
				}
			}
			if waits != len(c.refused) {
				t.Errorf("%d of %d refusals are told of", waits, len(c.refused))
			}
		})
	}
}

// TestGiveBackOfASize takes out the limits that came of it, which are not ours.
func TestGiveBackOfASize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Size: "miniHA"}, Strategy: &v1alpha1.RolloutStrategy{MaxInFlight: number(1), ProgressDeadlineSeconds: new(int32(60))}})
	before := w.live["ns/i001"].Spec
	w.run(t)
	if got := w.live["ns/i001"].Spec; *got.Replicas != 2 || len(got.Scheduling.Resources.Limits) == 0 {
		t.Fatalf("the size had no effect: %+v", got)
	}
	w.rollout.Spec.End = v1alpha1.EndRollBack
	w.run(t)
	if diff := cmp.Diff(before, w.live["ns/i001"].Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

// TestGiveBackOfASizeThatWasEdited leaves what somebody has set since.
func TestGiveBackOfASizeThatWasEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Size: "miniHA"}, Strategy: &v1alpha1.RolloutStrategy{MaxInFlight: number(1), ProgressDeadlineSeconds: new(int32(60))}})
	want := w.live["ns/i001"].Spec.DeepCopy()
	w.run(t)
	w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Replicas = new(int32(7)) })
	w.settle("ns/i001")
	w.rollout.Spec.End = v1alpha1.EndRollBack
	w.run(t)
	want.Replicas = new(int32(7))
	if diff := cmp.Diff(*want, w.live["ns/i001"].Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}
