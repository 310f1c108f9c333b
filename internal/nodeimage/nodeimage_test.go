package nodeimage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/nodeimage"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func stamp(after time.Duration) metav1.Time { return metav1.NewTime(start.Add(after)) }

// image as sources name it; it was made an hour before the start.
func image(id, architecture string) v1alpha1.Image {
	return v1alpha1.Image{ID: id, Architecture: architecture, CreatedAt: new(stamp(-time.Hour))}
}

func set(images ...v1alpha1.Image) *v1alpha1.ImageRevision {
	return &v1alpha1.ImageRevision{Revision: nodeimage.Revision(images), Images: images, Since: stamp(0)}
}

var (
	a = set(image("ami-a", "x86_64"))
	b = set(image("ami-b", "x86_64"))
)

const uid = types.UID("uid-workers")

// example is a NodeImage whose source names a, which is approved; two groups run it.
type example struct {
	nodeimage.Snapshot
}

func newExample() *example {
	x := &example{nodeimage.Snapshot{Image: &v1alpha1.NodeImage{
		ObjectMeta: metav1.ObjectMeta{Name: "workers", UID: uid, Generation: 1},
		Spec: v1alpha1.NodeImageSpec{
			Sources: []v1alpha1.ImageSource{{SSMParameter: "/image", Region: "eu-central-1"}}, IntervalSeconds: 60, Approval: v1alpha1.Automatic,
		},
		Status: v1alpha1.NodeImageStatus{ObservedGeneration: 1, Latest: a.DeepCopy(), Approved: a.DeepCopy(), CheckedAt: new(stamp(0))},
	}}}
	x.Image.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFound, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonFound}}
	x.group("apps", a.Revision, 0)
	x.group("batch", a.Revision, 0)
	return x
}

func (x *example) group(name, revision string, outdated int32) {
	x.Groups = append(x.Groups, v1alpha1.NodeGroup{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}, Spec: v1alpha1.NodeGroupSpec{Image: "workers"},
		Status: v1alpha1.NodeGroupStatus{ObservedGeneration: 1, Nodes: 3, Outdated: outdated, Revision: revision},
	})
}

// outdated makes the groups say that they do not run the approved revision.
func (x *example) outdated() {
	x.Groups[0].Status.Outdated, x.Groups[0].Status.Revision = 3, x.Image.Status.Approved.Revision
	x.Groups[1].Status.Revision = x.Image.Status.Approved.Revision
}

// finds makes the next decision see what the source names.
func (x *example) finds(images ...v1alpha1.Image) { x.Found = &nodeimage.Found{Images: images} }

func (x *example) manual(approved string) {
	x.Image.Spec.Approval, x.Image.Spec.Approved = v1alpha1.Manual, approved
}

// run adds a run; one without an approval is somebody else's.
func (x *example) run(name string, of *v1alpha1.ImageRevision, phase v1alpha1.Phase) *v1alpha1.NodeRotation {
	r := v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeRotationSpec{Groups: []string{"apps"}}, Status: v1alpha1.NodeRotationStatus{Phase: phase}}
	if of != nil {
		r.OwnerReferences = []metav1.OwnerReference{{Kind: "NodeImage", Name: "workers", UID: uid, Controller: new(true)}}
		r.Annotations = map[string]string{v1alpha1.ApprovalAnnotation: of.Revision + "/" + of.Since.UTC().Format(time.RFC3339)}
	}
	x.Rotations = append(x.Rotations, r)
	return &x.Rotations[len(x.Rotations)-1]
}

// seen is what a test looks at.
type seen struct {
	Ready    string // status and reason
	Says     string // part of the message
	Moving   bool
	Stalled  bool
	Latest   string
	Approved string
	Begins   string
	Wake     time.Duration
}

func decide(x *example, now time.Time) (*v1alpha1.NodeImage, plan.Plan, seen) {
	p := nodeimage.Decide(x.Snapshot, now)
	after := nodeimage.Report(x.Snapshot, p, plan.Outcome{}, now)
	s := seen{Wake: p.Wake}
	if c := meta.FindStatusCondition(after.Status.Conditions, "Ready"); c != nil {
		s.Ready, s.Says = string(c.Status)+" "+c.Reason, c.Message
	}
	s.Moving = meta.IsStatusConditionTrue(after.Status.Conditions, "Reconciling")
	s.Stalled = meta.IsStatusConditionTrue(after.Status.Conditions, "Stalled")
	if after.Status.Latest != nil {
		s.Latest = after.Status.Latest.Revision
	}
	if after.Status.Approved != nil {
		s.Approved = after.Status.Approved.Revision
	}
	for _, step := range p.Steps {
		s.Begins += strings.TrimPrefix(step.Action.String(), "begin NodeRotation/")
	}
	return after, p, s
}

func TestDecide(t *testing.T) {
	t.Parallel()
	runB := "workers-" + b.Revision
	approveB := func(x *example) {
		x.finds(b.Images...)
		x.Image.Status.Latest, x.Image.Status.Approved = b.DeepCopy(), b.DeepCopy()
		x.outdated()
	}
	for name, c := range map[string]struct {
		given func(*example)
		after time.Duration
		want  seen
	}{
		"all is as it should be": {func(*example) {}, 10 * time.Second,
			seen{Ready: "True UpToDate", Says: "every node runs revision " + a.Revision, Latest: a.Revision, Approved: a.Revision, Wake: 50 * time.Second}},
		"nothing was looked at yet": {func(x *example) { x.Image.Status = v1alpha1.NodeImageStatus{}; x.finds(a.Images...) }, 0,
			seen{Ready: "True UpToDate", Latest: a.Revision, Approved: a.Revision, Wake: time.Second}},
		"a new image is approved before its run": {func(x *example) { x.finds(b.Images...) }, 0,
			seen{Ready: "False GroupNotRead", Says: "NodeGroup apps, batch", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"and then its run": {approveB, 0,
			seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Begins: runB, Moving: true, Wake: time.Minute}},
		"not before the approval is on record": {func(x *example) { x.finds(b.Images...); x.group("cron", b.Revision, 1); x.Groups = x.Groups[2:] }, 0,
			seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"nor before all groups are known": {func(x *example) { approveB(x); x.Groups[1].Status.Revision = a.Revision }, 0,
			seen{Ready: "False GroupNotRead", Says: "NodeGroup batch", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"nor for groups that have changed since": {func(x *example) { approveB(x); x.Groups[1].Generation = 2 }, 0,
			seen{Ready: "False GroupNotRead", Says: "NodeGroup batch", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"nor without groups": {func(x *example) { approveB(x); x.Groups = nil }, 0,
			seen{Ready: "True NoGroups", Says: "no NodeGroup refers", Latest: b.Revision, Approved: b.Revision, Wake: time.Minute}},
		"nor if all nodes run it already": {func(x *example) { approveB(x); x.Groups[0].Status.Outdated = 0 }, 0,
			seen{Ready: "True UpToDate", Says: "every node", Latest: b.Revision, Approved: b.Revision, Wake: time.Minute}},
		"it is too young": {func(x *example) { x.Image.Spec.MinAgeSeconds = 3600 + 30; x.finds(b.Images...) }, 0,
			seen{Ready: "False TooYoung", Says: "waits from 2026-03-01T11:00:00Z until 2026-03-01T12:00:30Z", Latest: b.Revision, Approved: a.Revision, Moving: true, Wake: 30 * time.Second}},
		"it is old enough": {func(x *example) { x.Image.Spec.MinAgeSeconds = 3600 + 30; x.finds(b.Images...) }, 30 * time.Second,
			seen{Ready: "False GroupNotRead", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"of unknown age it is as old as it is known": {func(x *example) {
			x.Image.Spec.MinAgeSeconds = 45
			x.finds(v1alpha1.Image{ID: "ami-c"})
		}, 10 * time.Second,
			seen{Ready: "False TooYoung", Says: "until 2026-03-01T12:00:55Z", Latest: nodeimage.Revision([]v1alpha1.Image{{ID: "ami-c"}}), Approved: a.Revision, Moving: true, Wake: 45 * time.Second}},
		"approved, and somebody wants it older since": {func(x *example) { approveB(x); x.Image.Spec.MinAgeSeconds = 7200 }, 0,
			seen{Ready: "False TooYoung", Says: "until 2026-03-01T13:00:00Z", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"nobody has approved it": {func(x *example) { x.manual(""); x.finds(b.Images...) }, 0,
			seen{Ready: "False ApprovalPending", Says: "revision " + b.Revision + " (ami-b), first seen at 2026-03-01T12:00:00Z, waits to be approved", Latest: b.Revision, Approved: a.Revision, Wake: time.Minute}},
		"somebody has approved it": {func(x *example) { x.manual(b.Revision); x.finds(b.Images...) }, 0,
			seen{Ready: "False GroupNotRead", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"somebody stays with the former one": {func(x *example) { x.manual(a.Revision); x.finds(b.Images...) }, 0,
			seen{Ready: "False ApprovalPending", Says: b.Revision, Latest: b.Revision, Approved: a.Revision, Wake: time.Minute}},
		"somebody has approved what is not known": {func(x *example) { x.manual("other"); x.finds(b.Images...) }, 0,
			seen{Ready: "False UnknownRevision", Says: "spec.approved is other, which is not known; known are: latest " + b.Revision + ", approved " + a.Revision, Latest: b.Revision, Approved: a.Revision, Stalled: true, Wake: time.Minute}},
		"the approval is taken back before the run": {func(x *example) { approveB(x); x.manual("") }, 0,
			seen{Ready: "False ApprovalPending", Says: "is no longer", Latest: b.Revision, Approved: b.Revision, Wake: time.Minute}},
		"its run is going": {func(x *example) { approveB(x); x.run(runB, b, v1alpha1.Rotating) }, 0,
			seen{Ready: "False Rotating", Says: "NodeRotation " + runB + " replaces nodes", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"a newer one waits for the run of the former": {func(x *example) { x.run("workers-a", a, v1alpha1.Baking); x.finds(b.Images...) }, 0,
			seen{Ready: "False Rotating", Says: "NodeRotation workers-a replaces nodes; revision " + b.Revision + ", first seen at 2026-03-01T12:00:00Z, waits for the end of NodeRotation workers-a", Latest: b.Revision, Approved: a.Revision, Moving: true, Wake: time.Minute}},
		"a newer one does not wait for a run that failed": {func(x *example) { x.run("workers-a", a, v1alpha1.Failed); x.outdated(); x.finds(b.Images...) }, 0,
			seen{Ready: "False GroupNotRead", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"its run failed": {func(x *example) { approveB(x); x.run(runB, b, v1alpha1.Failed) }, 0,
			seen{Ready: "False RotationFailed", Says: "NodeRotation " + runB + " for revision " + b.Revision + " is Failed, and nodes of NodeGroup apps are outdated: delete it to try again", Latest: b.Revision, Approved: b.Revision, Stalled: true, Wake: time.Minute}},
		"its run was rolled back": {func(x *example) { approveB(x); x.run(runB, b, v1alpha1.RolledBack) }, 0,
			seen{Ready: "False RotationFailed", Says: "is RolledBack", Latest: b.Revision, Approved: b.Revision, Stalled: true, Wake: time.Minute}},
		"its run failed, and another did it": {func(x *example) {
			approveB(x)
			x.run(runB, b, v1alpha1.Failed)
			x.Groups[0].Status.Outdated = 0
		}, 0,
			seen{Ready: "True UpToDate", Says: "every node", Latest: b.Revision, Approved: b.Revision, Wake: time.Minute}},
		"its run succeeded, and a group came later": {func(x *example) { approveB(x); x.run(runB, b, v1alpha1.Succeeded) }, 0,
			seen{Ready: "False Outdated", Says: "make a NodeRotation", Latest: b.Revision, Approved: b.Revision, Wake: time.Minute}},
		"the same revision came back": {func(x *example) {
			approveB(x)
			x.run(runB, &v1alpha1.ImageRevision{Revision: b.Revision, Since: stamp(-time.Hour)}, v1alpha1.Succeeded)
		}, 0, seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Begins: runB + "-2", Moving: true, Wake: time.Minute}},
		"somebody else's run has a group": {func(x *example) {
			approveB(x)
			r := x.run("mine", nil, v1alpha1.Rotating)
			r.Status.StartedAt, r.Status.Groups = new(stamp(0)), []v1alpha1.GroupRotation{{Name: "apps"}}
		}, 0, seen{Ready: "False GroupBusy", Says: "revision " + b.Revision + ", approved at 2026-03-01T12:00:00Z, waits for the end of NodeRotation mine", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"somebody else's run wants all groups": {func(x *example) { approveB(x); x.run("mine", nil, v1alpha1.Pending).Spec.Groups = nil }, 0,
			seen{Ready: "False GroupBusy", Says: "mine", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Minute}},
		"somebody else's run waits for an approval": {func(x *example) {
			x.run("mine", nil, v1alpha1.Pending)
			x.Image.Status.Approved = nil
			x.finds(b.Images...)
		}, 0, seen{Ready: "False GroupBusy", Says: "mine", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: time.Second}},
		"somebody else's run has given the group back": {func(x *example) {
			approveB(x)
			r := x.run("mine", nil, v1alpha1.Rotating)
			r.Status.StartedAt, r.Status.Groups = new(stamp(0)), []v1alpha1.GroupRotation{{Name: "apps", Restored: true}}
		}, 0, seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Begins: runB, Moving: true, Wake: time.Minute}},
		"somebody else's dry run": {func(x *example) { approveB(x); x.run("mine", nil, v1alpha1.Pending).Spec.DryRun = true }, 0,
			seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Begins: runB, Moving: true, Wake: time.Minute}},
		"somebody else has the name": {func(x *example) { approveB(x); x.run(runB, nil, v1alpha1.Succeeded) }, 0,
			seen{Ready: "False Rotating", Says: "nodes do not run it", Latest: b.Revision, Approved: b.Revision, Begins: runB + "-2", Moving: true, Wake: time.Minute}},
		"more groups than a run takes": {func(x *example) {
			approveB(x)
			for i := range 100 {
				x.group(fmt.Sprintf("g%d", i), b.Revision, 1)
			}
		}, 0, seen{Ready: "False InvalidSpec", Says: "102 NodeGroups", Latest: b.Revision, Approved: b.Revision, Stalled: true, Wake: time.Minute}},
		"the image is gone": {func(x *example) { x.Found = &nodeimage.Found{Err: fmt.Errorf("image: %w", cloud.ErrNotFound)} }, 0,
			seen{Ready: "False ImageNotFound", Says: "sources[0] (parameter /image in eu-central-1): image: not found: check the name, and where it is looked for; revision " + a.Revision + " (ami-a) is kept, and not rolled out any further", Latest: a.Revision, Approved: a.Revision, Stalled: true, Wake: 30 * time.Second}},
		"the image is gone before its run": {func(x *example) { approveB(x); x.Found = &nodeimage.Found{Err: cloud.ErrNotFound} }, 0,
			seen{Ready: "False ImageNotFound", Latest: b.Revision, Approved: b.Revision, Stalled: true, Wake: 30 * time.Second}},
		"nobody answers": {func(x *example) { x.Found = &nodeimage.Found{Err: errors.New("no route to host")} }, 0,
			seen{Ready: "Unknown ProviderProblem", Says: "no route to host", Latest: a.Revision, Approved: a.Revision, Wake: 30 * time.Second}},
		"nobody answers while its run is going": {func(x *example) {
			approveB(x)
			x.run(runB, b, v1alpha1.Rotating)
			x.Found = &nodeimage.Found{Err: cloud.ErrThrottled}
		}, 0,
			seen{Ready: "Unknown ProviderProblem", Says: "NodeRotation " + runB + " replaces nodes", Latest: b.Revision, Approved: b.Revision, Moving: true, Wake: 30 * time.Second}},
		"two sources of one architecture": {func(x *example) {
			x.Image.Spec.Sources = append(x.Image.Spec.Sources, v1alpha1.ImageSource{Fixed: "ami-b"})
			x.finds(image("ami-a", "x86_64"), image("ami-b", "x86_64"))
		}, 0, seen{Ready: "False InvalidSpec", Says: "sources[0] (parameter /image in eu-central-1) and sources[1] (image ami-b) name images of one architecture, x86_64: ami-a and ami-b", Latest: a.Revision, Approved: a.Revision, Stalled: true, Wake: 30 * time.Second}},
		"two sources, one of unknown architecture": {func(x *example) {
			x.Image.Spec.Sources = append(x.Image.Spec.Sources, v1alpha1.ImageSource{Fixed: "ami-b"})
			x.finds(image("ami-a", "x86_64"), image("ami-b", ""))
		}, 0, seen{Ready: "False ArchitectureUnknown", Says: "sources[1] (image ami-b): nobody says for which architecture", Latest: a.Revision, Approved: a.Revision, Stalled: true, Wake: 30 * time.Second}},
		"it is being deleted": {func(x *example) {
			approveB(x)
			x.Image.DeletionTimestamp = new(stamp(0))
			x.Image.Status.Conditions = nil
		}, 0,
			seen{Latest: b.Revision, Approved: b.Revision}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newExample()
			c.given(x)
			_, _, got := decide(x, start.Add(c.after))
			if !strings.Contains(got.Says, c.want.Says) {
				t.Errorf("it says %q, and not %q", got.Says, c.want.Says)
			}
			got.Says = c.want.Says
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What the run is that an approved image begins.
func TestTheRun(t *testing.T) {
	t.Parallel()
	x := newExample()
	x.Image.Name = strings.Repeat("long-", 20) + "name"
	x.Image.Spec.Strategy = &v1alpha1.Strategy{Canary: &v1alpha1.Canary{Nodes: 2}}
	x.Image.Status.Latest, x.Image.Status.Approved = b.DeepCopy(), b.DeepCopy()
	x.outdated()
	_, p, _ := decide(x, start)
	if len(p.Steps) != 1 {
		t.Fatalf("the plan is %v", p.Steps)
	}
	run := p.Steps[0].Action.(nodeimage.Begin).Rotation
	if len(run.Name) > 63 || !strings.HasPrefix(run.Name, "long-long-") || !strings.HasSuffix(run.Name, "-"+b.Revision) {
		t.Errorf("its name is %s", run.Name)
	}
	if diff := cmp.Diff(v1alpha1.NodeRotationSpec{Groups: []string{"apps", "batch"}, Strategy: x.Image.Spec.Strategy}, run.Spec); diff != "" {
		t.Error(diff)
	}
	done := nodeimage.Report(x.Snapshot, p, plan.Outcome{Done: p.Steps}, start)
	if done.Status.Rotation != run.Name {
		t.Errorf("status.rotation is %q", done.Status.Rotation)
	}
	failed := nodeimage.Report(x.Snapshot, p, plan.Outcome{Failed: []plan.Failure{{Step: p.Steps[0], Err: errors.New("refused")}}}, start)
	if c := meta.FindStatusCondition(failed.Status.Conditions, "Ready"); failed.Status.Rotation != "" || c.Reason != v1alpha1.ReasonStepFailed || !strings.Contains(c.Message, "refused") {
		t.Errorf("status.rotation is %q, and Ready %v", failed.Status.Rotation, c)
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	x, y, z := image("ami-x", "x86_64"), image("ami-y", "arm64"), image("ami-z", "arm64")
	of := func(all ...v1alpha1.Image) string { return nodeimage.Revision(all) }
	if of(x, y) != of(y, x) || of(x, y) == of(x, z) || of(x) == of(x, y) {
		t.Error("revisions are the same for the same ids, and for no others")
	}
	if got := of(image("ami-a", "x86_64")); got != "fd6cb60b3c" { // It is in statuses: it does not change from version to version.
		t.Errorf("the revision is %s", got)
	}
}

func TestSinceIsKept(t *testing.T) {
	t.Parallel()
	x := newExample()
	x.finds(v1alpha1.Image{ID: "ami-a", Name: "renamed"})
	after, _, _ := decide(x, start.Add(time.Hour))
	want := &v1alpha1.ImageRevision{Revision: a.Revision, Images: []v1alpha1.Image{{ID: "ami-a", Name: "renamed"}}, Since: stamp(0)}
	if diff := cmp.Diff(want, after.Status.Latest); diff != "" {
		t.Error(diff)
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		given func(*v1alpha1.NodeImage)
		after time.Duration
		want  bool
	}{
		"just looked":                {func(*v1alpha1.NodeImage) {}, 59 * time.Second, false},
		"an interval ago":            {func(*v1alpha1.NodeImage) {}, time.Minute, true},
		"never":                      {func(i *v1alpha1.NodeImage) { i.Status.CheckedAt = nil }, 0, true},
		"the spec has changed":       {func(i *v1alpha1.NodeImage) { i.Generation = 2 }, 0, true},
		"without an interval":        {func(i *v1alpha1.NodeImage) { i.Spec.IntervalSeconds = 0 }, 299 * time.Second, false},
		"without an interval, later": {func(i *v1alpha1.NodeImage) { i.Spec.IntervalSeconds = 0 }, 300 * time.Second, true},
		"it failed":                  {func(i *v1alpha1.NodeImage) { i.Status.Conditions[0].Status = metav1.ConditionUnknown }, 29 * time.Second, false},
		"it failed, a while ago":     {func(i *v1alpha1.NodeImage) { i.Status.Conditions[0].Status = metav1.ConditionUnknown }, 30 * time.Second, true},
		"it failed, and looks often": {func(i *v1alpha1.NodeImage) {
			i.Spec.IntervalSeconds, i.Status.Conditions[0].Status = 10, metav1.ConditionFalse
		}, 10 * time.Second, true},
		"it looks often, a moment ago": {func(i *v1alpha1.NodeImage) { i.Spec.IntervalSeconds = 10 }, 9 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newExample()
			c.given(x.Image)
			if got := nodeimage.Due(x.Image, start.Add(c.after)); got != c.want {
				t.Errorf("due is %v", got)
			}
		})
	}
}
