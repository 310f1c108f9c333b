package installations

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// backupURL is where the backup is.
const backupURL = "s3://backups/chat.xbackup.gz"

// restorer are the shipped permissions of installations and of restores.
func restorer(t testing.TB) []rbacv1.PolicyRule {
	t.Helper()
	var role rbacv1.ClusterRole
	if err := windlasstest.Client(t).Get(t.Context(), types.NamespacedName{Name: install.Name + "-restores"}, &role); err != nil {
		t.Fatal(err)
	}
	return append(shipped(t).Rules, role.Rules...)
}

// withMySQL makes an installation with a managed database of two replicas, and waits
// until both run.
func withMySQL(t *testing.T, c client.Client, namespace string) types.NamespacedName {
	t.Helper()
	mysqlOperator(t, c, namespace)
	return onMySQL(t, c, namespace)
}

// onMySQL is withMySQL when its operator runs.
func onMySQL(t *testing.T, c client.Client, namespace string) types.NamespacedName {
	t.Helper()
	name := createOlder(t, c, namespace, "chat")
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Database = v1alpha1.Database{Replicas: 2} })
	stableOlder(t, c, name)
	databaseRuns(t, c, namespace, 2)
	return name
}

func databaseRuns(t *testing.T, c client.Client, namespace string, replicas int32) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var set appsv1.StatefulSet
		err := client.IgnoreNotFound(c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: mysqlOfChat + "-mysql"}, &set))
		if set.Status.ReadyReplicas != replicas || set.Status.ObservedGeneration != set.Generation {
			return fmt.Sprintf("%d replicas of the database, status %+v", replicas, set.Status), err
		}
		return "", err
	})
}

// restoreOf makes a restore of the installation, and the Secret with which the backup is read.
func restoreOf(t *testing.T, c client.Client, installation types.NamespacedName, name string, change func(*v1alpha1.MattermostRestoreDB)) types.NamespacedName {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: installation.Namespace, Name: "backup"}, StringData: map[string]string{"AWS_ACCESS_KEY_ID": "example"}}
	if err := client.IgnoreAlreadyExists(c.Create(t.Context(), secret)); err != nil {
		t.Fatal(err)
	}
	r := &v1alpha1.MattermostRestoreDB{
		ObjectMeta: metav1.ObjectMeta{Namespace: installation.Namespace, Name: name},
		Spec:       v1alpha1.MattermostRestoreDBSpec{MattermostClusterName: installation.Name, InitBucketURL: backupURL, RestoreSecret: "backup"},
	}
	if change != nil {
		change(r)
	}
	if err := c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return client.ObjectKeyFromObject(r)
}

// restoreSays waits until Ready is so for a reason, of the newest spec.
func restoreSays(t *testing.T, c client.Client, name types.NamespacedName, reason string) *v1alpha1.MattermostRestoreDB {
	t.Helper()
	r := &v1alpha1.MattermostRestoreDB{}
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, r); err != nil {
			return "", err
		}
		ready := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionReady)
		if ready == nil || ready.Reason != reason || r.Status.ObservedGeneration != r.Generation {
			return fmt.Sprintf("%s to say %s; its status is %+v", name, reason, r.Status), nil
		}
		return "", nil
	})
	return r
}

// confirm gives the word for what the restore asks about.
func confirm(t *testing.T, c client.Client, name types.NamespacedName, choice v1alpha1.ReplacedData) *v1alpha1.MattermostRestoreDB {
	t.Helper()
	r := restoreSays(t, c, name, v1alpha1.ReasonConfirmationNeeded)
	ready := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionReady)
	word := string(choice) + "-" + r.Status.Confirmation
	if !strings.Contains(ready.Message, v1alpha1.ReplaceDataAnnotation+"="+string(v1alpha1.RetainReplacedData)+"-"+r.Status.Confirmation) || !strings.Contains(ready.Message, claimName(0)+" (1Gi)") {
		t.Errorf("it does not say what to add: %s", ready.Message)
	}
	annotateRestore(t, c, name, word)
	return r
}

func annotateRestore(t *testing.T, c client.Client, name types.NamespacedName, word string) {
	t.Helper()
	r := get(t, c, name, &v1alpha1.MattermostRestoreDB{})
	before := r.DeepCopy()
	r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: word}
	if err := c.Patch(t.Context(), r, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func claimsOf(t *testing.T, c client.Client, namespace string) map[string]types.UID {
	t.Helper()
	var list corev1.PersistentVolumeClaimList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	all := map[string]types.UID{}
	for _, claim := range list.Items {
		all[claim.Name] = claim.UID
	}
	return all
}

// asBefore wants the installation, but for its data, as it was: the same spec, replicas of
// pods and of the database, which does not know the backup any more.
func asBefore(t *testing.T, c client.Client, name types.NamespacedName, before *v1alpha1.ClusterInstallation) {
	t.Helper()
	ci := stableOlder(t, c, name)
	if ci.Generation != before.Generation || ci.Status.Restore != nil {
		t.Errorf("generation %d, was %d; status %+v", ci.Generation, before.Generation, ci.Status)
	}
	if n := *get(t, c, name, &appsv1.Deployment{}).Spec.Replicas; n != before.Spec.Replicas {
		t.Errorf("%d pods are wanted, were %d", n, before.Spec.Replicas)
	}
	cluster := get(t, c, types.NamespacedName{Namespace: name.Namespace, Name: mysqlOfChat}, mysqlCluster())
	spec, _, _ := unstructured.NestedMap(cluster.Object, "spec")
	if spec["replicas"] != int64(before.Spec.Database.Replicas) || spec["initBucketURL"] != nil || spec["initBucketSecretName"] != nil {
		t.Errorf("the database is %v", spec)
	}
	databaseRuns(t, c, name.Namespace, before.Spec.Database.Replicas)
}

// TestRestore asks for the word, replaces the volumes once, and leaves everything else as
// it was; after a restart of Windlass nothing is touched again.
func TestRestore(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, restorer(t))
	w := start(t, ns, user, manager.Hooks{})
	name := withMySQL(t, c, ns)
	before, claims := stableOlder(t, c, name), claimsOf(t, c, ns)
	if len(claims) != 2 {
		t.Fatalf("claims %v", claims)
	}
	restore := restoreOf(t, c, name, "monday", func(r *v1alpha1.MattermostRestoreDB) {
		r.Spec.MattermostDBUser, r.Spec.MattermostDBPassword = "somebody", "backup-password"
	})
	asked := confirm(t, c, restore, v1alpha1.DeleteReplacedData)
	if asked.Status.State != "" || len(asked.Finalizers) > 0 || len(asked.Status.Volumes) != 2 || asked.Status.Volumes[0].UID != claims[claimName(0)] || asked.Status.Volumes[0].Size != "1Gi" {
		t.Errorf("before the word: %+v", asked.Status)
	}
	r := restoreSays(t, c, restore, v1alpha1.ReasonRestored)
	if r.Status.State != v1alpha1.Finished || r.Status.OriginalDBReplicas != 2 || r.Status.Run.UID != r.UID || len(r.Status.Run.InitBucketURL) == 0 || !r.Status.Run.CredentialsWritten {
		t.Errorf("status %+v", r.Status)
	}
	if w := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionSpecWarnings); w == nil || w.Reason != v1alpha1.ReasonPlainTextPassword || strings.Contains(w.Message, "backup-password") {
		t.Errorf("conditions %+v", r.Status.Conditions)
	}
	asBefore(t, c, name, before)
	now := claimsOf(t, c, ns)
	for claim, uid := range claims {
		if now[claim] == "" || now[claim] == uid {
			t.Errorf("claim %s is %s, was %s", claim, now[claim], uid)
		}
	}
	secret := get(t, c, sibling(name, "-mysql-root-password"), &corev1.Secret{})
	if string(secret.Data["USER"]) != "somebody" || string(secret.Data["PASSWORD"]) != "backup-password" || string(secret.Data["DATABASE"]) != "mattermost" || len(secret.Data["ROOT_PASSWORD"]) != 16 {
		t.Error("the Secret of the database does not have the backup's credentials")
	}
	told(t, c, ns, "backup-password")
	gone := get(t, c, restore, &v1alpha1.MattermostRestoreDB{})
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, restore, gone)
		return strings.Join(gone.Finalizers, " "), err
	})

	// Another process finds it finished, and changes nothing.
	w.stop(t)
	audit := clustertest.Audit(t)
	from := mark(t, audit)
	w = start(t, ns, user, manager.Hooks{})
	<-w.filled
	editRestore(t, c, restore, func(spec *v1alpha1.MattermostRestoreDBSpec) { spec.InitBucketURL = "s3://backups/other.xbackup.gz" })
	r = restoreSays(t, c, restore, v1alpha1.ReasonRestored)
	if w := meta.FindStatusCondition(r.Status.Conditions, v1beta1.ConditionSpecWarnings); w == nil || !strings.Contains(w.Message, "make another one") {
		t.Errorf("conditions %+v", r.Status.Conditions)
	}
	for _, request := range since(t, audit, from, user) {
		reads := slices.Contains([]string{"get", "list", "watch"}, request.Verb)
		if !reads && !slices.Contains([]string{"leases", "events", "mattermostrestoredbs/status"}, request.Resource) {
			t.Errorf("request %+v", request)
		}
	}
	if again := claimsOf(t, c, ns); again[claimName(0)] != now[claimName(0)] || again[claimName(1)] != now[claimName(1)] {
		t.Errorf("claims %v, were %v", again, now)
	}
}

func editRestore(t *testing.T, c client.Client, name types.NamespacedName, change func(*v1alpha1.MattermostRestoreDBSpec)) {
	t.Helper()
	r := get(t, c, name, &v1alpha1.MattermostRestoreDB{})
	before := r.DeepCopy()
	change(&r.Spec)
	if err := c.Patch(t.Context(), r, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// told wants no event, and no status, with a text.
func told(t *testing.T, c client.Client, namespace, secret string) {
	t.Helper()
	var events corev1.EventList
	var restores v1alpha1.MattermostRestoreDBList
	if err := c.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	if err := c.List(t.Context(), &restores, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, e := range events.Items {
		if strings.Contains(e.Message, secret) {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
		if strings.HasPrefix(e.Reason, "Restore") {
			seen++
		}
	}
	if seen == 0 {
		t.Error("no event tells of the restore")
	}
	for i := range restores.Items {
		if strings.Contains(fmt.Sprintf("%+v", restores.Items[i].Status), secret) {
			t.Errorf("the status of %s has it", restores.Items[i].Name)
		}
	}
}
