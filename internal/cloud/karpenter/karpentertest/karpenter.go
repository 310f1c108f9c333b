// Package karpentertest stands in for Karpenter in tests: its own kinds, a NodeClass of a
// cloud that has only what is asked for, and controllers that do what those of Karpenter
// v1.15.0 do, one step after the other and when they are told to.
package karpentertest

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// Names of Karpenter and of its AWS provider.
const (
	PoolLabel    = "karpenter.sh/nodepool"
	DoNotDisrupt = "karpenter.sh/do-not-disrupt"
	hashKey      = "karpenter.sh/nodepool-hash"
	hashVersion  = "karpenter.sh/nodepool-hash-version"
	classHash    = "karpenter.k8s.aws/ec2nodeclass-hash"
	finalizer    = "karpenter.sh/termination"
)

//go:embed crd/*.yaml
var kinds embed.FS

// Install installs the kinds of Karpenter as they are, and EC2NodeClass without a schema.
func Install(config *rest.Config) error {
	all, err := definitions()
	if err != nil {
		return err
	}
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: all})
	return err
}

// Uninstall removes what Install has installed, and waits until nobody finds it any more.
func Uninstall(ctx context.Context, config *rest.Config) error {
	all, err := definitions()
	if err != nil {
		return err
	}
	if err := envtest.UninstallCRDs(config, envtest.CRDInstallOptions{CRDs: all}); err != nil {
		return err
	}
	known, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, err := known.ServerResourcesForGroupVersion("karpenter.sh/v1")
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

func definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	free := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
	all := []*apiextensionsv1.CustomResourceDefinition{{
		ObjectMeta: metav1.ObjectMeta{Name: "ec2nodeclasses.karpenter.k8s.aws"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "karpenter.k8s.aws", Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ec2nodeclasses", Singular: "ec2nodeclass", Kind: "EC2NodeClass", ListKind: "EC2NodeClassList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &free},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}}
	for _, name := range []string{"karpenter.sh_nodepools.yaml", "karpenter.sh_nodeclaims.yaml"} {
		text, err := kinds.ReadFile("crd/" + name)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, crd)
	}
	return all, nil
}

// Karpenter keeps NodePools.
type Karpenter struct {
	Client client.Client
	// Full says that the cloud has no capacity: what is launched is given up.
	Full bool
	// NodeLabels are those that templates have besides.
	NodeLabels map[string]string

	changed bool
	nodes   int
}

// Object is an empty one of a kind.
func Object(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	group := "karpenter.sh"
	if kind == "EC2NodeClass" {
		group = "karpenter.k8s.aws"
	}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind})
	u.SetName(name)
	return u
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Set sets a field.
func Set(t testing.TB, u *unstructured.Unstructured, value any, fields ...string) {
	t.Helper()
	must(t, unstructured.SetNestedField(u.Object, value, fields...))
}

// Make makes a NodePool with a NodeClass of its name, which runs ami-1, and removes them
// with all that they have when the test is over.
func (k *Karpenter) Make(t testing.TB, pool string, limits map[string]any) {
	t.Helper()
	class := Object("EC2NodeClass", pool)
	Set(t, class, []any{map[string]any{"id": "ami-1"}}, "spec", "amiSelectorTerms")
	must(t, k.Client.Create(t.Context(), class))
	np := Object("NodePool", pool)
	labels := map[string]any{"team": "a"}
	for key, value := range k.NodeLabels {
		labels[key] = value
	}
	Set(t, np, map[string]any{
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec": map[string]any{
				"nodeClassRef": map[string]any{"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": pool},
				"taints":       []any{map[string]any{"key": "dedicated", "effect": "NoSchedule"}},
				"expireAfter":  "Never",
				"requirements": []any{
					map[string]any{"key": "topology.kubernetes.io/zone", "operator": "In", "values": []any{"zone-a", "zone-b", "zone-c"}},
					map[string]any{"key": "example.com/tier", "operator": "In", "values": []any{"gold", "silver"}},
				},
			},
		},
		"disruption": map[string]any{"consolidateAfter": "30s", "budgets": []any{map[string]any{"nodes": "100%"}}},
	}, "spec")
	if limits != nil {
		Set(t, np, limits, "spec", "limits")
	}
	must(t, k.Client.Create(t.Context(), np))
	k.hash(t, pool)
	k.resolve(t, pool)
	t.Cleanup(func() { k.remove(t, pool) })
}

func (k *Karpenter) remove(t testing.TB, pool string) {
	ctx := context.WithoutCancel(t.Context())
	none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	for _, kind := range []string{"NodeClaim", "Node"} {
		list := k.list(t, kind, pool)
		for i := range list {
			for _, err := range []error{k.Client.Delete(ctx, &list[i]), k.Client.Patch(ctx, &list[i], none)} {
				if client.IgnoreNotFound(err) != nil {
					t.Error(err)
				}
			}
		}
	}
	for _, kind := range []string{"NodePool", "EC2NodeClass"} {
		if err := k.Client.Delete(ctx, Object(kind, pool)); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

// Get reads an object.
func (k *Karpenter) Get(t testing.TB, kind, name string) *unstructured.Unstructured {
	t.Helper()
	u := Object(kind, "")
	if kind == "Node" {
		u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	}
	must(t, k.Client.Get(t.Context(), types.NamespacedName{Name: name}, u))
	return u
}

// Claims are the NodeClaims of a pool, sorted by name.
func (k *Karpenter) Claims(t testing.TB, pool string) []unstructured.Unstructured {
	t.Helper()
	return k.list(t, "NodeClaim", pool)
}

func (k *Karpenter) list(t testing.TB, kind, pool string) []unstructured.Unstructured {
	t.Helper()
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(Object(kind+"List", "").GroupVersionKind())
	if kind == "Node" {
		all.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	}
	must(t, k.Client.List(context.WithoutCancel(t.Context()), all, client.MatchingLabels{PoolLabel: pool}))
	slices.SortFunc(all.Items, func(a, b unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all.Items
}

// Edit changes the spec of a NodePool or an EC2NodeClass, as its owner does, and lets
// Karpenter look at it.
func (k *Karpenter) Edit(t testing.TB, kind, name string, value any, fields ...string) {
	t.Helper()
	must(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		u := k.Get(t, kind, name)
		Set(t, u, value, fields...)
		return k.Client.Update(t.Context(), u)
	}))
	k.hash(t, name)
	k.resolve(t, name)
}

func sum(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // What came as JSON.
	}
	h := fnv.New64a()
	h.Write(text)
	return fmt.Sprint(h.Sum64())
}

func annotate(u *unstructured.Unstructured, values map[string]string) {
	all := u.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, values)
	u.SetAnnotations(all)
}

// hash follows pkg/controllers/nodepool/hash: all of the template counts but its requirements.
func (k *Karpenter) hash(t testing.TB, pool string) {
	t.Helper()
	np := k.Get(t, "NodePool", pool)
	template, _, _ := unstructured.NestedMap(np.Object, "spec", "template")
	unstructured.RemoveNestedField(template, "spec", "requirements")
	annotate(np, map[string]string{hashKey: sum(template), hashVersion: "v3"})
	must(t, k.Client.Update(t.Context(), np))
}

// resolve does what the AWS provider does with a NodeClass: it finds the images, which are
// no part of its hash.
func (k *Karpenter) resolve(t testing.TB, name string) {
	t.Helper()
	class := k.Get(t, "EC2NodeClass", name)
	spec, _, _ := unstructured.NestedMap(class.Object, "spec")
	terms, _, _ := unstructured.NestedSlice(spec, "amiSelectorTerms")
	delete(spec, "amiSelectorTerms")
	annotate(class, map[string]string{classHash: sum(spec), classHash + "-version": "v4"})
	must(t, k.Client.Update(t.Context(), class))
	amis := []any{}
	for _, term := range terms {
		amis = append(amis, map[string]any{"id": term.(map[string]any)["id"]})
	}
	Set(t, class, map[string]any{"amis": amis, "conditions": []any{holds(class, "Ready", "Ready")}}, "status")
	must(t, k.Client.Status().Update(t.Context(), class))
}

// holds is a condition that is true.
func holds(u *unstructured.Unstructured, kind, reason string) map[string]any {
	return map[string]any{"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": u.GetGeneration()}
}
