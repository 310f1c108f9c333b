package kit

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
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
	switch {
	case d.Foreground:
		propagation = metav1.DeletePropagationForeground
	case d.Orphan:
		propagation = metav1.DeletePropagationOrphan
	}
	still := client.Preconditions{UID: &d.UID}
	if d.ResourceVersion != "" {
		still.ResourceVersion = &d.ResourceVersion
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object := Metadata(kind.GroupVersionKind).Object()
	object.SetNamespace(d.Ref.Namespace)
	object.SetName(d.Ref.Name)
	err := w.client.Delete(ctx, object, still, client.PropagationPolicy(propagation))
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	w.writes.Deleted(w.owner, kind, client.ObjectKeyFromObject(object), d.UID)
	return nil
}

// ApplyStatus applies the status of an object of which the controller keeps records.
func (w *Writer) ApplyStatus(ctx context.Context, kind Kind, object *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := w.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(w.manager+"-status"), client.ForceOwnership); err != nil {
		return err
	}
	w.writes.Wrote(w.owner, kind, client.ObjectKeyFromObject(object), object.GetResourceVersion())
	return nil
}

// Client is for what the cache does not hold, such as an eviction.
func (w *Writer) Client() client.Client { return w.client }

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

// Merge changes an object by a merge patch, for what an apply cannot do: take out what others
// own. The patch says which resource version it is about.
func (w *Writer) Merge(ctx context.Context, kind Kind, name types.NamespacedName, patch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object := kind.Object()
	object.SetNamespace(name.Namespace)
	object.SetName(name.Name)
	if err := w.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(w.manager)); err != nil {
		return err
	}
	w.writes.Wrote(w.owner, kind, name, object.GetResourceVersion())
	return nil
}

// carryOut tries every step whose needs are met, each once and in order. Up to parallel
// steps are carried out at a time, but none together with one that it needs.
func (w *Writer) carryOut(ctx context.Context, p plan.Plan, parallel int, act func(context.Context, *Writer, plan.Action) error) plan.Outcome {
	out := plan.Outcome{Applied: map[plan.Ref]string{}}
	unmet := map[string]bool{}
	for rest := p.Steps; len(rest) > 0; {
		batch := rest[:together(rest, parallel)]
		rest = rest[len(batch):]
		results := make([]stepResult, len(batch))
		var group errgroup.Group
		group.SetLimit(max(parallel, 1))
		for i, step := range batch {
			if results[i].blocked = needsAny(step, unmet); !results[i].blocked {
				group.Go(func() error {
					results[i].digest, results[i].err = w.do(ctx, step.Action, act)
					return nil
				})
			}
		}
		_ = group.Wait() // What went wrong is in the results.
		for i, step := range batch {
			settle(&out, unmet, step, results[i])
		}
	}
	return out
}

// stepResult is what became of one step.
type stepResult struct {
	blocked bool
	digest  string
	err     error
}

// together is how many of the first steps may be carried out at a time.
func together(steps []plan.Step, parallel int) int {
	if parallel <= 1 {
		return 1
	}
	names := map[string]bool{}
	for i, step := range steps {
		if needsAny(step, names) {
			return i
		}
		names[step.Action.String()] = true
	}
	return len(steps)
}

func settle(out *plan.Outcome, unmet map[string]bool, step plan.Step, r stepResult) {
	switch {
	case r.blocked:
		out.Blocked = append(out.Blocked, step)
		unmet[step.Action.String()] = true
	case r.err != nil:
		out.Failed = append(out.Failed, plan.Failure{Step: step, Err: fmt.Errorf("%s: %w", step.Action, r.err)})
		unmet[step.Action.String()] = true
	default:
		out.Done = append(out.Done, step)
		if apply, ok := step.Action.(plan.Apply); ok && apply.Manager == "" {
			out.Applied[plan.RefTo(apply.Object)] = r.digest
		}
	}
}

func needsAny(step plan.Step, unmet map[string]bool) bool {
	for _, need := range step.Needs {
		if unmet[need] {
			return true
		}
	}
	return false
}

// do carries out one action. The digest is that of an Apply as the controller itself.
func (w *Writer) do(ctx context.Context, action plan.Action, act func(context.Context, *Writer, plan.Action) error) (digest string, err error) {
	if apply, ok := action.(plan.Apply); ok {
		applied, err := w.Apply(ctx, apply.Object, apply.Manager)
		if err == nil && apply.Manager == "" {
			digest = inventory.Digest(apply.Object, applied.GetManagedFields(), w.manager)
		}
		return digest, err
	}
	return "", w.change(ctx, action, act)
}

func (w *Writer) change(ctx context.Context, action plan.Action, act func(context.Context, *Writer, plan.Action) error) error {
	switch action := action.(type) {
	case plan.Delete:
		return w.Delete(ctx, action)
	case plan.TakeOver:
		return w.takeOver(ctx, action)
	case plan.HandOver:
		return w.handOver(ctx, action)
	case plan.Own:
		return w.amend(ctx, action.Ref, action.UID, w.manager, func(object *metav1.PartialObjectMetadata) error {
			disown(object, action.From)
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
