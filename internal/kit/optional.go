package kit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// absentFor is how long a kind that the cluster does not know is not asked for
// again: many owners may wait for the same one.
const absentFor = 20 * time.Second

// Unstructured is a kind that is held in the cache without a Go type and only
// looked up by name.
func Unstructured(gvk schema.GroupVersionKind) Kind {
	return Kind{GroupVersionKind: gvk, Named: true, New: func() client.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		return u
	}}
}

// Optional watches kinds that only some clusters know or some owners need, each
// from when it is first asked for and known.
type Optional struct {
	Mapper  meta.RESTMapper
	Cache   cache.Cache
	Handler handler.EventHandler
	Clock   clock.PassiveClock
	// Controller is woken by the Handler.
	Controller controller.Controller

	mu      sync.Mutex
	watched map[schema.GroupVersionKind]bool
	absent  map[schema.GroupVersionKind]time.Time
}

// Served reports whether the cluster knows the kind. Once it does, the cache holds
// the kind and its changes reach the controller.
func (o *Optional) Served(ctx context.Context, kind Kind) (bool, error) {
	gvk := kind.GroupVersionKind
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watched[gvk] {
		return true, nil
	}
	if at, ok := o.absent[gvk]; ok && o.Clock.Since(at) < absentFor {
		return false, nil
	}
	known, err := Served(o.Mapper, kind)
	if err != nil {
		return false, err
	}
	if !known {
		if o.absent == nil {
			o.absent = map[schema.GroupVersionKind]time.Time{}
		}
		o.absent[gvk] = o.Clock.Now()
		return false, nil
	}
	object := kind.Object()
	// The informer has to be there before anybody reads; a read waits until it is
	// filled.
	if _, err := o.Cache.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
		return false, fmt.Errorf("watch %s: %w", gvk.Kind, err)
	}
	if err := o.Controller.Watch(source.Kind(o.Cache, object, o.Handler)); err != nil {
		return false, fmt.Errorf("watch %s: %w", gvk.Kind, err)
	}
	if o.watched == nil {
		o.watched = map[schema.GroupVersionKind]bool{}
	}
	o.watched[gvk] = true
	return true, nil
}

// Served reports whether the API server knows the kind.
func Served(mapper meta.RESTMapper, kind Kind) (bool, error) {
	_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for kind %s of %s: %w", kind.Kind, kind.GroupVersion(), err)
	}
	return true, nil
}
