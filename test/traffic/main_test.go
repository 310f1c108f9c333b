// Package traffic tests what users lose while something is rolled out, with real requests
// to pods that are processes. Its tests measure, so that they run one after the other,
// beside no other package, and without the race detector: see the Makefile.
package traffic

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/traffic"
	"windlass.dev/test/windlasstest"
)

func TestMain(m *testing.M) {
	windlasstest.Main(m, nil, func(o *devcluster.Options) { o.Nodes, o.ProcessNodes = 1, 3 })
}

// deadline bounds each wait.
const deadline = 90 * time.Second

func client(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// web is a container that serves.
func web(name string, env ...corev1.EnvVar) corev1.Container {
	return corev1.Container{Name: name, Image: "web:1", Env: env, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}
}

func env(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }

func waitFor(t *testing.T, awaited string, done func() bool) {
	t.Helper()
	waitUpTo(t, deadline, awaited, done)
}

func waitUpTo(t *testing.T, limit time.Duration, awaited string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// calm waits until the plan's load is answered without a loss, and quickly: on a machine
// that has no time for the load by itself, nothing can be said about an update.
func calm(t *testing.T, plan traffic.Plan) {
	t.Helper()
	plan.Duration = 2 * time.Second
	waitFor(t, "the load to be answered quickly", func() bool {
		report, err := traffic.Run(t.Context(), plan)
		return err == nil && report.Lost() == 0 && report.Requests.P99 < 250
	})
}
