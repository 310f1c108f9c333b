package agent

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// resume goes on from what is known of a container since before the node was off. One
// that ran then has ended, and nobody knows how.
// See https://kubernetes.io/docs/concepts/architecture/nodes/#non-graceful-node-shutdown.
func (c *container) resume(was corev1.ContainerStatus) {
	c.status.RestartCount, c.status.LastTerminationState = was.RestartCount, was.LastTerminationState
	if path := c.logFile(); exists(path) {
		c.lastLog = path
	}
	ended := was.State.Terminated
	if running := was.State.Running; running != nil {
		ended = &corev1.ContainerStateTerminated{
			ExitCode: exitUnknown, Reason: "ContainerStatusUnknown", Message: "The container could not be located when the pod was terminated",
			StartedAt: running.StartedAt, ContainerID: was.ContainerID,
		}
	}
	if ended == nil {
		if c.lastLog != "" {
			c.status.RestartCount++ // It was held back between two runs.
		}
		return
	}
	c.status.ContainerID, c.status.ImageID = was.ContainerID, was.ImageID
	// Init containers run again with the pod, unless they are what it fails by.
	if done := c.over(ended.ExitCode) && (!c.once || ended.ExitCode != 0); done || c.pod.object().DeletionTimestamp != nil {
		c.ended, c.failed = true, ended.ExitCode != 0
		c.status.State = corev1.ContainerState{Terminated: ended}
		return
	}
	c.status.LastTerminationState = corev1.ContainerState{Terminated: ended}
	c.status.RestartCount++
}

// exitUnknown is what the kubelet reports of a container that it does not find again.
const exitUnknown = 137

// lost says that there is nothing of the pod to be run any more.
func (p *pod) lost() bool {
	for _, c := range p.inits {
		if c.didFail() {
			return true
		}
	}
	for _, c := range p.mains {
		if !c.retired() {
			return false
		}
	}
	return true
}

// logFile is where the next run of the container has its log.
func (c *container) logFile() string {
	return filepath.Join(c.pod.dir, c.spec.Name, fmt.Sprintf("%d.log", c.status.RestartCount))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
