// Package processnodes tests that pods on process nodes live as pods on real nodes do.
// Each expectation is what Kubernetes' documentation says.
package processnodes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	clustertest.Main(m, taint, func(o *devcluster.Options) {
		o.Nodes, o.ProcessNodes, o.BackOff = 1, 6, 200*time.Millisecond
	})
}

const deadline = 60 * time.Second

func client(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shell is a container that runs a script with this machine's shell.
func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: "busybox", Command: []string{"sh", "-c", script}, TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError}
}

// web is a container that serves.
func web(name string, env ...corev1.EnvVar) corev1.Container {
	return corev1.Container{Name: name, Image: "web:1", Env: env, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}
}

// serving is a container that is not Ready before it serves: a process that runs may not
// listen yet, for long on a busy machine.
func serving(name string) corev1.Container {
	return withProbe(web(name), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}}, PeriodSeconds: 1}, nil)
}

func env(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }

func create(t testing.TB, c kubernetes.Interface, ns string, spec corev1.PodSpec) string {
	t.Helper()
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = corev1.RestartPolicyNever
	}
	p, err := c.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Labels: map[string]string{"app": "p", "color": "blue"}}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Name
}

// until waits for what a pod's status has to say, and returns the pod.
func until(t testing.TB, c kubernetes.Interface, ns, name, awaited string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var p *corev1.Pod
	err := wait.PollUntilContextTimeout(t.Context(), 30*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		var err error
		p, err = c.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		return err == nil && done(p), err
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; the status is %+v", awaited, err, p.Status)
	}
	return p
}

func phase(want corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Status.Phase == want }
}

func is(kind corev1.PodConditionType, status corev1.ConditionStatus) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind && c.Status == status })
	}
}

// said is what a container that failed had printed.
func said(t testing.TB, p *corev1.Pod) string {
	t.Helper()
	s := p.Status.ContainerStatuses[0].State.Terminated
	if s == nil {
		t.Fatalf("the container has not ended: %+v", p.Status)
	}
	return s.Message
}

// https://kubernetes.io/docs/tasks/inject-data-application: literals refer to those
// before them, and values come from ConfigMaps, Secrets, fields and resources.
func TestEnvironmentAndVolumes(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{"key": "of config", "other": "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, StringData: map[string]string{"key": "of secret"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	container := shell("main", `echo "$A|$B|$C|$D|$E|$F|$G|$P_other|$ARG"; cd $CONTAINER_ROOT; cat config/renamed secret/key info/name; echo; cat scratch/file; test -s var/run/secrets/kubernetes.io/serviceaccount/token && echo token; exit 1`)
	container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	from := func(name string, source corev1.EnvVarSource) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &source}
	}
	container.Env = []corev1.EnvVar{
		env("A", "a"), env("B", "$(A)b $$(A) $(UNKNOWN)"),
		from("C", corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Key: "key"}}),
		from("D", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Key: "key"}}),
		from("E", corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['color']"}}),
		from("F", corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}),
		from("G", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "missing"}, Key: "key", Optional: new(true)}}),
	}
	container.EnvFrom = []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}}
	container.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "all", MountPath: "/secret"}, {Name: "info", MountPath: "/info"}, {Name: "scratch", MountPath: "/scratch"}}
	before := shell("before", `echo -n "from init" > $CONTAINER_ROOT/scratch/file`)
	before.VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	name := create(t, c, ns, corev1.PodSpec{
		InitContainers: []corev1.Container{before}, Containers: []corev1.Container{container},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Items: []corev1.KeyToPath{{Key: "key", Path: "renamed"}}}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}}}}}}},
			{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	})
	p := until(t, c, ns, name, "the pod to fail", phase(corev1.PodFailed))
	const want = "a|ab $(A) $(UNKNOWN)|of config|of secret|blue|64||x|\nof configof secret"
	if got := said(t, p); got != want+ns+"\nfrom inittoken\n" {
		t.Errorf("it said\n%s\nwant\n%s", got, want)
	}
}

// https://kubernetes.io/docs/concepts/workloads/pods/init-containers and
// .../sidecar-containers: init containers one after the other, each to its end; a
// sidecar is started before what follows it, and ends after the main containers.
func TestInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	shared := []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}
	note := func(name, script string) corev1.Container {
		one := shell(name, "cd $CONTAINER_ROOT/shared; "+script)
		one.VolumeMounts = shared
		return one
	}
	sidecar := note("sidecar", `trap 'echo "sidecar ends" >> log; exit 0' TERM; echo sidecar >> log; while :; do read -t 1 x < /dev/zero; done`)
	sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	sidecar.Command = []string{"bash", "-c", sidecar.Command[2]}
	sidecar.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "grep -q sidecar $CONTAINER_ROOT/shared/log"}}}, PeriodSeconds: 1}
	name := create(t, c, ns, corev1.PodSpec{
		InitContainers: []corev1.Container{note("first", "echo first >> log"), sidecar, note("second", "echo second >> log")},
		Containers:     []corev1.Container{note("main", "echo main >> log; cat log; exit 1")},
		Volumes:        []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
	p := until(t, c, ns, name, "the pod to fail", phase(corev1.PodFailed))
	if got := said(t, p); got != "first\nsidecar\nsecond\nmain\n" {
		t.Errorf("the order was %q", got)
	}
	if s := p.Status.InitContainerStatuses; s[1].State.Terminated == nil || s[0].State.Terminated.Reason != "Completed" || s[1].State.Terminated.ExitCode != 0 {
		t.Errorf("init containers: %+v", s)
	}
}

// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	for title, one := range map[string]struct {
		policy corev1.RestartPolicy
		script string
		done   func(*corev1.Pod) bool
	}{
		"never, and it fails": {corev1.RestartPolicyNever, "exit 3", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && exit(p) == 3 && p.Status.ContainerStatuses[0].RestartCount == 0
		}},
		"never, and it succeeds": {corev1.RestartPolicyNever, "exit 0", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodSucceeded && is(corev1.PodReady, corev1.ConditionFalse)(p)
		}},
		"on failure, and it succeeds": {corev1.RestartPolicyOnFailure, "exit 0", phase(corev1.PodSucceeded)},
		"on failure, and it fails":    {corev1.RestartPolicyOnFailure, "exit 1", crashLoop},
		"always, and it succeeds":     {corev1.RestartPolicyAlways, "exit 0", crashLoop},
		"killed by a signal":          {corev1.RestartPolicyNever, "kill -9 $$$$", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed && exit(p) == 137 }},
		"a program that is not there": {corev1.RestartPolicyNever, "", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && p.Status.ContainerStatuses[0].State.Terminated.Reason == "StartError"
		}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			container := shell("main", one.script)
			if one.script == "" {
				container.Command = []string{"no-such-program"}
			}
			name := create(t, c, ns, corev1.PodSpec{RestartPolicy: one.policy, Containers: []corev1.Container{container}})
			until(t, c, ns, name, title, one.done)
		})
	}
}

func exit(p *corev1.Pod) int32 {
	if s := p.Status.ContainerStatuses[0].State.Terminated; s != nil {
		return s.ExitCode
	}
	return -1
}

// crashLoop says that a container has been restarted more than once, and is held back.
func crashLoop(p *corev1.Pod) bool {
	s := p.Status.ContainerStatuses
	return len(s) > 0 && s[0].RestartCount > 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff" && s[0].LastTerminationState.Terminated != nil
}

// https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
func TestUnknownImage(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/unknown:1"}}})
	p := until(t, c, ns, name, "ImagePullBackOff", waiting("ImagePullBackOff"))
	if p.Status.Phase != corev1.PodPending {
		t.Errorf("the phase is %s", p.Status.Phase)
	}
}

func waiting(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
	}
}

// https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#restrictions:
// a missing ConfigMap keeps a container from starting, until it is there.
func TestMissingConfiguration(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	container := shell("main", "exit 0")
	container.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}}}}
	name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{container}})
	until(t, c, ns, name, "CreateContainerConfigError", waiting("CreateContainerConfigError"))
	if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, c, ns, name, "the pod to succeed", phase(corev1.PodSucceeded))
}

// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes
func TestProbes(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	probe := func(script string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}, PeriodSeconds: 1, FailureThreshold: 2}
	}
	t.Run("readiness", func(t *testing.T) {
		t.Parallel()
		container := web("main", env("STANDIN_BOOT", "1500ms"))
		container.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1}
		name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{container}})
		p := until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
		if is(corev1.PodReady, corev1.ConditionTrue)(p) {
			t.Error("it is ready before it listens")
		}
		p = until(t, c, ns, name, "the pod to be ready", is(corev1.PodReady, corev1.ConditionTrue))
		if p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Error("it was restarted")
		}
	})
	t.Run("liveness", func(t *testing.T) {
		t.Parallel()
		container := web("main")
		container.LivenessProbe = probe("exit 1")
		container.Image, container.Command = "busybox", []string{"sleep", "100"}
		name := create(t, c, ns, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{container}})
		until(t, c, ns, name, "a restart", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) > 0 && s[0].RestartCount > 0 && s[0].LastTerminationState.Terminated != nil && s[0].LastTerminationState.Terminated.ExitCode == 143
		})
	})
	t.Run("startup holds liveness back", func(t *testing.T) {
		t.Parallel()
		container := shell("main", "sleep 3; touch $CONTAINER_ROOT/up; sleep 100")
		container.StartupProbe = probe("test -e $CONTAINER_ROOT/up")
		container.StartupProbe.FailureThreshold = 30
		container.LivenessProbe = probe("test -e $CONTAINER_ROOT/up")
		container.LivenessProbe.FailureThreshold = 1
		name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{container}})
		p := until(t, c, ns, name, "the container to start", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) > 0 && s[0].Started != nil && *s[0].Started
		})
		if p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Error("liveness did not wait for the startup probe")
		}
	})
}

// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow:
// preStop first, then SIGTERM, both within the grace period, then SIGKILL; the object
// goes when the containers have ended.
func TestTermination(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	remove := func(t *testing.T, name string) time.Duration {
		t.Helper()
		began := time.Now()
		if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
			_, err := c.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	for title, one := range map[string]struct {
		preStop, grace int64
		ignores        bool
		least, most    time.Duration
	}{
		"at once":            {0, 60, false, 0, 30 * time.Second},
		"after preStop":      {2, 60, false, 2 * time.Second, 30 * time.Second},
		"killed after grace": {0, 2, true, 2 * time.Second, 30 * time.Second},
		"preStop counts":     {60, 2, true, 2 * time.Second, 30 * time.Second},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			script := "sleep 100"
			if one.ignores {
				script = "trap '' TERM; sleep 100; sleep 100"
			} else {
				script = "exec " + script
			}
			container := shell("main", script)
			if one.preStop > 0 {
				container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", fmt.Sprint(one.preStop)}}}}
			}
			name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: &one.grace, Containers: []corev1.Container{container}})
			until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
			if took := remove(t, name); took < one.least || took > one.most {
				t.Errorf("it took %v, want %v to %v", took, one.least, one.most)
			}
		})
	}
}

// https://kubernetes.io/docs/concepts/workloads/controllers/job
func TestJobs(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	for image, want := range map[string]batchv1.JobConditionType{"postgres:17": batchv1.JobComplete, "fail": batchv1.JobFailed} {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: "j-"}, Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: image}}},
		}}}
		job, err := c.BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
			job, err = c.BatchV1().Jobs(ns).Get(ctx, job.Name, metav1.GetOptions{})
			return err == nil && slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
				return c.Type == want && c.Status == corev1.ConditionTrue
			}), err
		})
		if err != nil {
			t.Errorf("the Job of %s is not %s: %v, %+v", image, want, err, job.Status)
		}
	}
}

// TestServing: the pods of a Deployment answer at the addresses of its Service's
// endpoints, each at its own, and say who they are.
func TestServing(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	labels := map[string]string{"app": "web"}
	container := serving("main")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
	}}
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}}
	if _, err := c.CoreV1().Services(ns).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		slice, err := c.DiscoveryV1().EndpointSlices(ns).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		addresses = nil
		for _, s := range slice.Items {
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					addresses = append(addresses, fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port))
				}
			}
		}
		return len(addresses) == 4, err
	})
	if err != nil {
		t.Fatalf("%v: %v", err, addresses)
	}
	seen := map[string]bool{}
	for _, address := range addresses {
		local := strings.Replace(address, "10.", "127.", 1)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+local+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != "hello\n" || response.Header.Get("X-Windlass-Version") != "1" {
			t.Errorf("%s: %q, %v, %v", address, body, response.Header, err)
		}
		seen[response.Header.Get("X-Windlass-Pod")] = true
	}
	if len(seen) != 4 {
		t.Errorf("answered by %v", seen)
	}
}

// TestSimulatedBeside: a pod that tolerates it runs on a simulated node, and others do not.
func TestSimulatedBeside(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	name := create(t, c, ns, corev1.PodSpec{
		NodeSelector: map[string]string{"windlass.dev/node": "simulated"}, Tolerations: []corev1.Toleration{{Key: "windlass.dev/simulated", Operator: corev1.TolerationOpExists}},
		Containers: []corev1.Container{{Name: "main", Image: "example.com/anything"}},
	})
	until(t, c, ns, name, "the simulated pod to be ready", is(corev1.PodReady, corev1.ConditionTrue))
}

// TestNothingIsLeft of a process when its pod is gone, not even what it started.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	mark := "windlass-mark-" + ns
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "sh -c 'trap \"\" TERM; sleep 1000; : "+mark+"' & sleep 1000")}})
	until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
	waitFor(t, "the program to run", func() bool { return running(t, mark) })
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program to be gone", func() bool { return !running(t, mark) })
}

func waitFor(t *testing.T, awaited string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// running looks for a word in the command lines of all processes.
func running(t *testing.T, word string) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("there is no /proc")
	}
	for _, e := range entries {
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && strings.Contains(string(line), word) {
			return true
		}
	}
	return false
}
