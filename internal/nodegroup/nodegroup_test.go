package nodegroup_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/nodegroup"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func machine(template, image string, state cloud.State) cloud.Machine {
	return cloud.Machine{ID: "i-" + template + image, Template: template, Image: image, State: state}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	approved := &v1alpha1.NodeImage{Status: v1alpha1.NodeImageStatus{Approved: &v1alpha1.ImageRevision{Revision: "0123456789", Images: []v1alpha1.Image{{ID: "ami-2"}, {ID: "ami-2-arm"}}}}}
	two := func(machines ...cloud.Machine) *nodegroup.Description {
		return &nodegroup.Description{At: start.Add(-20 * time.Second), Group: cloud.Group{Revision: cloud.Revision{Template: "lt:2", Images: []string{"ami-2"}}, Machines: machines}}
	}
	run := func(phase v1alpha1.Phase, g v1alpha1.GroupRotation) *v1alpha1.NodeRotation {
		g.Name = "apps"
		return &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "june"}, Status: v1alpha1.NodeRotationStatus{Phase: phase, Groups: []v1alpha1.GroupRotation{{Name: "db", Outdated: 9}, g}}}
	}
	type seen struct {
		Nodes, Outdated int32
		Revision        string
		Ready, Message  string
		Moving, Stalled bool
		Wake            time.Duration
	}
	const soon = 40 * time.Second
	former := v1alpha1.NodeGroupStatus{Nodes: 5, Outdated: 1, Revision: "former"}
	for name, c := range map[string]struct {
		image       string
		images      map[string]*v1alpha1.NodeImage
		run         *v1alpha1.NodeRotation
		description *nodegroup.Description
		want        seen
	}{
		"every node is made from what the group says": {
			description: two(machine("lt:2", "ami-2", cloud.Running), machine("lt:2", "ami-2", cloud.Launching), machine("lt:1", "ami-1", cloud.Ending)),
			want:        seen{Nodes: 2, Revision: "lt:2", Ready: "True UpToDate", Message: "every node runs lt:2", Wake: soon},
		},
		"some are not": {
			description: two(machine("lt:2", "ami-2", cloud.Running), machine("lt:1", "ami-1", cloud.Running)),
			want:        seen{Nodes: 2, Outdated: 1, Revision: "lt:2", Ready: "False Outdated", Message: "there are nodes that do not run lt:2", Wake: soon},
		},
		"every node runs the image": {
			image: "workers", images: map[string]*v1alpha1.NodeImage{"workers": approved},
			description: two(machine("lt:1", "ami-2", cloud.Running), machine("lt:1", "ami-2-arm", cloud.Running)),
			want:        seen{Nodes: 2, Revision: "0123456789", Ready: "True UpToDate", Message: "every node runs 0123456789", Wake: soon},
		},
		"some run another image": {
			image: "workers", images: map[string]*v1alpha1.NodeImage{"workers": approved},
			description: two(machine("lt:1", "ami-2", cloud.Running), machine("lt:1", "ami-1", cloud.Running)),
			want:        seen{Nodes: 2, Outdated: 1, Revision: "0123456789", Ready: "False Outdated", Message: "there are nodes that do not run 0123456789", Wake: soon},
		},
		"the image does not exist": {
			image: "workers", images: map[string]*v1alpha1.NodeImage{"base": approved}, description: two(machine("lt:1", "ami-2", cloud.Running)),
			want: seen{Nodes: 1, Ready: "False InvalidSpec", Message: "there is no NodeImage workers; there are: base", Stalled: true, Wake: soon},
		},
		"no revision of the image is approved": {
			image: "workers", images: map[string]*v1alpha1.NodeImage{"workers": {}}, description: two(machine("lt:1", "ami-2", cloud.Running)),
			want: seen{Nodes: 1, Ready: "False ApprovalPending", Message: "NodeImage workers has approved no image yet: set its spec.approved to a revision in its status, or its approval to Automatic", Wake: soon},
		},
		"a zone has no room": {
			description: func() *nodegroup.Description {
				d := two(machine("lt:2", "ami-2", cloud.Running))
				d.Problems = []cloud.Problem{{Zone: "a", Message: "there is no capacity in a"}, {Zone: "b", Message: "the quota is reached"}}
				return d
			}(),
			want: seen{Nodes: 1, Revision: "lt:2", Ready: "False ProviderProblem", Message: "there is no capacity in a; b: the quota is reached", Wake: soon},
		},
		"the group is not there": {
			description: &nodegroup.Description{At: start, Err: fmt.Errorf("group apps: %w", cloud.ErrNotFound)},
			want:        seen{Nodes: 5, Outdated: 1, Revision: "former", Ready: "False ProviderProblem", Message: "group apps: not found: check the name, and where it is looked for", Stalled: true, Wake: time.Minute},
		},
		"nobody answers": {
			description: &nodegroup.Description{At: start, Err: errors.New("no route to host")},
			want:        seen{Nodes: 5, Outdated: 1, Revision: "former", Ready: "Unknown ProviderProblem", Message: "no route to host", Wake: time.Minute},
		},
		"a run has it": {
			run:  run(v1alpha1.Rotating, v1alpha1.GroupRotation{Outdated: 3, Updated: 2, Target: v1alpha1.Revision{Name: "new"}}),
			want: seen{Nodes: 5, Outdated: 3, Revision: "new", Ready: "False Rotating", Message: "NodeRotation june replaces its nodes", Moving: true},
		},
		"a run has not counted yet": {
			run:  run(v1alpha1.Rotating, v1alpha1.GroupRotation{Target: v1alpha1.Revision{Name: "new"}}),
			want: seen{Nodes: 5, Outdated: 1, Revision: "former", Ready: "False Rotating", Message: "NodeRotation june replaces its nodes", Moving: true},
		},
		"a run rolls it back": {
			run:  run(v1alpha1.RollingBack, v1alpha1.GroupRotation{Outdated: 3, Updated: 2, Target: v1alpha1.Revision{Name: "new"}, Former: &v1alpha1.Revision{Name: "lt:1"}}),
			want: seen{Nodes: 5, Outdated: 3, Revision: "lt:1", Ready: "False Rotating", Message: "NodeRotation june replaces its nodes", Moving: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: "apps", Generation: 4}, Spec: v1alpha1.NodeGroupSpec{Image: c.image}, Status: former}
			s := nodegroup.Snapshot{Group: group, Images: c.images, Run: c.run, Description: c.description}
			p := nodegroup.Decide(s, start)
			after := nodegroup.Report(s, p).Status
			ready := meta.FindStatusCondition(after.Conditions, "Ready")
			got := seen{after.Nodes, after.Outdated, after.Revision, string(ready.Status) + " " + ready.Reason, ready.Message,
				meta.IsStatusConditionTrue(after.Conditions, "Reconciling"), meta.IsStatusConditionTrue(after.Conditions, "Stalled"), p.Wake}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if after.ObservedGeneration != 4 || len(p.Steps) != 0 || group.Status.Conditions != nil {
				t.Errorf("the status is of generation %d, the plan has steps %v, and the group became %v", after.ObservedGeneration, p.Steps, group.Status)
			}
		})
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	begun := v1alpha1.NodeRotationStatus{Phase: v1alpha1.Rotating, StartedAt: new(metav1.NewTime(start)), Groups: []v1alpha1.GroupRotation{{Name: "apps"}, {Name: "db", Restored: true}}}
	over, pending := begun, begun
	over.Phase, pending.StartedAt = v1alpha1.Failed, nil
	for name, c := range map[string]struct {
		status v1alpha1.NodeRotationStatus
		group  string
		want   bool
	}{
		"has it":            {begun, "apps", true},
		"has given it back": {begun, "db", false},
		"never had it":      {begun, "web", false},
		"is over":           {over, "apps", false},
		"has not begun":     {pending, "apps", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := nodegroup.Holder([]v1alpha1.NodeRotation{{}, {Status: c.status}}, c.group); (got != nil) != c.want {
				t.Errorf("the holder is %v", got)
			}
		})
	}
}
