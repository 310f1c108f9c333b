package rollout

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
)

// troubled is a world of three installations, with a wave of one that is watched.
func troubled(t *testing.T, version string) *world {
	t.Helper()
	return newWorld(t, 3, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: version}, Strategy: &v1alpha1.RolloutStrategy{
		MaxInFlight: number(1), ProgressDeadlineSeconds: new(int32(60)), Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 100}},
	}})
}

// until lets all work until the roll-out is as it is wanted.
func (w *world) until(t *testing.T, is func(*v1alpha1.InstallationRolloutStatus) bool) {
	t.Helper()
	for range 40 {
		if w.tick(fresh, -1); is(&w.rollout.Status) {
			return
		}
		for _, name := range w.names() {
			w.settle(name)
		}
		w.now = w.now.Add(7 * time.Second)
	}
	t.Fatalf("it does not come to that: %s, wave %d, waits %v", w.rollout.Status.Phase, w.rollout.Status.Wave, w.rollout.Status.Waits)
}

// breaks has an installation stall, of itself.
func (w *world) breaks(name string) {
	w.edit(name, func(mm *installations.Mattermost) {
		at := metav1.NewTime(w.now)
		mm.Status.State = installations.Reconciling
		mm.Status.Conditions = []metav1.Condition{
			{Type: installations.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: at},
			{Type: installations.ConditionStalled, Status: metav1.ConditionTrue, LastTransitionTime: at},
		}
	})
}

func (w *world) wants1(t *testing.T, what string, got, want int32) {
	t.Helper()
	if got != want {
		t.Errorf("%s: want %d, got %d; waits %v", what, want, got, w.rollout.Status.Waits)
	}
}

// TestWhatBreaksLater: one that breaks while its wave is watched has failed, and later on what
// breaks an installation that had been stable with the change is not the change's doing.
func TestWhatBreaksLater(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		breaksWhen func(*v1alpha1.InstallationRolloutStatus) bool
		failed     int32
	}{
		"while its wave is watched": {func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking }, 1},
		"in the next wave":          {func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Wave == 1 && st.Updated < 3 }, 0},
		"after the end":             {func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Succeeded }, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := troubled(t, "2")
			w.until(t, c.breaksWhen)
			w.now = w.now.Add(time.Second)
			w.breaks("ns/i001")
			w.tick(fresh, -1)
			w.now = w.now.Add(countEvery)
			w.tick(fresh, -1)
			w.wants1(t, "failed", w.rollout.Status.Failed, c.failed)
			if stalled := meta.IsStatusConditionTrue(w.rollout.Status.Conditions, v1alpha1.ConditionStalled); stalled != (c.failed > 0) {
				t.Errorf("Stalled is %t", stalled)
			}
		})
	}
}

// brokenWhileWatched is a world in the next wave, in which one of the wave before has failed.
func brokenWhileWatched(t *testing.T) *world {
	t.Helper()
	w := troubled(t, "2")
	w.rollout.Spec.Strategy.FailureThreshold = number(1)
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.breaks("ns/i001")
	for w.rollout.Status.Wave == 0 { // Nobody carries it out meanwhile.
		w.tick(fresh, -1)
		w.now = w.now.Add(7 * time.Second)
	}
	return w
}

// TestWhatBrokeWhileWatchedCounts also in the waves after it.
func TestWhatBrokeWhileWatchedCounts(t *testing.T) {
	t.Parallel()
	w := brokenWhileWatched(t)
	w.tick(fresh, -1)
	w.wants1(t, "failed in the next wave", w.rollout.Status.Failed, 1)
	if ends := w.rollout.Status.WaveEnds; len(ends) != 1 {
		t.Errorf("ends of waves: %v", ends)
	}
}

// TestPausedWell: one that took the change well and is then paused, to work on it by hand, has
// not failed.
func TestPausedWell(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.hold("ns/i001")
	w.breaks("ns/i001")
	w.edit("ns/i001", func(mm *installations.Mattermost) {
		for i := range mm.Status.Conditions {
			mm.Status.Conditions[i].Reason = installations.ReasonPaused
		}
		mm.Status.Conditions = append(mm.Status.Conditions, metav1.Condition{Type: installations.ConditionPaused, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.now)})
	})
	w.tick(fresh, -1)
	w.wants1(t, "failed", w.rollout.Status.Failed, 0)
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Succeeded })
}

// TestPausedAfterItFailed: also if something is edited then, which waits until it is resumed.
func TestPausedAfterItFailed(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"was stable with the change": "2", "was never stable with it": bad} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := troubled(t, version)
			w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
				return st.Phase == v1alpha1.Soaking || st.Updating == 1 && version == bad
			})
			w.now = w.now.Add(time.Second)
			w.breaks("ns/i001")
			w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Failed == 1 })
			w.now = w.now.Add(time.Second)
			w.hold("ns/i001")
			w.edit("ns/i001", func(mm *installations.Mattermost) {
				mm.Spec.MattermostEnv[1].Value = "edited"
				for i := range mm.Status.Conditions {
					mm.Status.Conditions[i].Reason = installations.ReasonPaused
				}
				mm.Status.Conditions = append(mm.Status.Conditions, metav1.Condition{Type: installations.ConditionPaused, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.now)})
			})
			changes := w.changes
			for range 3 {
				w.now = w.now.Add(countEvery)
				w.tick(fresh, -1)
			}
			w.wants1(t, "failed", w.rollout.Status.Failed, 1)
			if w.changes != changes {
				t.Error("another one gets the change")
			}
		})
	}
}

// TestABreakIsWaitedFor: nothing else may happen until the deadline, so that it has to wake the
// roll-out itself.
func TestABreakIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.breaks("ns/i001")
	w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Status.Conditions = mm.Status.Conditions[:1] })
	s := w.observe(fresh)
	if p := Decide(s, w.now); p.Wake <= 0 || p.Wake > time.Minute {
		t.Errorf("it wakes after %s", p.Wake)
	}
}

// TestAMomentUnknown: that an installation could not be read for a moment does not make its
// trouble a later one.
func TestAMomentUnknown(t *testing.T) {
	t.Parallel()
	w := brokenWhileWatched(t)
	w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Status.Conditions[0].LastTransitionTime = metav1.NewTime(w.now) })
	w.now = w.now.Add(countEvery)
	w.tick(fresh, -1)
	w.wants1(t, "failed", w.rollout.Status.Failed, 1)
}

// newer is a roll-out that takes all installations of the world before its own, and does nothing.
func (w *world) newer() v1alpha1.InstallationRollout {
	july := v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "july", UID: "july-uid"}, Spec: w.rollout.Spec}
	july.Status.Revision = &v1alpha1.Revision{Sequence: w.rollout.Status.Revision.Sequence + 1}
	return july
}

// TestSupersededForAWhile: what broke between is not the change's doing when it goes on.
func TestSupersededForAWhile(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Succeeded })
	w.now = w.now.Add(time.Hour)
	w.breaks("ns/i001")
	w.others = []v1alpha1.InstallationRollout{w.newer()}
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Superseded })
	w.others, w.rollout.Spec.Paused = nil, true
	for range 3 {
		w.now = w.now.Add(countEvery)
		w.tick(fresh, -1)
		w.wants1(t, "failed", w.rollout.Status.Failed, 0)
	}
}

// TestSupersededWhileWatched: what was not over goes on as it was, and is watched anew.
func TestSupersededWhileWatched(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.now = w.now.Add(50 * time.Second)
	w.others = []v1alpha1.InstallationRollout{w.newer()}
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Superseded })
	w.now, w.others = w.now.Add(70*time.Second), nil
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.now = w.now.Add(30 * time.Second)
	w.breaks("ns/i001")
	w.tick(fresh, -1)
	w.wants1(t, "failed", w.rollout.Status.Failed, 1)
	w.wants1(t, "wave", w.rollout.Status.Wave, 0)
}

// TestSupersededWhileAGateHolds: also in the first pass in which it has installations again.
func TestSupersededWhileAGateHolds(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.rollout.Spec.Strategy.Gates = []run.Gate{{Name: "errors", Prometheus: &run.PrometheusGate{}}}
	w.tick(fresh, -1)
	w.tick(fresh, -1)
	w.others = []v1alpha1.InstallationRollout{w.newer()}
	w.tick(fresh, -1)
	w.others = nil
	for range 3 {
		w.tick(fresh, -1)
		w.now = w.now.Add(time.Second)
	}
	if w.changes > 0 || waitFor(w.rollout.Status.Waits, v1alpha1.ReasonGatePending) == nil {
		t.Errorf("%d got the change before the gate has passed; waits %v", w.changes, w.rollout.Status.Waits)
	}
}

// TestPlacesOfWhatFailed: one that has failed and is tried again has its place of the revision.
func TestPlacesOfWhatFailed(t *testing.T) {
	t.Parallel()
	d := migrating(epoch, ReadOlder(&older.ClusterInstallation{}))
	d.settings.strategy.MaxInFlight = number(1)
	d.members = []*member{{Installation: &Installation{Meta: &metav1.ObjectMeta{}}, state: failed, hadFailed: true, inFlight: true}}
	if former := (&member{Installation: &Installation{Meta: &metav1.ObjectMeta{}}, inFlight: true}); d.places().take(former) {
		t.Error("another one has the revision as well")
	}
}

// TestPausedEditedAndResumed: what was edited in the pause is carried out only now, and has all
// the time that there is.
func TestPausedEditedAndResumed(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.rollout.Spec.Strategy.Waves[0].SoakSeconds = 1000
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.hold("ns/i001")
	w.settle("ns/i001")
	w.now = w.now.Add(10 * time.Second)
	w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.MattermostEnv[1].Value = "edited" })
	w.settle("ns/i001")
	w.now = w.now.Add(5 * time.Minute)
	w.tick(fresh, -1)
	w.wants1(t, "failed in the pause", w.rollout.Status.Failed, 0)
	w.hold("ns/i001")
	w.edit("ns/i001", func(mm *installations.Mattermost) { // Its pods take a while.
		resumed(mm)
		mm.Status.ObservedGeneration = mm.Generation
		w.says(mm, installations.ConditionReady, metav1.ConditionFalse, "Looked")
	})
	w.tick(fresh, -1)
	w.wants1(t, "failed at once", w.rollout.Status.Failed, 0)
	w.now = w.now.Add(time.Minute)
	w.tick(fresh, -1)
	w.wants1(t, "failed", w.rollout.Status.Failed, 1)
}

// unnoticed is a world in which nobody looks after installations, one of which has the change.
func unnoticed(t *testing.T) *world {
	t.Helper()
	w := troubled(t, "2")
	w.rollout.Spec.Strategy.OnFailure = run.RollBackOnFailure
	for range 20 {
		w.tick(fresh, -1)
		w.now = w.now.Add(30 * time.Second)
	}
	return w
}

// TestUnnoticed: while nobody looks after installations, nothing is known of the change.
func TestUnnoticed(t *testing.T) {
	t.Parallel()
	w := unnoticed(t)
	st := w.rollout.Status
	w.wants1(t, "updating", st.Updating, 1)
	stalled := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionStalled)
	if st.Outcome != "" || stalled == nil || stalled.Reason != v1alpha1.ReasonUnnoticed || !strings.Contains(stalled.Message, "ns/i001") {
		t.Errorf("%s: %v", st.Phase, st.Conditions)
	}
	w.run(t)
	w.wants1(t, "updated", w.rollout.Status.Updated, 3)
	w = unnoticed(t)
	w.rollout.Status.FailedInstallations, w.rollout.Spec.Strategy.FailureThreshold = []string{"ns/i001"}, number(1) // It is tried again.
	w.tick(fresh, -1)
	if wait := waitFor(w.rollout.Status.Waits, v1alpha1.ReasonUnnoticed); wait == nil {
		t.Errorf("one that had failed before is not named: %v", w.rollout.Status.Waits)
	}
	for end, phase := range map[v1alpha1.End]v1alpha1.Phase{v1alpha1.EndAbort: v1alpha1.Aborted, v1alpha1.EndRollBack: v1alpha1.RolledBack} {
		w := unnoticed(t)
		w.rollout.Spec.End = end
		for range 20 {
			w.tick(fresh, -1)
			w.now = w.now.Add(30 * time.Second)
		}
		if w.rollout.Status.Phase != phase || len(w.rollout.Status.Waits) > 0 {
			t.Errorf("its end waits for what nobody looks after: %s, %v", w.rollout.Status.Phase, w.rollout.Status.Waits)
		}
	}
}

// TestCopied: a record that came with the manifest of a former resource says nothing of this one.
func TestCopied(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.run(t)
	record := w.live["ns/i001"].Annotations
	for uid, want := range map[types.UID]bool{"ns/i001": true, "made-anew": false} {
		mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{UID: uid, Annotations: record}}
		if got := Read(mm).Record != nil; got != want {
			t.Errorf("of %s it counts: %t", uid, got)
		}
	}
}

// TestPrepared: a Mattermost that is being made of a ClusterInstallation follows the spec of that,
// and gets the change when it no longer does.
func TestPrepared(t *testing.T) {
	t.Parallel()
	w := troubled(t, "2")
	w.edit("ns/i001", func(mm *installations.Mattermost) {
		mm.Annotations = map[string]string{installations.MigratedFromAnnotation: "older-uid"}
		mm.Status.MigratedFrom = &installations.MigratedFrom{UID: "older-uid", Held: true}
	})
	w.run(t)
	w.wants1(t, "total", w.rollout.Status.Total, 2)
	w.edit("ns/i001", func(mm *installations.Mattermost) {
		mm.Status.MigratedFrom = &installations.MigratedFrom{UID: "older-uid"}
	})
	w.run(t)
	w.wants1(t, "updated", w.rollout.Status.Updated, 3)
}

// TestSizeTakenBack: a size is gone once it was carried out, and shows in the resources.
func TestSizeTakenBack(t *testing.T) {
	t.Parallel()
	w := troubled(t, "")
	w.rollout.Spec.Change.Size = "1000users"
	for range 3 {
		w.tick(fresh, -1)
		w.now = w.now.Add(countEvery)
	}
	w.wants1(t, "updating before it was carried out", w.rollout.Status.Updating, 1)
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.edit("ns/i001", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 7 })
	w.tick(fresh, -1)
	w.wants1(t, "edited by an autoscaler", w.rollout.Status.Edited, 0)
	w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Size = "100users" })
	w.settle("ns/i001")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Edited == 1 && waitFor(st.Waits, v1alpha1.ReasonEdited) != nil
	})
}

// TestLostByMigration: a selector that goes by a label which a Mattermost does not get would lose
// the installations that are migrated.
func TestLostByMigration(t *testing.T) {
	t.Parallel()
	const tracking = "app.kubernetes.io/instance"
	lost, kept := metav1.LabelSelector{MatchLabels: map[string]string{tracking: "x"}}, metav1.LabelSelector{MatchLabels: map[string]string{"tier": "free"}}
	none := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: tracking, Operator: metav1.LabelSelectorOpDoesNotExist}}}
	for name, c := range map[string]struct {
		selector, wave metav1.LabelSelector
		migrate, begun bool
		want           string
	}{
		"of all":            {lost, kept, true, false, "spec.selector"},
		"of a wave":         {kept, lost, true, false, "spec.strategy.waves[0].selector"},
		"others":            {kept, kept, true, false, ""},
		"that it has none":  {none, kept, true, false, ""},
		"of another change": {lost, lost, false, false, ""},
		"under way already": {lost, lost, true, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &v1alpha1.InstallationRollout{Spec: v1alpha1.InstallationRolloutSpec{
				Selector: c.selector, Change: v1alpha1.InstallationChange{Migrate: c.migrate, Restart: "x"},
				Strategy: &v1alpha1.RolloutStrategy{Waves: []v1alpha1.InstallationWave{{Selector: &c.wave}}},
			}}
			if c.begun {
				r.Status.Revision = &v1alpha1.Revision{Hash: Hash(r.Spec.Change), Sequence: 1}
			}
			s := Snapshot{Rollout: r}
			invalid := waitFor(Report(s, Decide(s, epoch), planOutcome, epoch).Status.Waits, v1alpha1.ReasonInvalidSpec)
			if (invalid == nil) != (c.want == "") || invalid != nil && !strings.HasPrefix(invalid.Message, c.want+": ") {
				t.Errorf("it says %+v", invalid)
			}
		})
	}
}

// TestNeverStable: one that was never stable with the change has failed whenever that is, such
// as one that wakes after the end.
func TestNeverStable(t *testing.T) {
	t.Parallel()
	w := troubled(t, bad)
	w.edit("ns/i001", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 0 })
	w.edit("ns/i002", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 0 })
	delete(w.live, "ns/i003")
	delete(w.past, "ns/i003")
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Succeeded })
	w.edit("ns/i001", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 1 })
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Failed == 1 })
	w.edit("ns/i002", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 1 })
	changes := w.changes
	w.tick(fresh, -1)
	w.tick(fresh, -1)
	if w.changes != changes {
		t.Error("another one gets what has failed")
	}
}

// TestPausedInTheMiddle: pausing an installation to look at it neither hides that it has
// failed, nor holds up the roll-out for ever without a word.
func TestPausedInTheMiddle(t *testing.T) {
	t.Parallel()
	t.Run("one that has failed", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, bad)
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Halted })
		w.hold("ns/i001")
		changes := w.changes
		for range 3 {
			w.tick(fresh, -1)
			w.now = w.now.Add(countEvery)
		}
		w.wants1(t, "failed", w.rollout.Status.Failed, 1)
		if w.changes != changes || w.rollout.Status.Phase != v1alpha1.Halted {
			t.Errorf("it goes on: %s", w.rollout.Status.Phase)
		}
	})
	t.Run("one that is updating", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, "2")
		w.tick(fresh, -1)
		w.tick(fresh, -1)
		w.hold("ns/i001")
		w.tick(fresh, -1)
		wait := waitFor(w.rollout.Status.Waits, v1alpha1.ReasonInstallationPaused)
		if wait == nil || !strings.Contains(wait.Message, "ns/i001") {
			t.Errorf("it is not named: %v", w.rollout.Status.Waits)
		}
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Failed == 1 })
	})
	t.Run("one that gets back what it had", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, bad)
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Halted })
		w.hold("ns/i001")
		w.rollout.Spec.End = v1alpha1.EndRollBack
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
			return st.Phase == v1alpha1.RollingBack && waitFor(st.Waits, v1alpha1.ReasonInstallationPaused) != nil
		})
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.RolledBack })
	})
}

// TestTakenBack: where something else took the change back, it is not reported as made, and
// the next wave waits if that was done to all.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) *world {
		t.Helper()
		w := troubled(t, "2")
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
		w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Version = "1" })
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
			return waitFor(st.Waits, v1alpha1.ReasonEdited) != nil
		})
		return w
	}
	goesOn := func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Wave == 1 }
	ways := map[string]struct {
		edit   func(*installations.Mattermost)
		edited int32
	}{
		"it is kept on purpose": {func(mm *installations.Mattermost) { mm.Annotations[v1alpha1.KeepsAnnotation] = "version" }, 0},
		"it comes again":        {func(mm *installations.Mattermost) { mm.Spec.Version = "2" }, 0},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			st := w.rollout.Status
			w.wants1(t, "wave", st.Wave, 0)
			if !meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionStalled) {
				t.Error("it is not Stalled")
			}
			w.edit("ns/i001", way.edit)
			w.until(t, goesOn)
			w.run(t)
			w.wants1(t, "edited", w.rollout.Status.Edited, way.edited)
		})
	}
	t.Run("what else is bad has failed", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, bad)
		w.rollout.Spec.Change.Restart = "once"
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Updating == 1 })
		w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.PodTemplate = nil })
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Failed == 1 })
	})
	t.Run("the last wave", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, "2")
		w.rollout.Spec.Strategy.Waves = []v1alpha1.InstallationWave{{Size: number(2)}}
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Wave == 1 && st.AwaitingUpdate == 0 })
		w.edit("ns/i003", func(mm *installations.Mattermost) { mm.Spec.Version = "1" })
		w.settle("ns/i003")
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
			return st.Phase == v1alpha1.Succeeded && st.Edited == 1
		})
	})
	t.Run("one of many", func(t *testing.T) {
		t.Parallel()
		w := troubled(t, "2")
		w.rollout.Spec.Strategy.Waves = nil
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Updated > 0 })
		w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Version = "1" })
		w.run(t)
		w.now = w.now.Add(countEvery)
		w.tick(fresh, -1)
		st := w.rollout.Status
		w.wants1(t, "edited", st.Edited, 1)
		w.wants1(t, "updated", st.Updated, 2)
		ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady)
		if st.Phase != v1alpha1.Succeeded || !strings.Contains(ready.Message, "editedInstallations") || len(st.EditedInstallations) != 1 {
			t.Errorf("%s: %s %v", st.Phase, ready.Message, st.EditedInstallations)
		}
	})
}
