package virtual

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// pulled is by how much sooner a pod of a workload is Ready on a node, and notes that its
// image is there from now on.
func (w *World) pulled(node string, s *Set) time.Duration {
	if w.Pull == 0 {
		return 0
	}
	if w.images[node][s.Image] {
		return min(w.Pull, w.PodReady)
	}
	w.after(w.Pull, func() { w.hasImage(node, s.Image) })
	return 0
}

func (w *World) hasImage(node, image string) {
	if w.images[node] == nil {
		w.images[node] = map[string]bool{}
	}
	w.images[node][image] = true
}

// prePull makes the pod that pulls images, one after another.
func (w *World) prePull(a rotation.PrePull) {
	for _, p := range w.pulls {
		if p.Spec.NodeName == a.Node {
			return
		}
	}
	if w.nodes[a.Node] == nil {
		return
	}
	name := w.id("pre-pull-")
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "windlass-system", Name: name, UID: types.UID(name), Labels: map[string]string{v1alpha1.PrePullLabel: w.Run.Name}, CreationTimestamp: metav1.NewTime(w.Now)},
		Spec:       corev1.PodSpec{NodeName: a.Node},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, image := range a.Images {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Image: image})
	}
	w.pulls[p.UID] = p
	w.Cluster.SetPod(p)
	w.after(w.Pull*time.Duration(len(a.Images)), func() {
		for _, image := range a.Images {
			w.hasImage(a.Node, image)
		}
		if w.pulls[p.UID] != nil {
			p.Status.Phase = corev1.PodFailed
			w.Cluster.SetPod(p)
		}
	})
}

func (w *World) removePull(uid types.UID) {
	delete(w.pulls, uid)
	w.Cluster.DeletePod(uid)
}
