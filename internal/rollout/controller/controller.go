// Package controller brings changes to installations: it reads what a decision needs from
// the cache, lets the pure package rollout decide, and applies what comes of it. It writes
// InstallationRollouts' status, and of installations the fields that a change names.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate/probe"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/notify"
	"windlass.dev/internal/rollout"
)

// Parallel is how many installations are changed at a time.
const Parallel = 16

const (
	// settle is how long changes of installations are gathered before they are looked at.
	settle = 200 * time.Millisecond
	// refusedAgain is when a change that the API server refused is tried again.
	refusedAgain = time.Minute
)

// InstallationRollouts is the kind that the controller is for, and the others what it changes.
var (
	InstallationRollouts = kit.Typed[v1alpha1.InstallationRollout, v1alpha1.InstallationRolloutList](v1alpha1.GroupVersion.WithKind("InstallationRollout"))
	Mattermosts          = kit.Typed[installations.Mattermost, installations.MattermostList](installations.GroupVersion.WithKind("Mattermost"))
	ClusterInstallations = kit.Typed[older.ClusterInstallation, older.ClusterInstallationList](older.GroupVersion.WithKind("ClusterInstallation"))
)

// New returns the controller, ready to be started. It migrates if the cluster knows the older
// API.
func New(ctx context.Context, host kit.Host, migrates bool) (manager.Runnable, error) {
	if err := host.Registry.Register(kit.Gauges(ctx, host.Reader, func(list *v1alpha1.InstallationRolloutList, tell kit.Tell) { count(list, host.Clock.Now(), tell) }, descs...)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	pokes := make(chan event.GenericEvent, 1)
	f := &feature{life: ctx, reader: cached(host.Cache, host.Reader, migrates), clock: host.Clock, sender: notify.NewSender(host.Client), refused: map[types.UID]refusals{}, decided: newDecided(host.Registry)}
	f.gates = probe.NewBeside(probe.New(host.Client), func() {
		select {
		case pokes <- event.GenericEvent{Object: &v1alpha1.InstallationRollout{}}:
		default: // They are woken already.
		}
	})
	engine := &kit.Engine[*v1alpha1.InstallationRollout, rollout.Snapshot]{
		Feature: f, Kind: InstallationRollouts, Kinds: kit.Kinds{InstallationRollouts, Mattermosts, ClusterInstallations}, Cache: host.Reader, Client: host.Client,
		Manager: v1alpha1.Manager, Writes: kit.NewWrites(host.Clock), Announce: host.Announce, Metrics: host.Metrics, Clock: host.Clock, Parallel: Parallel,
	}
	c, err := host.Controller("rollout", InstallationRollouts, controller.Options{
		Reconciler: engine,
		// Roll-outs share installations, so one is looked at after another.
		MaxConcurrentReconciles: 1,
	})
	if err != nil {
		return nil, err
	}
	problem := errors.Join(
		// A roll-out that is made, edited, ended or deleted may matter to all others.
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.InstallationRollout{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.InstallationRollout{}, kit.Enqueue(settle, f.interested))),
		c.Watch(source.Kind[client.Object](host.Cache, &installations.Mattermost{}, kit.Enqueue(settle, f.interested))),
		c.Watch(source.Channel(pokes, kit.Enqueue(settle, f.interested))),
	)
	if migrates {
		problem = errors.Join(problem, c.Watch(source.Kind[client.Object](host.Cache, &older.ClusterInstallation{}, kit.Enqueue(settle, f.interested))))
	}
	if problem != nil {
		return nil, fmt.Errorf("watch: %w", problem)
	}
	return c, nil
}

// interested are the roll-outs that may have something to do when an installation changes.
func (f *feature) interested(ctx context.Context, changed client.Object) []types.NamespacedName {
	var list v1alpha1.InstallationRolloutList
	if err := f.reader.rollouts.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil // The cache is not filled yet, and then every roll-out is still to be looked at.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if looksOn(&list.Items[i]) && list.Items[i].UID != changed.GetUID() {
			names = append(names, types.NamespacedName{Name: list.Items[i].Name})
		}
	}
	return names
}

// looksOn reports whether a roll-out says anything more of installations: one that is rolled back
// does of those that it could not take back.
func looksOn(r *v1alpha1.InstallationRollout) bool {
	switch r.Status.Phase {
	case v1alpha1.Aborted:
		return false
	case v1alpha1.RolledBack:
		return slices.ContainsFunc(r.Status.Waits, func(w run.Wait) bool { return w.Reason == v1alpha1.ReasonMigrationKept })
	default:
		return true
	}
}

// feature is what the engine runs.
type feature struct {
	life   context.Context //nolint:containedctx // Checks of gates live as long as the process leads.
	reader reader
	clock  clock.PassiveClock
	gates  *probe.Beside
	sender *notify.Sender
	// known are installations as they were last read, and older those of the older API: of
	// the one worker.
	known, older memory
	decided      observer

	// refused are what was refused lately, by the UID of the roll-out. Whoever does not
	// know it tries once more.
	mu      sync.Mutex
	refused map[types.UID]refusals
}

// refusals are those of one generation of a roll-out, by installation.
type refusals struct {
	generation int64
	by         map[string]rollout.Refusal
}
