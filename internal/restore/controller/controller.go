// Package controller carries out restores of databases: it reads what a decision needs from
// the cache, lets the pure package restore decide, and carries the plan out. It deletes
// claims whose UIDs are on record, has volumes kept, and writes credentials of backups;
// all else is done by the controller of installations, which reads the record.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/restore"
)

// concurrency is how many restores are looked at at the same time. There are few.
const concurrency = 4

var (
	// Restores is the kind that the controller is for.
	Restores = kit.Typed[v1alpha1.MattermostRestoreDB, v1alpha1.MattermostRestoreDBList](v1alpha1.GroupVersion.WithKind("MattermostRestoreDB"))

	claims       = kit.Typed[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
	statefulSets = kit.Typed[appsv1.StatefulSet, appsv1.StatefulSetList](appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
	clusters     = kit.Unstructured(installation.MySQLKind)
)

// New returns the controller, ready to be started. It shares the cache, and its indexes,
// with the controllers of installations, which have to be there.
func New(ctx context.Context, host kit.Host) (manager.Runnable, error) {
	f := &feature{cache: host.Reader, live: host.Client, optional: kit.Optional{
		Mapper: host.Mapper, Cache: host.Cache, Clock: host.Clock, Handler: kit.Enqueue(kit.Settle, unended(host.Reader)),
	}}
	engine := &kit.Engine[*v1alpha1.MattermostRestoreDB, restore.Snapshot]{
		Feature:  f,
		Kind:     Restores,
		Kinds:    kit.Kinds{Restores, claims},
		Cache:    host.Reader,
		Client:   host.Client,
		Manager:  restore.Manager,
		Writes:   kit.NewWrites(host.Clock),
		Announce: host.Announce,
		Metrics:  host.Metrics,
		Clock:    host.Clock,
	}
	counted := kit.Gauges(ctx, host.Reader, func(list *v1alpha1.MattermostRestoreDBList, tell kit.Tell) {
		count(list, host.Clock.Now(), tell)
	}, restoresDesc, oldestDesc)
	if err := host.Registry.Register(counted); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	c, err := host.Controller("restores", Restores, controller.Options{Reconciler: engine, MaxConcurrentReconciles: concurrency})
	if err != nil {
		return nil, err
	}
	f.optional.Controller = c
	return c, watch(c, host)
}

// watch wakes a restore for itself, for the others of its namespace, and for what it waits
// for. What is rare is watched from when the first restore asks for it.
func watch(c controller.Controller, host kit.Host) error {
	about := kit.Enqueue(kit.Settle, about(host.Reader))
	problems := []error{
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.MattermostRestoreDB{}, &handler.EnqueueRequestForObject{})),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.MattermostRestoreDB{}, kit.Enqueue(kit.Settle, unended(host.Reader)))),
		c.Watch(source.Kind[client.Object](host.Cache, &v1alpha1.ClusterInstallation{}, about)),
		c.Watch(source.Kind[client.Object](host.Cache, &v1beta1.Mattermost{}, about)),
		c.Watch(source.Kind[client.Object](host.Cache, &appsv1.Deployment{}, about)),
		c.Watch(source.Kind[client.Object](host.Cache, &corev1.PersistentVolumeClaim{}, kit.Enqueue(kit.Settle, unended(host.Reader)))),
		c.Watch(source.Kind[client.Object](host.Cache, &corev1.Secret{}, kit.Enqueue(kit.Settle, unended(host.Reader)))),
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// unended are the restores of an object's namespace that are not over, without itself.
func unended(reader client.Reader) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		return restoresOf(ctx, reader, object, func(r *v1alpha1.MattermostRestoreDB) bool { return r.UID != object.GetUID() })
	}
}

// about are those that are about an installation: the object, or its controller.
func about(reader client.Reader) func(context.Context, client.Object) []types.NamespacedName {
	return func(ctx context.Context, object client.Object) []types.NamespacedName {
		name := object.GetName()
		if _, isDeployment := object.(*appsv1.Deployment); isDeployment {
			owner := metav1.GetControllerOf(object)
			if owner == nil {
				return nil
			}
			name = owner.Name
		}
		return restoresOf(ctx, reader, object, func(r *v1alpha1.MattermostRestoreDB) bool { return restore.Target(r) == name })
	}
}

func restoresOf(ctx context.Context, reader client.Reader, object client.Object, wanted func(*v1alpha1.MattermostRestoreDB) bool) []types.NamespacedName {
	var list v1alpha1.MattermostRestoreDBList
	if err := reader.List(ctx, &list, client.InNamespace(object.GetNamespace())); err != nil {
		return nil // The cache is not filled yet, and then every restore is still to be looked at.
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if r := &list.Items[i]; !restore.Ended(r) && wanted(r) {
			names = append(names, client.ObjectKeyFromObject(r))
		}
	}
	return names
}

// CacheByObject says how the cache holds what only this controller reads: of StatefulSets,
// those of the MySQL operator.
func CacheByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&appsv1.StatefulSet{}: {Transform: func(item any) (any, error) {
		set, ok := item.(*appsv1.StatefulSet)
		if !ok {
			return item, nil // A tombstone.
		}
		set.ManagedFields = nil
		if owner := metav1.GetControllerOf(set); owner == nil || owner.Kind != installation.MySQLKind.Kind {
			set.Spec, set.Status = appsv1.StatefulSetSpec{}, appsv1.StatefulSetStatus{}
			set.Annotations, set.Labels = nil, nil
		}
		return set, nil
	}}}
}

var (
	restoresDesc = prometheus.NewDesc("windlass_restores",
		"MattermostRestoreDBs by their phase, and the reason of their condition Ready. Each replica of Windlass counts all.",
		[]string{"phase", "reason"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_restore_condition_oldest_seconds",
		"How long the condition has been True on the MattermostRestoreDB on which it has been so the longest, of those that are not over.",
		[]string{"condition"}, nil)
)

func count(list *v1alpha1.MattermostRestoreDBList, now time.Time, tell kit.Tell) {
	counts, oldest := map[[2]string]int{}, kit.NewOldest(v1beta1.ConditionReconciling, v1beta1.ConditionStalled)
	for i := range list.Items {
		status := list.Items[i].Status
		key := [2]string{string(status.Phase), ""}
		if ready := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady); ready != nil {
			key[1] = ready.Reason
		}
		counts[key]++
		if status.Phase != v1alpha1.RestoreFinished && status.Phase != v1alpha1.RestoreAbandoned {
			oldest.Add(status.Conditions, now)
		}
	}
	for key, n := range counts {
		tell(restoresDesc, float64(n), key[0], key[1])
	}
	oldest.Tell(oldestDesc, tell)
}
