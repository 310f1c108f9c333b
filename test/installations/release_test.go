package installations

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// TestRelease takes installations over from the Mattermost Operator and hands them
// back: the pods are the same, nothing is deleted, and each object is as it was, but
// for what others have changed and the credentials in annotations.
func TestRelease(t *testing.T) {
	t.Parallel()
	for _, oracle := range adopted {
		t.Run(oracle, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			left := leave(t, c, ns, oracle)
			mm, before := types.NamespacedName{Namespace: ns, Name: "mm"}, workload(t, c, ns)
			audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
			from := mark(t, audit)
			start(t, ns, user, manager.Hooks{})
			stable(t, c, mm)
			taken(t, c, left)
			letGo(t, c, mm)
			for _, object := range left {
				handedBack(t, c, object)
				if object.GetKind() != "Secret" { // Those it only makes if there are none.
					nothingToDo(t, c, object, filepath.Join("..", "..", "internal", "installation", "testdata", "oracles", oracle))
				}
			}
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			undeleted(t, audit, from, user)
			leftAlone(t, c, audit, user, mm)

			// And over again.
			edit(t, c, mm, func(mm *v1beta1.Mattermost) { mm.Annotations = nil })
			taken(t, c, left)
			if mm := stable(t, c, mm); mm.Status.Shape != v1beta1.ShapeStrict {
				t.Errorf("the shape is %q after it was taken over again", mm.Status.Shape)
			}
			after := slices.DeleteFunc(strings.Split(workload(t, c, ns), "\n"), func(line string) bool { return strings.Contains(line, " other-") })
			if after := strings.Join(after, "\n"); after != before {
				t.Errorf("before:\n%s\nafter it was taken over again:\n%s", before, after)
			}
		})
	}
}

// letGo asks for the release and waits for it.
func letGo(t testing.TB, c client.Client, name types.NamespacedName) {
	t.Helper()
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true"}
	})
	released(t, c, name)
}

func released(t testing.TB, c client.Client, name types.NamespacedName) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		err := c.Get(ctx, name, &mm)
		if !installation.HandedOver(&mm) {
			return fmt.Sprintf("%s to be handed over; its status is %+v", name, mm.Status), err
		}
		return "", err
	})
}

// handedBack compares an object with what the Mattermost Operator had left.
func handedBack(t *testing.T, c client.Client, left *unstructured.Unstructured) {
	t.Helper()
	now := left.DeepCopy()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
		t.Fatal(err)
	}
	what := now.GetKind() + "/" + now.GetName()
	for _, e := range now.GetManagedFields() {
		if strings.HasPrefix(e.Manager, installation.Manager) {
			t.Errorf("%s still has fields of %s", what, e.Manager)
		}
	}
	if !formerly(now, "") {
		t.Errorf("%s has no fields of the former operator", what)
	}
	if _, kept := now.GetAnnotations()[lastApplied]; kept == (now.GetKind() == "Secret") {
		t.Errorf("%s has the former operator's annotation: %v", what, kept)
	}
	if diff := cmp.Diff(essence(left), essence(now)); diff != "" {
		t.Errorf("%s (-left +handed back):\n%s", what, diff)
	}
}

// nothingToDo computes what the Mattermost Operator would change: its patch between
// what it keeps in the annotation, what it wants, and what there is.
func nothingToDo(t *testing.T, c client.Client, left *unstructured.Unstructured, folder string) {
	t.Helper()
	now := left.DeepCopy()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
		t.Fatal(err)
	}
	what := now.GetKind() + "/" + now.GetName()
	content, err := os.ReadFile(filepath.Join(folder, "kept.json"))
	if err != nil {
		t.Fatal(err)
	}
	var wanted map[string]map[string]any
	if err := json.Unmarshal(bytes.ReplaceAll(content, []byte("g-"+filepath.Base(folder)), []byte(now.GetNamespace())), &wanted); err != nil || wanted[what] == nil {
		t.Fatalf("the former operator wants no %s: %v", what, err)
	}
	delete(wanted[what], "status")
	prune(wanted[what])
	if owners, ok, _ := unstructured.NestedSlice(wanted[what], "metadata", "ownerReferences"); ok {
		owners[0].(map[string]any)["uid"] = string(now.GetOwnerReferences()[0].UID)
		if err := unstructured.SetNestedSlice(wanted[what], owners, "metadata", "ownerReferences"); err != nil {
			t.Fatal(err)
		}
	}
	want, err := json.Marshal(wanted[what])
	if err != nil {
		t.Fatal(err)
	}
	have, err := now.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var had map[string]any
	if err := json.Unmarshal(unzip(t, now.GetAnnotations()[lastApplied]), &had); err != nil {
		t.Fatal(err)
	}
	prune(had) // As what is wanted.
	kept, err := json.Marshal(had)
	if err != nil {
		t.Fatal(err)
	}
	var patch []byte
	if typed, unknown := c.Scheme().New(now.GroupVersionKind()); unknown != nil {
		patch, err = jsonmergepatch.CreateThreeWayJSONMergePatch(kept, want, have)
	} else {
		var keys strategicpatch.PatchMetaFromStruct
		if keys, err = strategicpatch.NewPatchMetaFromStruct(typed); err == nil {
			patch, err = strategicpatch.CreateThreeWayMergePatch(kept, want, have, keys, true)
		}
	}
	if err != nil || string(patch) != "{}" {
		t.Errorf("the former operator would patch %s with %s, %v", what, patch, err)
	}
}

// unzip reads the annotation.
func unzip(t *testing.T, annotation string) []byte {
	t.Helper()
	archive, err := base64.StdEncoding.DecodeString(annotation)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	file, err := z.Open("original")
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// essence is an object without what the API server and controllers of Kubernetes
// write, without what an annotation holds that was made up, and without structures
// that are empty: those say nothing, and taking over removes them.
func essence(object *unstructured.Unstructured) map[string]any {
	o := object.DeepCopy()
	annotations := o.GetAnnotations()
	for key := range annotations {
		if key == lastApplied || strings.Contains(key, "kubernetes.io/") && o.GetKind() != "Ingress" && o.GetKind() != "Service" {
			delete(annotations, key)
		}
	}
	o.SetAnnotations(annotations)
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "finalizers"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	delete(o.Object, "status")
	unstructured.RemoveNestedField(o.Object, "spec", "volumeName")
	delete(o.Object, "stringData")
	if o.GetKind() == "Secret" {
		delete(o.Object, "data")
	}
	prune(o.Object)
	return o.Object
}

func prune(object map[string]any) {
	for key, value := range object {
		if inner, ok := value.(map[string]any); ok {
			prune(inner)
			if len(inner) == 0 || len(inner) == 1 && inner["name"] == "" {
				delete(object, key)
			}
		}
	}
}

// leftAlone breaks an object and changes the spec, and wants nothing to be written:
// another installation shows that the controller has come by.
func leftAlone(t *testing.T, c client.Client, audit *devcluster.Audit, user string, name types.NamespacedName) {
	t.Helper()
	from := mark(t, audit)
	s := get(t, c, name, &corev1.Service{})
	before := s.DeepCopy()
	s.Spec.Selector["example.com/bent"] = "true"
	if err := c.Patch(t.Context(), s, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Version = "10.9.9"
		mm.Annotations[v1beta1.PausedAnnotation] = "true"
	})
	stable(t, c, create(t, c, name.Namespace, "other"))
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.5.2" })
	requests := since(t, audit, from, user)
	for _, r := range requests {
		if r.Name == name.Name && r.Write() {
			t.Errorf("request after the release: %+v", r)
		}
	}
}

// TestReleaseOfTheRefused: what the Mattermost Operator could not carry on stays with
// Windlass, and is told why.
func TestReleaseOfTheRefused(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true"}
		mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "route.example.com", GatewayRef: public()}
	})
	says(t, c, name, v1beta1.ConditionReleased, v1beta1.ReasonNotReleasable)
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.HTTPRoute = nil
		mm.Annotations[v1beta1.ShapeAnnotation] = string(v1beta1.ShapeStrict)
	})
	released(t, c, name)
	if d := get(t, c, name, &appsv1.Deployment{}); d.Spec.Template.Spec.Containers[0].Lifecycle != nil || !formerly(d, "") {
		t.Errorf("Deployment: %+v", d)
	}
}

// TestReleaseOfABrokenOne: a broken installation is handed over as it is.
func TestReleaseOfABrokenOne(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	left := leave(t, c, ns, "minimal")
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := types.NamespacedName{Namespace: ns, Name: "mm"}
	stable(t, c, name)
	taken(t, c, left)
	if err := c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "db"}}); err != nil {
		t.Fatal(err)
	}
	says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonSecretNotFound)
	letGo(t, c, name)
	for _, object := range left {
		now := object.DeepCopy()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil || !formerly(now, "") {
			t.Errorf("%s/%s was not handed over: %v", now.GetKind(), now.GetName(), err)
		}
	}
}

// TestCrashOnTheWayBack kills the controller after each write of a release.
func TestCrashOnTheWayBack(t *testing.T) {
	t.Parallel()
	const writes = 9 // Seven objects, the status, and its fields.
	for n := 1; n <= writes; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			left := leave(t, c, ns, "fs-local-size")
			mm, user := types.NamespacedName{Namespace: ns, Name: "mm"}, grant(t, ns, shipped(t).Rules)
			w := start(t, ns, user, manager.Hooks{})
			stable(t, c, mm)
			taken(t, c, left)
			before := workload(t, c, ns)
			w.stop(t)
			crash(t, ns, user, n, func() {
				edit(t, c, mm, func(mm *v1beta1.Mattermost) {
					mm.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true"}
				})
			})
			start(t, ns, user, manager.Hooks{})
			released(t, c, mm)
			for _, object := range left {
				handedBack(t, c, object)
			}
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			resource := get(t, c, mm, &v1beta1.Mattermost{})
			if slices.ContainsFunc(resource.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
				return strings.HasPrefix(e.Manager, installation.Manager)
			}) || len(resource.Status.Inventory) > 0 {
				t.Errorf("the resource is not handed over whole: %+v", resource)
			}
		})
	}
}
