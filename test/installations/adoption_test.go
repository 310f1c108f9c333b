package installations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

const (
	lastApplied = "mattermost.com/last-applied"
	former      = client.FieldOwner(installation.Former)
)

// adopted are cases of which the Mattermost Operator's objects are taken over.
var adopted = []string{
	"minimal", "ingress-hosts-tls", "licence-volumes", "lb-annotations", "alb-class-cert", "jobserver-full", "fs-local-size",
	"minio-mysql", "mysql-secret-preset", "patch-topology", "deploy-recreate", "probe-exec-tcp", "env-refs", "resource-labels", "volume-projected-configmap",
}

// TestAdoption starts Windlass over installations as the Mattermost Operator left
// them: no pod is restarted, nothing is deleted, and every field is Windlass' from
// then on, but for what others set.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for _, name := range adopted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adopt(t, name)
		})
	}
}

func adopt(t *testing.T, oracle string) {
	t.Helper()
	ns, c := namespace(t), windlasstest.Client(t)
	left := leave(t, c, ns, oracle)
	mm := types.NamespacedName{Namespace: ns, Name: "mm"}
	before := workload(t, c, ns)

	audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
	from := mark(t, audit)
	start(t, ns, user, manager.Hooks{})
	stable(t, c, mm)
	taken(t, c, left)
	if after := workload(t, c, ns); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for _, object := range left {
		now := object.DeepCopy()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
			t.Fatal(err)
		}
		what := now.GetKind() + "/" + now.GetName()
		annotations := now.GetAnnotations()
		if _, there := annotations[lastApplied]; there {
			t.Errorf("%s still has the former operator's annotation", what)
		}
		if annotations["example.com/note"] != "of somebody else" {
			t.Errorf("%s lost a foreign annotation: %v", what, annotations)
		}
		data := slices.Contains([]string{"PersistentVolumeClaim", "MysqlCluster", "MinIOInstance", "Secret"}, now.GetKind())
		if owned := len(now.GetOwnerReferences()) > 0; owned == data {
			t.Errorf("%s has an owner: %v, holds data: %v", what, owned, data)
		}
	}
	var stored v1beta1.Mattermost
	if err := c.Get(t.Context(), mm, &stored); err != nil {
		t.Fatal(err)
	}
	if stored.Status.Error != "" || formerly(&stored, "status") {
		t.Errorf("the former operator's status is still there: %+v", stored.Status)
	}
	undeleted(t, audit, from, user)
}

// undeleted wants no request to delete anything since a mark.
func undeleted(t *testing.T, audit *devcluster.Audit, from devcluster.Mark, user string) {
	t.Helper()
	requests := since(t, audit, from, user)
	for _, r := range requests {
		if strings.HasPrefix(r.Verb, "delete") {
			t.Errorf("request %+v", r)
		}
	}
}

// taken waits until nothing is the Mattermost Operator's any more.
func taken(t testing.TB, c client.Client, left []*unstructured.Unstructured) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		for _, object := range left {
			now := object.DeepCopy()
			if err := c.Get(ctx, client.ObjectKeyFromObject(now), now); err != nil {
				return "", err
			}
			if formerly(now, "") {
				return fmt.Sprintf("%s/%s to be taken over", now.GetKind(), now.GetName()), nil
			}
		}
		return "", nil
	})
}

// formerly reports whether an object, or its subresource, has fields that the
// Mattermost Operator set.
func formerly(object client.Object, subresource string) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == installation.Former && e.Subresource == subresource
	})
}

// leave makes a case's input and then, as the Mattermost Operator would have, the
// objects that it made of it, and waits until they run. It returns the latter.
func leave(t testing.TB, c client.Client, namespace, oracle string) []*unstructured.Unstructured {
	t.Helper()
	return leaveIn(t, c, namespace, filepath.Join("..", "..", "internal", "installation", "testdata", "oracles", oracle), "want.yaml")
}

// leaveIn is leave for a folder, and the file with what was made.
func leaveIn(t testing.TB, c client.Client, namespace, folder, made string) []*unstructured.Unstructured {
	t.Helper()
	mm := &unstructured.Unstructured{}
	given := map[string]bool{}
	for _, object := range documents(t, filepath.Join(folder, "input.yaml"), namespace) {
		createAsFormer(object, t, c)
		given[object.GetKind()+object.GetName()] = true
		if object.GetKind() == "Mattermost" || object.GetKind() == "ClusterInstallation" {
			mm = object
		}
	}
	var left []*unstructured.Unstructured
	for _, object := range documents(t, filepath.Join(folder, made), namespace) {
		if object.GetKind() == mm.GetKind() {
			writeBack(t, c, mm, object)
			continue
		}
		if given[object.GetKind()+object.GetName()] {
			continue
		}
		owners := object.GetOwnerReferences()
		for i := range owners {
			owners[i].UID = mm.GetUID()
		}
		object.SetOwnerReferences(owners)
		annotations := map[string]string{lastApplied: "UEsDBBQ"}
		maps.Copy(annotations, object.GetAnnotations())
		maps.DeleteFunc(annotations, func(key, _ string) bool {
			return strings.Contains(key, "kubernetes.io/") && object.GetKind() != "Ingress" && object.GetKind() != "Service"
		})
		object.SetAnnotations(annotations)
		if object.GetKind() == "Secret" {
			object.Object["data"] = map[string]any{}
			object.Object["stringData"] = map[string]any{
				"ROOT_PASSWORD": "example", "USER": "mmuser", "PASSWORD": "example", "DATABASE": "mattermost", "accesskey": "example", "secretkey": "example",
			}
		}
		unstructured.RemoveNestedField(object.Object, "spec", "volumeName") // Its volume was another cluster's.
		createAsFormer(object, t, c)
		before := object.DeepCopy()
		annotations = object.GetAnnotations()
		annotations["example.com/note"] = "of somebody else"
		object.SetAnnotations(annotations)
		if err := c.Patch(t.Context(), object, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		left = append(left, object)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		var all appsv1.DeploymentList
		if err := c.List(ctx, &all, client.InNamespace(namespace)); err != nil {
			return "", err
		}
		for _, d := range all.Items {
			if d.Status.AvailableReplicas != *d.Spec.Replicas || d.Status.ObservedGeneration != d.Generation {
				return "Deployment " + d.Name + " to be available", nil
			}
		}
		return "", nil
	})
	return left
}

// createAsFormer makes an object as the Mattermost Operator.
func createAsFormer(object *unstructured.Unstructured, t testing.TB, c client.Client) {
	t.Helper()
	err := c.Create(t.Context(), object, former)
	if apierrors.IsAlreadyExists(err) {
		return
	}
	if err != nil {
		t.Fatalf("%s/%s: %v", object.GetKind(), object.GetName(), err)
	}
}

// writeBack stores spec and status as the Mattermost Operator does.
func writeBack(t testing.TB, c client.Client, mm, want *unstructured.Unstructured) {
	t.Helper()
	mm.Object["spec"] = want.Object["spec"]
	if err := c.Update(t.Context(), mm, former); err != nil {
		t.Fatal(err)
	}
	mm.Object["status"] = map[string]any{"state": "reconciling", "error": "of long ago", "observedGeneration": mm.GetGeneration()}
	if err := c.Status().Update(t.Context(), mm, former); err != nil {
		t.Fatal(err)
	}
}

// documents reads a case's file, for another namespace.
func documents(t testing.TB, path, namespace string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The names of the namespaces are in the addresses of databases too.
	oracle := filepath.Base(filepath.Dir(path))
	content = bytes.ReplaceAll(content, []byte("g-"+oracle), []byte(namespace))
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if object.GetKind() != "Namespace" {
			all = append(all, object)
		}
	}
}

// workload lists the pods and ReplicaSets of a namespace.
func workload(t testing.TB, c client.Client, namespace string) string {
	t.Helper()
	var lines []string
	var pods corev1.PodList
	var sets appsv1.ReplicaSetList
	if err := errors.Join(c.List(t.Context(), &pods, client.InNamespace(namespace)), c.List(t.Context(), &sets, client.InNamespace(namespace))); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		lines = append(lines, fmt.Sprintf("pod %s %s", p.Name, p.UID))
	}
	for _, s := range sets.Items {
		lines = append(lines, fmt.Sprintf("set %s %s of %d", s.Name, s.UID, *s.Spec.Replicas))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestAdoptionKeepsScale: an autoscaler's replicas outlive the change of hands.
func TestAdoptionKeepsScale(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	leave(t, c, ns, "minimal")
	name := types.NamespacedName{Namespace: ns, Name: "mm"}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "scale"}}
	hpa.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: new(int32(1)), MaxReplicas: 9, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "mm"}}
	d := get(t, c, name, &appsv1.Deployment{})
	scaled := d.DeepCopy()
	scaled.Spec.Replicas = new(int32(3))
	if err := errors.Join(c.Create(t.Context(), hpa), c.Patch(t.Context(), scaled, client.MergeFrom(d), client.FieldOwner("kube-controller-manager"))); err != nil {
		t.Fatal(err)
	}
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	if mm := stable(t, c, name); mm.Status.Replicas != 3 {
		t.Errorf("%d pods, want the autoscaler's 3", mm.Status.Replicas)
	}
	now := get(t, c, name, &appsv1.Deployment{})
	if diff := cmp.Diff(scaled.Spec, now.Spec); diff != "" {
		t.Errorf("the Deployment was changed:\n%s", diff)
	}
}

// again makes everything that is Windlass' look as if the Mattermost Operator had
// written it last, and waits until it is taken over.
func again(t testing.TB, c client.Client, name types.NamespacedName) {
	t.Helper()
	var mm v1beta1.Mattermost
	if err := c.Get(t.Context(), name, &mm); err != nil {
		t.Fatal(err)
	}
	touched := map[schema.GroupVersionKind][]string{}
	for _, item := range mm.Status.Inventory {
		mapping, err := c.RESTMapper().RESTMapping(schema.GroupKind{Group: item.Group, Kind: item.Kind})
		if err != nil {
			t.Fatal(err)
		}
		touch(t, c, mapping.GroupVersionKind, types.NamespacedName{Namespace: name.Namespace, Name: item.Name})
		touched[mapping.GroupVersionKind] = append(touched[mapping.GroupVersionKind], item.Name)
	}
	before := mm.DeepCopy()
	mm.Status.Error = "of the former operator"
	if err := c.Status().Patch(t.Context(), &mm, client.MergeFrom(before), former); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		for kind, names := range touched {
			for _, n := range names {
				object := store(kind)
				if err := c.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: n}, object); err != nil {
					return "", err
				}
				if formerly(object, "") {
					return fmt.Sprintf("%s/%s to be taken over again", kind.Kind, n), nil
				}
			}
		}
		return "", nil
	})
	stable(t, c, name)
}

func touch(t testing.TB, c client.Client, kind schema.GroupVersionKind, name types.NamespacedName) {
	t.Helper()
	object := get(t, c, name, store(kind))
	before := object.DeepCopy()
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[lastApplied] = "UEsDBBQ"
	object.SetAnnotations(annotations)
	if err := c.Patch(t.Context(), object, client.MergeFrom(before), former); err != nil {
		t.Fatal(err)
	}
}
