package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// pulling is a run with an old node whose pods have still to move, and a new one that is
// Ready since a second, and has the pod.
func pulling(edit func(*v1alpha1.PrePull), pod *corev1.Pod) Snapshot {
	return snapshot(func(s *Snapshot) {
		began := metav1.NewTime(now)
		s.Run.Finalizers = []string{v1alpha1.Finalizer}
		s.Run.Spec.Strategy = &v1alpha1.Strategy{MinReadySeconds: new(int32(0))}
		if edit != nil {
			s.Run.Spec.Strategy.PrePull = &v1alpha1.PrePull{}
			edit(s.Run.Spec.Strategy.PrePull)
		}
		s.Run.Status = v1alpha1.NodeRotationStatus{Phase: v1alpha1.Rotating, StartedAt: &began, Groups: []v1alpha1.GroupRotation{{
			Name: "apps", UID: "apps", Target: v1alpha1.Revision{Name: "lt:2", Template: "lt:2"}, Size: 1, Max: 5, Wanted: 2, Before: 2, Prepared: true, Touched: true,
		}}}
		c := s.Clouds["apps"]
		c.Run, c.Size, c.Revision = "run", 2, cloud.Revision{Template: "lt:2"}
		c.Machines = []cloud.Machine{
			{ID: "new", State: cloud.Running, Template: "lt:2", LaunchedAt: now.Add(time.Second), Protected: true},
			{ID: "old", State: cloud.Running, Template: "lt:1", LaunchedAt: now.Add(-time.Hour)},
		}
		s.Clouds["apps"] = c
		for id, since := range map[string]time.Time{"old": now.Add(-time.Hour), "new": now.Add(time.Minute)} {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: id, UID: types.UID(id)}, Spec: corev1.NodeSpec{ProviderID: "x:///" + id},
				Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}}}
			if id == "old" {
				n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutdatedTaint, Effect: corev1.TaintEffectPreferNoSchedule}}
			} else {
				n.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}
			}
			s.Cluster.SetNode(n)
		}
		for name, image := range map[string]string{"a-1": "web:2", "a-2": "web:2", "b-1": "job:1", "c-1": "api:1"} {
			s.Cluster.SetPod(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: name[:1], Controller: new(true)}}},
				Spec:       corev1.PodSpec{NodeName: "old", Containers: []corev1.Container{{Image: image}}}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
			})
		}
		if pod != nil {
			pod.Namespace, pod.Name, pod.UID, pod.Labels, pod.Spec.NodeName = "windlass-system", "pull", "pull", map[string]string{v1alpha1.PrePullLabel: "run"}, "new"
			s.Cluster.SetPod(pod)
		}
	})
}

// A new node pulls the images of most pods that have still to move; the old node is opened
// when it has, or when its time is over.
func TestPrePull(t *testing.T) {
	t.Parallel()
	two := func(p *v1alpha1.PrePull) { p.MaxImages = 2 }
	phase := func(p corev1.PodPhase) *corev1.Pod { return &corev1.Pod{Status: corev1.PodStatus{Phase: p}} }
	in := func(all ...corev1.ContainerState) *corev1.Pod {
		pod := phase(corev1.PodPending)
		for _, state := range all {
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{State: state})
		}
		return pod
	}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	running, ended := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "StartError"}}
	for name, c := range map[string]struct {
		prePull func(*v1alpha1.PrePull)
		pod     *corev1.Pod
		after   time.Duration
		want    []string
		wait    bool
	}{
		"it has not begun":           {two, nil, 0, []string{"pre-pull to Node/new: web:2, api:1"}, true},
		"all of them":                {func(*v1alpha1.PrePull) {}, nil, 0, []string{"pre-pull to Node/new: web:2, api:1, job:1"}, true},
		"it pulls":                   {two, phase(corev1.PodPending), 0, nil, true},
		"it has pulled":              {two, phase(corev1.PodFailed), 0, []string{"open run-old"}, false},
		"who runs has its image":     {two, in(running, ended), 0, []string{"open run-old"}, false},
		"who could run has, too":     {two, in(ended, waiting("CreateContainerError")), 0, []string{"open run-old"}, false},
		"one still pulls":            {two, in(ended, waiting("ContainerCreating")), 0, nil, true},
		"one is tried again at once": {two, in(ended, waiting("ErrImagePull")), 0, nil, true},
		"one cannot be pulled":       {two, in(ended, waiting("ImagePullBackOff")), 0, []string{"open run-old"}, false},
		"it takes too long":          {two, phase(corev1.PodPending), 5 * time.Minute, []string{"open run-old"}, false},
		"its time may be another":    {func(p *v1alpha1.PrePull) { p.TimeoutSeconds = new(int32(600)) }, phase(corev1.PodPending), 5 * time.Minute, nil, true},
		"nobody asked for it at all": {nil, nil, 0, []string{"open run-old"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decided := Decide(pulling(c.prePull, c.pod), now.Add(time.Minute+time.Second+c.after))
			var got []string
			for _, step := range decided.Steps {
				got = append(got, step.Action.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			status := decided.Status.(Decision).Status
			waits := slices.ContainsFunc(status.Waits, func(w v1alpha1.Wait) bool {
				return w.Subject == "Node/new" && w.Reason == v1alpha1.ReasonPulling && w.Until != nil
			})
			if waits != c.wait {
				t.Errorf("it waits for %+v", status.Waits)
			}
		})
	}
}

// A dry run of a group with new machines, and with more than its size, plans and no more.
func TestPlanWithNewMachines(t *testing.T) {
	t.Parallel()
	s := pulling(func(*v1alpha1.PrePull) {}, nil)
	s.Run.Status, s.Run.Spec.DryRun = v1alpha1.NodeRotationStatus{}, true
	c := s.Clouds["apps"]
	c.Run, c.Size = "", 1 // Somebody has just made it smaller.
	s.Clouds["apps"] = c
	decided := Decide(s, now.Add(2*time.Minute))
	status := decided.Status.(Decision).Status
	if status.Phase != v1alpha1.Planned || len(status.Plan.Nodes) != 1 || len(decided.Steps) != 0 {
		t.Errorf("the plan is %+v, the steps %v", status, decided.Steps)
	}
}
