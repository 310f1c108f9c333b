package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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
	"windlass.dev/internal/kit/plan"
)

// ClusterInstallations is the kind that the cluster has to know for
// NewClusterInstallations.
var ClusterInstallations = clusterInstallations

// Restores is a kind that the cluster may know: of objects that have installations of the
// older API stand still.
var Restores = kit.Typed[v1alpha1.MattermostRestoreDB, v1alpha1.MattermostRestoreDBList](v1alpha1.GroupVersion.WithKind("MattermostRestoreDB"))

// NewClusterInstallations returns the controller of the older API, ready to be started. It
// shares the cache, and its indexes, with the one that New returns, which has to be there.
func NewClusterInstallations(ctx context.Context, host kit.Host, options Options) (manager.Runnable, error) {
	f := &clusterFeature{cache: host.Reader, namespace: options.Namespace, restores: options.Restores, optional: kit.Optional{
		Mapper: host.Mapper, Cache: host.Cache, Clock: host.Clock, Handler: kit.Enqueue(kit.Settle, companionsName),
	}}
	engine := &kit.Engine[*v1alpha1.ClusterInstallation, clusterinstallation.Snapshot]{
		Feature:  f,
		Kind:     clusterInstallations,
		Kinds:    written,
		Cache:    host.Reader,
		Client:   host.Client,
		Manager:  installation.Manager,
		Writes:   kit.NewWrites(host.Clock),
		Announce: host.Announce,
		Metrics:  host.Metrics,
		Clock:    host.Clock,
	}
	problems := []error{
		host.Cache.IndexField(ctx, &v1alpha1.ClusterInstallation{}, secretIndex, bySecret),
		host.Cache.IndexField(ctx, &v1alpha1.ClusterInstallation{}, hostIndex, byHost),
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("index the cache: %w", err)
	}
	counted := kit.Gauges(ctx, host.Reader, func(list *v1alpha1.ClusterInstallationList, tell kit.Tell) {
		countClusterInstallations(list, host.Clock.Now(), tell)
	}, clusterInstallationsDesc, oldestClusterInstallationDesc)
	if err := host.Registry.Register(counted); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	c, err := host.Controller("clusterinstallations", clusterInstallations, controller.Options{
		Reconciler:              engine,
		MaxConcurrentReconciles: options.Concurrency,
	})
	if err != nil {
		return nil, err
	}
	f.optional.Controller = c
	if options.Restores {
		if err := c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.MattermostRestoreDB{}, kit.Enqueue(0, restored))); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
	}
	return c, watchForClusterInstallations(c, host)
}

// restored wakes the installation that a restore is for, or was begun for.
func restored(_ context.Context, object client.Object) []types.NamespacedName {
	r, ok := object.(*v1alpha1.MattermostRestoreDB)
	if !ok {
		return nil
	}
	names := []types.NamespacedName{{Namespace: r.Namespace, Name: r.Spec.MattermostClusterName}}
	if run := r.Status.Run; run != nil && run.Installation != r.Spec.MattermostClusterName {
		names = append(names, types.NamespacedName{Namespace: r.Namespace, Name: run.Installation})
	}
	return names
}

// watchForClusterInstallations is watch for the older API.
func watchForClusterInstallations(c controller.Controller, host kit.Host) error {
	problems := []error{
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.ClusterInstallation{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.ClusterInstallation{}, kit.Enqueue(kit.Settle, sharingHosts(host.Reader, clusterInstallations)))),
		// Of the same name, which it may become.
		c.Watch(source.Kind[client.Object](host.Cache, &v1beta1.Mattermost{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &appsv1.ReplicaSet{}, kit.Enqueue(kit.Settle, deploymentsOwner(host.Reader, ownersName)))),
		c.Watch(source.Kind[client.Object](host.Cache, &autoscalingv2.HorizontalPodAutoscaler{}, kit.Enqueue(kit.Settle, deploymentsOwner(host.Reader, targetsName)))),
		c.Watch(source.Kind[client.Object](host.Cache, &corev1.Secret{}, kit.Enqueue(kit.Settle, referring(host.Reader, clusterInstallations, secretIndex)))),
		c.Watch(source.Kind[client.Object](host.Cache, &coordinationv1.Lease{}, kit.Enqueue(kit.Settle, waiting(host.Reader, clusterInstallations)))),
	}
	for _, kind := range written.Owned() {
		problems = append(problems,
			c.Watch(source.Kind(host.Cache, kind.Object(), kit.EnqueueOwner(clusterInstallations.GroupKind()))),
			c.Watch(source.Kind(host.Cache, kind.Object(), kit.EnqueueGone(kit.Settle, namesake(host.Reader, mattermosts, clusterInstallations)))),
		)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// namesake wakes the resource of the other API when something is gone that its namesake
// controlled: one of the two waits until all that the other had is taken over, or gone.
func namesake(cache client.Reader, controlledBy, wakes kit.Kind) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		ref := metav1.GetControllerOf(object)
		if ref == nil || schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind() != controlledBy.GroupKind() {
			return nil
		}
		name := types.NamespacedName{Namespace: object.GetNamespace(), Name: ref.Name}
		if cache.Get(ctx, name, wakes.Object()) != nil {
			return nil // There is none, as nearly always.
		}
		return []types.NamespacedName{name}
	}
}

// deploymentsOwner wakes the installation that has one of the Deployments: its sets of
// pods have names of their own.
func deploymentsOwner(cache client.Reader, deployments func(context.Context, client.Object) []types.NamespacedName) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		var names []types.NamespacedName
		for _, name := range deployments(ctx, object) {
			var d appsv1.Deployment
			if err := cache.Get(ctx, name, &d); err != nil {
				continue // It is not there any more, or not yet, and then its own event comes.
			}
			if owner := metav1.GetControllerOf(&d); owner != nil && owner.Kind == clusterInstallations.Kind {
				names = append(names, types.NamespacedName{Namespace: d.Namespace, Name: owner.Name})
			}
		}
		return names
	}
}

// companionsName wakes the installation that a companion is for.
func companionsName(_ context.Context, object client.Object) []types.NamespacedName {
	if name := installation.CompanionOf(object); name != "" {
		return []types.NamespacedName{{Namespace: object.GetNamespace(), Name: name}}
	}
	return nil
}

// clusterFeature connects the engine with the pure package.
type clusterFeature struct {
	cache     client.Reader
	optional  kit.Optional
	namespace string
	// restores says that the cluster knows their kind.
	restores bool
}

var _ kit.Feature[*v1alpha1.ClusterInstallation, clusterinstallation.Snapshot] = (*clusterFeature)(nil)

func (f *clusterFeature) Observe(ctx context.Context, ci *v1alpha1.ClusterInstallation) (clusterinstallation.Snapshot, error) {
	freeze, err := observeFreeze(ctx, f.cache, f.namespace)
	if err != nil {
		return clusterinstallation.Snapshot{ClusterInstallation: ci}, err
	}
	s, err := observeViews(ctx, f.cache, f.optional.Served, ci, freeze)
	if err == nil && f.restores {
		s.Restores, err = observeRestores(ctx, f.cache, ci.Namespace)
	}
	if err != nil {
		return s, err
	}
	s.Views[0].Namesakes, err = namesakesOf(ctx, f.cache, clusterInstallations, ci)
	return s, err
}

func (*clusterFeature) Decide(s clusterinstallation.Snapshot, now time.Time) plan.Plan {
	return clusterinstallation.Decide(s, now)
}

func (*clusterFeature) Act(ctx context.Context, w *kit.Writer, _ clusterinstallation.Snapshot, action plan.Action) error {
	return act(ctx, w, action)
}

func (*clusterFeature) Report(s clusterinstallation.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.ClusterInstallation {
	return clusterinstallation.Report(s, p, outcome, now)
}

func (*clusterFeature) Unknown(ci *v1alpha1.ClusterInstallation, err error, now time.Time) *v1alpha1.ClusterInstallation {
	return clusterinstallation.Unknown(ci, err, now)
}

func (*clusterFeature) Announce(before, after *v1alpha1.ClusterInstallation, _ plan.Plan, _ plan.Outcome) []kit.Event {
	return append(announce(before.Status.Conditions, after.Status.Conditions), proceeded(before.Status.Migration, after.Status)...)
}

// ObserveClusterInstallation is Observe for the older API.
func ObserveClusterInstallation(ctx context.Context, c client.Client, namespace string, ci *v1alpha1.ClusterInstallation) (clusterinstallation.Snapshot, error) {
	freeze, err := observeFreeze(ctx, c, namespace)
	if err != nil && !apierrors.IsForbidden(err) { // As in Observe.
		return clusterinstallation.Snapshot{ClusterInstallation: ci}, err
	}
	served := func(_ context.Context, kind kit.Kind) (bool, error) { return kit.Served(c.RESTMapper(), kind) }
	s, err := observeViews(ctx, uncached{c}, served, ci, freeze)
	if err != nil {
		return s, err
	}
	known, err := served(ctx, Restores)
	if err == nil && known {
		s.Restores, err = observeRestores(ctx, c, ci.Namespace)
	}
	if apierrors.IsForbidden(err) {
		return s, nil // As above.
	}
	return s, err
}

// observeRestores reads the restores of a namespace. There are few.
func observeRestores(ctx context.Context, reader client.Reader, namespace string) ([]v1alpha1.MattermostRestoreDB, error) {
	var list v1alpha1.MattermostRestoreDBList
	if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list MattermostRestoreDBs: %w", err)
	}
	return list.Items, nil
}

// observeViews reads what a decision about the installation, and about each set of its
// pods, needs.
func observeViews(ctx context.Context, reader client.Reader, served served, ci *v1alpha1.ClusterInstallation, freeze *coordinationv1.Lease) (clusterinstallation.Snapshot, error) {
	s := clusterinstallation.Snapshot{ClusterInstallation: ci}
	var err error
	if s.Mattermost, err = observeNewer(ctx, reader, ci); err != nil {
		return s, err
	}
	secrets, err := observeSecrets(ctx, reader, ci.Namespace, clusterinstallation.References(ci))
	if err != nil {
		return s, err
	}
	for _, view := range clusterinstallation.Views(ci, secrets) {
		var seen installation.Snapshot
		if view.Set == nil {
			seen.Mattermost, seen.Predecessor, seen.Freeze = view.Mattermost, s.Predecessor(), freeze
			err = observeObjects(ctx, reader, served, &seen, clusterinstallation.Names(ci)...)
		} else {
			seen = s.Views[0]
			seen.Mattermost, seen.Set = view.Mattermost, view.Set
			err = observeSet(ctx, reader, &seen)
		}
		if err != nil {
			return s, err
		}
		s.Views = append(s.Views, seen)
	}
	return s, nil
}

// observeSet reads what is another one's for a set than for the installation.
func observeSet(ctx context.Context, reader client.Reader, s *installation.Snapshot) error {
	s.Deployment, s.JobServer, s.ReplicaSets, s.Autoscaled, s.Service = nil, nil, nil, false, nil
	if err := observeDeployments(ctx, reader, s); err != nil {
		return err
	}
	return observeService(ctx, reader, s)
}
