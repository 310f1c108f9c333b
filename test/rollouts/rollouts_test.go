package rollouts

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

var quantity = resource.MustParse("10m")

// TestWaves: a wave begins when the one before is done and was watched, never more are in
// flight than may, and users keep what is theirs.
func TestWaves(t *testing.T) {
	const soak = 5 // seconds, after an hour was asked for: the wave is seen to be watched, however busy the machine is
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 7)
	flown := sample(t, c, namespace, 1)
	r := rollout(t, c, "waves", namespace, v1alpha1.InstallationChange{Version: "10.6.0", Env: []corev1.EnvVar{{Name: "OURS", Value: "1"}}}, v1alpha1.RolloutStrategy{
		Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 3600}, {Size: number(2)}}, MaxInFlight: number(2),
	})
	first := await(t, c, namespace, name(0), "updated", runs("10.6.0"))
	reaches(t, c, r, "soaking", phase(v1alpha1.Soaking))
	for i := 1; i < 7; i++ {
		if mm := await(t, c, namespace, name(i), "read", func(*v1beta1.Mattermost) bool { return true }); mm.Spec.Version != "10.5.2" {
			t.Errorf("%s has version %s while the first wave is watched", mm.Name, mm.Spec.Version)
		}
	}
	done := r.Status.WaveDoneAt.Time
	edit(t, c, r, func() { r.Spec.Strategy.Waves[0].SoakSeconds = soak })
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	flown.within(t, 2)
	if first.Labels[v1alpha1.GroupLabel] != "waves" || first.Labels[v1alpha1.SequenceLabel] != "1" {
		t.Errorf("labels %v", first.Labels)
	}
	if st := r.Status; st.Total != 7 || st.Updated != 7 || st.Wave != 2 {
		t.Errorf("status %+v", st)
	}
	for i := range 7 {
		mm := await(t, c, namespace, name(i), "updated", runs("10.6.0"))
		if env := mm.Spec.MattermostEnv; len(env) != 2 || env[0].Value != mm.Name || env[1].Name != "OURS" {
			t.Errorf("%s has env %v", mm.Name, env)
		}
		if at := changed(mm); i > 0 && at.Before(done.Add(soak*time.Second)) {
			t.Errorf("%s was changed at %s, and the first wave, done at %s, soaks for %d s", mm.Name, at, done, soak)
		}
	}
	// At rest it is left alone.
	edit(t, c, first, func() { first.Spec.MattermostEnv[0].Value = "mine" })
	if mm := await(t, c, namespace, first.Name, "stable again", stable); mm.Spec.MattermostEnv[0].Value != "mine" {
		t.Errorf("its user's edit is gone: %v", mm.Spec.MattermostEnv)
	}
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	// One that is made later gets it too.
	create(t, c, namespace, 7)
	await(t, c, namespace, name(7), "updated", runs("10.6.0"))
	reaches(t, c, r, "done with one more", func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Updated == 8 })
}

// changed is when a roll-out last changed the installation.
func changed(mm *v1beta1.Mattermost) time.Time {
	for _, entry := range mm.ManagedFields {
		if entry.Manager == v1alpha1.Manager && entry.Time != nil {
			return entry.Time.Time
		}
	}
	return time.Time{}
}

// flights are the installations that were in flight, as one who watches them saw it.
type flights struct {
	worst int
	// seen is what there was to see, for whoever looks into a failure.
	seen []string
	// blind says that the watch ended by itself.
	blind bool
	stop  func()
}

// sample follows installations until it is stopped. One of them is in flight while it has a
// change and is not stable; of two leaders, one may report later what it saw earlier, so that
// with them it is in flight until it was stable with its change for the first time.
func sample(t *testing.T, c client.WithWatch, namespace string, leaders int) *flights {
	t.Helper()
	f := &flights{}
	w, err := c.Watch(t.Context(), &v1beta1.MattermostList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		flying, landed := map[string]bool{}, map[string]string{}
		for event := range w.ResultChan() {
			mm, ok := event.Object.(*v1beta1.Mattermost)
			if !ok {
				continue
			}
			change := mm.Annotations[v1alpha1.ChangeAnnotation]
			if stable(mm) {
				landed[mm.Name] = change
			}
			if delete(flying, mm.Name); change != "" && !stable(mm) && (leaders == 1 || landed[mm.Name] != change) {
				flying[mm.Name] = true
			}
			f.worst = max(f.worst, len(flying))
			f.seen = append(f.seen, fmt.Sprintf("%s at %s: generation %d, %s of %d; %d in flight",
				mm.Name, mm.ResourceVersion, mm.Generation, mm.Status.State, mm.Status.ObservedGeneration, len(flying)))
		}
		select {
		case <-stopped:
		default:
			f.blind = true
		}
	}()
	f.stop = sync.OnceFunc(func() { close(stopped); w.Stop(); <-ended })
	t.Cleanup(f.stop)
	return f
}

// within stops and says if there were more than may be, or none, which would show nothing.
func (f *flights) within(t *testing.T, most int) {
	t.Helper()
	if f.stop(); f.blind || f.worst == 0 {
		t.Errorf("not all was seen: the watch ended by itself: %t; %d in flight of %d events", f.blind, f.worst, len(f.seen))
	}
	if f.worst > most {
		t.Errorf("%d installations were in flight, and %d may be:\n%s", f.worst, most, strings.Join(f.seen, "\n"))
	}
}

const broken = "does-not-exist"

// TestABrokenVersionStopsTheRollout and, if asked for, is taken back.
func TestABrokenVersionStopsTheRollout(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	for title, onFailure := range map[string]run.OnGateFailure{"pause": run.PauseOnFailure, "roll-back": run.RollBackOnFailure} {
		t.Run(title, func(t *testing.T) {
			namespace := fleet(t, c, 3)
			r := rollout(t, c, "broken-"+title, namespace, v1alpha1.InstallationChange{Version: broken, Restart: "now"}, v1alpha1.RolloutStrategy{
				MaxInFlight: number(1), ProgressDeadlineSeconds: new(int32(6)), OnFailure: onFailure,
			})
			if onFailure == run.PauseOnFailure {
				reaches(t, c, r, "halted", phase(v1alpha1.Halted))
				if st := r.Status; st.Failed != 1 || st.AwaitingUpdate != 2 || st.FailedInstallations[0] != namespace+"/"+name(0) {
					t.Errorf("status %+v", st)
				}
				edit(t, c, r, func() {
					r.Spec.Change.Version, r.Spec.Strategy.ProgressDeadlineSeconds = "10.6.1", new(int32(600))
				})
				reaches(t, c, r, "done with a better version", phase(v1alpha1.Succeeded))
				if r.Status.Revision.Sequence < 2 || r.Status.Updated != 3 {
					t.Errorf("status %+v", r.Status)
				}
				return
			}
			reaches(t, c, r, "rolled back", phase(v1alpha1.RolledBack))
			mm := await(t, c, namespace, name(0), "as it was", runs("10.5.2"))
			if mm.Spec.PodTemplate != nil && len(mm.Spec.PodTemplate.ExtraAnnotations) > 0 {
				t.Errorf("what was not there before is still there: %v", mm.Spec.PodTemplate)
			}
			if _, ok := mm.Labels[v1alpha1.GroupLabel]; ok {
				t.Errorf("labels %v", mm.Labels)
			}
			for i := 1; i < 3; i++ {
				if mm := await(t, c, namespace, name(i), "stable", stable); mm.Annotations[v1alpha1.ChangeAnnotation] != "" {
					t.Errorf("%s was changed", mm.Name)
				}
			}
		})
	}
}

// TestHibernatedCatchUp: who sleeps holds up nobody, and gets the change on waking.
func TestHibernatedCatchUp(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 2)
	asleep := await(t, c, namespace, name(0), "stable", stable)
	edit(t, c, asleep, func() { asleep.Spec.Replicas = new(int32(0)) })
	await(t, c, namespace, name(0), "asleep", stable)
	r := rollout(t, c, "hibernated", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{Waves: []v1alpha1.InstallationWave{{Size: number(1)}}})
	reaches(t, c, r, "done but for one", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Succeeded && st.Updated == 1 && st.Hibernating == 1
	})
	edit(t, c, asleep, func() { asleep.Spec.Replicas = new(int32(1)) })
	if mm := await(t, c, namespace, name(0), "updated", runs("10.6.0")); *mm.Spec.Replicas != 1 {
		t.Errorf("it has %d replicas", *mm.Spec.Replicas)
	}
	reaches(t, c, r, "done", func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Updated == 2 })
}

// TestNewerRolloutsSupersede: of two over the same installations the newer one has them;
// when that is deleted in the middle, what it changed stays, and the older one does not take
// it back.
func TestNewerRolloutsSupersede(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 3)
	older := rollout(t, c, "older", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{})
	reaches(t, c, older, "done", phase(v1alpha1.Succeeded))
	newer := rollout(t, c, "newer", namespace, v1alpha1.InstallationChange{Env: []corev1.EnvVar{{Name: "OURS", Value: "1"}}}, v1alpha1.RolloutStrategy{
		Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 3600}},
	})
	reaches(t, c, older, "superseded", phase(v1alpha1.Superseded))
	reaches(t, c, newer, "soaking", phase(v1alpha1.Soaking))
	if newer.Status.Revision.Sequence <= older.Status.Revision.Sequence {
		t.Errorf("sequences %d and then %d", older.Status.Revision.Sequence, newer.Status.Revision.Sequence)
	}
	if err := c.Delete(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, older, "in charge of the two that the newer one did not reach", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Succeeded && st.Total == 2 && st.Superseded == 1
	})
	mm := await(t, c, namespace, name(0), "stable", runs("10.6.0"))
	if len(mm.Spec.MattermostEnv) != 2 || mm.Labels[v1alpha1.GroupLabel] != "newer" {
		t.Errorf("what the deleted roll-out did is gone: %v, %v", mm.Spec.MattermostEnv, mm.Labels)
	}
}

// TestNothingSelected says so, and begins when there is something.
func TestNothingSelected(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := fleet(t, c, 1)
	r := rollout(t, c, "nothing", namespace+"-not", v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{})
	reaches(t, c, r, "stalled", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return len(st.Waits) == 1 && st.Waits[0].Reason == v1alpha1.ReasonNothingSelected
	})
	edit(t, c, r, func() { r.Spec.Namespaces = []string{namespace} })
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
}
