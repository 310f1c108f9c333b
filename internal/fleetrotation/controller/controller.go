// Package controller rotates fleets of clusters: it reads what a decision needs from the
// clusters that are registered, lets the pure package fleetrotation decide, and carries
// the plan out in them. It owns the freeze of their admission while it holds it, and the
// NodeRotations that it makes; everything else in them it only reads.
package controller

import (
	"fmt"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
	"windlass.dev/internal/kit"
)

const (
	// concurrency is how many runs are looked at at the same time. There are few.
	concurrency = 4
	// A step that fails in one cluster must not put off those in others: the longest
	// pause is no longer than clusters are left alone anyway.
	firstRetry, lastRetry = 200 * time.Millisecond, 5 * time.Second
)

// FleetRotations is the kind that the controller is for.
var FleetRotations = kit.Typed[v1alpha1.FleetRotation, v1alpha1.FleetRotationList](v1alpha1.GroupVersion.WithKind("FleetRotation"))

// Options are what a process may choose.
type Options struct {
	// Namespace is Windlass' own, in which clusters are registered.
	Namespace string
}

// New returns the controller, ready to be started. It has told the cache what it watches.
func New(host kit.Host, options Options) (manager.Runnable, error) {
	engine := &kit.Engine[*v1alpha1.FleetRotation, fleetrotation.Snapshot]{
		Feature:  &feature{members: NewMembers(host.Client, options.Namespace, host.Clock), clock: host.Clock},
		Kind:     FleetRotations,
		Kinds:    kit.Kinds{FleetRotations},
		Cache:    host.Reader,
		Client:   host.Client,
		Manager:  fleetrotation.Manager,
		Writes:   kit.NewWrites(host.Clock),
		Announce: host.Announce,
		Metrics:  host.Metrics,
		Clock:    host.Clock,
	}
	c, err := host.Controller("fleet", FleetRotations, controller.Options{
		Reconciler:              engine,
		MaxConcurrentReconciles: concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](firstRetry, lastRetry),
	})
	if err != nil {
		return nil, err
	}
	if err := c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.FleetRotation{}, &handler.EnqueueRequestForObject{})); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return c, nil
}
