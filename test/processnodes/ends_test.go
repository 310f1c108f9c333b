package processnodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/clustertest"
)

// deaf is a program that does not end when it is told to.
func deaf(mark string) corev1.Container {
	return shell("main", "trap '' TERM; while :; do sleep 1; done; : "+mark)
}

func isGone(t *testing.T, c kubernetes.Interface, ns, name string) bool {
	t.Helper()
	_, err := c.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

// remove deletes a pod with a grace period, in seconds; nil is the pod's own.
func remove(t *testing.T, c kubernetes.Interface, ns, name string, grace *int64) {
	t.Helper()
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
		t.Fatal(err)
	}
}

// Pods that are deleted at any moment of their start end, too.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
func TestDeletedWhileStarting(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	var deleting sync.WaitGroup
	for range 40 {
		name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
		moment := time.After(rand.N(150 * time.Millisecond))
		deleting.Go(func() {
			<-moment
			if err := c.CoreV1().Pods(ns).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	deleting.Wait()
	waitFor(t, "all pods to be gone", func() bool {
		pods, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0
	})
}

// A second deletion can only shorten the grace period; a forced one ends it.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced
func TestGraceIsCutShort(t *testing.T) {
	t.Parallel()
	for title, grace := range map[string]int64{"by force": 0, "to a second": 1} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ns, c := clustertest.Namespace(t), client(t)
			mark := fmt.Sprintf("windlass-mark-%s-%d", ns, grace)
			name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(3600)), Containers: []corev1.Container{deaf(mark)}})
			until(t, c, ns, name, "the program to run", phase(corev1.PodRunning))
			remove(t, c, ns, name, nil)
			until(t, c, ns, name, "the deletion", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
			remove(t, c, ns, name, &grace)
			waitFor(t, "the program to end", func() bool { return !running(t, mark) })
		})
	}
}

// A pod has ended when all of its programs have.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
func TestPhaseAwaitsPrograms(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	sidecar := deaf("side")
	sidecar.Name, sidecar.RestartPolicy = "side", new(corev1.ContainerRestartPolicyAlways)
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(3)), InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{shell("main", "exit 0")}})
	p := until(t, c, ns, name, "the pod to succeed", phase(corev1.PodSucceeded))
	if s := p.Status.InitContainerStatuses[0]; s.State.Terminated == nil {
		t.Errorf("the pod has succeeded, and its sidecar is %+v", s.State)
	}
	name = create(t, c, ns, corev1.PodSpec{ActiveDeadlineSeconds: new(int64(1)), TerminationGracePeriodSeconds: new(int64(3)), Containers: []corev1.Container{deaf("late")}})
	p = until(t, c, ns, name, "the pod to fail", phase(corev1.PodFailed))
	if s := p.Status.ContainerStatuses[0]; s.State.Terminated == nil {
		t.Errorf("the pod has failed by its deadline, and its program is %+v", s.State)
	}
}

// Readiness is probed for a container's whole life, so that what ends can say that it
// serves no more.
// https://kubernetes.io/docs/concepts/workloads/pods/probes/#readiness-probe
func TestReadinessUntilTheEnd(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	main := shell("main", "trap 'touch $CONTAINER_ROOT/down' TERM; while :; do sleep 0.1; done")
	main = withProbe(main, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "! test -e $CONTAINER_ROOT/down"}}}, PeriodSeconds: 1, FailureThreshold: 1}, nil)
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(3600)), Containers: []corev1.Container{main}})
	until(t, c, ns, name, "the pod to be ready", is(corev1.PodReady, corev1.ConditionTrue))
	remove(t, c, ns, name, nil)
	until(t, c, ns, name, "the pod not to be ready", is(corev1.PodReady, corev1.ConditionFalse))
	remove(t, c, ns, name, new(int64(0)))
}

// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
func TestReasonsOfConditions(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	main := withProbe(web("main", env("STANDIN_BOOT", "1500ms")), &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1,
	}, nil)
	name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{main}})
	until(t, c, ns, name, "the pod to say why it is not ready", func(p *corev1.Pod) bool {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Reason == "ContainersNotReady" {
				return true
			}
		}
		return false
	})
	p := until(t, c, ns, name, "the pod to be ready", is(corev1.PodReady, corev1.ConditionTrue))
	for _, condition := range p.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && condition.Reason+condition.Message != "" {
			t.Errorf("%s is True with the reason %q: %s", condition.Type, condition.Reason, condition.Message)
		}
	}
}

// What runs beside a container, or looks at it, neither outlives nor holds it up.
// https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container
func TestStreamsEndWithThePod(t *testing.T) {
	t.Parallel()
	t.Run("exec", func(t *testing.T) {
		t.Parallel()
		ns, c := clustertest.Namespace(t), client(t)
		name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
		until(t, c, ns, name, "the program to run", phase(corev1.PodRunning))
		mark := "sleep 1000; : windlass-mark-" + ns
		cmd := kubectl(t, ns, "exec", name, "--", "sh", "-c", "echo up; "+mark)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		remove(t, c, ns, name, nil)
		waitFor(t, "the command to end, and kubectl", func() bool { return !running(t, mark) })
		_ = cmd.Wait() // It says that it was cut off.
	})
	t.Run("attach, by somebody who does not read", func(t *testing.T) {
		t.Parallel()
		ns, c := clustertest.Namespace(t), client(t)
		name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec yes 01234567890123456789012345678901234567890123456789")}})
		until(t, c, ns, name, "the program to run", phase(corev1.PodRunning))
		cmd := kubectl(t, ns, "attach", name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		remove(t, c, ns, name, nil)
		waitFor(t, "the pod to be gone", func() bool { return isGone(t, c, ns, name) })
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // By the signal.
	})
}

// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage
func TestMountWithinAClaim(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	if _, err := c.CoreV1().PersistentVolumeClaims(ns).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second finds what the first one left.
		main := shell("main", "test -d $CONTAINER_ROOT/data/tmp")
		main.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "tmp", MountPath: "/data/tmp"}}
		name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{main}, Volumes: []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}})
		until(t, c, ns, name, "the pod to succeed", phase(corev1.PodSucceeded))
		remove(t, c, ns, name, nil)
	}
}
