package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Reasons of events, as the kubelet writes them.
const (
	eventPulling   = "Pulling"
	eventPulled    = "Pulled"
	eventCreated   = "Created"
	eventStarted   = "Started"
	eventKilling   = "Killing"
	eventBackOff   = "BackOff"
	eventFailed    = "Failed"
	eventUnhealthy = "Unhealthy"
	eventMount     = "FailedMount"
	eventPostStart = "FailedPostStartHook"
	eventPreStop   = "FailedPreStopHook"
	eventStarting  = "Starting"
	eventNodeReady = "NodeReady"
)

// event says something of a pod or of the node itself. The recorder counts what is said
// again.
func (n *node) event(about runtime.Object, kind, reason, message string) {
	if n.is() == Running && n.agent.life.Err() == nil { // Who is off or cut off says nothing.
		n.record.Event(about, kind, reason, message)
	}
}

// announce says something of the node itself.
func (n *node) announce(reason, message string) {
	n.agent.mu.Lock()
	uid := n.uid
	n.agent.mu.Unlock()
	n.event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: uid}, corev1.EventTypeNormal, reason, message)
}

func (p *pod) warn(reason, message string) {
	p.node.event(p.object(), corev1.EventTypeWarning, reason, message)
}

// say and warn are about the container within its pod.
func (c *container) say(reason, format string, args ...any) {
	c.pod.node.event(c.reference(), corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...))
}

func (c *container) warn(reason, format string, args ...any) {
	c.pod.node.event(c.reference(), corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

func (c *container) reference() *corev1.ObjectReference {
	o := c.pod.object()
	field := "containers"
	if slices.Contains(c.pod.inits, c) {
		field = "initContainers"
	}
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
		FieldPath: fmt.Sprintf("spec.%s{%s}", field, c.spec.Name),
	}
}

func (c *container) sayPulled(took time.Duration) {
	took = took.Round(time.Millisecond)
	c.say(eventPulled, "Successfully pulled image %q in %v (%v including waiting). Image size: 0 bytes.", c.spec.Image, took, took)
}

func (c *container) warnNotPulled(problem string) {
	c.warn(eventFailed, "Failed to pull image %q: %s", c.spec.Image, problem)
	c.warn(eventFailed, "Error: %s", reasonPull)
	c.say(eventBackOff, "Back-off pulling image %q", c.spec.Image)
	c.warn(eventFailed, "Error: %s", reasonPullBackOff)
}

// sayKilled says why a probe ends the container, and whether it comes again.
func (c *container) sayKilled(probe string) {
	again := ""
	if !c.over(exitUnknown) {
		again = ", will be restarted"
	}
	c.say(eventKilling, "Container %s failed %s probe%s", c.spec.Name, strings.ToLower(probe), again)
}
