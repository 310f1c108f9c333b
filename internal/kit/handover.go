package kit

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"windlass.dev/internal/kit/plan"
)

// handOver moves our fields to another client.
func (w *Writer) handOver(ctx context.Context, h plan.HandOver) error {
	return w.amend(ctx, h.Ref, h.UID, h.To, func(object *metav1.PartialObjectMetadata) error {
		managed, err := handFields(object.GetManagedFields(), h)
		if err != nil {
			return fmt.Errorf("hand over the fields of %s: %w", h.Ref, err)
		}
		object.SetManagedFields(managed)
		for key, value := range h.Annotations {
			metav1.SetMetaDataAnnotation(&object.ObjectMeta, key, value)
		}
		if h.Own != nil && metav1.GetControllerOf(object) == nil {
			object.SetOwnerReferences(append(object.GetOwnerReferences(), *h.Own))
		}
		return nil
	})
}

// handFields returns the entries with ours, and what the other client has already,
// joined into one for each version of the API.
func handFields(managed []metav1.ManagedFieldsEntry, h plan.HandOver) ([]metav1.ManagedFieldsEntry, error) {
	var all []metav1.ManagedFieldsEntry
	joined := map[string]int{} // By the version, where in all.
	for _, entry := range managed {
		theirs := entry.Manager == h.To && entry.Operation == metav1.ManagedFieldsOperationUpdate
		if entry.Subresource != h.Subresource || !theirs && !slices.Contains(h.From, entry.Manager) {
			all = append(all, entry)
			continue
		}
		i, more := joined[entry.APIVersion]
		if !more {
			joined[entry.APIVersion] = len(all)
			entry.Manager, entry.Operation = h.To, metav1.ManagedFieldsOperationUpdate
			all = append(all, entry)
			continue
		}
		fields, err := union(all[i].FieldsV1, entry.FieldsV1)
		if err != nil {
			return nil, err
		}
		all[i].FieldsV1 = fields
		if entry.Time != nil && (all[i].Time == nil || all[i].Time.Before(entry.Time)) {
			all[i].Time = entry.Time
		}
	}
	return all, nil
}

func union(one, other *metav1.FieldsV1) (*metav1.FieldsV1, error) {
	var sets [2]fieldpath.Set
	for i, fields := range []*metav1.FieldsV1{one, other} {
		if fields == nil {
			continue
		}
		if err := sets[i].FromJSON(bytes.NewReader(fields.GetRawBytes())); err != nil {
			return nil, err
		}
	}
	content, err := sets[0].Union(&sets[1]).ToJSON()
	if err != nil {
		return nil, err
	}
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(content)
	return fields, nil
}
