package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/notify"
	"windlass.dev/internal/rotation"
	"windlass.dev/internal/tell"
)

// Field managers of what is put on nodes. Each is given up by itself: what somebody else
// has set as well stays.
const (
	guardManager  = Manager + "-guard"
	cordonManager = Manager + "-cordon"
	holdManager   = Manager + "-hold"
)

// callTimeout is the deadline of one call. An eviction is one of the slow ones: the API
// server tries for some seconds to write the budget.
const callTimeout = 10 * time.Second

// Act carries out one step.
func (f *feature) Act(ctx context.Context, w *kit.Writer, s rotation.Snapshot, action plan.Action) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch a := action.(type) {
	case rotation.Guard:
		return f.guard(ctx, w, s.Run, a.On)
	case rotation.Open:
		_, err := w.Apply(ctx, record(s.Run, a.Record, true), "")
		return err
	case rotation.Record:
		return f.record(ctx, w, s, a)
	case rotation.Close:
		return f.closeRecord(ctx, w, s, a)
	case rotation.Mark:
		return f.mark(ctx, a)
	case rotation.Evict:
		return f.evict(ctx, a)
	case rotation.Scale:
		return f.scale(ctx, a)
	case rotation.PrePull:
		return f.prePull(ctx, s.Run, a)
	case rotation.RemovePod:
		return f.removePod(ctx, a)
	case tell.Notify:
		return f.sender.Tell(ctx, notify.Run{Kind: "NodeRotation", Name: s.Run.Name, UID: s.Run.UID}, a)
	case rotation.DeleteNode:
		err := f.client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.Name}}, client.Preconditions{UID: &a.UID})
		return client.IgnoreNotFound(err)
	default:
		return f.actCloud(ctx, s, action)
	}
}

func object(kind kit.Kind, name string, uid types.UID) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind.GroupVersionKind)
	u.SetName(name)
	if uid != "" {
		u.SetUID(uid)
	}
	return u
}

// guard keeps the run until what it changed is undone.
func (f *feature) guard(ctx context.Context, w *kit.Writer, run *v1alpha1.NodeRotation, on bool) error {
	u := object(rotations, run.Name, run.UID)
	if on {
		u.SetFinalizers([]string{v1alpha1.Finalizer})
	}
	_, err := w.Apply(ctx, u, guardManager)
	return err
}

// record is the record of a node as it is applied; a guarded one is kept until it is closed.
func record(run *v1alpha1.NodeRotation, r *v1alpha1.NodeReplacement, guarded bool) *unstructured.Unstructured {
	u := object(replacements, r.Name, r.UID)
	u.SetLabels(map[string]string{v1alpha1.RotationLabel: run.Name})
	u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRotation", Name: run.Name, UID: run.UID, Controller: new(true)}})
	if guarded {
		u.SetFinalizers([]string{v1alpha1.Finalizer})
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&r.Spec)
	if err != nil {
		panic(err) // A struct of strings always can be converted.
	}
	u.Object["spec"] = spec
	return u
}

func (f *feature) record(ctx context.Context, w *kit.Writer, s rotation.Snapshot, a rotation.Record) error {
	u := object(replacements, a.Name, a.UID)
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&a.Status)
	if err != nil {
		return err
	}
	u.Object["status"] = status
	if err := w.ApplyStatus(ctx, replacements, u); err != nil {
		return err
	}
	for i := range s.Records {
		if s.Records[i].Name == a.Name {
			f.metrics.moved(&s.Records[i], &a.Status)
		}
	}
	return nil
}

func (f *feature) closeRecord(ctx context.Context, w *kit.Writer, s rotation.Snapshot, a rotation.Close) error {
	for i := range s.Records {
		if r := &s.Records[i]; r.Name == a.Name {
			_, err := w.Apply(ctx, record(s.Run, r, false), "")
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return nil // It was deleted meanwhile.
			}
			return err
		}
	}
	return nil
}

// mark changes a node, and tells the index of it, which would hear of it a little later.
func (f *feature) mark(ctx context.Context, a rotation.Mark) error {
	var last *unstructured.Unstructured
	apply := func(manager string, fill func(*unstructured.Unstructured)) error {
		u := object(kit.Kind{}, a.Node, a.UID)
		u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
		fill(u)
		err := f.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
		last = u
		return err
	}
	if a.Cordon != nil {
		err := apply(cordonManager, func(u *unstructured.Unstructured) {
			if *a.Cordon {
				u.SetLabels(map[string]string{corev1.LabelNodeExcludeBalancers: "true"})
				u.Object["spec"] = map[string]any{"unschedulable": true}
			}
		})
		if err != nil {
			return err
		}
	}
	if a.Hold != nil {
		err := apply(holdManager, func(u *unstructured.Unstructured) {
			if *a.Hold {
				u.SetAnnotations(map[string]string{drain.ScaleDownDisabled: "true"})
			}
		})
		if err != nil {
			return err
		}
	}
	if a.Outdated != nil {
		var err error
		if last, err = f.taint(ctx, a); err != nil {
			return err
		}
	}
	return f.tell(last)
}

// taint changes our taint only. The list of taints is replaced whole by every kind of
// patch, so that the node is read first, and has to be as it was read.
func (f *feature) taint(ctx context.Context, a rotation.Mark) (*unstructured.Unstructured, error) {
	n := &corev1.Node{}
	if err := f.client.Get(ctx, types.NamespacedName{Name: a.Node}, n); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if n.UID != a.UID {
		return nil, nil
	}
	before := n.DeepCopy()
	n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.OutdatedTaint })
	if *a.Outdated {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: v1alpha1.OutdatedTaint, Effect: corev1.TaintEffectPreferNoSchedule})
	}
	if err := f.client.Patch(ctx, n, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(Manager)); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	return &unstructured.Unstructured{Object: content}, err
}

func (f *feature) tell(node *unstructured.Unstructured) error {
	if node == nil {
		return nil
	}
	n := &corev1.Node{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(node.Object, n); err != nil {
		return err
	}
	f.index.apply(func(c *drain.Cluster) {
		if was := c.Node(n.Name); was != nil && was.UID == n.UID {
			c.SetNode(n)
		}
	})
	return nil
}

// evict asks a pod to go. It counts as going from before it is asked, so that no other is
// asked in its place.
func (f *feature) evict(ctx context.Context, a rotation.Evict) error {
	f.index.apply(func(c *drain.Cluster) { c.SetAssumed(a.UID, true) })
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name}}
	var err error
	if a.Force {
		options := []client.DeleteOption{client.Preconditions{UID: &a.UID}}
		if a.Grace != nil {
			options = append(options, client.GracePeriodSeconds(*a.Grace))
		}
		err = f.client.Delete(ctx, pod, options...)
	} else {
		err = f.client.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID)), GracePeriodSeconds: a.Grace},
		})
	}
	f.metrics.evicted(a, err)
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // It, or this one of its name, is gone.
		return nil
	}
	f.index.apply(func(c *drain.Cluster) { c.SetAssumed(a.UID, false) })
	// A budget that says no is told of by a watch; a server that has too much to do says
	// when to come back.
	if seconds, asked := apierrors.SuggestsClientDelay(err); apierrors.IsTooManyRequests(err) && (!asked || seconds == 0) {
		return &kit.DeclinedError{Err: err}
	}
	return err
}

// scale changes a number of replicas, if it still is what it was.
func (f *feature) scale(ctx context.Context, a rotation.Scale) error {
	path, target := "/spec/replicas", client.Object(&appsv1.Deployment{})
	if a.Kind == "HorizontalPodAutoscaler" {
		path, target = "/spec/minReplicas", &autoscalingv2.HorizontalPodAutoscaler{}
	}
	target.SetNamespace(a.Namespace)
	target.SetName(a.Name)
	patch, err := json.Marshal([]map[string]any{{"op": "test", "path": path, "value": a.From}, {"op": "replace", "path": path, "value": a.To}})
	if err != nil {
		return err
	}
	err = f.client.Patch(ctx, target, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(Manager))
	if apierrors.IsInvalid(err) {
		return nil // The test failed: somebody else has changed it, and it stays so.
	}
	return client.IgnoreNotFound(err)
}

// cloudTimeout is the deadline of one thing that a provider is asked for.
const cloudTimeout = 30 * time.Second

func (f *feature) actCloud(ctx context.Context, s rotation.Snapshot, action plan.Action) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cloudTimeout)
	defer cancel()
	group := rotation.GroupOf(action)
	node := s.Groups[group]
	if node == nil {
		return fmt.Errorf("there is no NodeGroup %q", group)
	}
	ref := node.Spec.Provider
	provider, err := f.clouds.providers(ref)
	if err != nil {
		return err
	}
	if _, ok := action.(rotation.Deregister); !ok { // That is told by its own answer.
		defer f.clouds.stale(group)
	}
	switch a := action.(type) {
	case rotation.Prepare:
		return provider.Prepare(ctx, ref, a.Guard, a.Target)
	case rotation.Resize:
		return provider.Resize(ctx, ref, a.Size)
	case rotation.Protect:
		return provider.Protect(ctx, ref, a.Machines)
	case rotation.Deregister:
		return f.clouds.deregister(ctx, provider, ref, a)
	case rotation.End:
		return provider.End(ctx, ref, a.Machine, a.Size)
	case rotation.Restore:
		return provider.Restore(ctx, ref, a.Guard, a.Settings, a.Former)
	default:
		return fmt.Errorf("%s is no step of a rotation", action)
	}
}
