package install

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Remove takes away, last first, what Apply has applied: not the definitions, with
// which every resource would go, and not the namespaces, in which there may be more.
// An object of the same name that somebody else made stays. told, if set, hears of
// each object and whether it was removed.
func Remove(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, told func(*unstructured.Unstructured, bool)) error {
	for _, intent := range slices.Backward(objects) {
		if kind := intent.GetKind(); kind == "CustomResourceDefinition" || kind == "Namespace" {
			continue
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(intent.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(intent), live)
		if meta.IsNoMatchError(err) {
			continue // There is no such kind, and so no such object.
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %s/%s: %w", intent.GetKind(), intent.GetName(), err)
		}
		ours := err == nil && slices.ContainsFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
		if ours {
			uid := live.GetUID()
			if err := c.Delete(ctx, live, client.Preconditions{UID: &uid}); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("remove %s/%s: %w", intent.GetKind(), intent.GetName(), err)
			}
		}
		if told != nil {
			told(intent, ours)
		}
	}
	return nil
}
