package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/rollout"
)

// reader is where snapshots come from. Nobody changes what it gives.
type reader struct {
	mattermosts func(context.Context) ([]*installations.Mattermost, error)
	older       func(context.Context) ([]*older.ClusterInstallation, error)
	rollouts    client.Reader
}

// errNotServed is what there is to say of the older API to a cluster that did not know it when
// Windlass started.
var errNotServed = errors.New("the cluster did not know ClusterInstallations when Windlass started: install their definition, and restart Windlass")

// cached reads the cache of those kinds that are watched. There may be thousands, which are not
// copied.
func cached(c cache.Cache, rollouts client.Reader, migrates bool) reader {
	return reader{
		mattermosts: func(ctx context.Context) ([]*installations.Mattermost, error) {
			return kit.Stored(ctx, c, &installations.Mattermost{})
		},
		older: func(ctx context.Context) ([]*older.ClusterInstallation, error) {
			if !migrates {
				return nil, errNotServed
			}
			return kit.Stored(ctx, c, &older.ClusterInstallation{})
		},
		rollouts: rollouts,
	}
}

// uncached asks the API server.
func uncached(c client.Reader) reader {
	return reader{
		mattermosts: func(ctx context.Context) ([]*installations.Mattermost, error) {
			var list installations.MattermostList
			err := c.List(ctx, &list)
			return pointers(list.Items), err
		},
		older: func(ctx context.Context) ([]*older.ClusterInstallation, error) {
			var list older.ClusterInstallationList
			err := c.List(ctx, &list)
			return pointers(list.Items), err
		},
		rollouts: c,
	}
}

func pointers[T any](items []T) []*T {
	all := make([]*T, 0, len(items))
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}

// Read makes, past any cache, the snapshot of a roll-out, for one look from the command line.
func Read(ctx context.Context, c client.Reader, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	return (&feature{reader: uncached(c)}).read(ctx, r)
}

// read makes a snapshot. Of installations that are as they were, it looks at nothing again.
func (f *feature) read(ctx context.Context, r *v1alpha1.InstallationRollout) (rollout.Snapshot, error) {
	s := rollout.Snapshot{Rollout: r}
	var others v1alpha1.InstallationRolloutList
	if err := f.reader.rollouts.List(ctx, &others); err != nil {
		return s, fmt.Errorf("list roll-outs: %w", err)
	}
	for i := range others.Items {
		if others.Items[i].UID != r.UID {
			s.Others = append(s.Others, others.Items[i])
		}
	}
	mattermosts, err := f.reader.mattermosts(ctx)
	if err != nil {
		return s, fmt.Errorf("list installations: %w", err)
	}
	if r.Spec.Change.Migrate {
		return f.readMigrating(ctx, s, mattermosts)
	}
	s.Installations = remember(&f.known, mattermosts, rollout.Read)
	return s, nil
}

// readMigrating adds the ClusterInstallations, and the Mattermosts that were some until this
// roll-out had them migrated.
func (f *feature) readMigrating(ctx context.Context, s rollout.Snapshot, mattermosts []*installations.Mattermost) (rollout.Snapshot, error) {
	all, err := f.reader.older(ctx)
	if err != nil {
		return s, fmt.Errorf("list ClusterInstallations: %w", err)
	}
	s.Installations = remember(&f.older, all, rollout.ReadOlder)
	there := make(map[string]bool, len(all))
	for _, one := range s.Installations {
		there[one.Name] = true
	}
	for _, mm := range mattermosts {
		if one := rollout.ReadMigrated(mm, s.Rollout); one != nil && !there[one.Name] {
			s.Installations = append(s.Installations, one)
		}
	}
	return s, nil
}

// memory has installations as they were last read.
type memory struct {
	known map[types.UID]*rollout.Installation
	// sorted are the same by name, as decisions want them: what is in order is put in order
	// soon.
	sorted []*rollout.Installation
}

// remember reads what has changed, and returns all.
func remember[O interface {
	client.Object
	metav1.ObjectMetaAccessor
}](m *memory, all []O, read func(O) *rollout.Installation) []*rollout.Installation {
	if m.known == nil {
		m.known = make(map[types.UID]*rollout.Installation, len(all))
	}
	var added []*rollout.Installation
	changed := false
	for _, object := range all {
		was := m.known[object.GetUID()]
		// Not by its version, or an object that is replaced by its like would be kept for ever.
		if was != nil && metav1.Object(was.Meta) == object.GetObjectMeta() {
			continue
		}
		one := read(object)
		m.known[object.GetUID()], changed = one, true
		if was == nil {
			added = append(added, one)
		}
	}
	if len(m.known) > len(all) { // Some are gone.
		changed = true
		there := make(map[types.UID]bool, len(all))
		for _, object := range all {
			there[object.GetUID()] = true
		}
		maps.DeleteFunc(m.known, func(uid types.UID, _ *rollout.Installation) bool { return !there[uid] })
	}
	if !changed {
		return slices.Clip(m.sorted)
	}
	sorted := make([]*rollout.Installation, 0, len(all))
	for _, was := range m.sorted {
		if one := m.known[was.Meta.UID]; one != nil {
			sorted = append(sorted, one)
		}
	}
	sorted = append(sorted, added...)
	slices.SortFunc(sorted, func(a, b *rollout.Installation) int { return strings.Compare(a.Name, b.Name) })
	m.sorted = sorted
	return slices.Clip(sorted)
}
