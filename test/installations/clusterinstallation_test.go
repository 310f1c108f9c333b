package installations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

const v1alpha1Resource = "v1alpha1.mattermost.com/resource"

func createOlder(t testing.TB, c client.Client, namespace, name string) types.NamespacedName {
	t.Helper()
	secrets(t, c, namespace)
	ci := &v1alpha1.ClusterInstallation{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ClusterInstallationSpec{
			Version: "10.5.2", IngressName: name + ".example.com",
			Database: v1alpha1.Database{Secret: "db"},
			Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: name, Secret: "fs"},
		},
	}
	if err := c.Create(t.Context(), ci); err != nil {
		t.Fatal(err)
	}
	return client.ObjectKeyFromObject(ci)
}

func editOlder(t testing.TB, c client.Client, name types.NamespacedName, change func(*v1alpha1.ClusterInstallationSpec)) {
	t.Helper()
	ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
	before := ci.DeepCopy()
	change(&ci.Spec)
	if err := c.Patch(t.Context(), ci, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// stableOlder waits until the installation is stable for its current generation.
func stableOlder(t testing.TB, c client.Client, name types.NamespacedName) *v1alpha1.ClusterInstallation {
	t.Helper()
	ci := &v1alpha1.ClusterInstallation{}
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, ci); err != nil {
			return "", err
		}
		if ci.Status.State != v1alpha1.Stable || ci.Status.ObservedGeneration != ci.Generation {
			return fmt.Sprintf("%s to become stable; its status is %+v", name, ci.Status), nil
		}
		return "", nil
	})
	return ci
}

// saysOlder waits for a condition that is True for a reason.
func saysOlder(t testing.TB, c client.Client, name types.NamespacedName, kind, reason string) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var ci v1alpha1.ClusterInstallation
		if err := c.Get(ctx, name, &ci); err != nil {
			return "", err
		}
		for _, condition := range ci.Status.Conditions {
			if condition.Type == kind && condition.Reason == reason {
				return "", nil
			}
		}
		return fmt.Sprintf("%s for %s; the conditions are %+v", kind, reason, ci.Status.Conditions), nil
	})
}

func blueGreen(production string) func(*v1alpha1.ClusterInstallationSpec) {
	return func(spec *v1alpha1.ClusterInstallationSpec) {
		const image = "mattermost/mattermost-enterprise-edition"
		spec.BlueGreen = v1alpha1.BlueGreen{
			Enable: true, ProductionDeployment: production,
			Blue: v1alpha1.AppDeployment{Image: image, Version: "10.5.2"}, Green: v1alpha1.AppDeployment{Image: image, Version: "10.6.0"},
		}
	}
}

func noBlueGreen(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen = v1alpha1.BlueGreen{} }

// selected names the set of pods to which a Service sends.
func selected(ctx context.Context, c client.Client, name types.NamespacedName) (string, error) {
	var service corev1.Service
	err := c.Get(ctx, name, &service)
	return service.Spec.Selector[v1alpha1Resource], err
}

// TestClusterInstallation takes one through its life: it is made, is looked at without a
// write, is upgraded, hibernates, and is removed.
func TestClusterInstallation(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	w := start(t, ns, user, manager.Hooks{})
	name := createOlder(t, c, ns, "chat")
	ci := stableOlder(t, c, name)
	if ci.Status.Endpoint != "chat.example.com" || ci.Status.Version != "10.5.2" || ci.Status.UpdatedReplicas != 2 {
		t.Errorf("status: %+v", ci.Status)
	}
	if ci.Spec.Replicas != 2 || ci.Spec.Image == "" || ci.Spec.Minio.Replicas != 4 {
		t.Errorf("defaults were not written back: %+v", ci.Spec)
	}

	w.stop(t)
	writesNothing(t, ns, user, func() {
		start(t, ns, user, manager.Hooks{})
		editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) {
			spec.ServiceAnnotations = map[string]string{"no": "effect"}
		})
		saysOlder(t, c, name, v1beta1.ConditionSpecWarnings, v1beta1.ReasonAmbiguous)
		stableOlder(t, c, name)
	})

	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Version = "10.6.0" })
	if ci = stableOlder(t, c, name); ci.Status.Version != "10.6.0" || get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image != ci.Spec.Image+":10.6.0" {
		t.Errorf("status: %+v", ci.Status)
	}
	saysOlder(t, c, name, v1beta1.ConditionUpdateJobSucceeded, v1beta1.ReasonUpdateJobSucceeded)

	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Replicas = -1 })
	if ci = stableOlder(t, c, name); ci.Status.Replicas != 0 || *get(t, c, name, &appsv1.Deployment{}).Spec.Replicas != 0 || ci.Spec.Replicas != -1 {
		t.Errorf("status %+v, replicas %d", ci.Status, ci.Spec.Replicas)
	}

	if err := c.Delete(t.Context(), ci); err != nil {
		t.Fatal(err)
	}
	for _, part := range []client.Object{&corev1.Service{}, &networkingv1.Ingress{}, &appsv1.Deployment{}} {
		gone(t, c, name, part)
	}
}

// writesNothing wants no write to anything but the status of the resource.
func writesNothing(t *testing.T, namespace, user string, do func()) {
	t.Helper()
	audit := clustertest.Audit(t)
	from := mark(t, audit)
	do()
	requests := since(t, audit, from, user)
	for _, r := range requests {
		reads := slices.Contains([]string{"get", "list", "watch"}, r.Verb)
		if !reads && !slices.Contains([]string{"leases", "events", "clusterinstallations/status"}, r.Resource) {
			t.Errorf("request %+v", r)
		}
	}
}

// TestBlueGreen turns it on, switches, changes a version, and turns it off. At no moment
// does the Service send to pods of which none are available.
func TestBlueGreen(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := createOlder(t, c, ns, "chat")
	stableOlder(t, c, name)
	served := alwaysServed(t, c, name)

	editOlder(t, c, name, blueGreen("blue"))
	ci := stableOlder(t, c, name)
	if ci.Status.BlueName != "chat-blue" || ci.Status.GreenName != "chat-green" || ci.Status.Endpoint != "blue.chat.example.com" || ci.Status.Version != "10.5.2" {
		t.Errorf("status: %+v", ci.Status)
	}
	gone(t, c, name, &appsv1.Deployment{})
	sendsTo(t, c, name, "chat-blue")

	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen.ProductionDeployment = "Green" })
	if ci = stableOlder(t, c, name); ci.Status.Endpoint != "green.chat.example.com" || ci.Status.Version != "10.6.0" || ci.Spec.BlueGreen.ProductionDeployment != "green" {
		t.Errorf("status: %+v", ci.Status)
	}
	sendsTo(t, c, name, "chat-green")

	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen.Blue.Version = "10.7.0" })
	stableOlder(t, c, name)
	saysOlder(t, c, name, v1beta1.ConditionUpdateJobSucceeded, v1beta1.ReasonUpdateJobSucceeded)
	if image := get(t, c, sibling(name, "-blue"), &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.7.0") {
		t.Errorf("blue runs %s", image)
	}

	editOlder(t, c, name, noBlueGreen)
	if ci = stableOlder(t, c, name); ci.Status.BlueName != "" || ci.Status.Endpoint != "chat.example.com" {
		t.Errorf("status: %+v", ci.Status)
	}
	sendsTo(t, c, name, "chat")
	for _, suffix := range []string{"-blue", "-green"} {
		for _, part := range []client.Object{&corev1.Service{}, &networkingv1.Ingress{}, &appsv1.Deployment{}} {
			gone(t, c, sibling(name, suffix), part)
		}
	}
	served(t)
	eventually(t, func(ctx context.Context) (string, error) {
		var jobs batchv1.JobList
		err := c.List(ctx, &jobs, client.InNamespace(ns))
		if len(jobs.Items) > 0 {
			return "the update Job to be removed", err
		}
		return "", err
	})
}

// sendsTo waits until the Service does.
func sendsTo(t *testing.T, c client.Client, name types.NamespacedName, set string) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		if now, err := selected(ctx, c, name); now != set {
			return fmt.Sprintf("the Service, which sends to %s, to send to %s", now, set), err
		}
		return "", nil
	})
}

// alwaysServed watches, until the returned function is called, that the pods to which the
// Service sends are those of a Deployment that has as many available as it wants. There
// have to be three that serve, one after another.
func alwaysServed(t *testing.T, c client.Client, name types.NamespacedName) (end func(*testing.T)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() {
		seen := map[string]bool{}
		for ctx.Err() == nil {
			set, err := selected(ctx, c, name)
			var d appsv1.Deployment
			err = errors.Join(err, c.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: set}, &d))
			if ctx.Err() != nil {
				break
			}
			if err != nil || d.Status.AvailableReplicas < *d.Spec.Replicas || d.Spec.Selector.MatchLabels[v1alpha1Resource] != set {
				result <- errors.Join(fmt.Errorf("the Service sends to %q, of which %d of %v pods are available", set, d.Status.AvailableReplicas, d.Spec.Replicas), err)
				return
			}
			seen[set] = true
		}
		if len(seen) < 3 { // It has looked at all of the way.
			result <- fmt.Errorf("only %v were seen to serve", seen)
			return
		}
		result <- nil
	}()
	return func(t *testing.T) {
		t.Helper()
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
}

// TestCanary turns one on and off.
func TestCanary(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := createOlder(t, c, ns, "chat")
	stableOlder(t, c, name)
	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) {
		spec.Canary = v1alpha1.Canary{Enable: true, Deployment: v1alpha1.AppDeployment{Image: "mattermost/mattermost-enterprise-edition", Version: "10.6.0"}}
	})
	stableOlder(t, c, name)
	saysOlder(t, c, name, v1alpha1.ConditionCanaryReady, v1beta1.ReasonStable)
	if image := get(t, c, sibling(name, "-canary"), &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.6.0") {
		t.Errorf("the canary runs %s", image)
	}
	sendsTo(t, c, name, "chat")

	editOlder(t, c, name, func(spec *v1alpha1.ClusterInstallationSpec) { spec.Canary.Enable = false })
	stableOlder(t, c, name)
	for _, part := range []client.Object{&corev1.Service{}, &networkingv1.Ingress{}, &appsv1.Deployment{}} {
		gone(t, c, sibling(name, "-canary"), part)
	}
	if meta := get(t, c, name, &v1alpha1.ClusterInstallation{}); slices.ContainsFunc(meta.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionCanaryReady }) {
		t.Errorf("the canary is still spoken of: %+v", meta.Status.Conditions)
	}
}

// TestOlderSharedHost: the one and the other are told, until one of them has another.
func TestOlderSharedHost(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	one, other := createOlder(t, c, ns, "one"), createOlder(t, c, ns, "other")
	editOlder(t, c, other, func(spec *v1alpha1.ClusterInstallationSpec) { spec.IngressName = "one.example.com" })
	for _, name := range []types.NamespacedName{one, other} {
		saysOlder(t, c, name, v1beta1.ConditionSpecWarnings, v1beta1.ReasonAmbiguous)
	}
	editOlder(t, c, other, func(spec *v1alpha1.ClusterInstallationSpec) { spec.IngressName = "other.example.com" })
	eventually(t, func(ctx context.Context) (string, error) {
		for _, name := range []types.NamespacedName{one, other} {
			var ci v1alpha1.ClusterInstallation
			if err := c.Get(ctx, name, &ci); err != nil {
				return "", err
			}
			if slices.ContainsFunc(ci.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1beta1.ConditionSpecWarnings }) {
				return "no warnings about " + name.Name, nil
			}
		}
		return "", nil
	})
}

// TestClusterInstallationIsProtected from being deleted, as a Mattermost is.
func TestClusterInstallationIsProtected(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	name := createOlder(t, c, ns, "chat")
	ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
	protected := ci.DeepCopy()
	protected.Annotations = map[string]string{v1beta1.ProtectedAnnotation: "true"}
	if err := c.Patch(t.Context(), protected, client.MergeFrom(ci)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		// The policy is new to the cluster, perhaps.
		err := c.Delete(ctx, ci.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "ClusterInstallation chat is protected") {
			return fmt.Sprintf("the deletion to be refused, got %v", err), nil
		}
		return "", nil
	})
}
