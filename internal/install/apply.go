package install

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// manager is the field manager of what is installed.
const manager = "windlass-install"

// established bounds how long the API server may take to serve a new kind;
// usually that is well under a second.
const established = 30 * time.Second

// Apply applies the objects in order, and returns when the kinds that they
// define are served. told, if set, hears of each object and whether it changed.
func Apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, told func(*unstructured.Unstructured, bool)) error {
	for _, intent := range objects {
		before := &unstructured.Unstructured{}
		before.SetGroupVersionKind(intent.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(intent), before)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %s/%s: %w", intent.GetKind(), intent.GetName(), err)
		}
		applied := intent.DeepCopy()
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(manager), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s/%s: %w", intent.GetKind(), intent.GetName(), err)
		}
		if told != nil {
			told(intent, apierrors.IsNotFound(err) || !same(before, applied))
		}
	}
	return awaitDefinitions(ctx, c, objects)
}

// same compares two states of an object, without what Kubernetes' own controllers may
// have written in between: its version and its status.
func same(before, after *unstructured.Unstructured) bool {
	said := func(o *unstructured.Unstructured) map[string]any {
		o = o.DeepCopy()
		o.SetResourceVersion("")
		o.SetManagedFields(nil)
		delete(o.Object, "status")
		return o.Object
	}
	return equality.Semantic.DeepEqual(said(before), said(after))
}

func awaitDefinitions(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	definition := schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	for _, object := range objects {
		if object.GroupVersionKind().GroupKind() != definition {
			continue
		}
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, established, true, func(ctx context.Context) (bool, error) {
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(object.GroupVersionKind())
			if err := c.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
				return false, err
			}
			return isEstablished(live) && served(c.RESTMapper(), live), nil
		})
		if err != nil {
			return fmt.Errorf("wait until %s is served: %w", object.GetName(), err)
		}
	}
	return nil
}

func isEstablished(definition *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == "Established" && condition["status"] == "True" {
			return true
		}
	}
	return false
}

// served also fills the mapper, so that the next use of the kind finds it.
func served(mapper meta.RESTMapper, definition *unstructured.Unstructured) bool {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	_, err := mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	return err == nil
}
