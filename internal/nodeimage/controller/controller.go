// Package controller follows NodeImages: it looks at their sources, lets the pure package
// nodeimage decide, and begins NodeRotations. It writes nothing else.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/nodeimage"
)

// Manager is the field manager of what the controller writes.
const Manager = "windlass-nodeimage"

// parallel is how many images are looked at together, so that a source that does not
// answer holds up no others.
const parallel = 4

var (
	images    = kit.Typed[v1alpha1.NodeImage, v1alpha1.NodeImageList](v1alpha1.GroupVersion.WithKind("NodeImage"))
	rotations = kit.Typed[v1alpha1.NodeRotation, v1alpha1.NodeRotationList](v1alpha1.GroupVersion.WithKind("NodeRotation"))
)

// Options are what a process may choose.
type Options struct {
	// Images finds what sources name.
	Images cloud.Images
}

// New returns the controller, ready to be started.
func New(ctx context.Context, host kit.Host, options Options) (manager.Runnable, error) {
	f := &feature{cache: host.Reader, clock: host.Clock, images: options.Images}
	engine := &kit.Engine[*v1alpha1.NodeImage, nodeimage.Snapshot]{
		Feature: f, Kind: images, Kinds: kit.Kinds{images, rotations}, Cache: host.Reader, Client: host.Client, Manager: Manager,
		Writes: kit.NewWrites(host.Clock), Announce: host.Announce, Metrics: host.Metrics, Clock: host.Clock,
	}
	c, err := host.Controller("nodeimage", images, controller.Options{
		Reconciler:              engine,
		MaxConcurrentReconciles: parallel,
	})
	if err != nil {
		return nil, err
	}
	for _, object := range []client.Object{&v1alpha1.NodeImage{}, &v1alpha1.NodeGroup{}, &v1alpha1.NodeRotation{}} {
		if _, err := host.Cache.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("watch %T: %w", object, err)
		}
	}
	problem := errors.Join(
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeImage{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeGroup{}, kit.Enqueue(kit.Settle, ofGroup))),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.NodeRotation{}, kit.Enqueue(kit.Settle, f.all))),
	)
	if problem != nil {
		return nil, fmt.Errorf("watch: %w", problem)
	}
	return c, nil
}

func ofGroup(_ context.Context, object client.Object) []types.NamespacedName {
	if g, ok := object.(*v1alpha1.NodeGroup); ok && g.Spec.Image != "" {
		return []types.NamespacedName{{Name: g.Spec.Image}}
	}
	return nil
}

// all images: which of them wait for the end of a run only a decision knows.
func (f *feature) all(ctx context.Context, _ client.Object) []types.NamespacedName {
	var list v1alpha1.NodeImageList
	if err := f.cache.List(ctx, &list); err != nil {
		return nil // The cache is not filled yet, and then every image is still to be looked at.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		names = append(names, types.NamespacedName{Name: list.Items[i].Name})
	}
	return names
}

// feature is what the engine runs.
type feature struct {
	cache  client.Reader
	clock  clock.PassiveClock
	images cloud.Images
}

// Observe reads what a decision looks at, and the sources if it is time to.
func (f *feature) Observe(ctx context.Context, image *v1alpha1.NodeImage) (nodeimage.Snapshot, error) {
	s := nodeimage.Snapshot{Image: image}
	var groups v1alpha1.NodeGroupList
	var runs v1alpha1.NodeRotationList
	for _, list := range []client.ObjectList{&groups, &runs} {
		if err := f.cache.List(ctx, list); err != nil {
			return s, fmt.Errorf("list %T: %w", list, err)
		}
	}
	s.Rotations = runs.Items
	s.Groups = slices.DeleteFunc(groups.Items, func(g v1alpha1.NodeGroup) bool { return g.Spec.Image != image.Name || g.DeletionTimestamp != nil })
	slices.SortFunc(s.Groups, func(a, b v1alpha1.NodeGroup) int { return strings.Compare(a.Name, b.Name) })
	if nodeimage.Due(image, f.clock.Now()) {
		s.Found = f.find(ctx, image.Spec.Sources)
	}
	return s, nil
}

// findTimeout bounds a look at all sources of an image, each of which is one or two calls.
const findTimeout = 30 * time.Second

func (f *feature) find(ctx context.Context, sources []v1alpha1.ImageSource) *nodeimage.Found {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found := &nodeimage.Found{}
	for i := range sources {
		image, err := f.images.Find(ctx, sources[i])
		if err != nil {
			return &nodeimage.Found{Err: err, Source: i}
		}
		found.Images = append(found.Images, image)
	}
	return found
}

// Decide is nodeimage.Decide.
func (f *feature) Decide(s nodeimage.Snapshot, now time.Time) plan.Plan {
	return nodeimage.Decide(s, now)
}

// Act carries out one step.
func (f *feature) Act(ctx context.Context, w *kit.Writer, _ nodeimage.Snapshot, action plan.Action) error {
	b, ok := action.(nodeimage.Begin)
	if !ok {
		return &kit.InvalidError{Err: fmt.Errorf("%s is no step of this controller", action)}
	}
	// One of the name that the cache has not shown yet is somebody else's, or a former
	// process' own: the next pass sees which.
	return w.Create(ctx, rotations, b.Rotation.DeepCopy())
}

// Report is nodeimage.Report.
func (f *feature) Report(s nodeimage.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.NodeImage {
	return nodeimage.Report(s, p, outcome, now)
}

// Unknown is nodeimage.Unknown.
func (f *feature) Unknown(image *v1alpha1.NodeImage, err error, now time.Time) *v1alpha1.NodeImage {
	return nodeimage.Unknown(image, err, now)
}

// Announce tells of revisions and runs, and of what a person has to look at.
func (f *feature) Announce(before, after *v1alpha1.NodeImage, _ plan.Plan, outcome plan.Outcome) []kit.Event {
	events := revised(&before.Status, &after.Status)
	for _, step := range outcome.Done {
		if e := begun(step); e != nil {
			events = append(events, *e)
		}
	}
	if e := stuck(&before.Status, &after.Status); e != nil {
		events = append(events, *e)
	}
	return events
}
