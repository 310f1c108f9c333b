// Package controller replaces the nodes of groups: it reads what a decision needs, lets the
// pure package rotation decide, and carries the plan out. It writes NodeRotations and their
// records, marks nodes, evicts pods and asks providers for machines; it touches nothing else.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/gate/probe"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/notify"
	"windlass.dev/internal/rotation"
)

// Manager is the field manager of what the controller writes.
const Manager = "windlass-rotation"

// settle is how long changes of the cluster are gathered before they are looked at: a pod
// that moves makes several in a row. It is short, since budgets wait for it.
const settle = 20 * time.Millisecond

// parallel is how many steps are carried out at a time. Their number is what an API server
// answers within a second, divided by how long it takes to; more only queue there.
const parallel = 24

var (
	rotations    = kit.Typed[v1alpha1.NodeRotation, v1alpha1.NodeRotationList](v1alpha1.GroupVersion.WithKind("NodeRotation"))
	replacements = kit.Typed[v1alpha1.NodeReplacement, v1alpha1.NodeReplacementList](v1alpha1.GroupVersion.WithKind("NodeReplacement"))
	groups       = kit.Typed[v1alpha1.NodeGroup, v1alpha1.NodeGroupList](v1alpha1.GroupVersion.WithKind("NodeGroup"))
	images       = kit.Typed[v1alpha1.NodeImage, v1alpha1.NodeImageList](v1alpha1.GroupVersion.WithKind("NodeImage"))
)

// Options are what a process may choose.
type Options struct {
	// Providers are those that the process can reach.
	Providers cloud.Providers
	// Namespace in which Windlass runs, and has new nodes pull images.
	Namespace string
}

// New returns the controller, ready to be started.
func New(ctx context.Context, host kit.Host, options Options) (manager.Runnable, error) {
	if err := host.Registry.Register(kit.Gauges(ctx, host.Reader, func(list *v1alpha1.NodeRotationList, tell kit.Tell) { count(list, host.Clock.Now(), tell) }, runDescs...)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	pokes := make(chan event.GenericEvent, 1)
	f := &feature{run: ctx, namespace: options.Namespace, cache: host.Reader, client: host.Client, clock: host.Clock, views: rotation.NewViews(), clouds: &clouds{providers: options.Providers, clock: host.Clock}, metrics: newMetrics(host.Registry)}
	var err error
	if f.index, err = newIndex(host.Config, poke(pokes)); err != nil {
		return nil, err
	}
	f.sender = notify.NewSender(host.Client)
	f.gates = probe.NewBeside(probe.New(host.Client), poke(pokes))
	engine := &kit.Engine[*v1alpha1.NodeRotation, rotation.Snapshot]{
		Feature: f, Kind: rotations, Kinds: kit.Kinds{rotations, replacements}, Cache: host.Reader, Client: host.Client, Manager: Manager,
		Writes: kit.NewWrites(host.Clock), Announce: host.Announce, Metrics: host.Metrics, Clock: host.Clock, Parallel: parallel,
	}
	c, err := host.Controller("rotation", rotations, controller.Options{
		Reconciler: engine,
		// All runs share budgets and nodes, so one is looked at after another.
		MaxConcurrentReconciles: 1,
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range []kit.Kind{rotations, replacements, groups, images} {
		if _, err := host.Cache.GetInformer(ctx, kind.Object(), cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("watch %s: %w", kind.Kind, err)
		}
	}
	problem := errors.Join(
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeRotation{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeReplacement{}, kit.Enqueue(settle, ofRecord))),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeGroup{}, kit.Enqueue(settle, f.active))),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeImage{}, kit.Enqueue(settle, f.active))),
		c.Watch(source.Channel(pokes, kit.Enqueue(settle, f.active))),
	)
	if problem != nil {
		return nil, fmt.Errorf("watch: %w", problem)
	}
	return c, nil
}

// poke wakes the runs, once for all that happens before they are woken.
func poke(pokes chan<- event.GenericEvent) func() {
	return func() {
		select {
		case pokes <- event.GenericEvent{Object: &v1alpha1.NodeRotation{}}:
		default:
		}
	}
}

func ofRecord(_ context.Context, object client.Object) []types.NamespacedName {
	if r, ok := object.(*v1alpha1.NodeReplacement); ok {
		return []types.NamespacedName{{Name: r.Spec.Rotation}}
	}
	return nil
}

// active are the runs that are not over.
func (f *feature) active(ctx context.Context, _ client.Object) []types.NamespacedName {
	var list v1alpha1.NodeRotationList
	if err := f.cache.List(ctx, &list); err != nil {
		return nil // The cache is not filled yet, and then every run is still to be looked at.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if !rotation.Finished(list.Items[i].Status.Phase) {
			names = append(names, types.NamespacedName{Name: list.Items[i].Name})
		}
	}
	return names
}

// feature is what the engine runs.
type feature struct {
	run context.Context //nolint:containedctx // The watches of the index live as long as the process leads.
	// namespace is where pods are made that pull images.
	namespace string

	cache   client.Reader
	client  client.Client
	clock   clock.PassiveClock
	clouds  *clouds
	index   *index
	views   *rotation.Views // of the one worker, as the index is
	gates   *probe.Beside
	sender  *notify.Sender
	metrics *metrics
}
