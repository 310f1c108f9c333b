package installation

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// renewed is a cluster in which the pods of one installation are replaced. Its controllers
// do one thing at a time, in whatever order the test draws.
type renewed struct {
	mm  *v1beta1.Mattermost
	now time.Time
	// deployment is the one of the installation's name; nil for none.
	deployment *appsv1.Deployment
	// orphaning says that the former one is about to go.
	orphaning bool
	sets      map[string]*OutgoingSet
	pods      map[string]*OutgoingPod
	new       map[string]*OutgoingPod
	// selector is the Service's, and unready that it sends to pods that are not ready.
	selector map[string]string
	unready  bool
	made     int
	stops    bool
}

func startRenewed(t *rapid.T) *renewed {
	mm := external().Mattermost
	mm.UID, mm.Generation = "mm", 1
	mm.Spec.Replicas = new(int32(rapid.IntRange(0, 6).Draw(t, "replicas")))
	mm.Annotations = map[string]string{v1beta1.MigrationModeAnnotation: v1beta1.MigrationRecreate}
	mm.Status.Lineage, mm.Status.Shape = v1beta1.LineageV1alpha1, v1beta1.ShapeStrict
	mm.Status.MigratedFrom = &v1beta1.MigratedFrom{UID: "ci"}
	w := &renewed{mm: Default(mm), now: somewhen, sets: map[string]*OutgoingSet{}, pods: map[string]*OutgoingPod{}, new: map[string]*OutgoingPod{}, selector: OlderSelector(mm)}
	if w.stops = rapid.Bool().Draw(t, "all pods stop first"); w.stops {
		w.mm.Spec.DeploymentTemplate = &v1beta1.DeploymentTemplate{DeploymentStrategyType: string(appsv1.RecreateDeploymentStrategyType)}
	}
	w.deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: mm.Namespace, Name: mm.Name, UID: "former"}}
	w.deployment.Spec.Replicas, w.deployment.Spec.Selector = w.mm.Spec.Replicas, &metav1.LabelSelector{MatchLabels: OlderSelector(mm)}
	w.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: image(w.mm)}}
	w.sets["old"] = &OutgoingSet{Name: "old", UID: "old", Controller: "former", Replicas: *w.mm.Spec.Replicas, Labels: OlderSelector(mm)}
	w.sets["history"] = &OutgoingSet{Name: "history", UID: "history", Controller: "former", Labels: OlderSelector(mm)}
	for range *w.mm.Spec.Replicas {
		w.start(w.pods, w.sets["old"]).Ready = true
	}
	return w
}

// start makes a pod of a set, or one of the new Deployment.
func (w *renewed) start(pods map[string]*OutgoingPod, of *OutgoingSet) *OutgoingPod {
	w.made++
	pod := &OutgoingPod{Name: fmt.Sprintf("pod-%02d", w.made), UID: types.UID(fmt.Sprint(w.made))}
	pod.Labels = NewerSelector(w.mm)
	if of != nil {
		pod.Set, pod.Labels = of.UID, maps.Clone(of.Labels)
	}
	pods[pod.Name] = pod
	return pod
}

func (w *renewed) snapshot() Snapshot {
	s := Snapshot{Mattermost: w.mm.DeepCopy(), Secrets: external().Secrets, Deployment: w.deployment.DeepCopy()}
	if w.deployment != nil {
		s.Live = []inventory.Live{{Ref: s.ref(deploymentKind, w.mm.Name), UID: w.deployment.UID, Controller: w.mm.UID, Deleting: w.orphaning}}
	}
	if w.orphaning {
		s.Deployment.DeletionTimestamp = new(metav1.NewTime(w.now))
	}
	if Renewing(w.mm) {
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			set := *w.sets[name]
			set.Labels = maps.Clone(set.Labels)
			s.Outgoing.Sets = append(s.Outgoing.Sets, set)
		}
		s.Outgoing.Pods, s.Outgoing.New = w.seen(w.pods), w.seen(w.new)
	}
	return s
}

func (w *renewed) seen(pods map[string]*OutgoingPod) []OutgoingPod {
	var all []OutgoingPod
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		pod := *pods[name]
		pod.Labels, pod.Routed = maps.Clone(pod.Labels), w.routed(pods[name])
		all = append(all, pod)
	}
	return all
}

// routed reports whether the Service sends to a pod. It keeps up at once.
func (w *renewed) routed(pod *OutgoingPod) bool {
	return has(pod.Labels, w.selector) && (pod.Ready || w.unready) && !pod.Deleting
}

func (w *renewed) serving() int {
	n := 0
	for _, pod := range slices.Concat(w.seen(w.pods), w.seen(w.new)) {
		if pod.Ready && pod.Routed {
			n++
		}
	}
	return n
}

// pass is one reconcile, which may be killed after some steps.
func (w *renewed) pass(t *rapid.T) {
	s := w.snapshot()
	p := Decide(s, w.now)
	steps := p.Steps
	killed := len(steps) > 0 && rapid.IntRange(0, 3).Draw(t, "killed") == 0
	if killed {
		steps = steps[:rapid.IntRange(0, len(steps)-1).Draw(t, "after")]
	}
	outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
	for _, step := range steps {
		w.act(t, step.Action)
		outcome.Done = append(outcome.Done, step)
	}
	if !killed {
		w.mm.Status = ReportAll(s, p, outcome, w.now).Status
	}
}

func (w *renewed) act(t *rapid.T, action plan.Action) {
	switch action := action.(type) {
	case plan.Apply:
		w.apply(t, action.Object)
	case plan.Delete:
		if action.Ref.GroupKind() != deploymentKind || !action.Orphan || action.UID != "former" || w.mm.Status.Renewal == nil {
			t.Fatalf("it does: %+v", action)
		}
		w.orphaning = true
	case ChangePod:
		pod := w.pods[action.Ref.Name]
		if pod == nil {
			return
		}
		maps.Copy(pod.Labels, action.Labels)
		for _, key := range action.Without {
			delete(pod.Labels, key)
		}
		if action.Annotations[LeavingAnnotation] != "" {
			pod.Leaving = w.now
		}
	case ChangeSet:
		set := w.sets[action.Ref.Name]
		if action.Owner != nil {
			if set.Controller != "" {
				t.Fatal("the set has an owner")
			}
			set.Controller = action.Owner.UID
		}
		if action.Labels != nil {
			set.Labels = maps.Clone(set.Labels)
			maps.Copy(set.Labels, action.Labels)
		}
		if action.Replicas != nil {
			set.Replicas = *action.Replicas
		}
	case DeleteSet:
		if set := w.sets[action.Ref.Name]; set.Replicas != 0 {
			t.Fatalf("the set has pods: %+v", set)
		}
		delete(w.sets, action.Ref.Name)
	default:
	}
}

func (w *renewed) apply(t *rapid.T, object *unstructured.Unstructured) {
	switch plan.RefTo(object).GroupKind() {
	case serviceKind:
		w.selector, _, _ = unstructured.NestedStringMap(object.Object, "spec", "selector")
		w.unready, _, _ = unstructured.NestedBool(object.Object, "spec", "publishNotReadyAddresses")
	case deploymentKind:
		labels, _, _ := unstructured.NestedStringMap(object.Object, "spec", "selector", "matchLabels")
		replicas, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
		if w.deployment == nil {
			w.deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.mm.Namespace, Name: w.mm.Name, UID: "newer"}}
			w.deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
			w.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: image(w.mm)}}
		}
		if !maps.Equal(labels, w.deployment.Spec.Selector.MatchLabels) {
			t.Fatalf("a Deployment cannot change its selector to %v", labels)
		}
		w.deployment.Spec.Replicas = new(int32(replicas))
	default:
	}
}

// step has one of Kubernetes' controllers do something, or time pass.
func (w *renewed) step(t *rapid.T) {
	switch rapid.SampledFrom([]string{"orphan", "sets", "stopped", "new pods", "ready", "time"}).Draw(t, "next") {
	case "orphan":
		if w.orphaning {
			w.orphaning, w.deployment = false, nil
			for _, set := range w.sets {
				set.Controller = ""
			}
		}
	case "sets":
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			w.scale(w.sets[name])
		}
	case "stopped":
		w.stop()
	case "new pods":
		if SelectsNewer(w.deployment) {
			for int32(len(w.new)) < *w.deployment.Spec.Replicas {
				w.start(w.new, nil)
			}
		}
	case "ready":
		for _, pod := range w.new {
			pod.Ready = true
		}
		for _, pod := range w.pods {
			pod.Ready = true
		}
	case "time":
		w.now = w.now.Add(5 * time.Second)
	}
}

// stop has the pods that are stopping be gone.
func (w *renewed) stop() {
	maps.DeleteFunc(w.pods, func(_ string, pod *OutgoingPod) bool { return pod.Deleting })
}

// running is how many pods there are that are not stopping.
func (w *renewed) running() int {
	n := len(w.new)
	for _, pod := range w.pods {
		if !pod.Deleting {
			n++
		}
	}
	return n
}

// scale has a set as many pods as it is to have. Which ones go is as Kubernetes chooses.
func (w *renewed) scale(set *OutgoingSet) {
	var mine []*OutgoingPod
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		if pod := w.pods[name]; pod.Set == set.UID && !pod.Deleting {
			mine = append(mine, pod)
		}
	}
	rank := func(p *OutgoingPod) int {
		switch {
		case !p.Ready:
			return 0
		case !p.Leaving.IsZero():
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(mine, func(a, b *OutgoingPod) int { return rank(a) - rank(b) })
	for int32(len(mine)) > set.Replicas {
		mine[0].Deleting = true
		mine = mine[1:]
	}
	for int32(len(mine)) < set.Replicas {
		mine = append(mine, w.start(w.pods, set))
	}
}

// TestRenewal: in whatever order things happen, and wherever it is killed, all pods are
// replaced in the end, as many as are wanted serve all along, and there is never more than
// one beyond that, besides those that are stopping.
func TestRenewal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := startRenewed(t)
		wanted := int(*w.mm.Spec.Replicas)
		check := func() {
			if n := w.serving(); n < wanted && !w.stops {
				t.Fatalf("%d of %d serve: %+v, %+v; the Service selects %v", n, wanted, w.seen(w.pods), w.seen(w.new), w.selector)
			}
			if n := w.running(); n > wanted+1 {
				t.Fatalf("%d pods for %d", n, wanted)
			}
			if w.stops && len(w.pods) > 0 && len(w.new) > 0 {
				t.Fatal("both run")
			}
			if w.unready && (len(w.pods) > 0 || w.serving() < wanted) {
				t.Fatal("requests are sent to pods that are not ready")
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "pass") {
				w.pass(t)
			} else {
				w.step(t)
			}
			check()
		}
		for n := 0; n < 200 && (n < 3 || Renewing(w.mm) || !w.unready); n++ {
			w.settle(t)
			check()
		}
		if Renewing(w.mm) || len(w.pods) > 0 || len(w.sets) > 0 || len(w.new) != wanted || !SelectsNewer(w.deployment) || !maps.Equal(w.selector, NewerSelector(w.mm)) || !w.unready {
			t.Fatalf("it does not come to an end: %+v; pods %v and %v, sets %v, Service %v", w.mm.Status.Renewal, w.seen(w.pods), w.seen(w.new), w.sets, w.selector)
		}
	})
}

// TestFormerPods: a set that is to have fewer pods counts with those that still run.
func TestFormerPods(t *testing.T) {
	t.Parallel()
	pod := OutgoingPod{Set: "old"}
	stopping := OutgoingPod{Set: "old", Deleting: true}
	for _, test := range []struct {
		name     string
		replicas int32
		pods     []OutgoingPod
		want     int32
	}{
		{"all run", 2, []OutgoingPod{pod, pod}, 2},
		{"one is about to be stopped", 1, []OutgoingPod{pod, pod}, 2},
		{"one is stopping", 1, []OutgoingPod{pod, stopping}, 1},
		{"one is about to be made", 2, []OutgoingPod{pod}, 2},
	} {
		all := Outgoing{Sets: []OutgoingSet{{UID: "old", Replicas: test.replicas}, {UID: "history"}}, Pods: test.pods}
		if got := all.former(); got != test.want {
			t.Errorf("%s: %d former pods, want %d", test.name, got, test.want)
		}
	}
}

// settle has everybody do what there is to do.
func (w *renewed) settle(t *rapid.T) {
	s := w.snapshot()
	p := Decide(s, w.now)
	for _, step := range p.Steps {
		w.act(t, step.Action)
	}
	w.mm.Status = ReportAll(s, p, plan.Outcome{Done: p.Steps, Applied: map[plan.Ref]string{}}, w.now).Status
	if w.orphaning {
		w.orphaning, w.deployment = false, nil
		for _, set := range w.sets {
			set.Controller = ""
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.sets)) {
		w.scale(w.sets[name])
	}
	w.stop()
	if SelectsNewer(w.deployment) {
		for int32(len(w.new)) < *w.deployment.Spec.Replicas {
			w.start(w.new, nil)
		}
	}
	for _, pod := range w.new {
		pod.Ready = true
	}
	w.now = w.now.Add(time.Second)
}

// TestUnknownMode: a mode that is none is told, and counts as the default.
func TestUnknownMode(t *testing.T) {
	t.Parallel()
	for mode, told := range map[string]int{"": 0, v1beta1.MigrationInPlace: 0, v1beta1.MigrationRecreate: 0, "recreate": 1} {
		mm := external().Mattermost
		mm.Annotations = map[string]string{v1beta1.MigrationModeAnnotation: mode}
		if got := unknownMode(mm); len(got) != told {
			t.Errorf("%q: %v", mode, got)
		}
	}
}
