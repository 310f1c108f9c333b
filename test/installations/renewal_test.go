package installations

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/installation/handovertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// recreate has the pods replaced at the end of a migration.
func recreate(t *testing.T, c client.Client, name types.NamespacedName) {
	t.Helper()
	annotateOlder(t, c, name, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
}

// servingPods returns how many ready pods the Service sends to, and how many there are. The
// pods are looked at before and after the Service: one that was ready at either time counts,
// since it may be that it went, or came, after the Service was looked at.
func servingPods(ctx context.Context, c client.Client, name types.NamespacedName) (serving, all int, err error) {
	var endpoints discoveryv1.EndpointSliceList
	var before, after corev1.PodList
	err = errors.Join(
		c.List(ctx, &before, client.InNamespace(name.Namespace), client.MatchingLabels{"app": "mattermost"}),
		c.List(ctx, &endpoints, client.InNamespace(name.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name.Name}),
		c.List(ctx, &after, client.InNamespace(name.Namespace), client.MatchingLabels{"app": "mattermost"}),
	)
	ready := map[string]bool{}
	for i := range before.Items {
		ready[before.Items[i].Name] = installation.PodOf(&before.Items[i], true).Ready
	}
	for i := range after.Items {
		pod := &after.Items[i]
		if owner := metav1.GetControllerOf(pod); pod.DeletionTimestamp == nil && owner != nil && owner.Kind == "ReplicaSet" {
			all++
		}
		ready[pod.Name] = ready[pod.Name] || installation.PodOf(pod, true).Ready
	}
	for _, slice := range endpoints.Items {
		for _, endpoint := range slice.Endpoints {
			if r := endpoint.Conditions.Ready; endpoint.TargetRef != nil && ready[endpoint.TargetRef.Name] && (r == nil || *r) {
				serving++
			}
		}
	}
	return serving, all, err
}

// alwaysAsMany watches, until the returned function is called, that the Service sends to as
// many ready pods as are wanted, that there is at most one more, and that no object that
// holds data, or shows the way, is made anew or without an owner.
func alwaysAsMany(t *testing.T, c client.WithWatch, name types.NamespacedName, wanted int) (end func(*testing.T)) {
	t.Helper()
	// What was stable a moment ago may be missing in the EndpointSlices still.
	eventually(t, func(ctx context.Context) (string, error) {
		if serving, all, err := servingPods(ctx, c, name); err != nil || serving < wanted {
			return fmt.Sprintf("the Service to send to %d pods: %d of %d", wanted, serving, all), err
		}
		return "", nil
	})
	return watched(t, c, name, handovertest.Pods, func(ctx context.Context) error {
		serving, all, err := servingPods(ctx, c, name)
		if err == nil && (serving < wanted || all > wanted+1) {
			err = fmt.Errorf("%d of %d serve, of %d pods%s", serving, wanted, all, podsAndSets(ctx, c, name.Namespace))
		}
		return err
	})
}

// podsAndSets says what runs, for who has to find out why.
func podsAndSets(ctx context.Context, c client.Client, namespace string) string {
	var sets appsv1.ReplicaSetList
	var pods corev1.PodList
	if err := errors.Join(c.List(ctx, &sets, client.InNamespace(namespace)), c.List(ctx, &pods, client.InNamespace(namespace))); err != nil {
		return err.Error()
	}
	text := ""
	for _, set := range sets.Items {
		text += fmt.Sprintf("; set %s of %d, %d ready: %v", set.Name, *set.Spec.Replicas, set.Status.ReadyReplicas, set.Labels)
	}
	for _, pod := range pods.Items {
		text += fmt.Sprintf("; pod %s %s %v %v", pod.Name, pod.Status.Phase, pod.Labels, pod.Annotations)
	}
	return text
}

// renewed waits until the pods have the labels of a Mattermost.
func renewed(t *testing.T, c client.Client, name types.NamespacedName) *v1beta1.Mattermost {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		err := client.IgnoreNotFound(c.Get(ctx, name, &mm))
		if mm.Status.Renewal == nil && mm.Status.Lineage == "" && mm.Status.MigratedFrom != nil && !mm.Status.MigratedFrom.Held {
			return "", err
		}
		return fmt.Sprintf("the pods to be replaced; status %+v%s", mm.Status, podsAndSets(ctx, c, name.Namespace)), err
	})
	return stable(t, c, name)
}

// likeNever waits until the pods are replaced, and wants nothing to be left of the former ones.
func likeNever(t *testing.T, c client.Client, name types.NamespacedName) *v1beta1.Mattermost {
	t.Helper()
	mm := renewed(t, c, name)
	var sets appsv1.ReplicaSetList
	if err := c.List(t.Context(), &sets, client.InNamespace(name.Namespace)); err != nil {
		t.Fatal(err)
	}
	d := get(t, c, name, &appsv1.Deployment{})
	for i := range sets.Items {
		if !metav1.IsControlledBy(&sets.Items[i], d) {
			t.Errorf("a set of the former Deployment is left: %s", sets.Items[i].Name)
		}
	}
	for object, labels := range map[string]map[string]string{"Deployment": d.Spec.Selector.MatchLabels, "Service": get(t, c, name, &corev1.Service{}).Spec.Selector} {
		if len(labels) != 3 || labels["installation.mattermost.com/installation"] != name.Name {
			t.Errorf("%s selects by %v", object, labels)
		}
	}
	if !get(t, c, name, &corev1.Service{}).Spec.PublishNotReadyAddresses {
		t.Error("the Service is not what the shape says")
	}
	ownedBy(t, c, mm)
	return mm
}

// TestMigrationRecreates: in the end the objects are like those of a Mattermost that never
// was anything else, and as many pods as ever serve on the way.
func TestMigrationRecreates(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"external stores", "managed stores", "hibernated"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			user := grant(t, ns, shipped(t).Rules)
			w := start(t, ns, user, manager.Hooks{})
			name := older(t, c, ns, kind)
			wanted := 0
			if kind != "hibernated" {
				wanted = 2 // The default.
			}
			there := alwaysAsMany(t, c, name, wanted)
			recreate(t, c, name)
			migrate(t, c, name, true)
			mm := likeNever(t, c, name)
			there(t)
			w.stop(t)
			writesNothing(t, ns, user, func() {
				again := start(t, ns, user, manager.Hooks{})
				<-again.filled
				stable(t, c, name)
				again.stop(t)
			})
			if *mm.Spec.Replicas != int32(wanted) || *get(t, c, name, &appsv1.Deployment{}).Spec.Replicas != int32(wanted) {
				t.Errorf("replicas: %d", *mm.Spec.Replicas)
			}
		})
	}
}

// TestRenewalWithAnUpgrade: what was migrated in place gets the newer labels with the next
// image, after its database was migrated, and goes back with them.
func TestRenewalWithAnUpgrade(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "external stores")
	before := get(t, c, name, &v1alpha1.ClusterInstallation{})
	migrate(t, c, name, true)
	migrated(t, c, name)
	there := alwaysAsMany(t, c, name, 2)
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
	mm := likeNever(t, c, name)
	there(t)
	if mm.Status.Version != "10.6.0" {
		t.Errorf("status: %+v", mm.Status)
	}
	says(t, c, name, v1beta1.ConditionUpdateJobSucceeded, v1beta1.ReasonUpdateJobSucceeded)

	all := alwaysThere(t, c, name)
	again := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: name.Name, Annotations: map[string]string{v1alpha1.RevertAnnotation: "true"},
	}, Spec: before.Spec}
	again.Spec.Version, again.Spec.Migrate = "10.6.0", false
	if err := c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	inPhase(t, c, name, v1alpha1.MigrationReverted)
	ownedBy(t, c, stableOlder(t, c, name))
	gone(t, c, name, &v1beta1.Mattermost{})
	migrate(t, c, name, true)
	if mm := migrated(t, c, name); mm.Status.Lineage != "" {
		t.Errorf("status: %+v", mm.Status)
	}
	all(t)
}

// writesOfRenewal is how many there are at least, with one pod.
const writesOfRenewal = 12

// TestRenewalCrash kills the controllers after each write of a renewal. The next ones
// finish it, and as many pods as ever serve.
func TestRenewalCrash(t *testing.T) {
	t.Parallel()
	for n := 1; n <= writesOfRenewal; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			user := grant(t, ns, shipped(t).Rules)
			w := start(t, ns, user, manager.Hooks{})
			name := older(t, c, ns, "external stores")
			editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Replicas = 1 })
			stableOlder(t, c, name)
			migrate(t, c, name, true)
			migrated(t, c, name)
			w.stop(t)
			there := alwaysAsMany(t, c, name, 1)
			crash(t, ns, user, n, func() {
				mm := get(t, c, name, &v1beta1.Mattermost{})
				before := mm.DeepCopy()
				metav1.SetMetaDataAnnotation(&mm.ObjectMeta, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
				if err := c.Patch(t.Context(), mm, client.MergeFrom(before)); err != nil {
					t.Fatal(err)
				}
			})
			start(t, ns, user, manager.Hooks{})
			likeNever(t, c, name)
			there(t)
		})
	}
}

// TestRenewalOfAutoscaled: as many pods as the autoscaler has set serve throughout, and the
// number is the autoscaler's afterwards.
func TestRenewalOfAutoscaled(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "external stores")
	autoscaled(t, c, name, 3)
	stableOlder(t, c, name)
	migrate(t, c, name, true)
	migrated(t, c, name)
	serves := func(ctx context.Context) (int, error) {
		serving, _, err := servingPods(ctx, c, name)
		return serving, err
	}
	eventually(t, func(ctx context.Context) (string, error) {
		if n, err := serves(ctx); err != nil || n < 3 {
			return fmt.Sprintf("three pods in the Service, not %d", n), err
		}
		return "", nil
	})
	there := watched(t, c, name, handovertest.Pods, func(ctx context.Context) error {
		n, err := serves(ctx)
		if err == nil && n < 3 {
			err = fmt.Errorf("%d of 3 serve%s", n, podsAndSets(ctx, c, ns))
		}
		return err
	})
	annotate(t, c, name, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
	likeNever(t, c, name)
	there(t)
	d := get(t, c, name, &appsv1.Deployment{})
	before := d.DeepCopy()
	d.Spec.Replicas = new(int32(4))
	if err := c.Patch(t.Context(), d, client.MergeFrom(before), client.FieldOwner("autoscaler")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		if n, err := serves(ctx); err != nil || n != 4 {
			return fmt.Sprintf("four pods in the Service, not %d", n), err
		}
		return "", nil
	})
	stable(t, c, name)
	if n := *get(t, c, name, &appsv1.Deployment{}).Spec.Replicas; n != 4 {
		t.Errorf("the replicas went from 4 to %d", n)
	}
}

// TestRenewalStopsFirst: with the strategy that lets no two versions run at a time, no new
// pod is made before the last former one is gone.
func TestRenewalStopsFirst(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := older(t, c, ns, "external stores")
	migrate(t, c, name, true)
	migrated(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.DeploymentTemplate = &v1beta1.DeploymentTemplate{DeploymentStrategyType: string(appsv1.RecreateDeploymentStrategyType)}
	})
	stable(t, c, name)
	former := map[types.UID]bool{}
	pods := func(ctx context.Context) ([]corev1.Pod, error) {
		var list corev1.PodList
		err := c.List(ctx, &list, client.InNamespace(ns), client.MatchingLabels{"app": "mattermost"})
		return list.Items, err
	}
	now, err := pods(t.Context())
	if err != nil || len(now) != 2 {
		t.Fatalf("%d pods: %v", len(now), err)
	}
	for i := range now {
		former[now[i].UID] = true
	}
	there := watched(t, c, name, handovertest.Pods, func(ctx context.Context) error {
		now, err := pods(ctx)
		kinds := map[bool]int{}
		for i := range now {
			kinds[former[now[i].UID]]++
		}
		if len(kinds) > 1 {
			err = errors.Join(err, fmt.Errorf("former and other pods run at a time%s", podsAndSets(ctx, c, ns)))
		}
		return err
	})
	annotate(t, c, name, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
	likeNever(t, c, name)
	there(t)
	if now, err = pods(t.Context()); err != nil || len(now) != 2 || former[now[0].UID] || former[now[1].UID] {
		t.Errorf("%d pods: %v", len(now), err)
	}
}
