package installations

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/faults"
	"windlass.dev/test/windlasstest"
)

// TestRestoreKeepsVolumes: with the word Retain, what held the old data is there after all,
// and the way back is named. It also uses every permission that restores are granted.
func TestRestoreKeepsVolumes(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	w := &windlass{older: true}
	w.start(t, confined(ns), grant(t, ns, restorer(t)), manager.Hooks{})
	name := withMySQL(t, c, ns)
	before, claims := stableOlder(t, c, name), claimsOf(t, c, ns)
	secret := &corev1.Secret{StringData: map[string]string{"USER": "somebody", "PASSWORD": "backup-password", "DATABASE": "theirs"}}
	secret.Namespace, secret.Name = ns, "users"
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	restore := restoreOf(t, c, name, "monday", func(r *v1alpha1.MattermostRestoreDB) { r.Spec.MattermostDBSecret = "users" })
	confirm(t, c, restore, v1alpha1.RetainReplacedData)
	r := restoreSays(t, c, restore, v1alpha1.ReasonRestored)
	asBefore(t, c, name, before)
	for _, v := range r.Status.Volumes {
		volume := get(t, c, types.NamespacedName{Name: v.Volume}, &corev1.PersistentVolume{})
		if of := volume.Spec.ClaimRef; !v.Kept || volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || of == nil || of.UID != claims[v.Claim] {
			t.Errorf("%+v: volume %+v", v, volume.Spec)
		}
		if err := c.Delete(t.Context(), volume); err != nil {
			t.Error(err)
		}
	}
	if data := get(t, c, sibling(name, "-mysql-root-password"), &corev1.Secret{}).Data; string(data["DATABASE"]) != "theirs" || string(data["PASSWORD"]) != "backup-password" {
		t.Error("the Secret of the database does not have the backup's credentials")
	}
	if warned := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionSpecWarnings); warned != nil {
		t.Errorf("warned: %s", warned.Message)
	}
	var role rbacv1.ClusterRole
	if err := c.Get(t.Context(), types.NamespacedName{Name: install.Name + "-restores"}, &role); err != nil {
		t.Fatal(err)
	}
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if !w.used(permission{rule.APIGroups[0], resource, verb}) {
					t.Errorf("%s %s is used by no request", verb, resource)
				}
			}
		}
	}
}

// TestRestoreRefuses says what is missing, tells what it would do, and touches nothing; what
// the Mattermost Operator finished stays finished.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	name := types.NamespacedName{Namespace: ns, Name: "chat"}
	theirs := restoreOf(t, c, name, "theirs", func(r *v1alpha1.MattermostRestoreDB) {
		r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: "Delete"}
	})
	finished := get(t, c, theirs, &v1alpha1.MattermostRestoreDB{})
	finished.Status = v1alpha1.MattermostRestoreDBStatus{State: v1alpha1.Finished, OriginalDBReplicas: 2}
	if err := c.Status().Update(t.Context(), finished); err != nil {
		t.Fatal(err)
	}
	restore := restoreOf(t, c, name, "monday", func(r *v1alpha1.MattermostRestoreDB) {
		r.Spec.RestoreSecret = "absent"
		r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: "DryRun"}
	})
	start(t, ns, grant(t, ns, restorer(t)), manager.Hooks{})
	if r := restoreSays(t, c, restore, v1alpha1.ReasonInstallationNotFound); r.Status.State != v1alpha1.Failed {
		t.Errorf("state %q", r.Status.State)
	}
	restoreSays(t, c, theirs, v1alpha1.ReasonRestored)
	withMySQL(t, c, ns)
	before, claims, set := stableOlder(t, c, name), claimsOf(t, c, ns), databaseOf(t, c, ns)
	restoreSays(t, c, restore, v1alpha1.ReasonRestoreSecretNotFound)
	editRestore(t, c, restore, func(spec *v1alpha1.MattermostRestoreDBSpec) { spec.RestoreSecret = "backup" })
	r := restoreSays(t, c, restore, v1alpha1.ReasonDryRun)
	if r.Status.State != "" || len(r.Status.Volumes) != 2 || r.Status.Volumes[1].Claim != claimName(1) || r.Status.Volumes[1].Volume == "" || r.Status.Volumes[1].Size != "1Gi" {
		t.Errorf("status %+v", r.Status)
	}
	annotateRestore(t, c, restore, "Delete-00000000")
	restoreSays(t, c, restore, v1alpha1.ReasonConfirmationOutdated)
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Database = v1alpha1.Database{Secret: "db"} })
	restoreSays(t, c, restore, v1alpha1.ReasonDatabaseNotManaged)
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Database = before.Spec.Database })
	restoreSays(t, c, restore, v1alpha1.ReasonConfirmationOutdated)
	if diff := cmp.Diff(claims, claimsOf(t, c, ns)); diff != "" || databaseOf(t, c, ns).Generation != set.Generation {
		t.Errorf("something was touched:\n%s", diff)
	}
	if r := get(t, c, restore, &v1alpha1.MattermostRestoreDB{}); len(r.Finalizers) > 0 {
		t.Errorf("finalizers %v", r.Finalizers)
	}
	if got := get(t, c, theirs, &v1alpha1.MattermostRestoreDB{}).Status; got.State != v1alpha1.Finished || got.OriginalDBReplicas != 2 {
		t.Errorf("upstream's: %+v", got)
	}
}

func databaseOf(t *testing.T, c client.Client, namespace string) *appsv1.StatefulSet {
	t.Helper()
	return get(t, c, types.NamespacedName{Namespace: namespace, Name: mysqlOfChat + "-mysql"}, &appsv1.StatefulSet{})
}

// awaitPhase waits until the restore is in a phase.
func awaitPhase(t *testing.T, c client.Client, name types.NamespacedName, phase v1alpha1.RestorePhase) *v1alpha1.MattermostRestoreDB {
	t.Helper()
	r := &v1alpha1.MattermostRestoreDB{}
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, r)
		if r.Status.Phase != phase {
			return fmt.Sprintf("phase %s, it is %+v", phase, r.Status), err
		}
		return "", err
	})
	return r
}

// TestRestoreCalledOff: one that is deleted before data is touched leaves all as it was, and
// one that is deleted later ends first. Another one waits meanwhile, and has to be confirmed
// anew. An upgrade that is asked for in between comes after.
func TestRestoreCalledOff(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, restorer(t)), manager.Hooks{})
	works := mysqlOperator(t, c, ns)
	name := onMySQL(t, c, ns)
	before, claims := stableOlder(t, c, name), claimsOf(t, c, ns)
	first := restoreOf(t, c, name, "first", nil)
	goOn := heldUp(t, works)
	confirm(t, c, first, v1alpha1.DeleteReplacedData)
	awaitPhase(t, c, first, v1alpha1.RestoreStoppingDatabase)
	saysOlder(t, c, name, v1beta1.ConditionReady, v1beta1.ReasonDatabaseRestoring)
	if d := get(t, c, name, &appsv1.Deployment{}); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
		t.Errorf("Mattermost runs: %+v", d.Status)
	}
	deleteRestore(t, c, first)
	gone(t, c, first, &v1alpha1.MattermostRestoreDB{})
	// As long as it is told that no replicas are wanted, the operator removes their claims.
	eventually(t, func(ctx context.Context) (string, error) {
		database := mysqlCluster()
		err := c.Get(ctx, types.NamespacedName{Namespace: ns, Name: mysqlOfChat}, database)
		if n, _, _ := unstructured.NestedInt64(database.Object, "spec", "replicas"); n != 2 {
			return fmt.Sprintf("the database to be wanted with 2 replicas, not %d", n), err
		}
		return "", err
	})
	goOn()
	asBefore(t, c, name, before)
	if diff := cmp.Diff(claims, claimsOf(t, c, ns)); diff != "" {
		t.Errorf("claims were touched:\n%s", diff)
	}

	second, third := restoreOf(t, c, name, "second", nil), restoreOf(t, c, name, "third", nil)
	goOn = heldUp(t, works)
	word := confirm(t, c, third, v1alpha1.DeleteReplacedData).Status.Confirmation
	awaitPhase(t, c, third, v1alpha1.RestoreStoppingDatabase)
	annotateRestore(t, c, second, "Delete-"+word)
	if r := restoreSays(t, c, second, v1alpha1.ReasonAnotherRestore); !strings.Contains(meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionReady).Message, "third") {
		t.Errorf("conditions %+v", r.Status.Conditions)
	}
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Version = "10.6.0" })
	operateOnce(t, c, ns) // The database stops, and does not start.
	awaitPhase(t, c, third, v1alpha1.RestoreStartingDatabase)
	if image := get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.5.2") {
		t.Errorf("the pods' image was changed to %s before they run", image)
	}
	deleteRestore(t, c, third)
	goOn()
	gone(t, c, third, &v1alpha1.MattermostRestoreDB{})
	restoreSays(t, c, second, v1alpha1.ReasonConfirmationOutdated)
	if ci := stableOlder(t, c, name); ci.Status.Version != "10.6.0" {
		t.Errorf("status %+v", ci.Status)
	}
	saysOlder(t, c, name, v1beta1.ConditionUpdateJobSucceeded, v1beta1.ReasonUpdateJobSucceeded)
	databaseRuns(t, c, ns, 2)
	if now := claimsOf(t, c, ns); now[claimName(0)] == claims[claimName(0)] {
		t.Error("the old claim is still there")
	}
}

func deleteRestore(t *testing.T, c client.Client, name types.NamespacedName) {
	t.Helper()
	if err := client.IgnoreNotFound(c.Delete(t.Context(), get(t, c, name, &v1alpha1.MattermostRestoreDB{}))); err != nil {
		t.Fatal(err)
	}
}

// restoreWrites is how many writes there are about between the word and the end, of the
// restore and of the installation: one that ends before its last write is not killed.
const restoreWrites = 36

// TestRestoreCrashAfterEveryWrite kills Windlass after each of its writes and starts it
// again: each old claim is replaced once, and all is as before.
func TestRestoreCrashAfterEveryWrite(t *testing.T) {
	t.Parallel()
	for n := 1; n <= restoreWrites; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			user := grant(t, ns, restorer(t))
			w := start(t, ns, user, manager.Hooks{})
			name := withMySQL(t, c, ns)
			before, claims := stableOlder(t, c, name), claimsOf(t, c, ns)
			choice := []v1alpha1.ReplacedData{v1alpha1.RetainReplacedData, v1alpha1.DeleteReplacedData}[n%2]
			restore := restoreOf(t, c, name, "monday", func(r *v1alpha1.MattermostRestoreDB) { r.Spec.MattermostDBUser = "somebody" })
			asked := restoreSays(t, c, restore, v1alpha1.ReasonConfirmationNeeded)
			w.stop(t)
			all := watchClaims(t, c, ns)
			hooks, killed := faults.KillAfter(n)
			w = start(t, ns, user, hooks)
			annotateRestore(t, c, restore, string(choice)+"-"+asked.Status.Confirmation)
			eventually(t, func(ctx context.Context) (string, error) {
				select {
				case <-killed:
					return "", nil
				default:
				}
				var r v1alpha1.MattermostRestoreDB
				err := c.Get(ctx, restore, &r)
				if r.Status.Phase == v1alpha1.RestoreFinished && len(r.Finalizers) == 0 {
					t.Logf("there were less than %d writes", n)
					return "", nil
				}
				return fmt.Sprintf("write %d", n), err
			})
			w.stop(t)
			start(t, ns, user, manager.Hooks{})
			r := restoreSays(t, c, restore, v1alpha1.ReasonRestored)
			asBefore(t, c, name, before)
			if r.Status.State != v1alpha1.Finished || r.Status.OriginalDBReplicas != 2 {
				t.Errorf("status %+v", r.Status)
			}
			if now := claimsOf(t, c, ns); now[claimName(0)] == claims[claimName(0)] || now[claimName(1)] == claims[claimName(1)] || len(all()) != 4 {
				t.Errorf("claims are %v, were %v, and there were %d in all", now, claims, len(all()))
			}
			if data := get(t, c, sibling(name, "-mysql-root-password"), &corev1.Secret{}).Data; string(data["USER"]) != "somebody" {
				t.Error("the Secret of the database does not have the backup's credentials")
			}
		})
	}
}

// watchClaims returns the UIDs of all claims that there are, or come, from now on.
func watchClaims(t *testing.T, c client.Client, namespace string) (all func() []types.UID) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := map[types.UID]bool{}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			var list corev1.PersistentVolumeClaimList
			if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			for _, claim := range list.Items {
				seen[claim.UID] = true
			}
			return false, nil
		})
	}()
	t.Cleanup(cancel)
	return func() []types.UID {
		cancel()
		<-ended
		return slices.Collect(maps.Keys(seen))
	}
}

// TestMigrationWaitsForARestore: an installation whose database is being restored becomes a
// Mattermost when that is over, and its volumes are replaced once.
func TestMigrationWaitsForARestore(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, restorer(t)), manager.Hooks{})
	works := mysqlOperator(t, c, ns)
	name := onMySQL(t, c, ns)
	claims := claimsOf(t, c, ns)
	restore := restoreOf(t, c, name, "monday", nil)
	goOn := heldUp(t, works)
	confirm(t, c, restore, v1alpha1.DeleteReplacedData)
	awaitPhase(t, c, restore, v1alpha1.RestoreStoppingDatabase)
	migrate(t, c, name, true)
	ci := inPhase(t, c, name, v1alpha1.MigrationWaiting)
	if want := "The migration begins when MattermostRestoreDB/monday is over; its condition Ready says what it waits for."; ci.Status.Migration.Status != want {
		t.Errorf("it says %q, want %q", ci.Status.Migration.Status, want)
	}
	migrateCommand(t, 0, "The migration begins when MattermostRestoreDB/monday is over", "plan", "-n", ns)
	if err := c.Get(t.Context(), name, &v1beta1.Mattermost{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is a Mattermost: %v", err)
	}
	goOn()
	restoreSays(t, c, restore, v1alpha1.ReasonRestored)
	now := claimsOf(t, c, ns)
	ownedBy(t, c, migrated(t, c, name))
	databaseRuns(t, c, ns, 2)
	for claim, uid := range claimsOf(t, c, ns) {
		if uid == claims[claim] || uid != now[claim] {
			t.Errorf("claim %s is %s, was %s, and %s after the restore", claim, uid, claims[claim], now[claim])
		}
	}
}

// heldUp has the stand-in do nothing until it is told to go on, or the test is over.
func heldUp(t *testing.T, works *sync.Mutex) (goOn func()) {
	t.Helper()
	works.Lock()
	goOn = sync.OnceFunc(works.Unlock)
	t.Cleanup(goOn) // Before that of the stand-in, which would wait.
	return goOn
}

// TestRestoreWaitsForPods: a pod of Mattermost that was told to end, and has not, keeps the
// volumes from being touched, and is named; and so does one whose Deployment is gone.
func TestRestoreWaitsForPods(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, restorer(t)), manager.Hooks{})
	name := withMySQL(t, c, ns)
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen.Green.Name = "green" })
	stableOlder(t, c, name)
	claims := claimsOf(t, c, ns)
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(ns), client.MatchingLabels(get(t, c, name, &appsv1.Deployment{}).Spec.Selector.MatchLabels)); err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods: %v", len(pods.Items), err)
	}
	pod := &pods.Items[0]
	editPod := func(finalizers ...string) {
		before := pod.DeepCopy()
		pod.Finalizers = finalizers
		if err := c.Patch(t.Context(), pod, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	editPod("example.com/still-writes")
	green := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a-green-one", Labels: map[string]string{
			"app": "mattermost", "v1alpha1.mattermost.com/installation": "green", "v1alpha1.mattermost.com/resource": "green",
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "mattermost", Image: "example.com/mattermost"}}, SchedulerName: "nobody"},
	}
	if err := c.Create(t.Context(), green); err != nil {
		t.Fatal(err)
	}
	restore := restoreOf(t, c, name, "monday", nil)
	confirm(t, c, restore, v1alpha1.DeleteReplacedData)
	eventually(t, func(ctx context.Context) (string, error) {
		r := &v1alpha1.MattermostRestoreDB{}
		err := c.Get(ctx, restore, r)
		ready := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionReady)
		if r.Status.Phase != v1alpha1.RestoreStoppingMattermost || !strings.Contains(ready.Message, "Left are a-green-one, "+pod.Name+".") {
			return fmt.Sprintf("to name %s; its status is %+v", pod.Name, r.Status), err
		}
		return "", err
	})
	if d := get(t, c, name, &appsv1.Deployment{}); d.Status.Replicas != 0 || *d.Spec.Replicas != 0 {
		t.Errorf("the Deployment counts its pod still, so that this shows nothing: %+v", d.Status)
	}
	if now := claimsOf(t, c, ns); !maps.Equal(now, claims) {
		t.Errorf("claims %v, were %v", now, claims)
	}
	editPod()
	eventually(t, func(ctx context.Context) (string, error) {
		r := &v1alpha1.MattermostRestoreDB{}
		err := c.Get(ctx, restore, r)
		if ready := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionReady); !strings.Contains(ready.Message, "Left are a-green-one.") {
			return "only the other pod to be left: " + ready.Message, err
		}
		return "", err
	})
	if err := c.Delete(t.Context(), green); err != nil {
		t.Fatal(err)
	}
	restoreSays(t, c, restore, v1alpha1.ReasonRestored)
	if now := claimsOf(t, c, ns); now[claimName(0)] == claims[claimName(0)] {
		t.Error("the database still has its old volume")
	}
}
