package handovertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
)

// resources are the kinds that own the objects.
var resources = []schema.GroupVersionKind{v1alpha1.GroupVersion.WithKind("ClusterInstallation"), v1beta1.GroupVersion.WithKind("Mattermost")}

const (
	// every is how often it is asked what no event tells.
	every = 100 * time.Millisecond
	// catchUp is how long events may take that tell of what is the case already.
	catchUp = time.Minute
)

// Watch sees every state, until end is called, that an object is in: whether each that there
// is now stays the same one, and none is owned by a resource that is not there, or no longer by
// one. Of the kinds that may change there may be others. Besides, also is asked; nil for
// nothing. End returns the first thing that was not so.
func Watch(ctx context.Context, c client.WithWatch, name types.NamespacedName, mayChange []string, also func(context.Context) error) (end func() error, err error) {
	w := &watching{client: c, namespace: name.Namespace, mayChange: mayChange, histories: map[string][]state{}, there: map[types.UID]bool{}, gone: map[types.UID]int64{}}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	stop := func() {
		cancel()
		following.Wait()
	}
	if err := w.begin(ctx, &following); err != nil {
		stop()
		return nil, err
	}
	if also != nil {
		following.Go(func() {
			wait.UntilWithContext(ctx, func(ctx context.Context) {
				if err := also(ctx); err != nil && ctx.Err() == nil {
					w.fault(err)
				}
			}, every)
		})
	}
	return func() error {
		defer stop()
		if err := w.caughtUp(ctx); err != nil {
			return err
		}
		return w.verdict()
	}, nil
}

// watching is what was seen so far. Versions are those of the API server, which counts all
// writes of a cluster together, so that those of objects of several kinds have an order.
type watching struct {
	client    client.WithWatch
	namespace string
	mayChange []string
	first     map[string]metav1.PartialObjectMetadata

	mu sync.Mutex
	// histories are the states of each object, by kind and name, the oldest first.
	histories map[string][]state
	// there are the resources that there are or were, and gone has the versions of their ends.
	there  map[types.UID]bool
	gone   map[types.UID]int64
	faults []error
}

// state is how an object was from a version on, until the next one.
type state struct {
	version int64
	uid     types.UID
	owners  []metav1.OwnerReference
	deleted bool
}

// begin takes down what there is, and follows it.
func (w *watching) begin(ctx context.Context, following *sync.WaitGroup) error {
	w.first = map[string]metav1.PartialObjectMetadata{}
	from := map[schema.GroupVersionKind]string{}
	for _, kind := range slices.Concat(made, resources) {
		list, err := listed(ctx, w.client, kind, w.namespace)
		if err != nil {
			return err
		}
		from[kind] = list.ResourceVersion
		for _, item := range list.Items {
			if slices.Contains(resources, kind) {
				w.there[item.UID] = true
			} else {
				w.first[kind.Kind+"/"+item.Name] = item
			}
		}
	}
	if len(w.first) < fewest {
		return fmt.Errorf("only %d objects", len(w.first))
	}
	for what, item := range w.first {
		if err := w.note(what, &item, false); err != nil {
			return err
		}
		for _, owner := range item.OwnerReferences {
			if isResource(owner) && !w.there[owner.UID] {
				return fmt.Errorf("%s is owned by %s %s, which is not there", what, owner.Kind, owner.UID)
			}
		}
	}
	for kind, version := range from {
		if version == "" {
			continue // The cluster does not know it.
		}
		if err := w.follow(ctx, following, kind, version); err != nil {
			return err
		}
	}
	return nil
}

// follow takes all events of a kind from a version on, until ctx ends.
func (w *watching) follow(ctx context.Context, following *sync.WaitGroup, kind schema.GroupVersionKind, version string) error {
	events, err := watchtools.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		return w.client.Watch(ctx, listOf(kind), client.InNamespace(w.namespace), &client.ListOptions{Raw: &options})
	}})
	if err != nil {
		return err
	}
	following.Go(func() {
		for event := range events.ResultChan() {
			if err := w.take(kind, event); err != nil && ctx.Err() == nil {
				w.fault(err)
			}
		}
	})
	return nil
}

func (w *watching) fault(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, err)
}

// take looks at what happened to one object.
func (w *watching) take(kind schema.GroupVersionKind, event watch.Event) error {
	object, ok := event.Object.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("watch %s: %v", kind.Kind, event.Object)
	}
	if !slices.Contains(resources, kind) {
		what := kind.Kind + "/" + object.Name
		return errors.Join(w.note(what, object, event.Type == watch.Deleted), w.compare(what, object, event.Type == watch.Deleted))
	}
	version, err := strconv.ParseInt(object.ResourceVersion, 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.there[object.UID] = true; event.Type == watch.Deleted {
		w.gone[object.UID] = version
	}
	return err
}

func (w *watching) note(what string, object *metav1.PartialObjectMetadata, deleted bool) error {
	version, err := strconv.ParseInt(object.ResourceVersion, 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.histories[what] = append(w.histories[what], state{version: version, uid: object.UID, owners: object.OwnerReferences, deleted: deleted})
	return err
}

// compare wants an object to be the one that there was first.
func (w *watching) compare(what string, is *metav1.PartialObjectMetadata, deleted bool) error {
	kind, _, _ := strings.Cut(what, "/")
	was, known := w.first[what]
	switch {
	case slices.Contains(w.mayChange, kind):
		return nil
	case !known:
		return fmt.Errorf("%s is new", what)
	case deleted || is.UID != was.UID || is.DeletionTimestamp != nil:
		return fmt.Errorf("%s is gone, or another one, or about to go", what)
	case len(is.OwnerReferences) < len(was.OwnerReferences):
		return fmt.Errorf("%s has lost its owner", what)
	default:
		return nil
	}
}

// verdict is the first thing that was not as it has to be.
func (w *watching) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) > 0 {
		return w.faults[0]
	}
	for _, what := range slices.Sorted(maps.Keys(w.histories)) {
		if err := w.owned(what, w.histories[what]); err != nil {
			return err
		}
	}
	return nil
}

// owned wants an object to be owned, in each of its states, by a resource that was there all
// the time. That one is made before it owns goes without saying: nobody knows its UID.
func (w *watching) owned(what string, history []state) error {
	for i, s := range history {
		for _, owner := range s.owners {
			end, gone := w.gone[owner.UID]
			if s.deleted || !gone || i+1 < len(history) && history[i+1].version < end {
				continue
			}
			return fmt.Errorf("%s was owned by %s %s when that was gone", what, owner.Kind, owner.UID)
		}
	}
	return nil
}

// caughtUp waits until everything was seen that is the case.
func (w *watching) caughtUp(ctx context.Context) error {
	behind := ""
	err := wait.PollUntilContextTimeout(ctx, every, catchUp, true, func(ctx context.Context) (bool, error) {
		now, err := Objects(ctx, w.client, w.namespace)
		left := map[types.UID]bool{}
		for _, kind := range resources {
			list, errList := listed(ctx, w.client, kind, w.namespace)
			for _, item := range list.Items {
				left[item.UID] = true
			}
			err = errors.Join(err, errList)
		}
		if err != nil {
			return false, err
		}
		behind = w.behind(now, left)
		return behind == "", nil
	})
	if err != nil {
		return fmt.Errorf("see what became of %q: %w", behind, err)
	}
	return nil
}

// behind names an object, or a resource, of which not everything was seen; empty for none, or
// when enough was.
func (w *watching) behind(now map[string]metav1.PartialObjectMetadata, left map[types.UID]bool) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) > 0 {
		return ""
	}
	for what, object := range now {
		history := w.histories[what]
		if len(history) == 0 || strconv.FormatInt(history[len(history)-1].version, 10) != object.ResourceVersion {
			return what
		}
	}
	for what, history := range w.histories {
		if _, there := now[what]; there == history[len(history)-1].deleted {
			return what
		}
	}
	for uid := range w.there {
		if _, gone := w.gone[uid]; gone == left[uid] {
			return string(uid)
		}
	}
	return ""
}
