package installations

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
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
	ns, c := namespace(t), admin(t)
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
	from, err := audit.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do()
	to, err := audit.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests, err := audit.Since(from, to, user)
	if err != nil {
		t.Fatal(err)
	}
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
	ns, c := namespace(t), admin(t)
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
// Service sends are those of a Deployment that has as many available as it wants.
func alwaysServed(t *testing.T, c client.Client, name types.NamespacedName) (end func(*testing.T)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() {
		looks := 0
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
			looks++
		}
		if looks < 100 {
			result <- fmt.Errorf("only %d looks", looks)
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
	ns, c := namespace(t), admin(t)
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

// TestClusterInstallationIsProtected from being deleted, as a Mattermost is.
func TestClusterInstallationIsProtected(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), admin(t)
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

// olderAdopted are cases of which the Mattermost Operator's objects are taken over.
var olderAdopted = []string{"ci-minimal", "ci-blue", "ci-canary", "ci-managed", "ci-lb", "ci-licence", "ci-tls", "ci-negative", "mig-full", "mig-custom-secrets"}

// TestClusterInstallationAdoption starts Windlass over ClusterInstallations as the
// Mattermost Operator left them: no pod is restarted and nothing is deleted.
func TestClusterInstallationAdoption(t *testing.T) {
	t.Parallel()
	for _, oracle := range olderAdopted {
		t.Run(oracle, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), admin(t)
			left := leaveIn(t, c, ns, olderOracle(oracle), "want.yaml")
			before := workload(t, c, ns)
			audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
			from, err := audit.Mark(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			start(t, ns, user, manager.Hooks{})
			stableOlder(t, c, types.NamespacedName{Namespace: ns, Name: "mm"})
			taken(t, c, left)
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			undeleted(t, audit, from, user)
			for _, object := range left {
				now := object.DeepCopy()
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
					t.Fatal(err)
				}
				data := slices.Contains([]string{"MysqlCluster", "MinIOInstance", "Secret"}, now.GetKind())
				if owned := len(now.GetOwnerReferences()) > 0; owned == data {
					t.Errorf("%s/%s has an owner: %v, holds data: %v", now.GetKind(), now.GetName(), owned, data)
				}
				if _, there := now.GetAnnotations()[lastApplied]; there {
					t.Errorf("%s/%s still has the former operator's annotation", now.GetKind(), now.GetName())
				}
			}
		})
	}
}

// TestClusterInstallationRelease takes some over and hands them back: the pods are the
// same, nothing is deleted, and the Mattermost Operator finds nothing to change.
func TestClusterInstallationRelease(t *testing.T) {
	t.Parallel()
	for _, oracle := range []string{"ci-blue", "ci-canary", "ci-managed", "ci-lb", "mig-full"} {
		t.Run(oracle, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), admin(t)
			left := leaveIn(t, c, ns, olderOracle(oracle), "want.yaml")
			name, before := types.NamespacedName{Namespace: ns, Name: "mm"}, workload(t, c, ns)
			audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
			from, err := audit.Mark(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			start(t, ns, user, manager.Hooks{})
			stableOlder(t, c, name)
			taken(t, c, left)
			code, out, problems := command(t, "release", "clusterinstallation/mm", "-n", ns, "--kubeconfig", clustertest.Kubeconfig())
			if code != 0 || !strings.Contains(out, "ClusterInstallation "+ns+"/mm released") {
				t.Errorf("exit code %d, %s %s", code, out, problems)
			}
			for _, object := range left {
				handedBack(t, c, object)
				if object.GetKind() != "Secret" {
					nothingToDo(t, c, object, olderOracle(oracle))
				}
			}
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			undeleted(t, audit, from, user)

			// And over again.
			ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
			released := ci.DeepCopy()
			ci.Annotations = nil
			if err := c.Patch(t.Context(), ci, client.MergeFrom(released)); err != nil {
				t.Fatal(err)
			}
			taken(t, c, left)
			stableOlder(t, c, name)
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter it was taken over again:\n%s", before, after)
			}
		})
	}
}

func olderOracle(name string) string {
	return filepath.Join("..", "..", "internal", "clusterinstallation", "testdata", "oracles", name)
}

// TestLeftCanaryIsRemoved: the Mattermost Operator leaves it behind when it is turned off.
func TestLeftCanaryIsRemoved(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), admin(t)
	leaveIn(t, c, ns, olderOracle("edit-ci-canary-off"), "left.yaml")
	name := types.NamespacedName{Namespace: ns, Name: "mm"}
	pods := get(t, c, name, &appsv1.Deployment{})
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	stableOlder(t, c, name)
	for _, part := range []client.Object{&corev1.Service{}, &networkingv1.Ingress{}, &appsv1.Deployment{}} {
		gone(t, c, sibling(name, "-canary"), part)
	}
	now := get(t, c, name, &appsv1.Deployment{})
	if diff := cmp.Diff(pods.Spec, now.Spec); diff != "" || now.UID != pods.UID {
		t.Errorf("the installation's own Deployment was changed:\n%s", diff)
	}
}

// olderScenarios are changes, with at least so many writes.
var olderScenarios = map[string]struct {
	before, change func(*v1alpha1.ClusterInstallationSpec)
	writes         int
}{
	"create":         {nil, nil, 9},
	"blue-green on":  {func(*v1alpha1.ClusterInstallationSpec) {}, blueGreen("blue"), 9},
	"switch":         {blueGreen("blue"), func(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen.ProductionDeployment = "green" }, 2},
	"blue-green off": {blueGreen("blue"), noBlueGreen, 9},
}

// TestOlderCrashAfterEveryWrite kills the controller after each of its writes and starts
// another one: the end is the same as without a crash.
func TestOlderCrashAfterEveryWrite(t *testing.T) {
	t.Parallel()
	for title, s := range olderScenarios {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			want := playOlder(t, s.before, s.change, 0)
			for n := 1; n <= s.writes; n++ {
				t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
					t.Parallel()
					if diff := cmp.Diff(want, playOlder(t, s.before, s.change, n)); diff != "" {
						t.Errorf("end state (-without +with crash):\n%s", diff)
					}
				})
			}
		})
	}
}

// playOlder returns the end state of a change, or of the making, during which the
// controller is killed after the n-th write; 0 is never.
func playOlder(t *testing.T, before, change func(*v1alpha1.ClusterInstallationSpec), n int) string {
	t.Helper()
	ns, c := namespace(t), admin(t)
	user, name := grant(t, ns, shipped(t).Rules), types.NamespacedName{Namespace: ns, Name: "chat"}
	do := func() { createOlder(t, c, ns, name.Name) }
	if before != nil {
		w := start(t, ns, user, manager.Hooks{})
		do()
		stableOlder(t, c, name)
		editOlder(t, c, name, before)
		stableOlder(t, c, name)
		w.stop(t)
		do = func() { editOlder(t, c, name, change) }
	}
	if n > 0 {
		crash(t, ns, user, n, do)
		start(t, ns, user, manager.Hooks{})
	} else {
		start(t, ns, user, manager.Hooks{})
		do()
	}
	ci := stableOlder(t, c, name)
	// The last removals come after it has become stable.
	wanted := []string{"chat"}
	if ci.Spec.BlueGreen.Enable {
		wanted = []string{"chat-blue", "chat-green"}
	}
	eventually(t, func(ctx context.Context) (string, error) {
		var all appsv1.DeploymentList
		err := c.List(ctx, &all, client.InNamespace(ns))
		var names []string
		for _, d := range all.Items {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, wanted) {
			return fmt.Sprintf("the Deployments %v, there are %v", wanted, names), err
		}
		return "", err
	})
	ci = stableOlder(t, c, name)
	return olderWorld(t, c, ci)
}

// olderWorld is what there is in the end.
func olderWorld(t *testing.T, c client.Client, ci *v1alpha1.ClusterInstallation) string {
	t.Helper()
	lines := []string{fmt.Sprintf("%s %s %s %s %s", ci.Status.State, ci.Status.Version, ci.Status.Endpoint, ci.Status.BlueName, ci.Status.GreenName)}
	for _, item := range ci.Status.Inventory {
		lines = append(lines, "recorded "+item.Kind+"/"+item.Name)
	}
	for _, suffix := range []string{"", "-blue", "-green"} {
		name := sibling(client.ObjectKeyFromObject(ci), suffix)
		var service corev1.Service
		var d appsv1.Deployment
		if err := c.Get(t.Context(), name, &service); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), name, &d); err == nil {
			lines = append(lines, fmt.Sprintf("%s runs %s, selected by %v", name.Name, d.Spec.Template.Spec.Containers[0].Image, d.Spec.Selector.MatchLabels))
		} else if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s sends to %v", name.Name, service.Spec.Selector))
	}
	return strings.Join(lines, "\n")
}
