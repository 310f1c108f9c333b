package devcluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
)

// childVariable makes this test binary act as the program that holds a cluster,
// for the tests that kill it.
const childVariable = "WINDLASS_TEST_CLUSTER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		holdCluster(dir)
		return
	}
	clustertest.Main(m, nil)
}

func holdCluster(dir string) {
	c, err := devcluster.Start(context.Background(), devcluster.Options{Dir: dir, Nodes: 1, ProcessNodes: 1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, "ready")
	_ = c.Wait(context.Background())
}

func client(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits for a condition with a deadline that is far above what it
// takes on a busy machine.
func eventually(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, condition); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "first", Image: "example.com/init:1"}},
					Containers:     []corev1.Container{{Name: "main", Image: image}},
				},
			},
		},
	}
}

func TestDeploymentBecomesAvailable(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), deployment("web", "example.com/web:1", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "3 available pods", func(ctx context.Context) (bool, error) {
		d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 3, err
	})
}

func TestMissingImageNeverStarts(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), deployment("web", "example.com/web:does-not-exist", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod that cannot pull its image", func(ctx context.Context) (bool, error) {
		pods, err := c.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || len(pods.Items[0].Status.ContainerStatuses) != 1 {
			return false, err
		}
		waiting := pods.Items[0].Status.ContainerStatuses[0].State.Waiting
		return waiting != nil && waiting.Reason == "ImagePullBackOff", nil
	})
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"example.com/web:2"}]}}}}`)
	if _, err := c.AppsV1().Deployments(ns).Patch(t.Context(), "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod of a better image", func(ctx context.Context) (bool, error) {
		d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.UpdatedReplicas == 1 && d.Status.AvailableReplicas == 1 && d.Status.Replicas == 1, err
	})
}

func TestReadinessComesBack(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), deployment("web", "example.com/web:1", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func(ctx context.Context) (*corev1.Pod, bool, error) {
		pods, err := c.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 {
			return nil, false, err
		}
		for _, condition := range pods.Items[0].Status.Conditions {
			if condition.Type == corev1.PodReady {
				return &pods.Items[0], condition.Status == corev1.ConditionTrue, nil
			}
		}
		return &pods.Items[0], false, nil
	}
	var pod *corev1.Pod
	eventually(t, "a ready pod", func(ctx context.Context) (ok bool, err error) { pod, ok, err = ready(ctx); return ok, err })
	// What the node-lifecycle controller does to the pods of a node that it holds for dead.
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			pod.Status.Conditions[i].Status = corev1.ConditionFalse
		}
	}
	if _, err := c.CoreV1().Pods(ns).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod to be ready again", func(ctx context.Context) (bool, error) { _, ok, err := ready(ctx); return ok, err })
}

func TestJobs(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[string]batchv1.JobConditionType{"succeed": batchv1.JobComplete, "fail": batchv1.JobFailed} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			ns, c := clustertest.Namespace(t), client(t)
			job := &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: "job"},
				Spec: batchv1.JobSpec{
					BackoffLimit: new(int32(0)),
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"simulated.windlass.dev/outcome": outcome, "simulated.windlass.dev/duration": "100ms"}},
						Spec: corev1.PodSpec{
							RestartPolicy: corev1.RestartPolicyNever,
							Containers:    []corev1.Container{{Name: "main", Image: "example.com/job:1"}},
						},
					},
				},
			}
			if _, err := c.BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the Job to be "+string(want), func(ctx context.Context) (bool, error) {
				job, err := c.BatchV1().Jobs(ns).Get(ctx, "job", metav1.GetOptions{})
				if err != nil {
					return false, err
				}
				for _, condition := range job.Status.Conditions {
					if condition.Type == want && condition.Status == corev1.ConditionTrue {
						return true, nil
					}
				}
				return false, nil
			})
		})
	}
}

func TestClaimsBind(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if _, err := c.CoreV1().PersistentVolumeClaims(ns).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := ""
	eventually(t, "the claim to be bound", func(ctx context.Context) (bool, error) {
		claim, err := c.CoreV1().PersistentVolumeClaims(ns).Get(ctx, "data", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		volume = claim.Spec.VolumeName
		return claim.Status.Phase == corev1.ClaimBound, nil
	})
	if err := c.CoreV1().PersistentVolumeClaims(ns).Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its volume to be gone", func(ctx context.Context) (bool, error) {
		list, err := c.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + volume})
		return err == nil && len(list.Items) == 0, err
	})
}

func TestLoadBalancersGetAnAddress(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}},
	}}
	if _, err := c.CoreV1().Services(ns).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an address", func(ctx context.Context) (bool, error) {
		s, err := c.CoreV1().Services(ns).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && len(s.Status.LoadBalancer.Ingress) == 1, err
	})
}

func TestAuditCounts(t *testing.T) {
	t.Parallel()
	ns, audit := clustertest.Namespace(t), clustertest.Audit(t)
	const user = "audit-test"
	c, err := kubernetes.NewForConfig(clustertest.Config(t, user))
	if err != nil {
		t.Fatal(err)
	}
	from, err := audit.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The user may not do it, and that counts too.
	_, err = c.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	if err == nil {
		t.Fatal("an unknown user could make a ConfigMap")
	}
	if _, err := c.CoreV1().ConfigMaps(ns).Get(t.Context(), "x", metav1.GetOptions{}); err == nil {
		t.Fatal("an unknown user could read a ConfigMap")
	}
	to, err := audit.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests, err := audit.Since(from, to, user)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 2 || !requests[0].Write() || requests[0].Resource != "configmaps" || requests[0].Code != 403 || requests[1].Write() {
		t.Errorf("want a refused write and a read of configmaps, got %+v", requests)
	}
}

func TestTwoStartsOnOneFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := startChild(t, dir)
	_, err := devcluster.Start(t.Context(), devcluster.Options{Dir: dir, Nodes: 1})
	if !errors.Is(err, devcluster.ErrRunning) || !strings.Contains(err.Error(), "windlass dev down") {
		t.Errorf("want an error that says how to stop the other, got %v", err)
	}
	killGroup(t, cmd)
}

// TestStartAfterKill kills the program that holds a cluster, which takes its
// children with it or leaves them behind, and starts again on the same folder.
func TestStartAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := startChild(t, dir)
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(filepath.Join(dir, "children.json"))
	if err != nil {
		t.Fatal(err)
	}
	mark := "windlass-mark-" + filepath.Base(filepath.Dir(dir))
	program := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "program"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		// One of its programs leaves its group, as servers do that put themselves into the background.
		Name: "main", Image: "busybox", Command: []string{"sh", "-c", "setsid sh -c 'while :; do sleep 1; done; : stray-" + mark + "' & sleep 1000; : main-" + mark},
	}}}}
	if _, err := before.CoreV1().Pods("default").Create(t.Context(), program, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func(c kubernetes.Interface, restarts int32) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			p, err := c.CoreV1().Pods("default").Get(ctx, "program", metav1.GetOptions{})
			return err == nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready && p.Status.ContainerStatuses[0].RestartCount == restarts, err
		}
	}
	eventually(t, "the program to run", ready(before, 0))
	killGroup(t, cmd)
	eventually(t, "the program to be gone with the cluster", func(context.Context) (bool, error) { return !runs(t, "main-"+mark), nil })
	if err := devcluster.CleanUp(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if runs(t, mark) {
		t.Error("what the program started outlives the clean-up")
	}

	c, err := devcluster.Start(t.Context(), devcluster.Options{Dir: dir, Nodes: 1, ProcessNodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	after, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("what was stored before the kill: %v", err)
	}
	eventually(t, "the program to run again", ready(after, 1))
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if runs(t, mark) {
		t.Error("the program, or what it started, outlives its cluster")
	}
	withoutMachine(t, dir)
	var processes []struct{ PID int }
	if err := json.Unmarshal(children, &processes); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if syscall.Kill(p.PID, 0) == nil {
			t.Errorf("process %d of the killed cluster still lives", p.PID)
		}
	}
}

// withoutMachine starts once more, without the machine of the node that there was: the
// node and its pod are gone, and do not stay as ones that nobody hears of.
func withoutMachine(t *testing.T, dir string) {
	t.Helper()
	c, err := devcluster.Start(t.Context(), devcluster.Options{Dir: dir, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	after, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.CoreV1().Nodes().Get(t.Context(), "process-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its node is still there: %v", err)
	}
	if _, err := after.CoreV1().Pods("default").Get(t.Context(), "program", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its pod is still there: %v", err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// runs looks for a word in the command lines of all processes.
func runs(t *testing.T, word string) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("there is no /proc")
	}
	for _, e := range entries {
		if line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil && strings.Contains(string(line), word) {
			return true
		}
	}
	return false
}

func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	var errOut bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil {
		t.Fatalf("the child did not become ready: %v\n%s", err, errOut.String())
	}
	return cmd
}

func killGroup(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed, and says so.
}

func TestStandInsBecomeReady(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	dyn, err := dynamic.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "root"}, StringData: map[string]string{"ROOT_PASSWORD": "example"}}
	for _, one := range []struct {
		resource schema.GroupVersionResource
		kind     string
		spec     map[string]any
		// path and want are what a client waits for.
		path     []string
		want     any
		services []string
		secret   string
	}{
		{
			resource: schema.GroupVersionResource{Group: "mysql.presslabs.org", Version: "v1alpha1", Resource: "mysqlclusters"}, kind: "MysqlCluster",
			spec: map[string]any{"secretName": "root", "replicas": int64(2)}, path: []string{"status", "readyNodes"}, want: int64(2),
			services: []string{"one-mysql", "one-mysql-master"},
		},
		{
			resource: schema.GroupVersionResource{Group: "miniocontroller.min.io", Version: "v1beta1", Resource: "minioinstances"}, kind: "MinIOInstance",
			spec: map[string]any{"replicas": int64(4)}, path: []string{"status", "currentState"}, want: "Ready", services: []string{"one-hl-svc"},
		},
		{
			resource: schema.GroupVersionResource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}, kind: "Cluster",
			spec: map[string]any{"instances": int64(3)}, path: []string{"status", "readyInstances"}, want: int64(3),
			services: []string{"one-rw", "one-ro", "one-r"}, secret: "one-app",
		},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"spec": one.spec}}
		o.SetGroupVersionKind(one.resource.GroupVersion().WithKind(one.kind))
		o.SetName("one")
		if _, err := dyn.Resource(one.resource).Namespace(ns).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if one.kind == "MysqlCluster" { // It waits for its Secret.
			if _, err := c.CoreV1().Secrets(ns).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, one.kind+" to be ready", func(ctx context.Context) (bool, error) {
			got, err := dyn.Resource(one.resource).Namespace(ns).Get(ctx, "one", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			value, _, err := unstructured.NestedFieldNoCopy(got.Object, one.path...)
			return value == one.want, err
		})
		for _, name := range one.services {
			if _, err := c.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		}
		if one.secret != "" {
			got, err := c.CoreV1().Secrets(ns).Get(t.Context(), one.secret, metav1.GetOptions{})
			if err != nil || len(got.Data["uri"]) == 0 {
				t.Errorf("Secret %s: %v", one.secret, err)
			}
		}
	}
}
