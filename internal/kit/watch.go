package kit

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// Settle is how long events about dependents are gathered before the owner is
// looked at: a rollout makes dozens within a second, and one pass serves all.
const Settle = 500 * time.Millisecond

// EnqueueOwner wakes the controlling owner of kind owner when a dependent
// changes, once per Settle.
func EnqueueOwner(owner schema.GroupKind) handler.EventHandler {
	return Enqueue(Settle, func(_ context.Context, object client.Object) []types.NamespacedName {
		ref := metav1.GetControllerOf(object)
		if ref == nil || ref.Kind != owner.Kind {
			return nil
		}
		if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != owner.Group {
			return nil
		}
		return []types.NamespacedName{{Namespace: object.GetNamespace(), Name: ref.Name}}
	})
}

// Enqueue wakes the objects that names returns, after a delay that gathers
// events. A change of owner wakes the old and the new one.
func Enqueue(after time.Duration, names func(context.Context, client.Object) []types.NamespacedName) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	wake := func(ctx context.Context, q queue, objects ...client.Object) {
		for _, object := range objects {
			for _, name := range names(ctx, object) {
				q.AddAfter(ctrl.Request{NamespacedName: name}, after)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() {
				return // A resync: the owner's own resync covers it.
			}
			wake(ctx, q, e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, q, e.Object) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q queue) { wake(ctx, q, e.Object) },
	}
}

// EnqueueGone is Enqueue for objects that are deleted, and no other event: of what changes
// hands, the new owner's own write tells, and of the rest a resync.
func EnqueueGone(after time.Duration, names func(context.Context, client.Object) []types.NamespacedName) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	all := Enqueue(after, names)
	return handler.Funcs{DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { all.Delete(ctx, e, q) }}
}
