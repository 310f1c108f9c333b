package nodeimage_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/nodeimage"
	"windlass.dev/internal/rotation"
)

// minAge of the images of the world.
const minAge = 10 * time.Minute

// world is a NodeImage with what it depends on: a source, groups and runs.
type world struct {
	t      *rapid.T
	now    time.Time
	image  *v1alpha1.NodeImage
	source v1alpha1.Image
	broken error
	groups []v1alpha1.NodeGroup
	// runs is the revision that the nodes of each group run.
	runs      []string
	rotations []v1alpha1.NodeRotation
	// known is when each revision was first seen, by anybody.
	known   map[string]time.Time
	created map[string]*metav1.Time
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, now: start, known: map[string]time.Time{}, created: map[string]*metav1.Time{}, runs: []string{"", ""},
		image: &v1alpha1.NodeImage{ObjectMeta: metav1.ObjectMeta{Name: "workers", UID: uid, Generation: 1}, Spec: v1alpha1.NodeImageSpec{
			Sources: []v1alpha1.ImageSource{{SSMParameter: "/image", Region: "eu-central-1"}}, MinAgeSeconds: int32(minAge.Seconds()),
		}},
		groups: []v1alpha1.NodeGroup{{ObjectMeta: metav1.ObjectMeta{Name: "apps"}}, {ObjectMeta: metav1.ObjectMeta{Name: "batch"}}},
	}
	w.publish()
	w.image.Spec.Approval = rapid.SampledFrom([]v1alpha1.Approval{v1alpha1.Manual, v1alpha1.Automatic}).Draw(t, "approval")
	return w
}

func (w *world) publish() {
	w.source = v1alpha1.Image{ID: fmt.Sprintf("ami-%d", rapid.IntRange(0, 3).Draw(w.t, "image"))}
	revision := nodeimage.Revision([]v1alpha1.Image{w.source})
	if _, ok := w.created[revision]; !ok {
		if rapid.Bool().Draw(w.t, "dated") {
			w.created[revision] = new(metav1.NewTime(w.now))
		} else {
			w.created[revision] = nil
		}
	}
	w.source.CreatedAt = w.created[revision]
}

func (w *world) wait() {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 900).Draw(w.t, "seconds")) * time.Second)
}

func (w *world) edit() {
	w.image.Generation++
	w.image.Spec.Approval = rapid.SampledFrom([]v1alpha1.Approval{"", v1alpha1.Manual, v1alpha1.Automatic}).Draw(w.t, "approval")
	choices := []string{"", "other"}
	for _, r := range []*v1alpha1.ImageRevision{w.image.Status.Latest, w.image.Status.Latest, w.image.Status.Latest, w.image.Status.Approved} {
		if r != nil {
			choices = append(choices, r.Revision)
		}
	}
	w.image.Spec.Approved = rapid.SampledFrom(choices).Draw(w.t, "approved")
}

// describe is what the controller of NodeGroups does.
func (w *world) describe() {
	for i := range w.groups {
		st := &w.groups[i].Status
		if st.Revision, st.Outdated = "", 0; w.image.Status.Approved == nil {
			continue
		}
		if st.Revision = w.image.Status.Approved.Revision; st.Revision != w.runs[i] {
			st.Outdated = 3
		}
	}
}

// another makes a run that is somebody else's.
func (w *world) another() {
	if len(w.rotations) > 0 && !rotation.Finished(w.rotations[len(w.rotations)-1].Status.Phase) {
		return // One is enough, and more only keep the image waiting.
	}
	w.rotations = append(w.rotations, v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("mine-%d", w.now.Unix())}})
}

// goOn begins or ends a run, in one of the ways in which runs do.
func (w *world) goOn() {
	for i := range w.rotations {
		r := &w.rotations[i]
		switch {
		case rotation.Finished(r.Status.Phase):
		case r.Status.StartedAt == nil:
			w.started(r)
			return
		default:
			r.Status.Phase = rapid.SampledFrom([]v1alpha1.Phase{v1alpha1.Succeeded, v1alpha1.Succeeded, v1alpha1.Failed, v1alpha1.RolledBack}).Draw(w.t, "phase")
			w.ended(r)
			return
		}
	}
}

func (w *world) started(r *v1alpha1.NodeRotation) {
	if w.image.Status.Approved == nil {
		return // It waits for an approval.
	}
	r.Status.StartedAt, r.Status.Phase = new(metav1.NewTime(w.now)), v1alpha1.Rotating
	for j := range w.groups {
		r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupRotation{Name: w.groups[j].Name, Target: v1alpha1.Revision{Name: w.image.Status.Approved.Revision}})
	}
}

func (w *world) ended(r *v1alpha1.NodeRotation) {
	for j := range w.runs {
		if r.Status.Phase == v1alpha1.Succeeded {
			w.runs[j] = r.Status.Groups[j].Target.Name
		}
	}
}

// remove deletes runs that are over.
func (w *world) remove() {
	w.rotations = slices.DeleteFunc(w.rotations, func(r v1alpha1.NodeRotation) bool {
		return rotation.Finished(r.Status.Phase) && rapid.Bool().Draw(w.t, "delete")
	})
}

// pass is one of the controller, which may be killed at any moment of it.
func (w *world) pass(crash bool) {
	s := nodeimage.Snapshot{Image: w.image.DeepCopy(), Groups: w.groups, Rotations: slices.Clone(w.rotations)}
	if nodeimage.Due(w.image, w.now) {
		s.Found = &nodeimage.Found{Images: []v1alpha1.Image{w.source}}
		if w.broken != nil {
			s.Found = &nodeimage.Found{Err: w.broken}
		} else if revision := nodeimage.Revision(s.Found.Images); w.known[revision].IsZero() {
			w.known[revision] = w.now
		}
	}
	p := nodeimage.Decide(s, w.now)
	if p.Wake <= 0 {
		w.t.Fatalf("nothing wakes it")
	}
	if crash && rapid.Bool().Draw(w.t, "before the step") {
		return
	}
	outcome := plan.Outcome{}
	for _, step := range p.Steps {
		if rapid.IntRange(0, 9).Draw(w.t, "refused") == 0 {
			outcome.Failed = append(outcome.Failed, plan.Failure{Step: step, Err: errors.New("refused")})
			continue
		}
		w.begin(step.Action.(nodeimage.Begin).Rotation.DeepCopy())
		outcome.Done = append(outcome.Done, step)
	}
	if crash {
		return
	}
	after := nodeimage.Report(s, p, outcome, w.now)
	if own := w.own(); own != nil && w.image.Status.Approved != nil && after.Status.Approved.Revision != w.image.Status.Approved.Revision {
		w.t.Fatalf("revision %s is approved while %s aims at another", after.Status.Approved.Revision, own.Name)
	}
	w.image = after
}

func (w *world) own() *v1alpha1.NodeRotation {
	for i := range w.rotations {
		if r := &w.rotations[i]; metav1.GetControllerOf(r) != nil && !rotation.Finished(r.Status.Phase) {
			return r
		}
	}
	return nil
}

// begin takes a run, if it is one that may be.
func (w *world) begin(run *v1alpha1.NodeRotation) {
	approved := w.image.Status.Approved
	revision, _, _ := strings.Cut(run.Annotations[v1alpha1.ApprovalAnnotation], "/")
	made := w.known[revision]
	if at := w.created[revision]; at != nil {
		made = at.Time
	}
	switch {
	case approved == nil || approved.Revision != revision:
		w.t.Fatalf("%s is begun, and it is not on record that %s is approved", run.Name, revision)
	case w.image.Spec.Approval != v1alpha1.Automatic && w.image.Spec.Approved != revision:
		w.t.Fatalf("%s is begun, and nobody has approved %s", run.Name, revision)
	case w.now.Sub(made) < minAge:
		w.t.Fatalf("%s is begun when %s is %s old", run.Name, revision, w.now.Sub(made))
	case len(run.Spec.Groups) != len(w.groups):
		w.t.Fatalf("%s has the groups %v", run.Name, run.Spec.Groups)
	}
	for i := range w.rotations {
		r := &w.rotations[i]
		switch {
		case r.Name == run.Name:
			w.t.Fatalf("there is a run %s already", run.Name)
		case !rotation.Finished(r.Status.Phase):
			w.t.Fatalf("%s is begun while %s is going", run.Name, r.Name)
		case r.Annotations[v1alpha1.ApprovalAnnotation] == run.Annotations[v1alpha1.ApprovalAnnotation]:
			w.t.Fatalf("%s is begun, and %s was for the same approval", run.Name, r.Name)
		}
	}
	w.rotations = append(w.rotations, *run)
}

// settle lets everything go well for long enough.
func (w *world) settle() {
	w.broken = nil
	w.image.Generation++
	w.image.Spec.Approval = v1alpha1.Automatic
	w.rotations = slices.DeleteFunc(w.rotations, func(r v1alpha1.NodeRotation) bool { return rotation.Finished(r.Status.Phase) })
	for range 8 {
		w.now = w.now.Add(minAge)
		for range 3 {
			w.pass(false)
			w.describe()
		}
		for i := range w.rotations {
			r := &w.rotations[i]
			if rotation.Finished(r.Status.Phase) {
				continue
			}
			if r.Status.StartedAt == nil {
				w.started(r)
			}
			if r.Status.StartedAt != nil {
				r.Status.Phase = v1alpha1.Succeeded
				w.ended(r)
			}
		}
	}
}

// TestRunsAreBegunOnce: whatever happens, and wherever it is killed, never are there two runs
// for one approval, nor one for an image that is not approved or too young; and if all goes
// well for a while every node runs the latest image.
func TestRunsAreBegunOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish":       func(t *rapid.T) { w.t = t; w.publish() },
			"break":         func(t *rapid.T) { w.broken = rapid.SampledFrom([]error{nil, errors.New("no answer")}).Draw(t, "error") },
			"wait":          func(t *rapid.T) { w.t = t; w.wait() },
			"edit":          func(t *rapid.T) { w.t = t; w.edit() },
			"describe":      func(*rapid.T) { w.describe() },
			"another":       func(*rapid.T) { w.wait(); w.another() },
			"go on as well": func(t *rapid.T) { w.t = t; w.goOn() },
			"go on":         func(t *rapid.T) { w.t = t; w.goOn() },
			"remove":        func(t *rapid.T) { w.t = t; w.remove() },
			"pass":          func(t *rapid.T) { w.t = t; w.pass(false) },
			"calm": func(t *rapid.T) { // What most of the time is like.
				w.t = t
				w.now = w.now.Add(minAge)
				w.pass(false)
				w.describe()
				w.pass(false)
			},
			"crash": func(t *rapid.T) { w.t = t; w.pass(true) },
		})
		w.settle()
		latest := nodeimage.Revision([]v1alpha1.Image{w.source})
		ready := meta.FindStatusCondition(w.image.Status.Conditions, "Ready")
		if ready == nil || ready.Status != metav1.ConditionTrue || w.runs[0] != latest || w.runs[1] != latest {
			t.Fatalf("in the end nodes run %v and not %s: %v", w.runs, latest, ready)
		}
	})
}
