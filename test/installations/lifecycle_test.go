package installations

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	installationac "windlass.dev/api/installation/v1beta1/applyconfiguration/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// parts are empty objects of the kinds that an installation consists of.
func parts() []client.Object {
	return []client.Object{
		&corev1.Service{}, &corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		&networkingv1.Ingress{}, &appsv1.Deployment{}, &policyv1.PodDisruptionBudget{},
	}
}

// versions returns the resource versions of an installation and its parts.
func versions(t *testing.T, c client.Client, name types.NamespacedName) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, part := range parts() {
		if err := c.Get(t.Context(), name, part); err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprintf("%T", part)] = part.GetResourceVersion()
	}
	return all
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	start(t, ns, user, manager.Hooks{})
	name := create(t, c, ns, "chat")

	mm := stable(t, c, name)
	if mm.Status.Endpoint != "chat.example.com" || mm.Status.Version != "10.5.2" || mm.Status.UpdatedReplicas != 2 {
		t.Errorf("status: %+v", mm.Status)
	}
	if mm.Spec.Replicas == nil || *mm.Spec.Replicas != 2 || mm.Spec.Image == "" {
		t.Errorf("defaults were not written back: %+v", mm.Spec)
	}

	t.Run("a look at what is as it should be costs nothing", func(t *testing.T) {
		audit := clustertest.Audit(t)
		before := versions(t, c, name)
		from := mark(t, audit)
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Labels = map[string]string{"example.com/look": "again"} })
		// A change that does lead to a write comes after the look that must not.
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.ServiceAnnotations = map[string]string{"example.com/a": "b"} })
		stable(t, c, name)
		requests := since(t, audit, from, user)
		var made []string
		for _, r := range requests {
			// Events are sent in their own time, and the lease is renewed.
			if r.Resource != "leases" && r.Resource != "events" {
				made = append(made, r.Verb+" "+r.Resource)
			}
		}
		slices.Sort(made)
		if diff := cmp.Diff([]string{"patch mattermosts/status", "patch services"}, slices.Compact(made)); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		for kind, version := range versions(t, c, name) {
			// Kubernetes counts for a budget in its own time.
			if kind != "*v1.Service" && kind != "*v1.PodDisruptionBudget" && before[kind] != version {
				t.Errorf("%s was written", kind)
			}
		}
	})

	t.Run("an upgrade migrates first", func(t *testing.T) {
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
		mm := stable(t, c, name)
		if mm.Status.Version != "10.6.0" || !meta.IsStatusConditionTrue(mm.Status.Conditions, v1beta1.ConditionUpdateJobSucceeded) {
			t.Errorf("status: %+v", mm.Status)
		}
		eventually(t, func(ctx context.Context) (string, error) {
			var jobs batchv1.JobList
			err := c.List(ctx, &jobs, client.InNamespace(ns))
			if len(jobs.Items) > 0 {
				return "the update Job to be removed", err
			}
			return "", err
		})
	})

	t.Run("what is no longer wanted is removed", func(t *testing.T) {
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Enabled = false })
		stable(t, c, name)
		if err := c.Get(t.Context(), name, &networkingv1.Ingress{}); !apierrors.IsNotFound(err) {
			t.Errorf("the Ingress is still there: %v", err)
		}
	})

	t.Run("hibernation", func(t *testing.T) {
		edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Replicas = new(int32(0)) })
		mm := stable(t, c, name)
		if ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady); ready.Reason != v1beta1.ReasonHibernated || mm.Status.Replicas != 0 {
			t.Errorf("status: %+v", mm.Status)
		}
	})

	t.Run("deletion leaves nothing", func(t *testing.T) {
		if err := c.Delete(t.Context(), mm); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) (string, error) { return nothingLeft(ctx, c, name) })
	})
}

func TestForeignFieldsSurvive(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)

	var d appsv1.Deployment
	if err := c.Get(t.Context(), name, &d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy()
	d.Labels["example.com/team"] = "a"
	d.Annotations["example.com/note"] = "b"
	d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	d.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(60))
	// And one that is ours.
	d.Spec.Template.Spec.Containers[0].Image = "example.com/other:1"
	if err := c.Patch(t.Context(), &d, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, &d)
		if !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":10.5.2") {
			return "our image to come back", err
		}
		return "", err
	})
	stable(t, c, name)
	if err := c.Get(t.Context(), name, &d); err != nil {
		t.Fatal(err)
	}
	if d.Labels["example.com/team"] != "a" || d.Annotations["example.com/note"] != "b" ||
		d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" || *d.Spec.Template.Spec.TerminationGracePeriodSeconds != 60 {
		t.Errorf("foreign fields were lost: %+v", d)
	}
}

func TestAutoscalerKeepsReplicas(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)

	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas: 10, MinReplicas: new(int32(1)),
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
		},
	}
	if err := c.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, &d)
		for _, entry := range d.ManagedFields {
			if entry.Manager == "windlass-installations" && strings.Contains(entry.FieldsV1.GetRawString(), "f:replicas") {
				return "us to give up the replicas", err
			}
		}
		return "", err
	})
	if *d.Spec.Replicas != 2 {
		t.Fatalf("giving up the replicas changed them to %d", *d.Spec.Replicas)
	}
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 5}}
	if err := c.SubResource("scale").Update(t.Context(), &d, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.MattermostEnv = []corev1.EnvVar{{Name: "EXAMPLE", Value: "1"}}
	})
	mm := stable(t, c, name)
	if mm.Status.Replicas != 5 || mm.Status.UpdatedReplicas != 5 {
		t.Errorf("status says %d of %d pods, want 5 of 5", mm.Status.UpdatedReplicas, mm.Status.Replicas)
	}
}

func TestForeignObjectIsLeftAlone(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "chat"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	name := create(t, c, ns, "chat")
	var mm v1beta1.Mattermost
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, &mm)
		if stalled := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionStalled); stalled == nil || stalled.Reason != v1beta1.ReasonNotOwned || !strings.Contains(stalled.Message, "Service/chat") {
			return "the status to name the foreign Service", err
		}
		return "", err
	})
	if err := c.Get(t.Context(), name, &appsv1.Deployment{}); err != nil {
		t.Errorf("what does not need the Service was held up: %v", err)
	}
	if err := c.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	stable(t, c, name)
}

func TestFailedMigrationKeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Version = "10.6.0"
		mm.Spec.UpdateJob = &v1beta1.UpdateJob{ExtraAnnotations: map[string]string{"simulated.windlass.dev/outcome": "never"}}
	})
	// Ten retries with back-off take minutes; the Job controller's own verdict is
	// what counts, so it is spoken for it.
	var job batchv1.Job
	eventually(t, func(ctx context.Context) (string, error) {
		var jobs batchv1.JobList
		err := c.List(ctx, &jobs, client.InNamespace(ns))
		if len(jobs.Items) != 1 || jobs.Items[0].Status.Active == 0 {
			return "the update Job to run", err
		}
		job = jobs.Items[0]
		return "", err
	})
	before := job.DeepCopy()
	job.Spec.ActiveDeadlineSeconds = new(int64(1))
	if err := c.Patch(t.Context(), &job, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	var mm v1beta1.Mattermost
	eventually(t, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, name, &mm)
		if failed := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionUpdateJobSucceeded); failed == nil || failed.Reason != v1beta1.ReasonUpdateJobFailed {
			return "the status to say that the migration failed", err
		}
		return "", err
	})
	if !strings.Contains(mm.Status.Error, "DeadlineExceeded") || mm.Status.Version != "10.5.2" {
		t.Errorf("status: %+v", mm.Status)
	}
	var d appsv1.Deployment
	if err := c.Get(t.Context(), name, &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":10.5.2") || d.Status.AvailableReplicas != 2 {
		t.Errorf("the old version does not serve: %+v", d.Status)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.UpdateJob = nil })
	if mm := stable(t, c, name); mm.Status.Version != "10.6.0" {
		t.Errorf("a corrected Job did not take the place of the failed one: %+v", mm.Status)
	}
}

// TestTypedApply makes an installation as a Go client would, with the generated
// apply configurations.
func TestTypedApply(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	secrets(t, c, ns)
	apply := func(replicas int32) {
		t.Helper()
		intent := installationac.Mattermost("chat", ns).WithSpec(installationac.MattermostSpec().
			WithVersion("10.5.2").WithReplicas(replicas).
			WithIngress(installationac.Ingress().WithEnabled(false)).
			WithDatabase(installationac.Database().WithExternal(installationac.ExternalDatabase().WithSecret("db"))).
			WithFileStore(installationac.FileStore().WithExternal(installationac.ExternalFileStore().WithURL("s3.example.com").WithBucket("b").WithSecret("fs"))))
		if err := c.Apply(t.Context(), intent, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
	}
	name := types.NamespacedName{Namespace: ns, Name: "chat"}
	apply(1)
	stable(t, c, name)
	apply(2)
	if mm := stable(t, c, name); mm.Status.UpdatedReplicas != 2 {
		t.Errorf("status: %+v", mm.Status)
	}
}
