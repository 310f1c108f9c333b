// Package rotationcli tests the commands of node rotation against a real API server, with
// the controller as it is shipped and simulated machines.
package rotationcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cli"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// deadline bounds each wait.
const deadline = 3 * time.Minute

// The cluster is bare: what the tests need they install. They do not run in parallel,
// since one lease, of one controller, is what they are about.
func TestMain(m *testing.M) { clustertest.Main(m, nil) }

// installed is a cluster with the definitions, and no controller.
func installed(t *testing.T) client.Client {
	t.Helper()
	c := windlasstest.Client(t)
	objects, err := install.Definitions(v1alpha1.GroupVersion.Group)
	if err != nil {
		t.Fatal(err)
	}
	if err := install.Apply(t.Context(), c, objects, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// controlled runs the controller, under its lease, until the test ends.
func controlled(t *testing.T) client.Client {
	t.Helper()
	c := installed(t)
	cfg := config.Default()
	cfg.Installations.Disabled = true
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	elected, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- manager.Run(ctx, cfg, clustertest.Shared(), manager.Hooks{Registry: prometheus.NewRegistry(), Elected: func(lease config.Lease) {
			if lease == cfg.Rotations.Lease {
				close(elected)
			}
		}})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("controller: %v", err)
		}
	})
	select {
	case <-elected:
	case <-time.After(deadline):
		t.Fatal("the lease was not won")
	case err := <-ended:
		ended <- nil
		t.Fatalf("controller: %v", err)
	}
	return c
}

// machines makes a simulated group whose machines are outdated, without a NodeGroup.
func machines(t *testing.T, c client.Client, name string, size int32) {
	t.Helper()
	p := &simulated.Provider{Client: c, Namespace: install.Namespace}
	err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: install.Namespace}})
	if client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	if err := p.Create(t.Context(), name, size, "4", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), name, 2); err != nil {
		t.Fatal(err)
	}
}

func group(name string) *v1alpha1.NodeGroup {
	return &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeGroupSpec{
		Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: name}},
		Strategy: &v1alpha1.Strategy{MinReadySeconds: new(int32(0)), Drain: &v1alpha1.Drain{PodSurge: v1alpha1.NeverSurge}},
	}}
}

// grouped makes the machines and their NodeGroup.
func grouped(t *testing.T, c client.Client, name string, size int32) {
	t.Helper()
	machines(t, c, name, size)
	if err := c.Create(t.Context(), group(name)); err != nil {
		t.Fatal(err)
	}
}

// hold puts a pod on each of the two nodes of a group that no drain may move, until the
// budget that is returned is deleted.
func hold(t *testing.T, c client.Client, name string) *policyv1.PodDisruptionBudget {
	t.Helper()
	namespace, labels := clustertest.Namespace(t), map[string]string{"app": name}
	apart := &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
	}}}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			NodeSelector: map[string]string{simulated.GroupLabel: name}, Affinity: apart,
			TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{{Name: "main", Image: "web:1"}},
		}},
	}}
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: new(intstr.FromInt32(0)), Selector: d.Spec.Selector,
	}}
	if err := errors.Join(c.Create(t.Context(), d), c.Create(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(b), b)
		return b.Status.CurrentHealthy == 2 && b.Status.ExpectedPods == 2, err
	})
	if err != nil {
		t.Fatalf("%v: the budget is %+v", err, b.Status)
	}
	return b
}

// command runs one command line against the test cluster.
func command(ctx context.Context, arguments ...string) (code int, out, problems string) {
	var stdout, stderr bytes.Buffer
	code = cli.Main(ctx, append([]string{"rotate"}, append(arguments, "--kubeconfig", clustertest.Kubeconfig())...), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// want runs a command line, and wants its exit code and some of what it prints.
func want(t *testing.T, code int, texts []string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	got, out, problems := command(ctx, arguments...)
	if got != code {
		t.Fatalf("rotate %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), got, code, out, problems)
	}
	for _, text := range texts {
		if !strings.Contains(out+problems, text) {
			t.Errorf("rotate %s does not say %q\n%s%s", strings.Join(arguments, " "), text, out, problems)
		}
	}
	return out
}

// outdated is how many nodes of a group are made from its first template.
func outdated(t *testing.T, c client.Client, name string) int {
	t.Helper()
	var nodes corev1.NodeList
	if err := c.List(t.Context(), &nodes, client.MatchingLabels{simulated.GroupLabel: name}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range nodes.Items {
		if nodes.Items[i].Annotations["simulated.windlass.dev/template"] == "1" {
			n++
		}
	}
	return n
}

// eventually waits until a run is as wanted.
func eventually(t *testing.T, c client.Client, name string, as func(*v1alpha1.NodeRotation) bool) {
	t.Helper()
	run := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(run), run)
		return err == nil && as(run), client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatalf("%v: run %s is %s, waits %s", err, name, run.Status.Phase, fmt.Sprint(run.Status.Waits))
	}
}
