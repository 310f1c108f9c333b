package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
)

// observeOutgoing reads, from the API server, the pods that a renewal replaces and those
// that replace them, and to which of them the Service sends: what is decided by it must
// not lag behind. Of an installation without a renewal nothing is read.
func observeOutgoing(ctx context.Context, reader client.Reader, mm *v1beta1.Mattermost) (installation.Outgoing, error) {
	var out installation.Outgoing
	if !installation.Renewing(mm) {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	older := []client.ListOption{client.InNamespace(mm.Namespace), client.MatchingLabels(installation.OlderSelector(mm))}
	var sets appsv1.ReplicaSetList
	if err := reader.List(ctx, &sets, older...); err != nil {
		return out, fmt.Errorf("list ReplicaSets: %w", err)
	}
	for i := range sets.Items {
		out.Sets = append(out.Sets, setOf(&sets.Items[i]))
	}
	routed, err := observeRouted(ctx, reader, mm)
	if err != nil {
		return out, err
	}
	if out.Pods, err = observePods(ctx, reader, routed, older...); err != nil {
		return out, err
	}
	newer, err := observePods(ctx, reader, routed, client.InNamespace(mm.Namespace), client.MatchingLabels(installation.NewerSelector(mm)))
	if err != nil {
		return out, err
	}
	// Those of the former have both labels.
	out.New = slices.DeleteFunc(newer, func(p installation.OutgoingPod) bool {
		return slices.ContainsFunc(out.Pods, func(former installation.OutgoingPod) bool { return former.UID == p.UID })
	})
	return out, nil
}

func setOf(set *appsv1.ReplicaSet) installation.OutgoingSet {
	out := installation.OutgoingSet{
		Name: set.Name, UID: set.UID, ResourceVersion: set.ResourceVersion, Labels: set.Spec.Template.Labels, Deleting: set.DeletionTimestamp != nil,
		Replicas: *cmp.Or(set.Spec.Replicas, new(int32)),
	}
	if owner := metav1.GetControllerOf(set); owner != nil {
		out.Controller = owner.UID
	}
	return out
}

// observeRouted returns the names of the pods to which the installation's Service sends.
func observeRouted(ctx context.Context, reader client.Reader, mm *v1beta1.Mattermost) (map[string]bool, error) {
	var slicesOf discoveryv1.EndpointSliceList
	if err := reader.List(ctx, &slicesOf, client.InNamespace(mm.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: mm.Name}); err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	routed := map[string]bool{}
	for _, slice := range slicesOf.Items {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready
			if endpoint.TargetRef != nil && endpoint.TargetRef.Kind == "Pod" && (ready == nil || *ready) {
				routed[endpoint.TargetRef.Name] = true
			}
		}
	}
	return routed, nil
}

func observePods(ctx context.Context, reader client.Reader, routed map[string]bool, options ...client.ListOption) ([]installation.OutgoingPod, error) {
	var list corev1.PodList
	if err := reader.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	var pods []installation.OutgoingPod
	for i := range list.Items {
		if pod := &list.Items[i]; pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			pods = append(pods, installation.PodOf(pod, routed[pod.Name]))
		}
	}
	return pods, nil
}

// changePod carries out its action as one patch.
func changePod(ctx context.Context, w *kit.Writer, action installation.ChangePod) error {
	labels := map[string]any{}
	for key, value := range action.Labels {
		labels[key] = value
	}
	for _, key := range action.Without {
		labels[key] = nil
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: action.Ref.Namespace, Name: action.Ref.Name}}
	return merge(ctx, w, pod, map[string]any{"metadata": map[string]any{
		"resourceVersion": action.ResourceVersion, "labels": labels, "annotations": action.Annotations,
	}})
}

// changeSet carries out its action as one patch: a set is never without an owner and
// with the labels of one that it has not.
func changeSet(ctx context.Context, w *kit.Writer, action installation.ChangeSet) error {
	metadata, spec := map[string]any{"resourceVersion": action.ResourceVersion}, map[string]any{}
	if action.Owner != nil {
		metadata["ownerReferences"] = []metav1.OwnerReference{*action.Owner}
	}
	if action.Labels != nil {
		spec["template"] = map[string]any{"metadata": map[string]any{"labels": action.Labels}}
	}
	if action.Replicas != nil {
		spec["replicas"] = *action.Replicas
	}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: action.Ref.Namespace, Name: action.Ref.Name}}
	return merge(ctx, w, set, map[string]any{"metadata": metadata, "spec": spec})
}

func merge(ctx context.Context, w *kit.Writer, object client.Object, patch map[string]any) error {
	content, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	return w.Client().Patch(ctx, object, client.RawPatch(types.MergePatchType, content), client.FieldOwner(installation.Manager))
}

// deleteSet deletes a set that has no pods, if it still is as it was.
func deleteSet(ctx context.Context, w *kit.Writer, action installation.DeleteSet) error {
	ctx, cancel := context.WithTimeout(ctx, companionTimeout)
	defer cancel()
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: action.Ref.Namespace, Name: action.Ref.Name}}
	err := w.Client().Delete(ctx, set, client.Preconditions{UID: &action.UID, ResourceVersion: &action.ResourceVersion}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
