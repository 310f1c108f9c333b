package installation

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

// TestSettled: an installation has settled when the roll-out is over, and not
// when two objects that were read at different moments add up to it.
func TestSettled(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		deployment         appsv1.DeploymentStatus
		newest, generation int64
		available          int32
		usable, settled    bool
	}{
		"rolled out": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
			newest:     1, generation: 2, available: 2, usable: true, settled: true,
		},
		// Two old pods, one new: the Deployment counts the second new pod only
		// after its ReplicaSet does, and the last old pod still runs.
		"the ReplicaSet is ahead of the Deployment": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2},
			newest:     1, generation: 2, available: 2, usable: true,
		},
		"the first pod is available, and the Deployment has not counted it": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2},
			newest:     1, generation: 2, available: 1,
		},
		"an old pod is left": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 3},
			newest:     1, generation: 2, available: 2, usable: true,
		},
		"the newest generation was not seen": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
			newest:     1, generation: 3, available: 2,
		},
		"one pod serves": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1},
			newest:     1, generation: 2, available: 1, usable: true,
		},
		"the ReplicaSet is new": {
			deployment: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
			newest:     0, generation: 2, available: 0,
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			mm := &v1beta1.Mattermost{Spec: v1beta1.MattermostSpec{Replicas: new(int32(2))}}
			revision := metav1.ObjectMeta{Generation: c.generation, Annotations: map[string]string{revisionAnnotation: "2"}}
			s := Snapshot{
				Mattermost: mm,
				Deployment: &appsv1.Deployment{ObjectMeta: revision, Status: c.deployment},
				ReplicaSets: []appsv1.ReplicaSet{{
					ObjectMeta: revision, Status: appsv1.ReplicaSetStatus{ObservedGeneration: c.newest, AvailableReplicas: c.available},
				}},
			}
			h := assessHealth(s, mm, nil, nil)
			if h.Usable() != c.usable || h.Settled() != c.settled {
				t.Errorf("usable %v, settled %v, want %v and %v, from %+v", h.Usable(), h.Settled(), c.usable, c.settled, h)
			}
		})
	}
}
