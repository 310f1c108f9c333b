// Package fleet tests rotations of fleets on real Kubernetes control planes: one manages,
// and two are its members. The NodeRotations of the members are played by the test.
package fleet

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// deadline bounds each wait.
const deadline = 3 * time.Minute

func TestMain(m *testing.M) { windlasstest.Main(m, nil) }

func hub(t testing.TB) client.Client { return windlasstest.Client(t) }

// windlass runs Windlass with the permissions that it ships with, until the test ends or it is
// killed. Nothing is tidied up at its end.
func windlass(t testing.TB, as *rest.Config) (kill func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Rotations.Disabled = true // The test plays them.
	cfg.Leases.Duration = metav1.Duration{Duration: 20 * time.Second}
	cfg.Leases.RenewDeadline = metav1.Duration{Duration: 15 * time.Second}
	cfg.Leases.RetryPeriod = metav1.Duration{Duration: 500 * time.Millisecond}
	return windlasstest.Run(t, cfg, as, manager.Hooks{})
}

// member is a cluster of the fleet.
type member struct {
	client.Client
	name    string
	cluster *devcluster.Cluster

	mu sync.Mutex
	// plays says how its next NodeRotations end.
	plays func(*v1alpha1.NodeRotation)
}

// play sets how NodeRotations end from now on.
func (m *member) play(plays func(*v1alpha1.NodeRotation)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plays = plays
}

func succeeds(rotation *v1alpha1.NodeRotation) {
	rotation.Status.Phase, rotation.Status.Replaced = v1alpha1.Succeeded, 3
}

func lasts(rotation *v1alpha1.NodeRotation) { rotation.Status.Phase = v1alpha1.Rotating }

// startMember starts a cluster with all that the guide asks for, and registers it.
func startMember(t *testing.T, name string, labels map[string]string) *member {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	cluster, err := devcluster.Start(ctx, devcluster.Options{Dir: t.TempDir(), Nodes: 1, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := windlasstest.Install(ctx, cluster.Config()); err != nil {
		t.Fatal(err)
	}
	c, err := windlasstest.NewClient(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Client: c, name: name, cluster: cluster, plays: succeeds}
	for _, object := range manifests(t, 0) {
		if err := c.Create(ctx, object); err != nil {
			t.Fatalf("%s/%s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	var token corev1.Secret
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, types.NamespacedName{Namespace: install.Namespace, Name: "windlass-hub"}, &token)
		if len(token.Data["token"]) == 0 {
			return "the token of the registration", err
		}
		return "", err
	})
	registration := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: install.Namespace, Name: name, Labels: map[string]string{v1alpha1.FleetClusterLabel: "true"}},
		Data:       map[string][]byte{"server": []byte(cluster.Config().Host), "token": token.Data["token"], "ca.crt": token.Data["ca.crt"]},
	}
	maps.Copy(registration.Labels, labels)
	if err := hub(t).Create(ctx, registration); err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		m.playRotations(stop, t)
	}()
	t.Cleanup(func() {
		cancel()
		<-played
		if err := client.IgnoreNotFound(hub(t).Delete(ctx, registration)); err != nil {
			t.Error(err)
		}
	})
	return m
}

// playRotations stands in for the controller of NodeRotations.
func (m *member) playRotations(ctx context.Context, t *testing.T) {
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var list v1alpha1.NodeRotationList
		if err := m.List(ctx, &list); err != nil {
			return false, err
		}
		for i := range list.Items {
			rotation := &list.Items[i]
			before := rotation.DeepCopy()
			m.mu.Lock()
			m.plays(rotation)
			m.mu.Unlock()
			if rotation.Spec.End != "" {
				rotation.Status.Phase = v1alpha1.Aborted
			}
			switch before.Status.Phase {
			case v1alpha1.Succeeded, v1alpha1.Failed, v1alpha1.Aborted, rotation.Status.Phase:
				continue
			default:
			}
			if err := m.Status().Update(ctx, rotation); err != nil && !apierrors.IsConflict(err) {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil {
		t.Errorf("the rotations of %s: %v", m.name, err)
	}
}

// manifests returns the objects in the nth block of YAML of the guide.
func manifests(t testing.TB, n int) []*unstructured.Unstructured {
	t.Helper()
	all := windlasstest.Manifests(t, windlasstest.Page(t, "guides/fleet-rotation.md"))
	if len(all) <= n {
		t.Fatalf("the guide has %d blocks of YAML", len(all))
	}
	return all[n]
}

// eventually waits until check returns nothing that is awaited.
func eventually(t testing.TB, check func(context.Context) (awaited string, err error)) {
	t.Helper()
	awaited := ""
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		now, err := check(ctx)
		if ctx.Err() == nil || now != "" {
			awaited = now
		}
		return now == "" && err == nil, err
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// refused reports whether an error of the API server contains a text.
func refused(err error, text string) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), text)
}
