package rollout

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
)

// halted is a world in which installations have the bad version, and one more has failed than may.
func halted(t *testing.T, installations, mayFail int) *world {
	t.Helper()
	w := newWorld(t, installations, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: bad}, Strategy: &v1alpha1.RolloutStrategy{
		MaxInFlight: number(mayFail + 1), FailureThreshold: number(mayFail), ProgressDeadlineSeconds: new(int32(60)),
	}})
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Halted })
	return w
}

// broken is a world in which one that was stable with the change broke while it was watched.
func broken(t *testing.T, mayFail int) *world {
	t.Helper()
	w := troubled(t, "2")
	w.rollout.Spec.Strategy.FailureThreshold = number(mayFail)
	w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
	w.breaks("ns/i001")
	w.tick(fresh, -1)
	return w
}

// staysHalted looks for a while whether others get the change.
func (w *world) staysHalted(t *testing.T, failed int32) {
	t.Helper()
	changes := w.changes
	for range 30 {
		w.tick(fresh, -1)
		for _, name := range w.names() {
			w.settle(name)
		}
		w.now = w.now.Add(7 * time.Second)
	}
	w.wants1(t, "failed", w.rollout.Status.Failed, failed)
	if w.changes != changes || w.rollout.Status.Phase != v1alpha1.Halted {
		t.Errorf("%d others got the change, and it is %s", w.changes-changes, w.rollout.Status.Phase)
	}
}

// TestPutBackByHand: that somebody helps those that failed, by giving them back what they had or
// by taking their pods, tells nothing good of the change.
func TestPutBackByHand(t *testing.T) {
	t.Parallel()
	helps := map[string]func(*installations.Mattermost){
		"the version":    func(mm *installations.Mattermost) { mm.Spec.Version = "1" },
		"no pods at all": func(mm *installations.Mattermost) { *mm.Spec.Replicas = 0 },
	}
	for name, help := range helps {
		for _, mayFail := range []int{0, 30} { // The names of more than 20 are not written down otherwise.
			t.Run(fmt.Sprintf("%s, %d may fail", name, mayFail), func(t *testing.T) {
				t.Parallel()
				w := halted(t, 40, mayFail)
				for _, name := range w.names()[:mayFail+1] {
					w.edit(name, help)
				}
				w.staysHalted(t, int32(mayFail+1))
				w.rollout.Spec.Strategy.FailureThreshold = number(40) // Somebody wants it all the same.
				w.run(t)
			})
		}
	}
	goesOn := map[string]func(*installations.Mattermost){
		"it is stable with the change after all": func(mm *installations.Mattermost) { mm.Spec.Version = "2" },
		"it is kept on purpose":                  func(mm *installations.Mattermost) { mm.Annotations[v1alpha1.KeepsAnnotation] = "version" },
	}
	for name, edit := range goesOn {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := broken(t, 0)
			w.edit("ns/i001", helps["the version"])
			w.staysHalted(t, 1)
			w.edit("ns/i001", edit)
			w.run(t)
			w.wants1(t, "updated", w.rollout.Status.Updated, 3)
		})
	}
	again := map[string]func(w *world){
		"it sleeps and wakes": func(w *world) {
			w.edit("ns/i001", helps["no pods at all"])
			w.tick(fresh, -1)
			w.edit("ns/i001", func(mm *installations.Mattermost) { *mm.Spec.Replicas = 1 })
		},
		"it gets the change again": func(w *world) {
			w.edit("ns/i001", helps["the version"])
			w.settle("ns/i001")
			w.tick(fresh, -1)
			w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Version = bad })
		},
		"it is paused meanwhile": func(w *world) {
			w.edit("ns/i001", helps["the version"])
			w.settle("ns/i001")
			w.tick(fresh, -1)
			w.hold("ns/i001")
			w.settle("ns/i001")
			w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Version = bad })
			w.settle("ns/i001")
		},
		"a newer roll-out has it for a while": func(w *world) {
			w.edit("ns/i001", helps["the version"])
			w.tick(fresh, -1)
			w.others = []v1alpha1.InstallationRollout{w.newer()}
			w.tick(fresh, -1)
			w.tick(fresh, -1)
			w.others = nil
			w.tick(fresh, -1)
		},
		"a newer roll-out has it": func(w *world) {
			july := w.newer()
			july.Spec.Selector = metav1.LabelSelector{MatchLabels: map[string]string{"ring": "1"}}
			w.others = []v1alpha1.InstallationRollout{july}
		},
		"it is replaced as a whole": func(w *world) {
			w.edit("ns/i001", func(mm *installations.Mattermost) {
				helps["the version"](mm)
				mm.Annotations, mm.ManagedFields = nil, nil
			})
		},
		"something else is edited": func(w *world) {
			w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.MattermostEnv[1].Value = "cure" })
		},
	}
	for name, tries := range again {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := halted(t, 3, 0)
			changes := w.changes
			tries(w)
			w.tick(fresh, -1)
			w.tick(fresh, -1)
			if names := w.rollout.Status.FailedInstallations; !slices.Equal(names, []string{"ns/i001"}) || w.changes != changes {
				t.Errorf("%v failed, and %d others got the change", names, w.changes-changes)
			}
		})
	}
	t.Run("it keeps what it has, and sleeps", func(t *testing.T) {
		t.Parallel()
		w := halted(t, 3, 0)
		w.edit("ns/i001", helps["no pods at all"])
		w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Annotations[v1alpha1.KeepsAnnotation] = "version" })
		w.tick(fresh, -1)
		w.wants1(t, "failed", w.rollout.Status.Failed, 0)
	})
	t.Run("one that may fail sleeps", func(t *testing.T) {
		t.Parallel()
		w := broken(t, 1)
		w.edit("ns/i001", helps["no pods at all"])
		w.run(t)
		w.wants1(t, "failed", w.rollout.Status.Failed, 1)
		w.wants1(t, "updated", w.rollout.Status.Updated, 2)
	})
	t.Run("it fails again, in a later wave", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 3, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: bad}, Strategy: &v1alpha1.RolloutStrategy{
			MaxInFlight: number(1), FailureThreshold: number(1), ProgressDeadlineSeconds: new(int32(60)), Waves: []v1alpha1.InstallationWave{{Size: number(1)}},
		}})
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Wave == 1 })
		w.now = w.now.Add(10 * time.Second)
		w.edit("ns/i001", helps["the version"])
		w.settle("ns/i001")
		w.tick(fresh, -1)
		w.edit("ns/i001", func(mm *installations.Mattermost) { mm.Spec.Version = bad })
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Halted })
		if names := w.rollout.Status.FailedInstallations; !slices.Equal(names, []string{"ns/i001", "ns/i002"}) {
			t.Errorf("%v failed", names)
		}
	})
	t.Run("names stay while a newer roll-out has all", func(t *testing.T) {
		t.Parallel()
		w := halted(t, 100, 30)
		w.rollout.Spec.Strategy.FailureThreshold = new(intstr.FromString("30%"))
		for _, name := range w.rollout.Status.FailedInstallations {
			w.edit(name, helps["the version"])
		}
		w.tick(fresh, -1)
		w.others = []v1alpha1.InstallationRollout{w.newer()}
		w.tick(fresh, -1)
		w.tick(fresh, -1)
		w.others = nil
		w.staysHalted(t, 31)
	})
	t.Run("a newer roll-out has it and most others", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 40, v1alpha1.InstallationRolloutSpec{Change: v1alpha1.InstallationChange{Version: "2"}, Strategy: &v1alpha1.RolloutStrategy{
			MaxInFlight: number(40), FailureThreshold: new(intstr.FromString("10%")), ProgressDeadlineSeconds: new(int32(60)), OnFailure: run.RollBackOnFailure,
			Waves: []v1alpha1.InstallationWave{{Size: number(40), SoakSeconds: 1000}},
		}})
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == v1alpha1.Soaking })
		for _, name := range []string{"ns/i001", "ns/i004", "ns/i007"} { // Of the zone 1; four may fail.
			w.breaks(name)
		}
		w.tick(fresh, -1)
		w.wants1(t, "failed", w.rollout.Status.Failed, 3)
		july := w.newer()
		july.Spec.Selector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: metav1.LabelSelectorOpIn, Values: []string{"0", "1"}}}}
		w.others = []v1alpha1.InstallationRollout{july}
		for range 3 {
			w.tick(fresh, -1)
		}
		if st := w.rollout.Status; st.Outcome != "" || st.Phase != v1alpha1.Soaking || len(st.FailedInstallations) != 3 {
			t.Errorf("%s: %s %v", st.Phase, st.OutcomeMessage, st.FailedInstallations)
		}
	})
	t.Run("one that broke while it was watched sleeps", func(t *testing.T) {
		t.Parallel()
		w := broken(t, 0)
		w.edit("ns/i001", helps["no pods at all"])
		w.staysHalted(t, 1)
	})
	t.Run("a spec that cannot be read for a while", func(t *testing.T) {
		t.Parallel()
		w := halted(t, 3, 0)
		w.edit("ns/i001", helps["the version"])
		w.rollout.Spec.Strategy.Windows = []run.Window{{Schedule: "nonsense"}}
		w.until(t, func(st *v1alpha1.InstallationRolloutStatus) bool {
			return waitFor(st.Waits, v1alpha1.ReasonInvalidSpec) != nil
		})
		w.rollout.Spec.Strategy.Windows = nil
		w.staysHalted(t, 1)
	})
}

// TestMigratedAndAsleep: one that failed after its migration, and then sleeps, has failed still.
func TestMigratedAndAsleep(t *testing.T) {
	t.Parallel()
	mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", Annotations: map[string]string{
		v1alpha1.MigrationAnnotation: `{"rollout":"june","uid":"june-uid","sequence":2,"at":"2026-11-26T12:00:00Z"}`,
	}}}
	mm.Spec.Replicas, mm.Status.State = new(int32), installations.Stable
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "june", UID: "june-uid"}}
	awake, asleep := mm.Annotations[v1alpha1.MigrationAnnotation], `{"rollout":"june","uid":"june-uid","sequence":2,"at":"2026-11-26T12:00:00Z","asleep":true}`
	for _, c := range []struct {
		record string
		before []string
		want   state
	}{{awake, nil, updated}, {awake, []string{"ns/chat"}, failed}, {asleep, []string{"ns/chat"}, updated}} {
		mm.Annotations = map[string]string{v1alpha1.MigrationAnnotation: c.record}
		d := migrating(epoch, ReadMigrated(mm, r))
		d.members, d.tally, d.total = nil, [states]int{}, 0
		d.s.Rollout.Status.FailedInstallations = c.before
		if d.find(); d.members[0].state != c.want {
			t.Errorf("that had %v failed before: %d", c.before, d.members[0].state)
		}
	}
}
