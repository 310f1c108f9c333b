package agent

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is what the kubelet would write.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle.
func (p *pod) status() corev1.PodStatus {
	o := p.object()
	s := corev1.PodStatus{
		HostIP: hostIP, HostIPs: []corev1.HostIP{{IP: hostIP}}, PodIP: p.ip, PodIPs: []corev1.PodIP{{IP: p.ip}},
		StartTime: &p.startTime, QOSClass: o.Status.QOSClass,
	}
	p.mu.Lock()
	prepared := p.prepared
	s.Reason, s.Message = p.over, p.overMessage
	p.mu.Unlock()
	ready := prepared
	for _, c := range p.inits {
		status := c.snapshot()
		if c.once {
			status.Ready = status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
		} else {
			ready = ready && status.Ready
		}
		s.InitContainerStatuses = append(s.InitContainerStatuses, status)
	}
	for _, c := range p.mains {
		status := c.snapshot()
		ready = ready && status.Ready
		s.ContainerStatuses = append(s.ContainerStatuses, status)
	}
	s.Phase = p.phase(s, o.DeletionTimestamp != nil)
	p.conditions(&s, o, prepared, ready)
	return s
}

func (c *container) snapshot() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.status.DeepCopy()
}

// phase sums up the containers. A pod that is deleted ends, whatever its restart policy.
func (p *pod) phase(s corev1.PodStatus, deleted bool) corev1.PodPhase {
	stopped := deleted && p.stopped()
	began, ended, failed := p.sum()
	switch {
	case !p.stopped() && began:
		return corev1.PodRunning
	case !p.stopped():
		return corev1.PodPending
	case s.Reason != "", ended && failed, stopped && p.anyBad(), slices.ContainsFunc(p.inits, (*container).didFail):
		return corev1.PodFailed
	case ended || stopped:
		return corev1.PodSucceeded
	case began:
		return corev1.PodRunning
	default:
		return corev1.PodPending
	}
}

// sum says of the main containers whether any has begun, all have ended, any failed.
func (p *pod) sum() (began, ended, failed bool) {
	ended = true
	for _, c := range p.mains {
		c.mu.Lock()
		began = began || c.status.State.Waiting == nil || c.status.RestartCount > 0
		ended, failed = ended && c.ended, failed || c.failed
		c.mu.Unlock()
	}
	return began, ended, failed
}

// conditions sets those that the kubelet owns; all others are others'.
func (p *pod) conditions(s *corev1.PodStatus, o *corev1.Pod, prepared, ready bool) {
	done := s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
	unready, reason := "ContainersNotReady", "ContainersNotReady"
	if s.Phase == corev1.PodSucceeded {
		unready, reason = "PodCompleted", "PodCompleted"
	}
	gates := !slices.ContainsFunc(o.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool { return !conditionTrue(o, g.ConditionType) })
	if ready && !gates {
		reason = "ReadinessGatesNotReady"
	}
	p.condition(s, o, corev1.PodReadyToStartContainers, !done, unready)
	p.condition(s, o, corev1.PodInitialized, prepared, "ContainersNotInitialized")
	p.condition(s, o, corev1.ContainersReady, ready && !done, unready)
	p.condition(s, o, corev1.PodReady, ready && !done && gates, reason)
}

// condition sets one, with the time of its last change.
func (p *pod) condition(s *corev1.PodStatus, o *corev1.Pod, kind corev1.PodConditionType, is bool, unless string) {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: unless, LastTransitionTime: metav1.Now()}
	if is {
		c.Status, c.Reason = corev1.ConditionTrue, ""
	}
	for _, was := range slices.Concat(p.reported.Conditions, o.Status.Conditions) {
		if was.Type == kind && was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
			break
		}
	}
	s.Conditions = append(s.Conditions, c)
}

func conditionTrue(o *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind && c.Status == corev1.ConditionTrue })
}

// stopped says that nothing of the pod runs.
func (p *pod) stopped() bool {
	return !slices.ContainsFunc(slices.Concat(p.inits, p.mains), func(c *container) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.process != nil
	})
}

// anyBad says that a container did not end well.
func (p *pod) anyBad() bool {
	return slices.ContainsFunc(p.mains, func(c *container) bool {
		t := c.snapshot().State.Terminated
		return t == nil || t.ExitCode != 0
	})
}
