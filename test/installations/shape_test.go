package installations

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// TestShapes: a new installation has the standard shape; the strict one is chosen,
// and left, by annotation.
func TestShapes(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	w := start(t, ns, user, manager.Hooks{})
	name := create(t, c, ns, "chat")
	if mm := stable(t, c, name); mm.Status.Shape != v1beta1.ShapeStandard {
		t.Errorf("a new installation has the shape %q", mm.Status.Shape)
	}
	address := get(t, c, name, &corev1.Service{}).Spec
	if address.ClusterIP == corev1.ClusterIPNone || address.PublishNotReadyAddresses {
		t.Errorf("Service: %+v", address)
	}
	if each := get(t, c, sibling(name, "-headless"), &corev1.Service{}).Spec; each.ClusterIP != corev1.ClusterIPNone || !each.PublishNotReadyAddresses {
		t.Errorf("Service for single pods: %+v", each)
	}
	if b := get(t, c, name, &policyv1.PodDisruptionBudget{}).Spec; *b.MaxUnavailable != intstr.FromInt32(1) {
		t.Errorf("budget: %+v", b)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		var budget policyv1.PodDisruptionBudget
		err := c.Get(ctx, name, &budget)
		if budget.Status.ExpectedPods != 2 || budget.Status.DisruptionsAllowed != 1 {
			return fmt.Sprintf("the budget to count both pods: %+v", budget.Status), err
		}
		return "", err
	})

	choose(t, c, name, v1beta1.ShapeStrict)
	if s := get(t, c, name, &corev1.Service{}).Spec; s.ClusterIP != corev1.ClusterIPNone || !s.PublishNotReadyAddresses {
		t.Errorf("Service of the strict shape: %+v", s)
	}
	gone(t, c, sibling(name, "-headless"), &corev1.Service{})
	gone(t, c, name, &policyv1.PodDisruptionBudget{})
	if d := get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec; d.Containers[0].Lifecycle != nil || d.Containers[0].StartupProbe != nil || len(d.TopologySpreadConstraints) > 0 || *d.TerminationGracePeriodSeconds != 30 {
		t.Errorf("pods of the strict shape: %+v", d)
	}

	// Without the annotation it stays what it is.
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Annotations = nil })
	w.stop(t)
	start(t, ns, user, manager.Hooks{})
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.ResourceLabels = map[string]string{"example.com/team": "a"} })
	if mm := stable(t, c, name); mm.Status.Shape != v1beta1.ShapeStrict {
		t.Errorf("the shape is %q without the annotation, want it to stay", mm.Status.Shape)
	}
	choose(t, c, name, v1beta1.ShapeStandard)
	if s := get(t, c, name, &corev1.Service{}).Spec; s.ClusterIP == corev1.ClusterIPNone {
		t.Errorf("Service: %+v", s)
	}
}

func choose(t *testing.T, c client.Client, name types.NamespacedName, shape v1beta1.Shape) {
	t.Helper()
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.ShapeAnnotation: string(shape)}
	})
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		err := c.Get(ctx, name, &mm)
		if mm.Status.Shape != shape {
			return fmt.Sprintf("the shape %s; it is %s", shape, mm.Status.Shape), err
		}
		return "", err
	})
	stable(t, c, name)
}

// TestNewOnesAreStrict where the configuration says so.
func TestNewOnesAreStrict(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	cfg := confined(ns)
	cfg.Installations.Shape = string(v1beta1.ShapeStrict)
	(&windlass{}).start(t, cfg, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	if mm := stable(t, c, name); mm.Status.Shape != v1beta1.ShapeStrict {
		t.Errorf("the shape is %q", mm.Status.Shape)
	}
	gone(t, c, name, &policyv1.PodDisruptionBudget{})
}

// TestBudgetOfSomebodyElse: while there is one that counts the pods there is none of
// ours, and a pod can be evicted at all times.
func TestBudgetOfSomebodyElse(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	get(t, c, name, &policyv1.PodDisruptionBudget{})

	theirs := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "theirs"}}
	theirs.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "mattermost"}}
	theirs.Spec.MinAvailable = new(intstr.FromInt32(1))
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	gone(t, c, name, &policyv1.PodDisruptionBudget{})
	stable(t, c, name)
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(ns), client.MatchingLabels{"app": "mattermost"}); err != nil || len(pods.Items) != 2 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.SubResource("eviction").Create(ctx, &pods.Items[0], &policyv1.Eviction{})
		if err != nil {
			return fmt.Sprintf("an eviction, of which the API server says: %v", err), nil // The budget is not counted yet.
		}
		return "", nil
	})

	before := theirs.DeepCopy()
	theirs.Spec.Selector.MatchLabels["app"] = "other"
	if err := c.Patch(t.Context(), theirs, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, name, &policyv1.PodDisruptionBudget{}); client.IgnoreNotFound(err) != nil || err != nil {
			return "the budget of ours to be back", client.IgnoreNotFound(err)
		}
		return "", nil
	})
	stable(t, c, name)
}

// TestRestrictedNamespace runs installations, with every check and store that has
// containers of its own, where Kubernetes lets in nothing but restricted pods.
func TestRestrictedNamespace(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	restricted := get(t, c, types.NamespacedName{Name: ns}, &corev1.Namespace{})
	before := restricted.DeepCopy()
	if restricted.Labels == nil {
		restricted.Labels = map[string]string{}
	}
	restricted.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if err := c.Patch(t.Context(), restricted, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	check := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "checked"}, StringData: map[string]string{
		"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm", "DB_CONNECTION_CHECK_URL": "postgres://db.example.com/mm",
	}}
	if err := c.Create(t.Context(), check); err != nil {
		t.Fatal(err)
	}
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Database.External.Secret = "checked"
		mm.Spec.JobServer = &v1beta1.JobServer{DedicatedJobServer: true}
	})
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" }) // With a migration.
	stable(t, c, name)
	stable(t, c, managed(t, c, ns, "stores", ""))
}
