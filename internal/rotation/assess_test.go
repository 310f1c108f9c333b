package rotation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/rotation"
)

// TestAssessAgreesWithRuns: what is counted as outdated is what a run of that moment counts.
func TestAssessAgreesWithRuns(t *testing.T) {
	t.Parallel()
	images := map[string]*v1alpha1.NodeImage{"workers": {Status: v1alpha1.NodeImageStatus{Approved: &v1alpha1.ImageRevision{Revision: "rev", Images: []v1alpha1.Image{{ID: "ami-2"}}}}}}
	c := rotation.Cloud{
		Capabilities: cloud.Capabilities{Surge: true, ApplyImages: true},
		Group: cloud.Group{ID: "apps", Size: 4, Max: 4, Revision: cloud.Revision{Template: "lt:2", Images: []string{"ami-2"}}, Machines: []cloud.Machine{
			{ID: "i-1", Template: "lt:1", Image: "ami-1", State: cloud.Running}, {ID: "i-2", Template: "lt:1", Image: "ami-2", State: cloud.Running},
			{ID: "i-3", Template: "lt:2", Image: "ami-2", State: cloud.Launching}, {ID: "i-4", Template: "lt:1", Image: "ami-1", State: cloud.Ending},
		}},
	}
	for name, want := range map[string]rotation.Assessment{
		"":        {Target: v1alpha1.Revision{Name: "lt:2", Template: "lt:2", Images: []string{"ami-2"}}, Nodes: 3, Outdated: 2},
		"workers": {Target: v1alpha1.Revision{Name: "rev", Images: []string{"ami-2"}}, Nodes: 3, Outdated: 1},
	} {
		t.Run("image "+name, func(t *testing.T) {
			t.Parallel()
			group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: "apps", UID: "u"}, Spec: v1alpha1.NodeGroupSpec{Image: name}}
			got := rotation.Assess(group, images, c)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			run := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "run", Finalizers: []string{v1alpha1.Finalizer}}}
			now := time.Unix(1_000_000, 0)
			for range 2 { // It begins, and then counts.
				s := rotation.Snapshot{Run: run, Groups: map[string]*v1alpha1.NodeGroup{"apps": group}, Images: images, Clouds: map[string]rotation.Cloud{"apps": c}, Cluster: drain.NewCluster()}
				run.Status = rotation.Decide(s, now).Status.(rotation.Decision).Status
			}
			counted := run.Status.Groups[0]
			if counted.Target.Name != got.Target.Name || counted.Outdated != got.Outdated || counted.Updated != got.Nodes-got.Outdated {
				t.Errorf("the run counts %d outdated and %d updated for %s", counted.Outdated, counted.Updated, counted.Target.Name)
			}
		})
	}
}
