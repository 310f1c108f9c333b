package nodeimages

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/sim"
	"windlass.dev/internal/nodeimage"
	"windlass.dev/internal/rotation"
)

// revision of one image.
func revision(id string) string { return nodeimage.Revision([]v1alpha1.Image{{ID: id}}) }

// example is a NodeImage with a parameter and a group, whose machines run ami-0.
type example struct {
	*fixture
	name string
}

func (f *fixture) example(t *testing.T, name string, spec v1alpha1.NodeImageSpec) *example {
	t.Helper()
	f.parameter(t, "/"+name, "ami-0")
	if err := f.machines.AddGroup(name, sim.Group{Size: 2, Max: 4, Zones: []string{"a"}, Image: "ami-0"}); err != nil {
		t.Fatal(err)
	}
	spec.Sources, spec.IntervalSeconds = []v1alpha1.ImageSource{{SSMParameter: "/" + name, Region: region}}, 10
	for _, object := range []client.Object{
		&v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeGroupSpec{Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: name}}, Image: name}},
		&v1alpha1.NodeImage{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec},
	} {
		if err := f.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return &example{f, name}
}

func (x *example) image(t *testing.T) *v1alpha1.NodeImage {
	t.Helper()
	var image v1alpha1.NodeImage
	if err := x.Get(t.Context(), types.NamespacedName{Name: x.name}, &image); err != nil {
		t.Fatal(err)
	}
	return &image
}

// says waits until the condition Ready has a reason, and a message with the words.
func (x *example) says(t *testing.T, reason string, words ...string) *v1alpha1.NodeImage {
	t.Helper()
	var last *v1alpha1.NodeImage
	waitFor(t, x.name+" to say "+reason+" "+strings.Join(words, ", "), func() bool {
		last = x.image(t)
		ready := meta.FindStatusCondition(last.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason || last.Status.ObservedGeneration != last.Generation {
			return false
		}
		for _, word := range words {
			if !strings.Contains(ready.Message, word) {
				return false
			}
		}
		return true
	})
	return last
}

func (x *example) edit(t *testing.T, change func(*v1alpha1.NodeImageSpec)) {
	t.Helper()
	image := x.image(t)
	was := image.DeepCopy()
	change(&image.Spec)
	if err := x.Patch(t.Context(), image, client.MergeFrom(was)); err != nil {
		t.Fatal(err)
	}
}

// runs are those of the image; at most one of them may be going.
func (x *example) runs(t *testing.T) map[string]v1alpha1.NodeRotation {
	t.Helper()
	var list v1alpha1.NodeRotationList
	if err := x.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	all, going := map[string]v1alpha1.NodeRotation{}, 0
	for _, r := range list.Items {
		if owner := metav1.GetControllerOf(&r); owner != nil && owner.Kind == "NodeImage" && owner.Name == x.name {
			if all[r.Name] = r; !rotation.Finished(r.Status.Phase) {
				going++
			}
		}
	}
	if going > 1 {
		t.Fatalf("%d runs of %s are going", going, x.name)
	}
	return all
}

func (x *example) begins(t *testing.T, id string) v1alpha1.NodeRotation {
	t.Helper()
	name := x.name + "-" + revision(id)
	t.Cleanup(func() { x.tellIfFailed(t) })
	waitFor(t, "NodeRotation "+name, func() bool { return x.runs(t)[name].Name != "" && x.image(t).Status.Rotation == name })
	run := x.runs(t)[name]
	if len(run.Spec.Groups) != 1 || run.Spec.Groups[0] != x.name {
		t.Errorf("the run has the groups %v", run.Spec.Groups)
	}
	if approved := x.image(t).Status.Approved; approved == nil || approved.Revision != revision(id) {
		t.Errorf("approved is %v", approved)
	}
	return run
}

// tellIfFailed says how everything stood, for whoever looks into a failure.
func (x *example) tellIfFailed(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	var image v1alpha1.NodeImage
	var group v1alpha1.NodeGroup
	var runs v1alpha1.NodeRotationList
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline) // The test is over, and so is its context.
	defer cancel()
	key := types.NamespacedName{Name: x.name}
	err := errors.Join(x.Get(ctx, key, &image), x.Get(ctx, key, &group), x.List(ctx, &runs))
	t.Logf("image %+v\ngroup %+v\n%v", image.Status, group.Status, err)
	for i := range runs.Items {
		t.Logf("run %s %+v: %+v", runs.Items[i].Name, runs.Items[i].Spec, runs.Items[i].Status)
	}
}

// abort ends a run before its time.
func (x *example) abort(t *testing.T, run *v1alpha1.NodeRotation) {
	t.Helper()
	was := run.DeepCopy()
	run.Spec.End = v1alpha1.EndAbort
	if err := x.Patch(t.Context(), run, client.MergeFrom(was)); err != nil {
		t.Fatal(err)
	}
}

func TestImagesAreRolledOut(t *testing.T) {
	t.Parallel()
	f := start(t)
	// In a group, so that Windlass goes on until all of them have ended.
	t.Run("", func(t *testing.T) {
		t.Run("automatic", f.automatic)
		t.Run("manual", f.manual)
		t.Run("young", f.young)
	})
}

func (f *fixture) automatic(t *testing.T) {
	t.Parallel()
	x := f.example(t, "automatic", v1alpha1.NodeImageSpec{Approval: v1alpha1.Automatic, Strategy: &v1alpha1.Strategy{MinReadySeconds: new(int32(1))}})
	x.says(t, v1alpha1.ReasonUpToDate)
	if n := len(x.runs(t)); n != 0 {
		t.Errorf("%d runs were begun, and all nodes run the image", n)
	}
	var group v1alpha1.NodeGroup
	if err := x.Get(t.Context(), types.NamespacedName{Name: x.name}, &group); err != nil {
		t.Fatal(err)
	}
	if st := group.Status; st.Nodes != 2 || st.Outdated != 0 || st.Revision != revision("ami-0") {
		t.Errorf("the group's status is %+v", st)
	}

	f.parameter(t, "/automatic", "ami-1")
	run := x.begins(t, "ami-1")
	if run.Spec.Strategy == nil || *run.Spec.Strategy.MinReadySeconds != 1 {
		t.Errorf("the run's strategy is %v", run.Spec.Strategy)
	}
	waitFor(t, "the metrics", func() bool { return f.gauge(t, "windlass_node_group_outdated_nodes", x.name) == 2 })

	f.parameter(t, "/automatic", "ami-2")
	image := x.says(t, v1alpha1.ReasonRotating, "revision "+revision("ami-2"), "waits for the end of NodeRotation "+run.Name)
	if image.Status.Approved.Revision != revision("ami-1") || len(x.runs(t)) != 1 {
		t.Errorf("approved is %s, and the runs are %v", image.Status.Approved.Revision, x.runs(t))
	}
	x.abort(t, &run)
	x.begins(t, "ami-2")
}

func (f *fixture) manual(t *testing.T) {
	t.Parallel()
	x := f.example(t, "manual", v1alpha1.NodeImageSpec{})
	x.says(t, v1alpha1.ReasonApprovalPending, revision("ami-0"))
	x.edit(t, func(s *v1alpha1.NodeImageSpec) { s.Approved = revision("ami-0") })
	x.says(t, v1alpha1.ReasonUpToDate)

	f.parameter(t, "/manual", "ami-3")
	x.says(t, v1alpha1.ReasonApprovalPending, revision("ami-3"))
	x.edit(t, func(s *v1alpha1.NodeImageSpec) { s.Approved = "unknown" })
	image := x.says(t, v1alpha1.ReasonUnknownRevision, "latest "+revision("ami-3"), "approved "+revision("ami-0"))
	if image.Status.Approved.Revision != revision("ami-0") || len(x.runs(t)) != 0 {
		t.Errorf("approved is %s, and the runs are %v", image.Status.Approved.Revision, x.runs(t))
	}
	x.edit(t, func(s *v1alpha1.NodeImageSpec) { s.Approved = revision("ami-3") })
	run := x.begins(t, "ami-3")

	x.abort(t, &run)
	image = x.says(t, v1alpha1.ReasonRotationFailed, run.Name, "delete it to try again")
	if !meta.IsStatusConditionTrue(image.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("the conditions are %v", image.Status.Conditions)
	}
	if err := x.Delete(t.Context(), &run); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "another run", func() bool { r := x.runs(t)[run.Name]; return r.Name != "" && r.UID != run.UID })
}

func (f *fixture) young(t *testing.T) {
	t.Parallel()
	x := f.example(t, "young", v1alpha1.NodeImageSpec{Approval: v1alpha1.Automatic, MinAgeSeconds: 1800})
	x.says(t, v1alpha1.ReasonUpToDate) // It was made an hour ago.
	made := time.Now()
	f.image(t, "ami-young", made)
	f.parameter(t, "/young", "ami-young")
	x.says(t, v1alpha1.ReasonTooYoung, revision("ami-young"), "until "+made.Add(30*time.Minute).UTC().Format("2006-01-02T15:04"))
	f.parameter(t, "/young", "ami-gone")
	image := x.says(t, v1alpha1.ReasonImageNotFound, "parameter /young", "revision "+revision("ami-young"), "is kept")
	if image.Status.Latest.Revision != revision("ami-young") || image.Status.Approved.Revision != revision("ami-0") || len(x.runs(t)) != 0 {
		t.Errorf("the status is %+v, and the runs are %v", image.Status, x.runs(t))
	}
}

// gauge is the value of a metric of a group; -1 without one.
func (f *fixture) gauge(t *testing.T, name, group string) float64 {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == group {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}
