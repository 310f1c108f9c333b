package kit

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// OwnerIndex is the cache index by the UID of an object's controlling owner.
const OwnerIndex = "windlass.dev/controller-uid"

// IndexByOwner is the extractor of OwnerIndex.
func IndexByOwner(object client.Object) []string {
	if owner := metav1.GetControllerOf(object); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// Kind is a kind that a controller writes, and how its cache holds it.
type Kind struct {
	schema.GroupVersionKind
	// New and NewList make an empty object of the Go type under which the cache
	// holds the kind; nil means that it holds the metadata only.
	New     func() client.Object
	NewList func() client.ObjectList
	// Named says that an object of the kind is looked up by its name only: it need
	// not have an owner.
	Named bool
}

// Typed is a kind of a Go type O and its list L, whose objects are looked up by name.
func Typed[O, L any, PO interface {
	*O
	client.Object
}, PL interface {
	*L
	client.ObjectList
}](gvk schema.GroupVersionKind) Kind {
	return Kind{GroupVersionKind: gvk, Named: true, New: func() client.Object { return PO(new(O)) }, NewList: func() client.ObjectList { return PL(new(L)) }}
}

// Metadata is a kind of which only the metadata is cached.
func Metadata(gvk schema.GroupVersionKind) Kind { return Kind{GroupVersionKind: gvk} }

// Stored returns every object of a type that the cache has, as it is there: nobody may change
// it. To list thousands would copy each. A cache that is confined to namespaces has no such.
func Stored[O client.Object](ctx context.Context, c cache.Cache, empty O) ([]O, error) {
	informer, err := c.GetInformer(ctx, empty)
	if err != nil {
		return nil, fmt.Errorf("informer of %T: %w", empty, err)
	}
	has, ok := informer.(interface{ GetStore() toolscache.Store })
	if !ok {
		return nil, fmt.Errorf("the informer of %T has no store", empty)
	}
	all := has.GetStore().List()
	objects := make([]O, 0, len(all))
	for _, item := range all {
		object, ok := item.(O)
		if !ok {
			return nil, fmt.Errorf("the cache of %T has a %T", empty, item)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Object returns an empty object in the form in which the cache holds the kind.
func (k Kind) Object() client.Object {
	if k.New != nil {
		return k.New()
	}
	return &metav1.PartialObjectMetadata{TypeMeta: k.typeMeta(k.Kind)}
}

// List returns an empty list in the form in which the cache holds the kind.
func (k Kind) List() client.ObjectList {
	if k.NewList != nil {
		return k.NewList()
	}
	return &metav1.PartialObjectMetadataList{TypeMeta: k.typeMeta(k.Kind + "List")}
}

func (k Kind) typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: k.GroupVersion().String(), Kind: kind}
}

// Kinds are all kinds that one controller writes.
type Kinds []Kind

// Find returns the kind; ok is false for one that the controller never writes.
func (ks Kinds) Find(gk schema.GroupKind) (kind Kind, ok bool) {
	i := slices.IndexFunc(ks, func(k Kind) bool { return k.GroupKind() == gk })
	if i < 0 {
		return Kind{}, false
	}
	return ks[i], true
}

// Owned are the kinds whose objects are found by their owner.
func (ks Kinds) Owned() Kinds {
	return slices.DeleteFunc(slices.Clone(ks), func(k Kind) bool { return k.Named })
}

// Live returns, from the cache, every object that the owner controls and every
// object that has one of the names, whoever owns it, each once.
func (ks Kinds) Live(ctx context.Context, cache client.Reader, owner client.Object, names []plan.Ref) ([]inventory.Live, error) {
	var all []inventory.Live
	for _, kind := range ks.Owned() {
		list := kind.List()
		if err := cache.List(ctx, list, client.InNamespace(owner.GetNamespace()), client.MatchingFields{OwnerIndex: string(owner.GetUID())}); err != nil {
			return nil, fmt.Errorf("list %s of %s/%s: %w", kind.Kind, owner.GetNamespace(), owner.GetName(), err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object, err := meta.Accessor(item)
			if err != nil {
				return err
			}
			all = append(all, inventory.LiveOf(plan.RefOf(kind.GroupKind(), object.GetNamespace(), object.GetName()), object))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read list of %s: %w", kind.Kind, err)
		}
	}
	for _, ref := range names {
		if slices.ContainsFunc(all, func(l inventory.Live) bool { return l.Ref == ref }) {
			continue
		}
		kind, ok := ks.Find(ref.GroupKind())
		if !ok {
			return nil, fmt.Errorf("%s is not among the kinds of this controller", ref)
		}
		object := kind.Object()
		err := cache.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", ref, err)
		}
		all = append(all, inventory.LiveOf(ref, object))
	}
	return all, nil
}
