package processnodes

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/clustertest"
)

// https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods and
// .../debug-running-pod: what kubectl describe shows of a pod's life.
func TestEvents(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	failing := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1, FailureThreshold: 2}
	listens := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1, FailureThreshold: 60}
	errors := env("STANDIN_ERROR_RATE", "1")
	// On a busy machine it is killed before it listens, again and again, if nothing waits for that.
	answers := withProbe(web("main", errors), nil, failing)
	answers.StartupProbe = listens
	for title, one := range map[string]struct {
		spec corev1.PodSpec
		// want are patterns of "TYPE REASON FIELD: MESSAGE".
		want []string
		// counted is the reason of one that comes again and is counted.
		counted string
	}{
		"a pod that runs, and fails again and again": {
			spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{shell("main", "exit 1")}},
			want: []string{
				`Normal Pulling spec.containers{main}: Pulling image "busybox"|Normal Pulled spec.containers{main}: Container image "busybox" already present on machine and can be accessed by the pod`,
				"Normal Created spec.containers{main}: Container created", "Normal Started spec.containers{main}: Container started",
				`Warning BackOff spec.containers{main}: Back-off restarting failed container main in pod p-.*`,
			},
			counted: "BackOff",
		},
		"an init container": {
			spec: corev1.PodSpec{InitContainers: []corev1.Container{shell("first", "exit 0")}, Containers: []corev1.Container{shell("main", "exit 0")}},
			want: []string{"Normal Started spec.initContainers{first}: Container started", "Normal Started spec.containers{main}: Container started"},
		},
		"liveness": {
			spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{answers}},
			want: []string{
				"Warning Unhealthy spec.containers{main}: Liveness probe failed: HTTP probe failed with statuscode: 500",
				"Normal Killing spec.containers{main}: Container main failed liveness probe, will be restarted",
			},
			counted: "Unhealthy",
		},
		"readiness": {
			spec:    corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{withProbe(web("main", errors), failing, nil)}},
			want:    []string{"Warning Unhealthy spec.containers{main}: Readiness probe failed: HTTP probe failed with statuscode: 500"},
			counted: "Unhealthy",
		},
		"an image that is not there": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/unknown:1"}}},
			want: []string{
				`Normal Pulling spec.containers{main}: Pulling image "example.com/unknown:1"`, `Warning Failed spec.containers{main}: Failed to pull image "example.com/unknown:1": .*`,
				"Warning Failed spec.containers{main}: Error: ErrImagePull", `Normal BackOff spec.containers{main}: Back-off pulling image "example.com/unknown:1"`, "Warning Failed spec.containers{main}: Error: ImagePullBackOff",
			},
		},
		"a volume that is not there": {
			spec: corev1.PodSpec{Containers: []corev1.Container{shell("main", "exit 0")}, Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "missing"}}}}},
			want: []string{`Warning FailedMount : MountVolume.SetUp failed for volume "v": secrets "missing" not found`}, counted: "FailedMount",
		},
		"a program that is not there": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox", Command: []string{"no-such-program"}}}},
			want: []string{`Warning Failed spec.containers{main}: Error: exec: "no-such-program": executable file not found in \$PATH`},
		},
		"a hook that fails": {
			spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{withPostStart(shell("main", "exec sleep 100"), "exit 1")}},
			want: []string{"Warning FailedPostStartHook spec.containers{main}: PostStartHook failed"},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			name := create(t, c, ns, one.spec)
			var said []string
			err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, deadline, true, func(context.Context) (bool, error) {
				var counted bool
				said, counted = events(t, c, ns, name, one.counted)
				text := strings.Join(said, "\n")
				for _, pattern := range one.want {
					if !regexp.MustCompile(`(?m)^(` + strings.NewReplacer("{", `\{`, "}", `\}`).Replace(pattern) + `)$`).MatchString(text) {
						return false, nil
					}
				}
				return counted || one.counted == "", nil
			})
			if err != nil {
				t.Errorf("it says only\n%s", strings.Join(said, "\n"))
			}
		})
	}
	t.Run("a pod that is deleted", func(t *testing.T) {
		t.Parallel()
		container := shell("main", "exec sleep 100")
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "exit 1"}}}}
		name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(5)), Containers: []corev1.Container{container}})
		until(t, c, ns, name, "the pod to run", is(corev1.PodReady, corev1.ConditionTrue))
		if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "both events", func() bool {
			said, _ := events(t, c, ns, name, "")
			text := strings.Join(said, "\n")
			return strings.Contains(text, "Normal Killing spec.containers{main}: Stopping container main") && strings.Contains(text, "Warning FailedPreStopHook spec.containers{main}: PreStopHook failed")
		})
	})
	t.Run("a node", func(t *testing.T) {
		t.Parallel()
		said, _ := events(t, c, "default", "process-0", "")
		text := strings.Join(said, "\n")
		if !strings.Contains(text, "Normal Starting : Starting kubelet.") || !strings.Contains(text, "Normal NodeReady : Node process-0 status is now: NodeReady") {
			t.Errorf("it says only\n%s", text)
		}
	})
}

// events are what a kubelet has said of something, and whether it has counted what it
// said again.
func events(t testing.TB, c kubernetes.Interface, ns, name, reason string) (said []string, counted bool) {
	t.Helper()
	list, err := c.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Source.Component == "kubelet" && strings.HasPrefix(e.Source.Host, "process-") {
			said = append(said, fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, e.InvolvedObject.FieldPath, e.Message))
			counted = counted || e.Reason == reason && e.Count > 1
		}
	}
	return said, counted
}

func withProbe(c corev1.Container, readiness, liveness *corev1.Probe) corev1.Container {
	c.ReadinessProbe, c.LivenessProbe = readiness, liveness
	return c
}

func withPostStart(c corev1.Container, script string) corev1.Container {
	c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}}
	return c
}

// https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#define-a-grpc-liveness-probe:
// a service that does not say that it serves has not passed, nor has one that is unknown.
func TestGRPCProbes(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	probed := func(service *string) string {
		container := corev1.Container{Name: "main", Image: "grpc:1", Env: []corev1.EnvVar{env("STANDIN_BOOT", "2s")}}
		probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 8080, Service: service}}, PeriodSeconds: 1, FailureThreshold: 1}
		return create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{withProbe(container, probe, nil)}})
	}
	whole, one, unknown := probed(nil), probed(new("ready")), probed(new("unknown"))
	complaint := func(name, want string) func() bool {
		return func() bool {
			said, _ := events(t, c, ns, name, "")
			return strings.Contains(strings.Join(said, "\n"), want)
		}
	}
	waitFor(t, "the whole not to serve at first", complaint(whole, `Readiness probe failed: service unhealthy (responded with "NOT_SERVING")`))
	until(t, c, ns, whole, "the whole to serve", is(corev1.PodReady, corev1.ConditionTrue))
	until(t, c, ns, one, "the service to serve", is(corev1.PodReady, corev1.ConditionTrue))
	waitFor(t, "the unknown to be said", complaint(unknown, "Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound"))
	if p := until(t, c, ns, unknown, "the unknown", phase(corev1.PodRunning)); is(corev1.PodReady, corev1.ConditionTrue)(p) {
		t.Error("a service that is unknown is ready")
	}
}
