package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
)

// uncached reads straight from the API server. What the controller's cache leaves
// out is left out here too, as far as it matters.
type uncached struct{ client.Reader }

func (u uncached) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if err := u.Reader.Get(ctx, key, object, opts...); err != nil {
		return err
	}
	if secret, ok := object.(*corev1.Secret); ok {
		*secret = *installation.Redact(secret)
		if _, err := StripMetadata(secret); err != nil {
			return err
		}
	}
	return nil
}

// List answers a selection by one of the cache's indexes by listing the
// namespace and selecting here: the API server does not know those indexes.
func (u uncached) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	options := client.ListOptions{}
	options.ApplyOptions(opts)
	selector := options.FieldSelector
	options.FieldSelector = nil
	if err := u.Reader.List(ctx, list, &options); err != nil || selector == nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	items = slices.DeleteFunc(items, func(item runtime.Object) bool { return !selects(selector.Requirements(), item) })
	return meta.SetList(list, items)
}

func selects(requirements fields.Requirements, item runtime.Object) bool {
	object, ok := item.(client.Object)
	if !ok {
		return false
	}
	for _, r := range requirements {
		if !slices.Contains(index(r.Field, object), r.Value) {
			return false
		}
	}
	return true
}

func index(name string, object client.Object) []string {
	switch name {
	case kit.OwnerIndex:
		return kit.IndexByOwner(object)
	case secretIndex:
		return bySecret(object)
	case claimIndex:
		return byClaim(object)
	case preUpgradeIndex:
		return byPreUpgrade(object)
	case foreignIndex:
		return byForeign(object)
	case targetIndex:
		return byTarget(object)
	default:
		// A new index that is not served here must not look like "no objects".
		panic(fmt.Sprintf("index %q is not served without a cache", name))
	}
}
