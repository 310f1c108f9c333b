// Package controller runs Mattermost installations, of the newer API and of the older
// one: it reads what a decision needs from the cache, lets the pure packages installation
// and clusterinstallation decide, and carries the plan out. It owns the objects that installations are made of and touches
// no others; databases and file stores it only reads about.
package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
)

// Options are what a process may choose.
type Options struct {
	// Concurrency is how many installations are looked at at the same time.
	Concurrency int
	// NewShape is that of installations of which nothing says their shape; empty is
	// Standard.
	NewShape v1beta1.Shape
	// Namespace is Windlass' own, in which admission is frozen.
	Namespace string
	// Restores says that the cluster knows the kind Restores.
	Restores bool
}

// New returns the controller, ready to be started. It has told the cache what
// it watches, so the cache fills before the controller runs.
func New(ctx context.Context, host kit.Host, options Options) (manager.Runnable, error) {
	f := &feature{cache: host.Reader, live: host.Client, newShape: options.NewShape, namespace: options.Namespace, optional: kit.Optional{
		Mapper: host.Mapper, Cache: host.Cache, Clock: host.Clock, Handler: kit.Enqueue(kit.Settle, companionsNames(host.Reader)),
	}}
	engine := &kit.Engine[*v1beta1.Mattermost, installation.Snapshot]{
		Feature:  f,
		Kind:     mattermosts,
		Kinds:    written,
		Cache:    host.Reader,
		Client:   host.Client,
		Manager:  installation.Manager,
		Writes:   kit.NewWrites(host.Clock),
		Announce: host.Announce,
		Metrics:  host.Metrics,
		Clock:    host.Clock,
	}
	if err := addIndexes(ctx, host); err != nil {
		return nil, err
	}
	if err := host.Registry.Register(kit.Gauges(ctx, host.Reader, func(list *v1beta1.MattermostList, tell kit.Tell) { count(list, host.Clock.Now(), tell) }, installationsDesc, oldestDesc)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	c, err := host.Controller("installations", mattermosts, controller.Options{
		Reconciler:              engine,
		MaxConcurrentReconciles: options.Concurrency,
	})
	if err != nil {
		return nil, err
	}
	f.optional.Controller = c
	return c, watch(c, host)
}

func addIndexes(ctx context.Context, host kit.Host) error {
	problems := []error{
		host.Cache.IndexField(ctx, &v1beta1.Mattermost{}, secretIndex, bySecret),
		host.Cache.IndexField(ctx, &v1beta1.Mattermost{}, claimIndex, byClaim),
		host.Cache.IndexField(ctx, &v1beta1.Mattermost{}, preUpgradeIndex, byPreUpgrade),
		host.Cache.IndexField(ctx, &v1beta1.Mattermost{}, hostIndex, byHost),
		host.Cache.IndexField(ctx, &policyv1.PodDisruptionBudget{}, foreignIndex, byForeign),
		host.Cache.IndexField(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, targetIndex, byTarget),
		host.Cache.IndexField(ctx, &appsv1.ReplicaSet{}, kit.OwnerIndex, kit.IndexByOwner),
	}
	for _, kind := range written.Owned() {
		problems = append(problems, host.Cache.IndexField(ctx, kind.Object(), kit.OwnerIndex, kit.IndexByOwner))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("index the cache: %w", err)
	}
	return nil
}

// watch wakes an installation for itself, for each object that it controls, for
// the progress of its pods, and for what it refers to.
func watch(c controller.Controller, host kit.Host) error {
	problems := []error{
		c.Watch(source.Kind[client.Object](host.Cache, &v1beta1.Mattermost{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1beta1.Mattermost{}, kit.Enqueue(kit.Settle, sharingHosts(host.Reader, mattermosts)))),
		c.Watch(source.Kind[client.Object](host.Cache, &appsv1.ReplicaSet{}, kit.Enqueue(kit.Settle, ownersName))),
		c.Watch(source.Kind[client.Object](host.Cache, &autoscalingv2.HorizontalPodAutoscaler{}, kit.Enqueue(kit.Settle, targetsName))),
		c.Watch(source.Kind[client.Object](host.Cache, &policyv1.PodDisruptionBudget{}, kit.Enqueue(kit.Settle, covered(host.Reader)))),
		c.Watch(source.Kind[client.Object](host.Cache, &corev1.Secret{}, kit.Enqueue(kit.Settle, referring(host.Reader, mattermosts, secretIndex)))),
		c.Watch(source.Kind[client.Object](host.Cache, &corev1.PersistentVolumeClaim{}, kit.Enqueue(kit.Settle, referring(host.Reader, mattermosts, claimIndex)))),
		c.Watch(source.Kind[client.Object](host.Cache, &coordinationv1.Lease{}, kit.Enqueue(kit.Settle, waiting(host.Reader, mattermosts)))),
	}
	for _, kind := range written.Owned() {
		problems = append(problems,
			c.Watch(source.Kind(host.Cache, kind.Object(), kit.EnqueueOwner(mattermosts.GroupKind()))),
			c.Watch(source.Kind(host.Cache, kind.Object(), kit.EnqueueGone(kit.Settle, namesake(host.Reader, clusterInstallations, mattermosts)))),
		)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// ownersName wakes the installation whose Deployment controls a ReplicaSet, or that
// controls one that a former Deployment left: they have the same name. A request for one that does not exist is dropped.
func ownersName(_ context.Context, object client.Object) []types.NamespacedName {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != "Deployment" && owner.Kind != mattermosts.Kind {
		return nil
	}
	return []types.NamespacedName{{Namespace: object.GetNamespace(), Name: owner.Name}}
}

// companionsNames wakes the installation that a companion is for, and those that
// name a CronJob.
func companionsNames(cache client.Reader) func(context.Context, client.Object) []types.NamespacedName {
	named := referring(cache, mattermosts, preUpgradeIndex)
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		switch object.(type) {
		case *v1alpha1.ClusterInstallation: // Which a Mattermost was made from.
			return []types.NamespacedName{client.ObjectKeyFromObject(object)}
		case *batchv1.CronJob:
			return named(ctx, object)
		case *networkingv1.IngressClass:
			return namesakes(ctx, cache, object.GetName())
		}
		if name := installation.CompanionOf(object); name != "" {
			return []types.NamespacedName{{Namespace: object.GetNamespace(), Name: name}}
		}
		return nil
	}
}

// namesakes are the installations of a name, in whatever namespace.
func namesakes(ctx context.Context, cache client.Reader, name string) []types.NamespacedName {
	var list v1beta1.MattermostList
	if err := cache.List(ctx, &list); err != nil {
		return nil // As in namesOf.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if list.Items[i].Name == name {
			names = append(names, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return names
}

func targetsName(_ context.Context, object client.Object) []types.NamespacedName {
	var names []types.NamespacedName
	for _, name := range byTarget(object) {
		names = append(names, types.NamespacedName{Namespace: object.GetNamespace(), Name: name})
	}
	return names
}

// sharingHosts wakes the installations of a kind that have a host of the one that changed.
func sharingHosts(cache client.Reader, kind kit.Kind) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		all, err := namesakesOf(ctx, cache, kind, object)
		if err != nil {
			return nil // As in namesOf.
		}
		return slices.Concat(slices.Collect(maps.Values(all))...)
	}
}

// namesakesOf finds, for each host of an installation, the others of its kind that have it
// too.
func namesakesOf(ctx context.Context, cache client.Reader, kind kit.Kind, of client.Object) (map[string][]types.NamespacedName, error) {
	all := map[string][]types.NamespacedName{}
	for _, host := range byHost(of) {
		list := kind.List()
		if err := cache.List(ctx, list, client.MatchingFields{hostIndex: host}); err != nil {
			return nil, fmt.Errorf("list the installations with the host %s: %w", host, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			other, err := meta.Accessor(item)
			if err != nil {
				return err
			}
			if name := (types.NamespacedName{Namespace: other.GetNamespace(), Name: other.GetName()}); name != client.ObjectKeyFromObject(of) {
				all[host] = append(all[host], name)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the list of installations with the host %s: %w", host, err)
		}
		slices.SortFunc(all[host], func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	}
	return all, nil
}

// waiting wakes the installations of which nothing was made yet.
func waiting(cache client.Reader, kind kit.Kind) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, _ client.Object) []types.NamespacedName {
		return namesOf(ctx, cache, kind, func(object client.Object) bool {
			switch resource := object.(type) {
			case *v1beta1.Mattermost:
				return !installation.Begun(resource)
			case *v1alpha1.ClusterInstallation:
				return !clusterinstallation.Begun(resource)
			default:
				return false
			}
		})
	}
}

// namesOf are the resources of a kind that are listed and wanted.
func namesOf(ctx context.Context, cache client.Reader, kind kit.Kind, wanted func(client.Object) bool, options ...client.ListOption) []types.NamespacedName {
	list := kind.List()
	if err := cache.List(ctx, list, options...); err != nil {
		// The cache only fails when it is not filled yet, and then every
		// installation is still to be looked at anyway.
		ctrl.LoggerFrom(ctx).V(1).Info("Did not look for installations", "kind", kind.Kind, "reason", err.Error())
		return nil
	}
	var names []types.NamespacedName
	_ = meta.EachListItem(list, func(item runtime.Object) error { // None of them fails.
		if object, ok := item.(client.Object); ok && wanted(object) {
			names = append(names, client.ObjectKeyFromObject(object))
		}
		return nil
	})
	return names
}

// covered wakes the installations whose pods a disruption budget counts that none of
// them made. One that counts them no longer is heard of too: an update is told of
// with the object from before.
func covered(cache client.Reader) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		budget, ok := object.(*policyv1.PodDisruptionBudget)
		if !ok || mine(budget) {
			return nil
		}
		var list v1beta1.MattermostList
		if err := cache.List(ctx, &list, client.InNamespace(budget.Namespace)); err != nil {
			return nil // As in namesOf.
		}
		var names []types.NamespacedName
		for i := range list.Items {
			if installation.Covers(budget, &list.Items[i]) {
				names = append(names, client.ObjectKeyFromObject(&list.Items[i]))
			}
		}
		return names
	}
}

// referring wakes the installations of a kind that refer to a Secret or a claim.
func referring(cache client.Reader, kind kit.Kind, index string) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		all := func(client.Object) bool { return true }
		return namesOf(ctx, cache, kind, all, client.InNamespace(object.GetNamespace()), client.MatchingFields{index: object.GetName()})
	}
}
