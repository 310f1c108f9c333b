package kit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/kit/plan"
)

// takeOver moves the fields of another client's updates.
func (w *Writer) takeOver(ctx context.Context, t plan.TakeOver) error {
	manager := w.manager
	if t.Subresource != "" {
		manager += "-" + t.Subresource
	}
	return w.amend(ctx, t.Ref, t.UID, w.manager, func(object *metav1.PartialObjectMetadata) error {
		if err := moveFields(object, t, manager); err != nil {
			return err
		}
		annotations := object.GetAnnotations()
		for _, key := range t.Annotations {
			delete(annotations, key)
		}
		object.SetAnnotations(annotations)
		disown(object, t.Disown)
		return nil
	})
}

// amend changes the metadata of an object, and reads no more of it, because it may
// be a Secret. It reads past the cache, which does not keep what is others'. A
// subresource's fields are moved this way too: in a patch of the
// subresource the API server takes those from what it has stored. What changes
// beside the fields' ownership counts as the manager's.
func (w *Writer) amend(ctx context.Context, ref plan.Ref, uid types.UID, manager string, change func(*metav1.PartialObjectMetadata) error) error {
	kind, ok := w.kinds.Find(ref.GroupKind())
	if !ok {
		return fmt.Errorf("%s is not among the kinds of this controller", ref)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind.GroupVersionKind)
	key := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	if err := w.client.Get(ctx, key, object); err != nil {
		return err
	}
	if object.GetUID() != uid {
		return apierrors.NewConflict(kind.GroupVersion().WithResource(kind.Kind).GroupResource(), ref.Name, errors.New("it was made anew"))
	}
	before := object.DeepCopy()
	if err := change(object); err != nil {
		return err
	}
	// The version guards against a change since it was read.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := w.client.Patch(ctx, object, patch, client.FieldOwner(manager)); err != nil {
		return err
	}
	w.writes.Wrote(w.owner, kind, key, object.GetResourceVersion())
	return nil
}

func disown(object metav1.Object, owner types.UID) {
	if owner != "" {
		object.SetOwnerReferences(slices.DeleteFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == owner }))
	}
}

func moveFields(object *metav1.PartialObjectMetadata, t plan.TakeOver, manager string) error {
	if t.How == plan.Applied {
		return csaupgrade.UpgradeManagedFields(object, sets.New(t.From), manager, csaupgrade.Subresource(t.Subresource))
	}
	var moved []metav1.ManagedFieldsEntry
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == t.From && entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == t.Subresource {
			if t.How == plan.Unowned {
				continue
			}
			entry.Manager = manager
		}
		moved = append(moved, entry)
	}
	object.SetManagedFields(moved)
	return nil
}
