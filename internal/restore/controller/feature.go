package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/restore"
)

const (
	// fillTimeout bounds the wait for a cache that fills when the first restore asks for a
	// kind: without permission it never does.
	fillTimeout = 10 * time.Second
	// callTimeout is the deadline of what one action does by itself.
	callTimeout = 20 * time.Second
)

// feature connects the engine with the pure package.
type feature struct {
	cache client.Reader
	// live asks the API server.
	live     client.Reader
	optional kit.Optional
}

var _ kit.Feature[*v1alpha1.MattermostRestoreDB, restore.Snapshot] = (*feature)(nil)

func (f *feature) Observe(ctx context.Context, r *v1alpha1.MattermostRestoreDB) (restore.Snapshot, error) {
	s := restore.Snapshot{Restore: r, Secrets: map[string]installation.Secret{}}
	if restore.Ended(r) {
		return s, nil
	}
	name := types.NamespacedName{Namespace: r.Namespace, Name: restore.Target(r)}
	var ci v1alpha1.ClusterInstallation
	found, err := f.get(ctx, name, &ci)
	if err != nil {
		return s, err
	}
	if found {
		s.Installation = &ci
	}
	if s.Mattermost, err = f.get(ctx, name, &v1beta1.Mattermost{}); err != nil {
		return s, err
	}
	for _, name := range restore.References(r, s.Installation) {
		var secret corev1.Secret
		found, err := f.get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &secret)
		if err != nil {
			return s, err
		}
		if found {
			s.Secrets[name] = installation.FactsOf(&secret)
		}
	}
	var others v1alpha1.MattermostRestoreDBList
	if err := f.cache.List(ctx, &others, client.InNamespace(r.Namespace)); err != nil {
		return s, fmt.Errorf("list MattermostRestoreDBs: %w", err)
	}
	for i := range others.Items {
		if others.Items[i].UID != r.UID {
			s.Others = append(s.Others, others.Items[i])
		}
	}
	if s.Installation == nil {
		return s, nil
	}
	return s, f.observeInstallation(ctx, &s)
}

// get reports whether there is an object of that name.
func (f *feature) get(ctx context.Context, name types.NamespacedName, object client.Object) (found bool, err error) {
	if name.Name == "" {
		return false, nil
	}
	err = f.cache.Get(ctx, name, object)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %T %s: %w", object, name.Name, err)
	}
	return err == nil, nil
}

// observeInstallation reads what the installation and its database are made of.
func (f *feature) observeInstallation(ctx context.Context, s *restore.Snapshot) error {
	namespace := client.InNamespace(s.Restore.Namespace)
	var deployments appsv1.DeploymentList
	if err := f.cache.List(ctx, &deployments, namespace, client.MatchingFields{kit.OwnerIndex: string(s.Installation.UID)}); err != nil {
		return fmt.Errorf("list Deployments: %w", err)
	}
	s.Deployments = deployments.Items
	if restore.Destroys(s.Restore) {
		if err := f.observePods(ctx, s); err != nil {
			return err
		}
	}
	my, ok := restore.MySQL(s.Installation, s.Secrets)
	if !ok {
		return nil
	}
	var all corev1.PersistentVolumeClaimList
	if err := f.cache.List(ctx, &all, namespace); err != nil {
		return fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	for i := range all.Items {
		if restore.IsClaimOf(my, all.Items[i].Name) {
			s.Claims = append(s.Claims, all.Items[i])
		}
	}
	return f.observeDatabase(ctx, s, my)
}

// observePods names the pods of the installation that have not ended, and Jobs that make some.
func (f *feature) observePods(ctx context.Context, s *restore.Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	names, err := f.setsOf(ctx, s.Installation)
	if err != nil {
		return err
	}
	sets, err := installation.OlderPods(names...)
	if err != nil {
		return err
	}
	selectors := []labels.Selector{sets}
	for i := range s.Deployments {
		selector, err := metav1.LabelSelectorAsSelector(s.Deployments[i].Spec.Selector)
		if err != nil {
			return fmt.Errorf("the selector of Deployment/%s: %w", s.Deployments[i].Name, err)
		}
		selectors = append(selectors, selector)
	}
	if err := f.observeJobs(ctx, s); err != nil {
		return err
	}
	for _, selector := range selectors {
		var pods corev1.PodList
		if err := f.live.List(ctx, &pods, client.InNamespace(s.Restore.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		for i := range pods.Items {
			if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
				s.Pods = append(s.Pods, pods.Items[i].Name)
			}
		}
	}
	slices.Sort(s.Pods)
	s.Pods = slices.Compact(s.Pods)
	return nil
}

// setsOf names the sets of pods of an installation. What another one has for its name is that one's.
func (f *feature) setsOf(ctx context.Context, ci *v1alpha1.ClusterInstallation) ([]string, error) {
	var names []string
	for _, set := range restore.Sets(ci) {
		others := false
		for _, kind := range []client.Object{&v1alpha1.ClusterInstallation{}, &v1beta1.Mattermost{}} {
			found, err := f.get(ctx, types.NamespacedName{Namespace: ci.Namespace, Name: set}, kind)
			if err != nil {
				return nil, err
			}
			others = others || found && set != ci.Name
		}
		if !others {
			names = append(names, set)
		}
	}
	return names, nil
}

// observeJobs names the Jobs of upgrades that go on, such as a canary's: they have the database.
func (f *feature) observeJobs(ctx context.Context, s *restore.Snapshot) error {
	var jobs batchv1.JobList
	if err := f.live.List(ctx, &jobs, client.InNamespace(s.Restore.Namespace)); err != nil {
		return fmt.Errorf("list Jobs: %w", err)
	}
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if owner := metav1.GetControllerOf(job); owner != nil && owner.UID == s.Installation.UID && installation.UnfinishedJob(job) {
			s.Pods = append(s.Pods, "Job/"+job.Name)
		}
	}
	return nil
}

// observeDatabase reads what is watched from when the first restore asks for it.
func (f *feature) observeDatabase(ctx context.Context, s *restore.Snapshot, my installation.ManagedMySQL) error {
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	var err error
	if s.Served, err = f.optional.Served(ctx, clusters); err != nil || !s.Served {
		return err
	}
	if _, err := f.optional.Served(ctx, statefulSets); err != nil {
		return err
	}
	cluster := &unstructured.Unstructured{}
	cluster.SetGroupVersionKind(installation.MySQLKind)
	found, err := f.get(ctx, types.NamespacedName{Namespace: s.Restore.Namespace, Name: my.Cluster}, cluster)
	if err != nil {
		return err
	}
	if found {
		s.Cluster = cluster
	}
	var set appsv1.StatefulSet
	found, err = f.get(ctx, types.NamespacedName{Namespace: s.Restore.Namespace, Name: my.StatefulSet}, &set)
	if found {
		s.StatefulSet = &set
	}
	return err
}

func (*feature) Decide(s restore.Snapshot, now time.Time) plan.Plan { return restore.Decide(s, now) }

func (*feature) Act(ctx context.Context, w *kit.Writer, s restore.Snapshot, action plan.Action) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch action := action.(type) {
	case restore.KeepVolume:
		return keep(ctx, w.Client(), action)
	case restore.WriteCredentials:
		return writeCredentials(ctx, w.Client(), s.Restore, action)
	default:
		return fmt.Errorf("unknown action %q", action)
	}
}

// keep has a volume outlive its claim, provided that it still is that claim's.
func keep(ctx context.Context, c client.Client, action restore.KeepVolume) error {
	var volume corev1.PersistentVolume
	err := c.Get(ctx, types.NamespacedName{Name: action.Volume}, &volume)
	if apierrors.IsNotFound(err) {
		return &kit.InvalidError{Err: err} // Its claim has lost it.
	}
	if err != nil {
		return err
	}
	if of := volume.Spec.ClaimRef; of == nil || of.UID != action.Claim {
		return &kit.InvalidError{Err: fmt.Errorf("it is not the volume of the claim with the UID %s", action.Claim)}
	}
	if volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
		return nil
	}
	return patch(ctx, c, &volume, map[string]any{"spec": map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain}})
}

// writeCredentials sets the names and passwords of the backup, and no other key. None of
// them is in an error: the API server quotes no values of Secrets.
func writeCredentials(ctx context.Context, c client.Client, r *v1alpha1.MattermostRestoreDB, action restore.WriteCredentials) error {
	var target, source corev1.Secret
	if err := c.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: action.Secret}, &target); err != nil {
		return err
	}
	if action.From != "" {
		if err := c.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: action.From}, &source); err != nil {
			return err
		}
	}
	data := map[string][]byte{}
	for key, value := range restore.Credentials(r.Spec, source.Data) {
		if string(target.Data[key]) != value {
			data[key] = []byte(value)
		}
	}
	if len(data) == 0 {
		return nil
	}
	return patch(ctx, c, &target, map[string]any{"data": data})
}

// patch changes an object, provided that it still is as it was read.
func patch(ctx context.Context, c client.Client, object client.Object, change map[string]any) error {
	change["metadata"] = map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()}
	content, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, content), client.FieldOwner(restore.Manager))
}

func (*feature) Report(s restore.Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.MattermostRestoreDB {
	return restore.Report(s, p, outcome, now)
}

func (*feature) Unknown(r *v1alpha1.MattermostRestoreDB, err error, now time.Time) *v1alpha1.MattermostRestoreDB {
	return restore.Unknown(r, err, now)
}

// Announce tells of each phase, and of what needs a person.
func (*feature) Announce(before, after *v1alpha1.MattermostRestoreDB, _ plan.Plan, _ plan.Outcome) []kit.Event {
	ready := meta.FindStatusCondition(after.Status.Conditions, v1beta1.ConditionReady)
	stalled := meta.FindStatusCondition(after.Status.Conditions, v1beta1.ConditionStalled)
	then := meta.FindStatusCondition(before.Status.Conditions, v1beta1.ConditionStalled)
	var events []kit.Event
	if before.Status.Phase != after.Status.Phase && after.Status.Phase != v1alpha1.RestoreWaiting && ready != nil {
		events = append(events, kit.Event{Reason: "Restore" + string(after.Status.Phase), Action: "Restore", Message: ready.Message})
	}
	if stalled != nil && (then == nil || then.Reason != stalled.Reason) {
		events = append(events, kit.Event{Warning: true, Reason: stalled.Reason, Action: "Restore", Message: stalled.Message})
	}
	return events
}
