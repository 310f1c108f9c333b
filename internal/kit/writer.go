package kit

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// callTimeout is the deadline of one write. The API server gives up on a write
// after 60 s by itself; a worker that waits that long holds up the others.
const callTimeout = 20 * time.Second

// Writer makes the writes of one pass over one owner, and remembers each until
// the cache has seen it.
type Writer struct {
	client  client.Client
	kinds   Kinds
	writes  *Writes
	owner   types.NamespacedName
	manager string
}

// Apply sends an apply configuration under the given field manager, or under
// the controller's own when it is empty, taking over fields that others set.
// It returns what the API server made of it; the intent is not changed.
func (w *Writer) Apply(ctx context.Context, intent *unstructured.Unstructured, manager string) (*unstructured.Unstructured, error) {
	kind, ok := w.kinds.Find(intent.GroupVersionKind().GroupKind())
	if !ok {
		return nil, fmt.Errorf("%s is not among the kinds of this controller", plan.RefTo(intent))
	}
	if manager == "" {
		manager = w.manager
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	applied := intent.DeepCopy()
	err := w.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(manager), client.ForceOwnership)
	if err != nil {
		return nil, err
	}
	w.writes.Wrote(w.owner, kind, client.ObjectKeyFromObject(applied), applied.GetResourceVersion())
	return applied, nil
}

// Create makes an object that must not exist: of what is made this way a part
// cannot be applied again, such as a random value.
func (w *Writer) Create(ctx context.Context, kind Kind, object client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := w.client.Create(ctx, object, client.FieldOwner(w.manager)); err != nil {
		return err
	}
	w.writes.Wrote(w.owner, kind, client.ObjectKeyFromObject(object), object.GetResourceVersion())
	return nil
}

// Delete removes the object if it still is the one with this UID. Gone already
// is success.
func (w *Writer) Delete(ctx context.Context, d plan.Delete) error {
	kind, ok := w.kinds.Find(d.Ref.GroupKind())
	if !ok {
		return fmt.Errorf("%s is not among the kinds of this controller", d.Ref)
	}
	propagation := metav1.DeletePropagationBackground
	if d.Foreground {
		propagation = metav1.DeletePropagationForeground
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object := Metadata(kind.GroupVersionKind).Object()
	object.SetNamespace(d.Ref.Namespace)
	object.SetName(d.Ref.Name)
	err := w.client.Delete(ctx, object, client.Preconditions{UID: &d.UID}, client.PropagationPolicy(propagation))
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	w.writes.Deleted(w.owner, kind, client.ObjectKeyFromObject(object), d.UID)
	return nil
}

// Update replaces an object, provided that it still has the resource version
// that it was read with. It is for the one place where other clients rely on
// our writing into a spec; everything else is applied.
func (w *Writer) Update(ctx context.Context, kind Kind, object client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object.SetManagedFields(nil) // The cache does not hold all of them; the API server knows.
	if err := w.client.Update(ctx, object, client.FieldOwner(w.manager)); err != nil {
		return err
	}
	w.writes.Wrote(w.owner, kind, client.ObjectKeyFromObject(object), object.GetResourceVersion())
	return nil
}

// carryOut tries every step whose needs are met, each once and in order.
func (w *Writer) carryOut(ctx context.Context, p plan.Plan, act func(context.Context, *Writer, plan.Action) error) plan.Outcome {
	out := plan.Outcome{Applied: map[plan.Ref]string{}}
	unmet := map[string]bool{}
	for _, step := range p.Steps {
		if needsAny(step, unmet) {
			out.Blocked = append(out.Blocked, step)
			unmet[step.Action.String()] = true
			continue
		}
		if err := w.do(ctx, step.Action, &out, act); err != nil {
			out.Failed = append(out.Failed, plan.Failure{Step: step, Err: fmt.Errorf("%s: %w", step.Action, err)})
			unmet[step.Action.String()] = true
			continue
		}
		out.Done = append(out.Done, step)
	}
	return out
}

func needsAny(step plan.Step, unmet map[string]bool) bool {
	for _, need := range step.Needs {
		if unmet[need] {
			return true
		}
	}
	return false
}

func (w *Writer) do(ctx context.Context, action plan.Action, out *plan.Outcome, act func(context.Context, *Writer, plan.Action) error) error {
	switch action := action.(type) {
	case plan.Apply:
		applied, err := w.Apply(ctx, action.Object, action.Manager)
		if err == nil && action.Manager == "" {
			out.Applied[plan.RefTo(action.Object)] = inventory.Digest(action.Object, applied.GetManagedFields(), w.manager)
		}
		return err
	case plan.Delete:
		return w.Delete(ctx, action)
	case plan.TakeOver:
		return w.takeOver(ctx, action)
	case plan.HandOver:
		return w.handOver(ctx, action)
	case plan.Own:
		return w.amend(ctx, action.Ref, action.UID, w.manager, func(object *metav1.PartialObjectMetadata) error {
			object.SetOwnerReferences(append(object.GetOwnerReferences(), action.Owner))
			return nil
		})
	case plan.Disown:
		return w.amend(ctx, action.Ref, action.UID, w.manager, func(object *metav1.PartialObjectMetadata) error {
			disown(object, action.Owner)
			return nil
		})
	default:
		return act(ctx, w, action)
	}
}
