package installations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

func store(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

func mysqlCluster() *unstructured.Unstructured {
	return store(schema.GroupVersionKind{Group: "mysql.presslabs.org", Version: "v1alpha1", Kind: "MysqlCluster"})
}

func minioInstance() *unstructured.Unstructured {
	return store(schema.GroupVersionKind{Group: "miniocontroller.min.io", Version: "v1beta1", Kind: "MinIOInstance"})
}

func httpRoute() *unstructured.Unstructured {
	return store(schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"})
}

func postgresCluster() *unstructured.Unstructured {
	return store(schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"})
}

// managed makes an installation whose database and file store are run by other
// operators.
func managed(t testing.TB, c client.Client, namespace, name, policy string) types.NamespacedName {
	t.Helper()
	mm := example(namespace, name)
	mm.Spec.Database, mm.Spec.FileStore = v1beta1.Database{}, v1beta1.FileStore{}
	if policy != "" {
		mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: policy}
	}
	if err := c.Create(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
	return client.ObjectKeyFromObject(mm)
}

func remove(t testing.TB, c client.Client, name types.NamespacedName) {
	t.Helper()
	if err := c.Delete(t.Context(), example(name.Namespace, name.Name)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) { return nothingLeft(ctx, c, name) })
}

// mysqlOfChat is the name of the MysqlCluster of the installation "chat".
const mysqlOfChat = "db-aa8af3"

// TestManagedStores: MySQL and MinIO are set up with generated credentials, and
// both outlive the installation with them, and serve it when it comes back.
func TestManagedStores(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := managed(t, c, ns, "chat", "")
	stable(t, c, name)
	says(t, c, name, v1beta1.ConditionDatabaseReady, v1beta1.ReasonStoreReady)
	says(t, c, name, v1beta1.ConditionFileStoreReady, v1beta1.ReasonStoreReady)
	keys := credentials(t, c, name)
	database := get(t, c, types.NamespacedName{Namespace: ns, Name: mysqlOfChat}, mysqlCluster())

	// A store grows with the size; credentials are for ever.
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Size = "miniSingleton" })
	stable(t, c, name)
	for what, object := range map[types.NamespacedName]*unstructured.Unstructured{{Namespace: ns, Name: mysqlOfChat}: mysqlCluster(), sibling(name, "-minio"): minioInstance()} {
		get(t, c, what, object)
		if n, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); n != 1 {
			t.Errorf("%s %s has %d replicas, want the size's", object.GetKind(), what.Name, n)
		}
		if len(object.GetOwnerReferences()) > 0 {
			t.Errorf("%s %s would be deleted with the installation", object.GetKind(), what.Name)
		}
	}

	remove(t, c, name)
	if kept := get(t, c, types.NamespacedName{Namespace: ns, Name: mysqlOfChat}, mysqlCluster()); kept.GetUID() != database.GetUID() {
		t.Error("the database is not the one that was")
	}
	managed(t, c, ns, "chat", "")
	stable(t, c, name)
	if again := credentials(t, c, name); again != keys {
		t.Error("the credentials were made anew for a database that has the old ones")
	}

	// From now on the data goes with the installation.
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
	})
	eventually(t, func(context.Context) (string, error) {
		for _, secret := range []types.NamespacedName{sibling(name, "-mysql-root-password"), sibling(name, "-minio")} {
			if len(get(t, c, secret, &corev1.Secret{}).OwnerReferences) == 0 {
				return fmt.Sprintf("Secret %s to have an owner", secret.Name), nil
			}
		}
		return "", nil
	})
	if again := credentials(t, c, name); again != keys {
		t.Error("the credentials were changed")
	}
	stable(t, c, name)
	remove(t, c, name)
	gone(t, c, types.NamespacedName{Namespace: ns, Name: mysqlOfChat}, mysqlCluster())
	gone(t, c, sibling(name, "-minio"), minioInstance())
	gone(t, c, sibling(name, "-minio"), &corev1.Secret{})
	gone(t, c, sibling(name, "-mysql-root-password"), &corev1.Secret{})
}

// TestRetainAfterAll: what would have been deleted with the installation, and is
// not used any more, is kept once the policy says so.
func TestRetainAfterAll(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := managed(t, c, ns, "chat", "Delete")
	owned := map[types.NamespacedName]*unstructured.Unstructured{
		{Namespace: ns, Name: mysqlOfChat}: mysqlCluster(), sibling(name, "-minio"): minioInstance(),
		sibling(name, "-mysql-root-password"): store(corev1.SchemeGroupVersion.WithKind("Secret")),
	}
	stable(t, c, name)
	awaitOwners := func(want int) {
		t.Helper()
		eventually(t, func(context.Context) (string, error) {
			for what, object := range owned {
				if len(get(t, c, what, object).GetOwnerReferences()) != want {
					return fmt.Sprintf("%s %s to have %d owners", object.GetKind(), what.Name, want), nil
				}
			}
			return "", nil
		})
	}
	awaitOwners(1)
	secrets(t, c, ns)
	external := example(ns, "chat").Spec
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Database, mm.Spec.FileStore = external.Database, external.FileStore
	})
	stable(t, c, name)
	awaitOwners(1)
	annotate(t, c, name, v1beta1.DataPolicyAnnotation, "")
	awaitOwners(0)
	remove(t, c, name)
	awaitOwners(0)
}

// credentials returns all generated values, which are complete.
func credentials(t testing.TB, c client.Client, name types.NamespacedName) string {
	t.Helper()
	all := ""
	for _, s := range []struct {
		suffix  string
		lengths map[string]int
	}{
		{"-mysql-root-password", map[string]int{"ROOT_PASSWORD": 16, "PASSWORD": 16, "USER": len("mmuser"), "DATABASE": len("mattermost")}},
		{"-minio", map[string]int{"accesskey": 16, "secretkey": 28}},
	} {
		secret := get(t, c, sibling(name, s.suffix), &corev1.Secret{})
		for key, length := range s.lengths {
			if len(secret.Data[key]) != length {
				t.Errorf("%s of Secret %s has %d characters, want %d", key, secret.Name, len(secret.Data[key]), length)
			}
		}
		all += secret.Name + string(secret.Data["PASSWORD"]) + string(secret.Data["secretkey"])
	}
	if len(strings.Fields(all)) != 1 {
		t.Error("a password has spaces")
	}
	return all
}

// TestManagedPostgres: CloudNativePG runs the database, and its Secret connects.
func TestManagedPostgres(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Type: "postgres", StorageSize: "20Gi", Version: "17.2"}}
	})
	stable(t, c, name)
	says(t, c, name, v1beta1.ConditionDatabaseReady, v1beta1.ReasonStoreReady)
	cluster := get(t, c, sibling(name, "-postgres"), postgresCluster())
	image, _, _ := unstructured.NestedString(cluster.Object, "spec", "imageName")
	instances, _, _ := unstructured.NestedInt64(cluster.Object, "spec", "instances")
	if !strings.HasSuffix(image, ":17.2") || instances != 3 || len(cluster.GetOwnerReferences()) > 0 {
		t.Errorf("Cluster: image %q, %d instances, owners %v", image, instances, cluster.GetOwnerReferences())
	}
	// What the pods read has to be in the Secret that they read it from.
	secret := get(t, c, sibling(name, "-postgres-app"), &corev1.Secret{})
	pods := get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec
	read := 0
	for _, env := range pods.Containers[0].Env {
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef.Name == secret.Name {
			read++
			if len(secret.Data[env.ValueFrom.SecretKeyRef.Key]) == 0 {
				t.Errorf("%s reads key %s, which is not there", env.Name, env.ValueFrom.SecretKeyRef.Key)
			}
		}
	}
	if read < 4 || len(pods.InitContainers) != 1 {
		t.Errorf("%d variables read the Secret, init containers %v", read, pods.InitContainers)
	}
	remove(t, c, name)
	get(t, c, sibling(name, "-postgres"), postgresCluster())
}

// TestStoreOfAnother: a database that is labelled as another installation's is
// not taken over.
func TestStoreOfAnother(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	theirs := minioInstance()
	theirs.SetNamespace(ns)
	theirs.SetName("chat-minio")
	theirs.SetLabels(map[string]string{"installation.mattermost.com/resource": "other"})
	theirs.Object["spec"] = map[string]any{"replicas": int64(1)}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	name := managed(t, c, ns, "chat", "")
	if c := says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonNotOwned); !strings.Contains(c.Message, "other") {
		t.Errorf("the message does not name the other: %s", c.Message)
	}
	if now := get(t, c, client.ObjectKeyFromObject(theirs), minioInstance()); now.GetLabels()["installation.mattermost.com/resource"] != "other" {
		t.Error("it was taken over")
	}
}

// TestPresetCredentials: a Secret that somebody made beforehand is used as it is
// and never becomes the installation's.
func TestPresetCredentials(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	preset := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat-mysql-root-password"},
		StringData: map[string]string{"ROOT_PASSWORD": "example", "USER": "somebody", "PASSWORD": "example"},
	}
	if err := c.Create(t.Context(), preset); err != nil {
		t.Fatal(err)
	}
	name := managed(t, c, ns, "chat", "Delete")
	if c := says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonSecretInvalid); !strings.Contains(c.Message, "DATABASE") {
		t.Errorf("the message does not name the key: %s", c.Message)
	}
	before := preset.DeepCopy()
	preset.StringData = map[string]string{"DATABASE": "somewhere"}
	if err := c.Patch(t.Context(), preset, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	stable(t, c, name)
	found := false
	for _, env := range get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Env {
		found = found || env.Name == "MM_CONFIG" && strings.Contains(env.Value, "/somewhere?")
	}
	if !found {
		t.Error("the pods connect to another database than the Secret says")
	}
	remove(t, c, name)
	if kept := get(t, c, client.ObjectKeyFromObject(preset), &corev1.Secret{}); len(kept.OwnerReferences) > 0 || kept.DeletionTimestamp != nil {
		t.Error("somebody else's Secret went with the installation")
	}
}
