// Package rollouts tests changes over many installations on a real Kubernetes control plane,
// with the controllers and permissions as they are shipped, and simulated nodes.
package rollouts

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// deadline bounds each wait.
const deadline = 3 * time.Minute

func TestMain(m *testing.M) { windlasstest.Main(m, nil) }

// windlass runs the controllers of installations and of roll-outs, until the test ends or stop
// is called.
func windlass(t testing.TB, hooks manager.Hooks) (stop func()) {
	t.Helper()
	cfg := config.Default()
	cfg.Rotations.Disabled, cfg.Fleet.Disabled = true, true
	cfg.Leases.Disabled = true // One runs after another.
	return windlasstest.Run(t, cfg, clustertest.Config(t, install.Identity), hooks)
}

// fleet makes installations that run, in a namespace of their own.
func fleet(t testing.TB, c client.Client, n int) (namespace string) {
	t.Helper()
	namespace = clustertest.Namespace(t)
	for secret, data := range map[string]map[string]string{
		"db": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm"}, "fs": {"accesskey": "example", "secretkey": "example"},
	} {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secret}, StringData: data}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		create(t, c, namespace, i)
	}
	for i := range n {
		await(t, c, namespace, name(i), "stable", stable)
	}
	return namespace
}

// create makes one more installation of a fleet.
func create(t testing.TB, c client.Client, namespace string, i int) {
	t.Helper()
	mm := &v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i), Labels: map[string]string{"tier": "free"}},
		Spec: v1beta1.MattermostSpec{
			Version: "10.5.2", Replicas: new(int32(1)), Ingress: &v1beta1.Ingress{},
			MattermostEnv: []corev1.EnvVar{{Name: "THEIRS", Value: name(i)}},
			Database:      v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore:     v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "b", Secret: "fs"}},
		},
	}
	mm.Spec.Scheduling.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity, corev1.ResourceMemory: quantity}
	if err := c.Create(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
}

func name(i int) string { return fmt.Sprintf("mm-%02d", i) }

func stable(mm *v1beta1.Mattermost) bool {
	return mm.Status.State == v1beta1.Stable && mm.Status.ObservedGeneration == mm.Generation
}

func runs(version string) func(*v1beta1.Mattermost) bool {
	return func(mm *v1beta1.Mattermost) bool { return stable(mm) && mm.Spec.Version == version }
}

// await waits until an installation is as wanted.
func await(t testing.TB, c client.Client, namespace, name, what string, as func(*v1beta1.Mattermost) bool) *v1beta1.Mattermost {
	t.Helper()
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(mm), mm)
		return err == nil && as(mm), err
	})
	if err != nil {
		t.Fatalf("%v: %s/%s is not %s: version %s, %+v", err, namespace, name, what, mm.Spec.Version, mm.Status.Conditions)
	}
	return mm
}

// rollout makes a roll-out over a namespace, which is deleted at the end of the test.
func rollout(t testing.TB, c client.Client, name, namespace string, change v1alpha1.InstallationChange, strategy v1alpha1.RolloutStrategy) *v1alpha1.InstallationRollout {
	t.Helper()
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.InstallationRolloutSpec{
		Namespaces: []string{namespace}, Change: change, Strategy: &strategy,
	}}
	if err := c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), r)); err != nil {
			t.Error(err)
		}
	})
	return r
}

// reaches waits until a roll-out is as wanted.
func reaches(t testing.TB, c client.Client, r *v1alpha1.InstallationRollout, what string, as func(*v1alpha1.InstallationRolloutStatus) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(r), r)
		return err == nil && r.Status.ObservedGeneration == r.Generation && as(&r.Status), err
	})
	if err != nil {
		t.Fatalf("%v: the roll-out is not %s: %+v", err, what, r.Status)
	}
}

func phase(want v1alpha1.Phase) func(*v1alpha1.InstallationRolloutStatus) bool {
	return func(st *v1alpha1.InstallationRolloutStatus) bool { return st.Phase == want }
}

// edit changes an object, whatever others write meanwhile.
func edit[O client.Object](t testing.TB, c client.Client, object O, change func()) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return false, err
		}
		change()
		err := c.Update(ctx, object, client.FieldOwner("user"))
		if apierrors.IsConflict(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func number(n int) *intstr.IntOrString { return new(intstr.FromInt32(int32(n))) }
