// Package kit is what every controller has to get right once: observe, decide,
// act, report, with one exit. It knows no feature.
package kit

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/kit/plan"
)

// Feature is what a controller supplies for its kind O, whose snapshot is S.
// Only Observe and Act may do I/O; the others are pure.
type Feature[O client.Object, S any] interface {
	// Observe reads everything a decision may look at, once, from the cache.
	Observe(ctx context.Context, object O) (S, error)
	// Decide says what to do next, and why not more.
	Decide(snapshot S, now time.Time) plan.Plan
	// Act carries out one action of the feature's own; applying and deleting is
	// done by the engine. It tries once.
	Act(ctx context.Context, w *Writer, snapshot S, action plan.Action) error
	// Report returns a copy of the object with the status it should now have.
	Report(snapshot S, p plan.Plan, outcome plan.Outcome, now time.Time) O
	// Unknown is Report when Observe failed.
	Unknown(object O, err error, now time.Time) O
	// Announce returns the events that tell of the change from one stored
	// status to the next. They are sent after the status is stored.
	Announce(before, after O, p plan.Plan, outcome plan.Outcome) []Event
}

// Engine runs one feature. All fields but Parallel are required.
type Engine[O client.Object, S any] struct {
	Feature Feature[O, S]
	// Kind is the kind of O, and Kinds are those the controller writes.
	Kind  Kind
	Kinds Kinds
	// Cache is read and Client is written. Cache has every kind in Kinds.
	Cache  client.Reader
	Client client.Client
	// Manager is the field manager; the status is applied as Manager-status.
	Manager  string
	Writes   *Writes
	Announce Announcer
	Metrics  *Metrics
	Clock    clock.PassiveClock
	// Parallel is how many steps of a plan are carried out at a time, for a feature whose
	// steps name all that they need; 0 for one after another.
	Parallel int
}

// Reconcile makes one pass over one object.
func (e *Engine[O, S]) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	object, ok := e.Kind.Object().(O)
	if !ok {
		return ctrl.Result{}, fmt.Errorf("kind %s is not cached as the type of its controller", e.Kind.Kind)
	}
	// Before the object is read: what is read after a cache has caught up is at
	// least as new, while a copy from before may be older than our last write.
	behind, err := e.Writes.Pending(ctx, e.Cache, request.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	err = e.Cache.Get(ctx, request.NamespacedName, object)
	if apierrors.IsNotFound(err) {
		e.Writes.Forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get %s %s: %w", e.Kind.Kind, request.NamespacedName, err)
	}
	if behind {
		e.Metrics.stale.WithLabelValues(e.Kind.Kind).Inc()
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	return e.pass(ctx, request.NamespacedName, object)
}

// pass observes, decides, acts and reports, and has one exit for all of it.
func (e *Engine[O, S]) pass(ctx context.Context, name types.NamespacedName, object O) (ctrl.Result, error) {
	w := &Writer{client: e.Client, kinds: e.Kinds, writes: e.Writes, owner: name, manager: e.Manager}
	snapshot, err := e.Feature.Observe(ctx, object)
	if err != nil {
		// Nothing is known, so nothing is changed, and the status says so.
		after := e.Feature.Unknown(object, err, e.Clock.Now())
		return result(plan.Plan{}, nonNil(fmt.Errorf("observe: %w", err), e.report(ctx, w, object, after, plan.Plan{}, plan.Outcome{})))
	}
	p := e.Feature.Decide(snapshot, e.Clock.Now())
	outcome := w.carryOut(ctx, p, e.Parallel, func(ctx context.Context, w *Writer, action plan.Action) error {
		return e.Feature.Act(ctx, w, snapshot, action)
	})
	e.log(ctx, p, outcome)
	after := e.Feature.Report(snapshot, p, outcome, e.Clock.Now())
	failures := nonNil(e.report(ctx, w, object, after, p, outcome))
	for _, failure := range outcome.Failed {
		failures = append(failures, failure.Err)
	}
	return result(p, failures)
}

// report stores the status if it changed and then, and only then, announces.
func (e *Engine[O, S]) report(ctx context.Context, w *Writer, before, after O, p plan.Plan, outcome plan.Outcome) error {
	if !equality.Semantic.DeepEqual(before, after) {
		if err := e.applyStatus(ctx, w, after); err != nil {
			if apierrors.IsNotFound(err) {
				return nil // The object went while we worked; there is nobody to tell.
			}
			return fmt.Errorf("apply status: %w", err)
		}
		e.Metrics.reports.WithLabelValues(e.Kind.Kind).Inc()
	}
	for _, step := range outcome.Done {
		e.Metrics.steps.WithLabelValues(e.Kind.Kind, verb(step.Action), "done").Inc()
	}
	for _, failure := range outcome.Failed {
		e.Metrics.steps.WithLabelValues(e.Kind.Kind, verb(failure.Step.Action), "failed").Inc()
	}
	for _, event := range e.Feature.Announce(before, after, p, outcome) {
		if event.About == nil {
			event.About = after
		}
		e.Announce.Send(event.About, event)
	}
	return nil
}

func (e *Engine[O, S]) applyStatus(ctx context.Context, w *Writer, after O) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(after)
	if err != nil {
		return err
	}
	status := &unstructured.Unstructured{Object: map[string]any{"status": content["status"]}}
	status.SetGroupVersionKind(e.Kind.GroupVersionKind)
	status.SetNamespace(after.GetNamespace())
	status.SetName(after.GetName())
	// The UID keeps a status from landing on a namesake made since.
	status.SetUID(after.GetUID())
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = e.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(status), client.FieldOwner(e.Manager+"-status"), client.ForceOwnership)
	if err != nil {
		return err
	}
	w.writes.Wrote(w.owner, e.Kind, w.owner, status.GetResourceVersion())
	return nil
}

// log tells operators what was changed, and, at level 1, why not more. Failed
// steps are logged by the work queue when they are returned, or here when they
// are not worth a back-off.
func (e *Engine[O, S]) log(ctx context.Context, p plan.Plan, outcome plan.Outcome) {
	log := ctrl.LoggerFrom(ctx)
	for _, step := range outcome.Done {
		log.Info("Carried out step", "step", step.Action.String(), "reason", step.Why)
	}
	for _, failure := range outcome.Failed {
		if invalid(failure.Err) {
			log.Info("Step was refused", "step", failure.Step.Action.String(), "reason", failure.Err.Error())
		}
	}
	for _, step := range outcome.Blocked {
		log.V(1).Info("Held up step", "step", step.Action.String(), "needs", step.Needs)
	}
	for _, note := range p.Why {
		log.V(1).Info("Decided", "subject", note.Subject, "reason", note.Reason, "message", note.Message)
	}
}

func nonNil(all ...error) []error {
	var some []error
	for _, err := range all {
		if err != nil {
			some = append(some, err)
		}
	}
	return some
}
