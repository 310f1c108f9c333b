package drain

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// PrePull is the pod of a node that does nothing but pull images; nil if it has none.
func (c *Cluster) PrePull(node string) *Pod {
	for _, p := range c.podsOn(node) {
		if p.PrePull {
			return p
		}
	}
	return nil
}

// beyondPulling are the reasons for which a container waits that a kubelet gives when the
// image is there, or when it has given up for now. Which of the first a container without
// its program meets depends on the runtime: containerd lets it fail (StartError, and the pod
// ends), CRI-O does not make it.
var beyondPulling = []string{
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
	"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
}

// pulled says that each container of a pod has its image, or will not get it soon.
func pulled(pod *corev1.Pod) bool {
	if all := len(pod.Status.ContainerStatuses); all == 0 || all < len(pod.Spec.Containers) {
		return false
	}
	return !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		waiting := s.State.Waiting
		return s.State.Running == nil && s.State.Terminated == nil && (waiting == nil || !slices.Contains(beyondPulling, waiting.Reason))
	})
}
