package clusterapitest

import (
	"cmp"
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Names of Cluster API's, and of the infrastructure.
const (
	core            = "cluster.x-k8s.io"
	infrastructure  = "infrastructure.cluster.x-k8s.io"
	version         = "v1beta2"
	templateKind    = "PlainMachineTemplate"
	deploymentLabel = "cluster.x-k8s.io/deployment-name"
)

// Object is an empty one of Cluster API's, or of the infrastructure's.
func Object(kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	group := core
	if kind == templateKind {
		group = infrastructure
	}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// Get reads an object of the namespace.
func (c *Controllers) Get(ctx context.Context, kind, name string) (*unstructured.Unstructured, error) {
	u := Object(kind, "", "")
	return u, c.Client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: name}, u)
}

// List reads all of a kind; the oldest first.
func (c *Controllers) List(ctx context.Context, kind string) ([]*unstructured.Unstructured, error) {
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(Object(kind+"List", "", "").GroupVersionKind())
	if err := c.Client.List(ctx, &list, client.InNamespace(c.Namespace)); err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	slices.SortFunc(all, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(serial(a), serial(b)))
	})
	return all, nil
}

// serial orders what was made in the same second.
func serial(u *unstructured.Unstructured) string { return u.GetLabels()[serialLabel] }

// CreateTemplate makes an infrastructure template of an image, and returns a reference to it.
func (c *Controllers) CreateTemplate(ctx context.Context, name, image string) (map[string]any, error) {
	u := Object(templateKind, c.Namespace, name)
	put(u, map[string]any{"ami": map[string]any{"id": image}}, "spec", "template", "spec")
	return map[string]any{"apiGroup": infrastructure, "kind": templateKind, "name": name}, c.Client.Create(ctx, u)
}

// CreateGroup makes a MachineDeployment that may have up to most machines, of the image ami-1.
func (c *Controllers) CreateGroup(ctx context.Context, name string, size int64, most string) error {
	ref, err := c.CreateTemplate(ctx, name+"-1", "ami-1")
	if err != nil {
		return err
	}
	md := Object("MachineDeployment", c.Namespace, name)
	md.SetAnnotations(map[string]string{"cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size": "1", "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": most})
	labels := map[string]any{deploymentLabel: name}
	put(md, map[string]any{
		"clusterName": "dev", "replicas": size, "selector": map[string]any{"matchLabels": labels},
		"rollout": map[string]any{"strategy": map[string]any{"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxSurge": int64(1), "maxUnavailable": int64(0)}}},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
			"clusterName": "dev", "version": "v1.37.2", "bootstrap": map[string]any{"dataSecretName": "boot"}, "infrastructureRef": ref,
		}},
	}, "spec")
	return c.Client.Create(ctx, md)
}

// Edit sets a field of a MachineDeployment.
func (c *Controllers) Edit(ctx context.Context, name string, value any, fields ...string) error {
	md, err := c.Get(ctx, "MachineDeployment", name)
	if err != nil {
		return err
	}
	put(md, value, fields...)
	return c.Client.Update(ctx, md)
}

// Change makes a template of an image, and a MachineDeployment make its machines from it.
func (c *Controllers) Change(ctx context.Context, name, template, image string) error {
	ref, err := c.CreateTemplate(ctx, template, image)
	if err != nil {
		return err
	}
	return c.Edit(ctx, name, ref, "spec", "template", "spec", "infrastructureRef")
}

// put sets a field below those that are objects.
func put(u *unstructured.Unstructured, value any, fields ...string) {
	if err := unstructured.SetNestedField(u.Object, value, fields...); err != nil {
		panic(err) // A mistake of the test's.
	}
}

// number is -1 for a field that is missing.
func number(u *unstructured.Unstructured, fields ...string) int64 {
	if n, ok, _ := unstructured.NestedInt64(u.Object, fields...); ok {
		return n
	}
	return -1
}

func annotation(u *unstructured.Unstructured, key string) (string, bool) {
	value, ok := u.GetAnnotations()[key]
	return value, ok
}
