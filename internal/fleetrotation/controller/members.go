package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
)

const (
	// callTimeout bounds what is done in a cluster at a time: while one does not answer,
	// the freezes of others have to be renewed.
	callTimeout = 5 * time.Second
	// listTimeout bounds the reading of all installations of a cluster.
	listTimeout = 15 * time.Second
	// pageSize is how many installations are read at a time.
	pageSize = 500
)

// Members are the clusters that are registered in a namespace. A connection is kept as
// long as its registration is as it was.
type Members struct {
	Namespace string

	reader client.Reader
	clock  clock.PassiveClock

	mu   sync.Mutex
	kept map[string]*Cluster // By name.
}

// NewMembers returns the clusters that are registered in a namespace. The reader has to
// read past the cache, which holds no Secret's value.
func NewMembers(reader client.Reader, namespace string, c clock.PassiveClock) *Members {
	return &Members{Namespace: namespace, reader: reader, clock: c, kept: map[string]*Cluster{}}
}

// List returns the clusters that are registered now, by name. It talks to none of them.
func (m *Members) List(ctx context.Context) ([]*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var secrets corev1.SecretList
	if err := m.reader.List(ctx, &secrets, client.InNamespace(m.Namespace), client.MatchingLabels{v1alpha1.FleetClusterLabel: "true"}); err != nil {
		return nil, fmt.Errorf("list the registered clusters: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := map[string]*Cluster{}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		c := m.kept[secret.Name]
		if c == nil || c.uid != secret.UID || c.version != secret.ResourceVersion {
			c = connect(secret, m.clock)
		}
		now[secret.Name] = c
	}
	m.kept = now
	return slices.SortedFunc(maps.Values(now), func(a, b *Cluster) int { return strings.Compare(a.Name, b.Name) }), nil
}

func (m *Members) known(name string) *Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[name]
}

// look reads one cluster. What keeps it from being read is in the answer.
func (c *Cluster) look(ctx context.Context, look fleetrotation.Look, rotation string) fleetrotation.Member {
	if c.problem != nil {
		return fleetrotation.Member{Problem: c.problem}
	}
	m := fleetrotation.Member{Namespace: c.Namespace}
	if err := c.read(ctx, look, rotation, &m); err != nil {
		return fleetrotation.Member{Problem: c.problemOf(err)}
	}
	return m
}

func (c *Cluster) read(ctx context.Context, look fleetrotation.Look, rotation string, m *fleetrotation.Member) error {
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if look.Check {
		checked, err := c.check(short)
		if err != nil {
			return err
		}
		m.Version, m.Unfit = checked.Version, checked.Unfit
	}
	var lease coordinationv1.Lease
	switch err := c.client.Get(short, types.NamespacedName{Namespace: c.Namespace, Name: installations.AdmissionFreeze}, &lease); {
	case err == nil:
		m.Freeze = &lease
	case !apierrors.IsNotFound(err):
		return err
	}
	var run v1alpha1.NodeRotation
	switch err := c.client.Get(short, types.NamespacedName{Name: rotation}, &run); {
	case err == nil:
		m.Rotation = &run
	case !apierrors.IsNotFound(err):
		return err
	}
	if !look.Installations {
		return nil
	}
	ctx, cancel = context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var err error
	m.Installations, err = c.installations(ctx)
	return err
}

// installations reads all of them. A cluster that does not know the kind has none.
func (c *Cluster) installations(ctx context.Context) (*fleetrotation.Installations, error) {
	var all []installations.Mattermost
	page := ""
	for {
		var list installations.MattermostList
		err := c.client.List(ctx, &list, client.Limit(pageSize), client.Continue(page))
		if apierrors.IsNotFound(err) {
			return &fleetrotation.Installations{}, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if page = list.Continue; page == "" {
			return fleetrotation.InstallationsOf(all), nil
		}
	}
}

func (c *Cluster) freeze(ctx context.Context, lease *coordinationv1.Lease) error {
	lease = lease.DeepCopy()
	if lease.ResourceVersion == "" {
		return c.client.Create(ctx, lease, client.FieldOwner(fleetrotation.Manager))
	}
	return c.client.Update(ctx, lease, client.FieldOwner(fleetrotation.Manager))
}

func (c *Cluster) thaw(ctx context.Context, lease *coordinationv1.Lease) error {
	as := client.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion}
	return client.IgnoreNotFound(c.client.Delete(ctx, lease.DeepCopy(), as))
}

// makeRotation leaves alone what is there: whose it is, the next look tells.
func (c *Cluster) makeRotation(ctx context.Context, rotation *v1alpha1.NodeRotation) error {
	err := c.client.Create(ctx, rotation.DeepCopy(), client.FieldOwner(fleetrotation.Manager))
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c *Cluster) endRotation(ctx context.Context, name string, uid types.UID) error {
	rotation := &v1alpha1.NodeRotation{}
	rotation.Name = name
	// With the UID it is no other one of that name.
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"end":%q}}`, uid, v1alpha1.EndAbort)
	return client.IgnoreNotFound(c.client.Patch(ctx, rotation, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fleetrotation.Manager)))
}

// redacted returns an error of a cluster as one of its text. It has no credential in it,
// and no type: what a cluster asks of its clients says nothing about our own API server.
func (c *Cluster) redacted(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(c.redact(err.Error()))
}

func (c *Cluster) redact(text string) string {
	for _, secret := range c.hidden {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}
