package fleetrotation

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/plan"
)

// twoWaves is canary, then the rest, two at a time.
func twoWaves() *v1alpha1.FleetRotation {
	return &v1alpha1.FleetRotation{Spec: v1alpha1.FleetRotationSpec{Waves: []v1alpha1.FleetWave{
		{ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "canary"}}, BakeSeconds: 60},
		{ClusterSelector: &metav1.LabelSelector{}, MaxParallel: 2},
	}}}
}

func canary(name string) *cluster {
	return &cluster{name: name, labels: map[string]string{"stage": "canary"}}
}

// TestRun tells what is done in a fleet, in order, and how the run ends.
func TestRun(t *testing.T) {
	t.Parallel()
	whole := []string{
		"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a",
		"freeze Cluster/b", "freeze Cluster/c", "rotate Cluster/b", "rotate Cluster/c", "thaw Cluster/b", "thaw Cluster/c",
	}
	onlyCanary := whole[:3]
	cases := map[string]struct {
		change  func(*world)
		between func(w *world, pass int)
		// fleet is changed before all.
		fleet  func(*v1alpha1.FleetRotationSpec)
		want   []string
		phase  v1alpha1.Phase
		reason string
		says   string
	}{
		"all is well": {want: whole, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded},
		"without a freeze": {
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.FreezeAdmission = new(false) },
			want:  []string{"rotate Cluster/a", "rotate Cluster/b", "rotate Cluster/c"}, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"one at a time": {
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.Waves[1].MaxParallel = 0 },
			want: []string{
				"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a", "freeze Cluster/b", "rotate Cluster/b", "thaw Cluster/b",
				"freeze Cluster/c", "rotate Cluster/c", "thaw Cluster/c",
			}, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"the canary's rotation fails": {
			change: func(w *world) { w.clusters["a"].becomes = v1alpha1.Failed },
			want:   onlyCanary, phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed, and 0 may",
		},
		"a gate of the canary fails": {
			change: func(w *world) { w.clusters["a"].gate = true },
			want:   onlyCanary, phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
		"one may fail": {
			change: func(w *world) { w.clusters["a"].becomes = v1alpha1.Failed },
			fleet:  func(s *v1alpha1.FleetRotationSpec) { s.FailureThreshold = 1 },
			want:   whole, phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed; all others are done",
		},
		"an installation is not stable any more": {
			change: func(w *world) { w.clusters["a"].ticks = 3 },
			between: func(w *world, _ int) {
				if w.clusters["a"].rotation != nil {
					w.clusters["a"].installations.Unstable = []string{"team/chat"}
				}
			},
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.FreezeSeconds = new(int32(3600)) },
			want:  onlyCanary, phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
		"an installation was not stable before": {
			change: func(w *world) { w.clusters["a"].installations.Unstable = []string{"team/chat"} },
			want:   whole, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"an installation falls while the wave bakes": {
			between: func(w *world, _ int) {
				if w.fleet.Status.WaveDoneAt != nil {
					w.clusters["a"].installations.Unstable = []string{"team/chat"}
				}
			},
			want: onlyCanary, phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
		"a cluster never answers, and its wave goes on": {
			change: func(w *world) { w.clusters["b"].unreachable = true },
			fleet:  func(s *v1alpha1.FleetRotationSpec) { s.Waves[1].MaxParallel, s.FailureThreshold = 1, 1 },
			want:   []string{"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a", "freeze Cluster/c", "rotate Cluster/c", "thaw Cluster/c"},
			phase:  v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "b failed; all others are done",
		},
		"somebody else has frozen a cluster for now, and its wave goes on": {
			change: func(w *world) {
				w.clusters["b"].lease = admission.Hold(nil, "windlass-system", "alice", 5*time.Minute, start)
			},
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.Waves[1].MaxParallel = 1 },
			want: []string{
				"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a", "freeze Cluster/c", "rotate Cluster/c", "thaw Cluster/c",
				"freeze Cluster/b", "rotate Cluster/b", "thaw Cluster/b",
			}, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"somebody else takes the freeze before a node is touched": {
			between: func(w *world, _ int) {
				a := w.clusters["a"]
				if rows := w.fleet.Status.Clusters; len(rows) > 0 && active(rows[0]) && a.rotation == nil && w.now.Before(start.Add(time.Minute)) {
					a.lease = admission.Hold(nil, "windlass-system", "alice", time.Minute, w.now)
				}
			},
			want: whole, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"somebody else takes the freeze when all is noted": {
			between: func(w *world, _ int) {
				a := w.clusters["a"]
				if rows := w.fleet.Status.Clusters; len(rows) > 0 && rows[0].Phase == v1alpha1.ClusterRotating && a.rotation == nil && w.now.Before(start.Add(time.Minute)) {
					a.lease = admission.Hold(nil, "windlass-system", "alice", time.Minute, w.now)
				}
			},
			want: whole, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"a cluster may not be rotated": {
			change: func(w *world) { w.clusters["a"].unfit = true },
			phase:  v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
		"a name that is not registered": {
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.Waves[0] = v1alpha1.FleetWave{Names: []string{"nowhere"}} },
			phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "nowhere failed",
		},
		"a wave that selects nothing": {
			fleet: func(s *v1alpha1.FleetRotationSpec) { s.Waves[0].ClusterSelector.MatchLabels["stage"] = "other" },
			want: []string{
				"freeze Cluster/a", "freeze Cluster/b", "rotate Cluster/a", "rotate Cluster/b", "thaw Cluster/a", "thaw Cluster/b",
				"freeze Cluster/c", "rotate Cluster/c", "thaw Cluster/c",
			}, phase: v1alpha1.Succeeded, reason: v1alpha1.ReasonSucceeded,
		},
		"aborted while the canary is rotated": {
			change: func(w *world) { w.clusters["a"].ticks = 100 },
			between: func(w *world, _ int) {
				if w.clusters["a"].rotation != nil {
					w.fleet.Spec.End = v1alpha1.EndAbort
				}
			},
			want:  []string{"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a", "abort Cluster/a"},
			phase: v1alpha1.Aborted, reason: v1alpha1.ReasonAborted,
		},
		"aborted before anything": {
			change: func(w *world) { w.fleet.Spec.End = v1alpha1.EndAbort },
			phase:  v1alpha1.Aborted, reason: v1alpha1.ReasonAborted,
		},
		"deleted while the canary is rotated": {
			change: func(w *world) { w.clusters["a"].ticks = 100 },
			between: func(w *world, _ int) {
				if w.clusters["a"].rotation != nil && w.fleet.DeletionTimestamp == nil {
					at := metav1.NewTime(w.now)
					w.fleet.DeletionTimestamp = &at
				}
			},
			want:  []string{"freeze Cluster/a", "rotate Cluster/a", "thaw Cluster/a", "abort Cluster/a"},
			phase: v1alpha1.Aborted, reason: v1alpha1.ReasonAborted, says: "deleted",
		},
		"somebody deletes the rotation": {
			change: func(w *world) { w.clusters["a"].ticks = 100 },
			between: func(w *world, _ int) {
				if len(w.fleet.Status.Clusters) > 0 && w.fleet.Status.Clusters[0].RotationUID != "" {
					w.clusters["a"].rotation = nil
				}
			},
			want:  onlyCanary,
			phase: v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
		"the name of the rotation is taken": {
			change: func(w *world) { w.clusters["a"].rotation = &v1alpha1.NodeRotation{} },
			want:   []string{"freeze Cluster/a", "thaw Cluster/a"},
			phase:  v1alpha1.Failed, reason: v1alpha1.ReasonClusterFailed, says: "a failed",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(twoWaves(), canary("a"), &cluster{name: "b"}, &cluster{name: "c"})
			if c.fleet != nil {
				c.fleet(&w.fleet.Spec)
			}
			if c.change != nil {
				c.change(w)
			}
			got := w.run(t, func(pass int) {
				if c.between != nil {
					c.between(w, pass)
				}
			})
			if diff := cmp.Diff(c.want, renewals(got)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if w.fleet.Status.Phase != c.phase {
				t.Errorf("the run is %s, want %s", w.fleet.Status.Phase, c.phase)
			}
			ready := meta.FindStatusCondition(w.fleet.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != c.reason || !strings.Contains(ready.Message, c.says) {
				t.Errorf("Ready is %+v, want %s with %q", ready, c.reason, c.says)
			}
			for _, one := range w.clusters {
				if w.frozen(one) {
					t.Errorf("%s is frozen at the end", one.name)
				}
			}
		})
	}
}

// renewals leaves out the freezes that repeat one.
func renewals(log []string) []string {
	var all []string
	frozen := map[string]bool{}
	for _, text := range log {
		if name, ok := strings.CutPrefix(text, "freeze "); ok {
			if frozen[name] {
				continue
			}
			frozen[name] = true
		}
		all = append(all, text)
	}
	return all
}

// TestFreezeIsRenewed: while a cluster is rotated its freeze never runs out, and it is
// written at most once in a third of its time.
func TestFreezeIsRenewed(t *testing.T) {
	t.Parallel()
	fleet := twoWaves()
	fleet.Spec.FreezeSeconds = new(int32(30))
	a := canary("a")
	a.ticks = 200
	w := newWorld(fleet, a)
	log := w.run(t, func(int) {
		if a.rotation != nil && !ended(a.rotation) && !w.frozen(a) {
			t.Fatalf("the freeze ran out at %s", w.now.Sub(start))
		}
	})
	freezes := 0
	for _, text := range log {
		if text == "freeze Cluster/a" {
			freezes++
		}
	}
	if most := int(w.now.Sub(start)/(10*time.Second)) + 1; freezes < 5 || freezes > most {
		t.Errorf("%d writes in %s, want at most %d", freezes, w.now.Sub(start), most)
	}
}

// TestWaits: who waits says for what, since when and until when.
func TestWaits(t *testing.T) {
	t.Parallel()
	other := admission.Hold(nil, "windlass-system", "alice", time.Hour, start)
	cases := map[string]struct {
		change  func(*world)
		reason  string
		subject string
		until   time.Duration // since the start; 0 for none
		stalled bool
	}{
		"a cluster does not answer": {func(w *world) { w.clusters["a"].unreachable = true }, v1alpha1.ReasonUnreachable, "Cluster/a", 10 * time.Minute, false},
		"a cluster lacks a right":   {func(w *world) { w.clusters["a"].unfit = true }, v1alpha1.ReasonNotPermitted, "Cluster/a", 10 * time.Minute, false},
		"somebody else froze it":    {func(w *world) { w.clusters["a"].lease = other }, v1alpha1.ReasonFrozenByOther, "Cluster/a", time.Hour, false},
		"paused":                    {func(w *world) { w.fleet.Spec.Paused = true }, v1alpha1.ReasonPaused, "run", 0, true},
		"a rotation takes long":     {func(w *world) { w.clusters["a"].ticks = 1000 }, v1alpha1.ReasonRotating, "Cluster/a", 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(twoWaves(), canary("a"), &cluster{name: "b"})
			c.change(w)
			for range 8 {
				w.pass(t, always, ignore)
				w.clusters["a"].tick()
			}
			if len(w.fleet.Status.Waits) != 1 {
				t.Fatalf("waits %+v", w.fleet.Status.Waits)
			}
			got := w.fleet.Status.Waits[0]
			until := time.Duration(0)
			if got.Until != nil {
				until = got.Until.Sub(start)
			}
			if got.Reason != c.reason || got.Subject != c.subject || until != c.until || !got.Since.Time.Equal(start) || got.Message == "" {
				t.Errorf("waits %+v, want %s of %s until %s", got, c.reason, c.subject, c.until)
			}
			if meta.IsStatusConditionTrue(w.fleet.Status.Conditions, v1alpha1.ConditionStalled) != c.stalled {
				t.Errorf("conditions %+v", w.fleet.Status.Conditions)
			}
			// Nothing that is written changes by itself.
			before := w.fleet.Status.DeepCopy()
			w.now = w.now.Add(3 * time.Second)
			w.pass(t, always, ignore)
			if diff := cmp.Diff(before, &w.fleet.Status); diff != "" {
				t.Errorf("the status changes although nothing happens:\n%s", diff)
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fleet  *v1alpha1.FleetRotation
		reason string
	}{
		"no cluster is registered": {twoWaves(), v1alpha1.ReasonNoClusters},
		"a selector that cannot be read": {&v1alpha1.FleetRotation{Spec: v1alpha1.FleetRotationSpec{Waves: []v1alpha1.FleetWave{
			{ClusterSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}},
		}}}, v1alpha1.ReasonInvalidSpec},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(c.fleet)
			w.pass(t, always, ignore)
			w.pass(t, always, ignore)
			stalled := meta.FindStatusCondition(w.fleet.Status.Conditions, v1alpha1.ConditionStalled)
			if w.fleet.Status.Phase != v1alpha1.Pending || stalled == nil || stalled.Reason != c.reason {
				t.Errorf("the run is %s, Stalled is %+v", w.fleet.Status.Phase, stalled)
			}
		})
	}
}

func TestFallen(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before *v1alpha1.Baseline
		now    []string
		want   []string
	}{
		"none":                   {&v1alpha1.Baseline{}, nil, nil},
		"one fell":               {&v1alpha1.Baseline{}, []string{"n/a"}, []string{"n/a"}},
		"it was so before":       {&v1alpha1.Baseline{Unstable: 1, Names: []string{"n/a"}}, []string{"n/a"}, nil},
		"one rose, another fell": {&v1alpha1.Baseline{Unstable: 1, Names: []string{"n/a"}}, []string{"n/b"}, []string{"n/b"}},
		"more than are named":    {&v1alpha1.Baseline{Unstable: 2, Names: []string{"n/a"}}, []string{"n/a", "n/b"}, nil},
		"and one more":           {&v1alpha1.Baseline{Unstable: 2, Names: []string{"n/a"}}, []string{"n/b", "n/c"}, []string{"n/b", "n/c"}},
		"nothing was noted":      {nil, []string{"n/a"}, []string{"n/a"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, fallen(c.before, c.now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFreezeOfOneThatComesAndGoes: a cluster that did not answer does for a moment, and the
// process dies just when it has frozen it. That freeze has run out before the cluster is
// said to be done.
func TestFreezeOfOneThatComesAndGoes(t *testing.T) {
	t.Parallel()
	fleet := twoWaves()
	fleet.Spec.Waves[0].BakeSeconds = 0
	fleet.Spec.ClusterTimeoutSeconds, fleet.Spec.FreezeSeconds = new(int32(120)), new(int32(60))
	a := canary("a")
	w := newWorld(fleet, a)
	row := func() v1alpha1.ClusterRotation { return w.fleet.Status.Clusters[0] }
	pass := func(step func(plan.Action) fate) {
		w.pass(t, step, ignore)
		w.now = w.now.Add(time.Second)
		if over(row()) && w.frozen(a) {
			t.Fatalf("it is %s and still frozen", row().Phase)
		}
	}
	for len(w.fleet.Status.Clusters) == 0 {
		w.pass(t, always, ignore)
	}
	for row().Phase != v1alpha1.ClusterPreparing {
		pass(always)
	}
	a.unreachable = true
	pass(always)
	w.now = row().UnreachableSince.Add(timeout(fleet) - 10*time.Second)
	a.unreachable = false
	for !w.frozen(a) {
		pass(func(action plan.Action) fate {
			if _, freezes := action.(Freeze); freezes {
				return crashes
			}
			return works
		})
	}
	a.unreachable = true
	for !over(row()) {
		pass(always)
	}
}
