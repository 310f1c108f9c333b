// Package controller keeps the status of NodeGroups: it asks their providers once a minute,
// lets the pure package nodegroup decide what that means, and writes nothing else. While a
// run has a group, what the run has counted is taken, and the provider is left alone.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/nodegroup"
)

// Manager is the field manager of what the controller writes.
const Manager = "windlass-nodegroup"

// parallel is how many groups are looked at together, so that a provider that does not
// answer holds up no others.
const parallel = 4

var groups = kit.Typed[v1alpha1.NodeGroup, v1alpha1.NodeGroupList](v1alpha1.GroupVersion.WithKind("NodeGroup"))

// Options are what a process may choose.
type Options struct {
	// Providers are those that the process can reach.
	Providers cloud.Providers
}

// New returns the controller, ready to be started.
func New(ctx context.Context, host kit.Host, options Options) (manager.Runnable, error) {
	f := &feature{cache: host.Reader, clock: host.Clock, providers: options.Providers, known: map[types.UID]known{}}
	engine := &kit.Engine[*v1alpha1.NodeGroup, nodegroup.Snapshot]{
		Feature: f, Kind: groups, Kinds: kit.Kinds{groups}, Cache: host.Reader, Client: host.Client, Manager: Manager,
		Writes: kit.NewWrites(host.Clock), Announce: host.Announce, Metrics: host.Metrics, Clock: host.Clock,
	}
	c, err := host.Controller("nodegroup", groups, controller.Options{
		Reconciler:              engine,
		MaxConcurrentReconciles: parallel,
	})
	if err != nil {
		return nil, err
	}
	for _, object := range []client.Object{&v1alpha1.NodeGroup{}, &v1alpha1.NodeImage{}, &v1alpha1.NodeRotation{}} {
		if _, err := host.Cache.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("watch %T: %w", object, err)
		}
	}
	problem := errors.Join(
		// A status that we have written is no reason to look again.
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeGroup{}, &handler.EnqueueRequestForObject{}, predicate.GenerationChangedPredicate{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeImage{}, kit.Enqueue(kit.Settle, f.ofImage))),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeRotation{}, kit.Enqueue(kit.Settle, ofRun))),
	)
	if problem != nil {
		return nil, fmt.Errorf("watch: %w", problem)
	}
	host.Registry.MustRegister(kit.Gauges(ctx, host.Reader, count, nodesDesc, outdatedDesc))
	return c, nil
}

// ofImage are the groups that refer to an image.
func (f *feature) ofImage(ctx context.Context, image client.Object) []types.NamespacedName {
	var list v1alpha1.NodeGroupList
	if err := f.cache.List(ctx, &list); err != nil {
		return nil // The cache is not filled yet, and then every group is still to be looked at.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if list.Items[i].Spec.Image == image.GetName() {
			names = append(names, types.NamespacedName{Name: list.Items[i].Name})
		}
	}
	return names
}

func ofRun(_ context.Context, object client.Object) []types.NamespacedName {
	var names []types.NamespacedName
	if run, ok := object.(*v1alpha1.NodeRotation); ok {
		for i := range run.Status.Groups {
			names = append(names, types.NamespacedName{Name: run.Status.Groups[i].Name})
		}
	}
	return names
}

// feature is what the engine runs.
type feature struct {
	cache     client.Reader
	clock     clock.PassiveClock
	providers cloud.Providers

	// known are the last descriptions, so that what changes in the cluster does not make
	// providers be asked more often.
	mu    sync.Mutex
	known map[types.UID]known
}

type known struct {
	nodegroup.Description
	generation int64
}

// Observe reads what a decision looks at.
func (f *feature) Observe(ctx context.Context, group *v1alpha1.NodeGroup) (nodegroup.Snapshot, error) {
	s := nodegroup.Snapshot{Group: group, Images: map[string]*v1alpha1.NodeImage{}}
	var runs v1alpha1.NodeRotationList
	var images v1alpha1.NodeImageList
	for _, list := range []client.ObjectList{&runs, &images} {
		if err := f.cache.List(ctx, list); err != nil {
			return s, fmt.Errorf("list %T: %w", list, err)
		}
	}
	for i := range images.Items {
		s.Images[images.Items[i].Name] = &images.Items[i]
	}
	if s.Run = nodegroup.Holder(runs.Items, group.Name); s.Run != nil {
		f.forget(group)
		return s, nil
	}
	description := f.describe(ctx, group)
	s.Description = &description
	return s, nil
}

func (f *feature) forget(group *v1alpha1.NodeGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, group.UID)
}

// describe returns what is known of a group, asked anew if that is old.
func (f *feature) describe(ctx context.Context, group *v1alpha1.NodeGroup) nodegroup.Description {
	now := f.clock.Now()
	f.mu.Lock()
	for uid, k := range f.known {
		if now.Sub(k.At) >= nodegroup.LookEvery {
			delete(f.known, uid) // Those of groups that were deleted go too.
		}
	}
	was, ok := f.known[group.UID]
	f.mu.Unlock()
	if ok && was.generation == group.Generation {
		return was.Description
	}
	is := known{nodegroup.Description{At: now}, group.Generation}
	is.Group, is.Err = f.ask(ctx, group)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[group.UID] = is
	return is.Description
}

// askTimeout bounds one description: a large group takes several calls.
const askTimeout = 30 * time.Second

func (f *feature) ask(ctx context.Context, group *v1alpha1.NodeGroup) (cloud.Group, error) {
	provider, err := f.providers(group.Spec.Provider)
	if err != nil {
		return cloud.Group{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return provider.Describe(ctx, group.Spec.Provider)
}

// Decide is nodegroup.Decide.
func (f *feature) Decide(s nodegroup.Snapshot, now time.Time) plan.Plan {
	return nodegroup.Decide(s, now)
}

// Act has nothing to do: no plan has steps.
func (f *feature) Act(_ context.Context, _ *kit.Writer, _ nodegroup.Snapshot, action plan.Action) error {
	return &kit.InvalidError{Err: fmt.Errorf("%s is no step of this controller", action)}
}

// Report is nodegroup.Report.
func (f *feature) Report(s nodegroup.Snapshot, p plan.Plan, _ plan.Outcome, _ time.Time) *v1alpha1.NodeGroup {
	return nodegroup.Report(s, p)
}

// Unknown is nodegroup.Unknown.
func (f *feature) Unknown(group *v1alpha1.NodeGroup, err error, now time.Time) *v1alpha1.NodeGroup {
	return nodegroup.Unknown(group, err, now)
}

// worth are the reasons for which somebody may want to act.
var worth = []string{v1alpha1.ReasonProviderProblem, v1alpha1.ReasonInvalidSpec}

// Announce tells of what a person has to look at, and of its end.
func (f *feature) Announce(before, after *v1alpha1.NodeGroup, _ plan.Plan, _ plan.Outcome) []kit.Event {
	was, is := readyOf(before), readyOf(after)
	bad := func(c metav1.Condition) bool { return slices.Contains(worth, c.Reason) }
	switch {
	case bad(is) && (was.Reason != is.Reason || was.Message != is.Message):
		return []kit.Event{{Warning: true, Reason: is.Reason, Action: "Describe", Message: is.Message}}
	case bad(was) && !bad(is):
		return []kit.Event{{Reason: is.Reason, Action: "Describe", Message: is.Message}}
	default:
		return nil
	}
}

func readyOf(group *v1alpha1.NodeGroup) metav1.Condition {
	for _, c := range group.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			return c
		}
	}
	return metav1.Condition{}
}
