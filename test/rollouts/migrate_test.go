package rollouts

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// olderFleet makes ClusterInstallations that run, in a namespace of their own.
func olderFleet(t *testing.T, c client.Client, n int) (namespace string) {
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
		ci := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}, Spec: older.ClusterInstallationSpec{
			Version: "10.5.2", IngressName: name(i) + "." + namespace + ".example.com", Replicas: 1,
			Database: older.Database{Secret: "db"}, Minio: older.Minio{ExternalURL: "s3.example.com", ExternalBucket: "b", Secret: "fs"},
		}}
		ci.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity, corev1.ResourceMemory: quantity}
		if err := c.Create(t.Context(), ci); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		awaitOlder(t, c, namespace, name(i), "stable", func(ci *older.ClusterInstallation) bool { return string(ci.Status.State) == "stable" })
	}
	return namespace
}

// awaitOlder waits until a ClusterInstallation is as wanted; nil for one that is gone.
func awaitOlder(t *testing.T, c client.Client, namespace, name, what string, as func(*older.ClusterInstallation) bool) {
	t.Helper()
	ci := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(ci), ci)
		if apierrors.IsNotFound(err) {
			return as(nil), nil
		}
		return err == nil && as(ci), err
	})
	if err != nil {
		t.Fatalf("%v: %s/%s is not %s: %+v", err, namespace, name, what, ci.Status)
	}
}

func inPhase(phase older.MigrationPhase) func(*older.ClusterInstallation) bool {
	return func(ci *older.ClusterInstallation) bool {
		return ci != nil && ci.Status.Migration != nil && ci.Status.Migration.Phase == phase
	}
}

// TestMigrate brings a fleet to the newer API, wave by wave. One that cannot be migrated
// counts as failed, and stays as it is.
func TestMigrate(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := olderFleet(t, c, 3)
	last := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(2)}}
	edit(t, c, last, func() {
		last.Spec.BlueGreen = older.BlueGreen{Enable: true, ProductionDeployment: "blue", Blue: older.AppDeployment{Name: "blue", IngressName: "b.example.com", Version: "10.5.2"}, Green: older.AppDeployment{Name: "green", IngressName: "g.example.com", Version: "10.5.2"}}
	})
	want(t, 3, namespace+"/mm-01  migrate: none -> true", "plan", "-n", namespace, "--migrate", "--check")
	want(t, 3, "Disable BlueGreen", "plan", "-n", namespace, "--migrate")
	want(t, 2, "the only change", "plan", "--migrate", "--version", "10.6.0")
	r := rollout(t, c, "migrate", namespace, v1alpha1.InstallationChange{Migrate: true}, v1alpha1.RolloutStrategy{
		MaxInFlight: number(1), Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 1}},
	})
	reaches(t, c, r, "done", phase(v1alpha1.Succeeded))
	if st := r.Status; st.Total != 3 || st.Updated != 2 || st.Failed != 0 || st.Refused != 1 || len(st.RefusedInstallations) != 1 || st.RefusedInstallations[0] != namespace+"/"+name(2) {
		t.Errorf("status %+v", st)
	}
	want(t, 0, "Refused: "+namespace+"/"+name(2), "status", "migrate")
	want(t, 0, "Disable BlueGreen to enable migration.", "status", "migrate")
	for i := range 2 {
		awaitOlder(t, c, namespace, name(i), "gone", func(ci *older.ClusterInstallation) bool { return ci == nil })
		await(t, c, namespace, name(i), "stable", runs("10.5.2"))
	}
	awaitOlder(t, c, namespace, name(2), "refused", inPhase(older.MigrationRefused))
	// A roll-out over Mattermosts has them from now on, and both stay in charge.
	version := rollout(t, c, "then", namespace, v1alpha1.InstallationChange{Version: "10.6.0"}, v1alpha1.RolloutStrategy{})
	reaches(t, c, version, "done", phase(v1alpha1.Succeeded))
	if version.Status.Total != 2 || version.Status.Updated != 2 {
		t.Errorf("status %+v", version.Status)
	}
	reaches(t, c, r, "done still", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Succeeded && st.Updated == 2 && st.Superseded == 0
	})
}

// TestMigrationIsTakenBack as long as the ClusterInstallation is there.
func TestMigrationIsTakenBack(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := olderFleet(t, c, 2)
	first := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(0)}}
	edit(t, c, first, func() { first.Annotations = map[string]string{older.FinalizeAnnotation: "Manual"} })
	r := rollout(t, c, "migrate-back", namespace, v1alpha1.InstallationChange{Migrate: true}, v1alpha1.RolloutStrategy{
		Waves: []v1alpha1.InstallationWave{{Size: number(1), SoakSeconds: 3600}},
	})
	awaitOlder(t, c, namespace, name(0), "handed over", inPhase(older.MigrationAwaitingFinalization))
	reaches(t, c, r, "soaking", func(st *v1alpha1.InstallationRolloutStatus) bool {
		return st.Phase == v1alpha1.Soaking && st.Updated == 1
	})
	want(t, 0, "told to give back", "rollback", "migrate-back")
	reaches(t, c, r, "rolled back", phase(v1alpha1.RolledBack))
	awaitOlder(t, c, namespace, name(0), "taken back", func(ci *older.ClusterInstallation) bool {
		return inPhase(older.MigrationReverted)(ci) && !ci.Spec.Migrate
	})
	awaitOlder(t, c, namespace, name(1), "as it was", func(ci *older.ClusterInstallation) bool {
		return ci != nil && !ci.Spec.Migrate && ci.Annotations[v1alpha1.MigrationAnnotation] == ""
	})
}

// TestMigrationKeepsEdits: what somebody has edited in the Mattermost meanwhile is not lost to
// a roll-back, which says so.
func TestMigrationKeepsEdits(t *testing.T) {
	c := windlasstest.Client(t)
	windlass(t, manager.Hooks{})
	namespace := olderFleet(t, c, 1)
	first := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(0)}}
	edit(t, c, first, func() { first.Annotations = map[string]string{older.FinalizeAnnotation: "Manual"} })
	r := rollout(t, c, "migrate-edited", namespace, v1alpha1.InstallationChange{Migrate: true}, v1alpha1.RolloutStrategy{})
	awaitOlder(t, c, namespace, name(0), "handed over", inPhase(older.MigrationAwaitingFinalization))
	mm := await(t, c, namespace, name(0), "stable", stable)
	edit(t, c, mm, func() { mm.Spec.Version = "10.6.0" })
	await(t, c, namespace, name(0), "stable with the edit", runs("10.6.0"))
	awaitOlder(t, c, namespace, name(0), "known to have been edited", func(ci *older.ClusterInstallation) bool {
		return slices.Equal(ci.Status.Migration.Diverged, []string{"spec.version"})
	})
	want(t, 0, "told to give back", "rollback", "migrate-edited")
	reaches(t, c, r, "at its end", phase(v1alpha1.RolledBack))
	want(t, 3, "windlass migrate revert", "status", "migrate-edited")
	if mm = await(t, c, namespace, name(0), "as edited", runs("10.6.0")); mm.DeletionTimestamp != nil {
		t.Error("the Mattermost is being deleted")
	}
	awaitOlder(t, c, namespace, name(0), "as it was", func(ci *older.ClusterInstallation) bool {
		return inPhase(older.MigrationAwaitingFinalization)(ci) && ci.Spec.Migrate
	})
}
