package kit

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writeDeadline bounds how long a write is waited for: an object that somebody
// deleted between our write and the cache's next look never shows up. Far above
// a healthy watch's delay, which is milliseconds.
const writeDeadline = 15 * time.Second

// Writes remembers what was written and not yet seen again in the cache, so
// that no decision is made on a world that is older than our own last act. It
// is about the cache of this process only: a new process starts with a fresh
// one, so nothing is lost by forgetting.
type Writes struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	pending map[types.NamespacedName]map[written]expectation
}

type written struct {
	kind schema.GroupKind
	name types.NamespacedName
}

type expectation struct {
	kind    Kind
	version string    // the resource version to see, or
	gone    types.UID // the UID not to see any more
	until   time.Time
}

// NewWrites returns an empty memory.
func NewWrites(c clock.PassiveClock) *Writes {
	return &Writes{clock: c, pending: map[types.NamespacedName]map[written]expectation{}}
}

// Wrote records that an object now has a resource version, on behalf of owner.
func (w *Writes) Wrote(owner types.NamespacedName, kind Kind, name types.NamespacedName, resourceVersion string) {
	w.expect(owner, kind, name, expectation{kind: kind, version: resourceVersion})
}

// Deleted records that the object with this UID was deleted.
func (w *Writes) Deleted(owner types.NamespacedName, kind Kind, name types.NamespacedName, uid types.UID) {
	w.expect(owner, kind, name, expectation{kind: kind, gone: uid})
}

func (w *Writes) expect(owner types.NamespacedName, kind Kind, name types.NamespacedName, e expectation) {
	e.until = w.clock.Now().Add(writeDeadline)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending[owner] == nil {
		w.pending[owner] = map[written]expectation{}
	}
	w.pending[owner][written{kind.GroupKind(), name}] = e
}

// Forget drops all that is awaited for an owner that no longer exists.
func (w *Writes) Forget(owner types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, owner)
}

// Pending reports whether the cache is behind one of the owner's writes.
func (w *Writes) Pending(ctx context.Context, cache client.Reader, owner types.NamespacedName) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	for key, e := range w.pending[owner] {
		seen, err := e.seen(ctx, cache, key.name)
		if err != nil {
			return true, fmt.Errorf("look for the last write of %s %s: %w", e.kind.Kind, key.name, err)
		}
		// A deleted object may linger behind finalizers for as long as it wants:
		// what matters is that the cache shows it as being deleted, which
		// converging knows how to treat.
		if !seen && now.Before(e.until) {
			return true, nil
		}
		delete(w.pending[owner], key)
	}
	delete(w.pending, owner)
	return false, nil
}

func (e expectation) seen(ctx context.Context, cache client.Reader, name types.NamespacedName) (bool, error) {
	object := e.kind.Object()
	err := cache.Get(ctx, name, object)
	if apierrors.IsNotFound(err) {
		return e.gone != "", nil
	}
	if err != nil {
		return false, err
	}
	if e.gone != "" {
		return object.GetUID() != e.gone || object.GetDeletionTimestamp() != nil, nil
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), e.version)
	if err != nil {
		return false, err
	}
	return order >= 0, nil
}
