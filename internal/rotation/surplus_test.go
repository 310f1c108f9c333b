package rotation

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// When a run is aborted, the machine goes that the run made and that is empty, also one of
// the run's first second; an old one with nothing but a pod that blocks it is given back.
func TestSurplus(t *testing.T) {
	t.Parallel()
	for name, launched := range map[string]time.Time{"in the second in which the run began": now, "later": now.Add(time.Minute)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := snapshot(func(s *Snapshot) {
				began := metav1.NewTime(now)
				s.Run.Finalizers = []string{v1alpha1.Finalizer}
				s.Run.Spec.End = v1alpha1.EndAbort
				s.Run.Status = v1alpha1.NodeRotationStatus{Phase: v1alpha1.Aborting, Outcome: v1alpha1.Aborted, StartedAt: &began, Groups: []v1alpha1.GroupRotation{{
					Name: "apps", UID: "apps", Target: v1alpha1.Revision{Name: "lt:2", Template: "lt:2"}, Size: 2, Max: 5, Wanted: 3, Before: 2, Prepared: true, Touched: true,
				}}}
				c := s.Clouds["apps"]
				c.Run = "run"
				c.Machines = []cloud.Machine{
					{ID: "old", State: cloud.Running, Template: "lt:1", LaunchedAt: now.Add(-time.Hour)},
					{ID: "other", State: cloud.Running, Template: "lt:1", LaunchedAt: now.Add(-time.Hour)},
					{ID: "young", State: cloud.Running, Template: "lt:2", LaunchedAt: launched},
				}
				s.Clouds["apps"] = c
				for _, id := range []string{"old", "other", "young"} {
					s.Cluster.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: id, UID: types.UID(id), CreationTimestamp: metav1.NewTime(launched)}, Spec: corev1.NodeSpec{ProviderID: "x:///" + id, Unschedulable: id == "old"},
						Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
				}
				for _, id := range []string{"old", "other"} {
					s.Cluster.SetPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "bare-" + id, UID: types.UID("bare-" + id)}, Spec: corev1.PodSpec{NodeName: id}, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
				}
				s.Records = []v1alpha1.NodeReplacement{{
					ObjectMeta: metav1.ObjectMeta{Name: "run-old", UID: "r", Finalizers: []string{v1alpha1.Finalizer}}, Spec: v1alpha1.NodeReplacementSpec{Rotation: "run", Group: "apps", Node: "old", NodeUID: "old", Instance: "old"},
					Status: v1alpha1.NodeReplacementStatus{Phase: v1alpha1.Draining},
				}}
			})
			var phase v1alpha1.ReplacementPhase
			for _, step := range Decide(s, now.Add(2*time.Minute)).Steps {
				if r, ok := step.Action.(Record); ok {
					phase = r.Status.Phase
				}
			}
			if phase != v1alpha1.Reverting {
				t.Errorf("the old machine is %q, want it to be given back", phase)
			}
		})
	}
}

// A group that was given back while a machine came that nobody had seen is guarded anew
// before anything is done to it: else what is done would never be undone.
func TestGuardedAnew(t *testing.T) {
	t.Parallel()
	s := snapshot(func(s *Snapshot) {
		began := metav1.NewTime(now)
		s.Run.Finalizers = []string{v1alpha1.Finalizer}
		s.Run.Status = v1alpha1.NodeRotationStatus{Phase: v1alpha1.Rotating, StartedAt: &began, Groups: []v1alpha1.GroupRotation{{
			Name: "apps", UID: "apps", Target: v1alpha1.Revision{Name: "lt:2", Template: "lt:2"}, Size: 1, Max: 5, Wanted: 1, Before: 1, Prepared: true, Touched: true,
		}}}
		c := s.Clouds["apps"]
		c.Run, c.Size, c.Revision = "", 1, cloud.Revision{Template: "lt:2"}
		for _, id := range []string{"one", "two"} {
			c.Machines = append(c.Machines, cloud.Machine{ID: id, State: cloud.Running, Template: "lt:2", LaunchedAt: now.Add(time.Minute)})
			s.Cluster.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: id, UID: types.UID(id)}, Spec: corev1.NodeSpec{ProviderID: "x:///" + id},
				Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
		}
		s.Clouds["apps"] = c
	})
	steps := Decide(s, now.Add(2*time.Minute)).Steps
	if len(steps) != 1 {
		t.Fatalf("the steps are %v", steps)
	}
	if p, ok := steps[0].Action.(Prepare); !ok || p.Guard.Run != s.Run.Name {
		t.Errorf("the step is %v", steps[0])
	}
}
