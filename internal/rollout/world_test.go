package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

const bad = "bad" // A version whose pods never start.

var epoch = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// world is a cluster: installations that somebody looks after, and one roll-out.
type world struct {
	t       rapid.TB
	now     time.Time
	rollout *v1alpha1.InstallationRollout
	others  []v1alpha1.InstallationRollout
	// live has the installations, and past what each was since our last write, oldest first.
	live    map[string]*installations.Mattermost
	past    map[string][]*installations.Mattermost
	version int
	made    int
	// mine is the generation that our last write led to, and wants what its user wants.
	mine  map[string]int64
	wants map[string]string
	// writes are those of the controller, and changes those of them to installations.
	writes, changes int
}

func newWorld(t rapid.TB, n int, spec v1alpha1.InstallationRolloutSpec) *world {
	w := &world{t: t, now: epoch, live: map[string]*installations.Mattermost{}, past: map[string][]*installations.Mattermost{}, mine: map[string]int64{}, wants: map[string]string{}}
	w.rollout = &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "june", UID: "june-uid", Generation: 1}, Spec: spec}
	for range n {
		w.create()
	}
	return w
}

func (w *world) create() string {
	w.made++
	name := fmt.Sprintf("ns/i%03d", w.made)
	mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name[3:], UID: types.UID(name), Generation: 1, Labels: map[string]string{"zone": strconv.Itoa(w.made % 3), "ring": strconv.Itoa(w.made % 4)},
	}}
	mm.Spec.Version, mm.Spec.Replicas = "1", new(int32(1))
	mm.Spec.Scheduling.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	mm.Spec.MattermostEnv = []corev1.EnvVar{{Name: "USERS", Value: name}, {Name: "SHARED", Value: "old"}}
	w.wants[name] = name
	w.store(mm)
	w.settle(name)
	return name
}

func (w *world) names() []string {
	var names []string
	for name := range w.live {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (w *world) store(mm *installations.Mattermost) {
	name := mm.Namespace + "/" + mm.Name
	w.version++
	mm.ResourceVersion = strconv.Itoa(w.version)
	if was := w.live[name]; was != nil && !same(was.Spec, mm.Spec) {
		mm.Generation = was.Generation + 1
	}
	w.live[name] = mm
	w.past[name] = append(w.past[name], mm)
}

func (w *world) edit(name string, change func(*installations.Mattermost)) {
	mm := w.live[name].DeepCopy()
	change(mm)
	w.store(mm)
}

// hold pauses one by its annotation, or resumes it.
func (w *world) hold(name string) {
	w.edit(name, func(mm *installations.Mattermost) {
		all := maps.Clone(mm.Annotations)
		if all == nil {
			all = map[string]string{}
		}
		if all[installations.PausedAnnotation] == "true" {
			delete(all, installations.PausedAnnotation)
			delete(w.mine, name) // It is in flight again because of whoever resumes it.
		} else {
			all[installations.PausedAnnotation] = "true"
		}
		mm.Annotations = all
	})
}

// settle is a pass of who looks after installations.
func (w *world) settle(name string) {
	if w.live[name].Annotations[installations.PausedAnnotation] == "true" {
		w.rest(name)
		return
	}
	if w.live[name].Spec.Size != "" {
		w.edit(name, func(mm *installations.Mattermost) {
			complete := installation.Default(mm)
			mm.Spec.Size, mm.Spec.Replicas, mm.Spec.Scheduling.Resources = "", complete.Spec.Replicas, complete.Spec.Scheduling.Resources
		})
	}
	w.edit(name, func(mm *installations.Mattermost) {
		mm.Status.ObservedGeneration = mm.Generation
		resumed(mm)
		ready := metav1.ConditionTrue
		mm.Status.State = installations.Stable
		if mm.Spec.Version == bad && *mm.Spec.Replicas > 0 {
			mm.Status.State, ready = installations.Reconciling, metav1.ConditionFalse
		} else if *mm.Spec.Replicas > 0 {
			mm.Status.StableGeneration = mm.Generation
		}
		w.says(mm, installations.ConditionReady, ready, "Looked")
	})
}

// resumed is what a pass says first of one that is not paused any more.
func resumed(mm *installations.Mattermost) {
	all := &mm.Status.Conditions
	paused, was := meta.FindStatusCondition(*all, installations.ConditionPaused), meta.FindStatusCondition(*all, installations.ConditionReady)
	if paused != nil && was != nil && was.Reason == installations.ReasonPaused && !was.LastTransitionTime.Before(&paused.LastTransitionTime) {
		meta.RemoveStatusCondition(all, installations.ConditionReady)
	}
	meta.RemoveStatusCondition(all, installations.ConditionPaused)
	meta.RemoveStatusCondition(all, installations.ConditionStalled)
}

// rest is a pass over one that is paused.
func (w *world) rest(name string) {
	w.edit(name, func(mm *installations.Mattermost) {
		w.says(mm, installations.ConditionPaused, metav1.ConditionTrue, installations.ReasonPaused)
		if mm.Status.ObservedGeneration == mm.Generation {
			return
		}
		mm.Status.State = installations.Reconciling
		w.says(mm, installations.ConditionReady, metav1.ConditionFalse, installations.ReasonPaused)
		w.says(mm, installations.ConditionStalled, metav1.ConditionTrue, installations.ReasonPaused)
	})
}

func (w *world) says(mm *installations.Mattermost, kind string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&mm.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(w.now)})
}

// observe is a snapshot. A stale one has some installations as they once were since the
// controller last wrote them.
func (w *world) observe(stale func(versions int) int) Snapshot {
	s := Snapshot{Rollout: w.rollout.DeepCopy(), Others: w.others, Observed: map[string]gate.Observation{}}
	for _, name := range w.names() {
		versions := w.past[name]
		s.Installations = append(s.Installations, Read(versions[stale(len(versions))]))
	}
	return s
}

func fresh(versions int) int { return versions - 1 }

// tick is a pass of the controller, which dies after some writes if that is not negative.
func (w *world) tick(stale func(int) int, dies int) {
	s := w.observe(stale)
	p := Decide(s, w.now)
	for _, step := range p.Steps {
		if dies == 0 {
			return
		}
		dies--
		switch a := step.Action.(type) {
		case Apply:
			w.apply(a)
		case Merge:
			w.giveBack(a)
		}
	}
	if dies == 0 {
		return
	}
	after := Report(s, p, planOutcome, w.now)
	if !same(after.Status, w.rollout.Status) {
		w.writes++
	}
	spec := w.rollout.Spec
	w.rollout = after
	w.rollout.Spec = spec
}

// apply is a server-side apply, of what this package applies: what it leaves out and we
// alone had set is removed.
func (w *world) apply(a Apply) {
	was := w.live[a.Installation]
	if was == nil || was.ResourceVersion != a.Object.GetResourceVersion() {
		return
	}
	mm := was.DeepCopy()
	spec := content(mm)
	remove(owned(mm)["f:spec"], spec)
	applied, _ := a.Object.Object["spec"].(object)
	merge(spec, applied)
	mm.Spec = installations.MattermostSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &mm.Spec); err != nil {
		w.t.Fatal(err)
	}
	maps.Copy(mm.Labels, a.Object.GetLabels())
	if mm.Annotations == nil {
		mm.Annotations = map[string]string{}
	}
	maps.Copy(mm.Annotations, a.Object.GetAnnotations())
	raw, err := json.Marshal(object{"f:spec": fieldsOf(applied)})
	if err != nil {
		w.t.Fatal(err)
	}
	mm.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: v1alpha1.Manager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(string(raw))}}
	w.wrote(a.Installation, a, mm)
}

// giveBack is a merge patch. What it changes is no longer what an apply has set.
func (w *world) giveBack(a Merge) {
	was := w.live[a.Installation]
	if was == nil {
		return
	}
	text, err := jsonpatch.MergePatch(must(was), a.Patch)
	if err != nil {
		w.t.Fatal(err)
	}
	mm := &installations.Mattermost{}
	if err := json.Unmarshal(text, mm); err != nil {
		w.t.Fatal(err)
	}
	if mm.ResourceVersion != was.ResourceVersion {
		return
	}
	mm.ManagedFields = nil
	w.wrote(a.Installation, a, mm)
}

// wrote stores what the controller wrote, and looks whether it was allowed to.
func (w *world) wrote(name string, action plan.Action, mm *installations.Mattermost) {
	// What is in flight already, such as with a former revision, has its place there: also one
	// that somebody has woken while another one had that.
	placed := w.flies(w.live[name])
	w.writes++
	w.changes++
	w.store(mm)
	w.past[name] = []*installations.Mattermost{mm}
	w.mine[name] = mm.Generation
	if !placed {
		w.checkLimits(name, action, func(*installations.Mattermost) bool { return true })
	}
	if _, back := action.(Merge); !back {
		w.checkLimits(name, action, w.hasRevision)
		w.checkWaves(action)
	}
}

func fieldsOf(value any) object {
	out := object{}
	if m, ok := value.(object); ok {
		for key, v := range m {
			out["f:"+key] = fieldsOf(v)
		}
	}
	return out
}

func remove(fields any, from object) {
	set, _ := fields.(object)
	for name, below := range set {
		key := name[2:]
		if inner, ok := from[key].(object); ok && len(below.(object)) > 0 {
			if remove(below, inner); len(inner) > 0 {
				continue
			}
		}
		delete(from, key)
	}
}

func merge(to, from object) {
	for key, value := range from {
		if inner, ok := value.(object); ok {
			if _, ok := to[key].(object); !ok {
				to[key] = object{}
			}
			merge(to[key].(object), inner)
			continue
		}
		to[key] = value
	}
}

// inFlight are those that are in flight because of the controller and nobody else.
func (w *world) inFlight(of func(*installations.Mattermost) bool) int {
	n := 0
	for name, mm := range w.live {
		if mm.Generation == w.mine[name] && of(mm) && w.flies(mm) {
			n++
		}
	}
	return n
}

// flies says that an installation is in flight, whoever is to blame.
func (w *world) flies(mm *installations.Mattermost) bool {
	i := Read(mm)
	if i.Record == nil || i.Settled || i.shown || i.Deleting {
		return false
	}
	failed, _ := i.failed(w.now, time.Duration(*w.rollout.Spec.Strategy.ProgressDeadlineSeconds)*time.Second)
	return !failed
}

func (w *world) hasRevision(mm *installations.Mattermost) bool {
	r := Read(mm).Record
	return r != nil && r.Sequence == w.rollout.Status.Revision.Sequence
}

// checkLimits wants that, of some, not too many are in flight.
func (w *world) checkLimits(name string, action plan.Action, of func(*installations.Mattermost) bool) {
	strategy := w.rollout.Spec.Strategy
	if n := w.inFlight(of); n > strategy.MaxInFlight.IntValue() {
		w.t.Fatalf("%s: %d are in flight, %d may be", action, n, strategy.MaxInFlight.IntValue())
	}
	for _, l := range strategy.Limits {
		value := w.live[name].Labels[l.Label]
		n := w.inFlight(func(mm *installations.Mattermost) bool { return mm.Labels[l.Label] == value && of(mm) })
		if n > l.MaxInFlight.IntValue() {
			w.t.Fatalf("%s: %d of %s=%s are in flight, %d may be", action, n, l.Label, value, l.MaxInFlight.IntValue())
		}
	}
}

// checkWaves wants that no wave has more than its size, until all of them are done: who is made
// or wakes after that follows without waves.
func (w *world) checkWaves(action plan.Action) {
	strategy, status := w.rollout.Spec.Strategy, &w.rollout.Status
	if int(status.Wave) >= len(strategy.Waves) || status.Phase == v1alpha1.Succeeded {
		return
	}
	// Those that no selector of a wave so far selects came by the waves of a size.
	may, touched := 0, 0
	waves := strategy.Waves[:status.Wave+1]
	for _, wave := range waves {
		if wave.Size != nil {
			may += wave.Size.IntValue()
		}
	}
	for _, mm := range w.live {
		selected := slices.ContainsFunc(waves, func(wave v1alpha1.InstallationWave) bool {
			return wave.Selector != nil && slices.Contains(wave.Selector.MatchExpressions[0].Values, mm.Labels["ring"])
		})
		if w.hasRevision(mm) && mm.DeletionTimestamp == nil && !selected {
			touched++
		}
	}
	if touched > may {
		w.t.Fatalf("%s: wave %d has %d installations, and all waves so far may have %d", action, status.Wave, touched, may)
	}
}

func (w *world) userFields() {
	for name, mm := range w.live {
		i := slices.IndexFunc(mm.Spec.MattermostEnv, func(v corev1.EnvVar) bool { return v.Name == "USERS" })
		if i < 0 || mm.Spec.MattermostEnv[i].Value != w.wants[name] {
			w.t.Fatalf("%s: what its user wants is gone: %v", name, mm.Spec.MattermostEnv)
		}
	}
}

// run lets everything come to rest.
func (w *world) run(t rapid.TB) {
	t.Helper()
	for range 400 {
		before := w.writes
		w.tick(fresh, -1)
		for _, name := range w.names() {
			w.settle(name)
		}
		if w.writes == before && Over(w.rollout.Status.Phase) {
			return
		}
		w.now = w.now.Add(7 * time.Second)
	}
	t.Fatalf("it does not come to rest: %s, waits %v", w.rollout.Status.Phase, w.rollout.Status.Waits)
}
