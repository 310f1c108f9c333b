package installations

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// annotate sets an annotation of the resource, or takes it away when it is empty.
func annotate(t testing.TB, c client.Client, name types.NamespacedName, key, value string) {
	t.Helper()
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		if mm.Annotations == nil {
			mm.Annotations = map[string]string{}
		}
		mm.Annotations[key] = value
		if value == "" {
			delete(mm.Annotations, key)
		}
	})
}

// TestPause: what is wanted while an installation is paused waits, says so, and is
// done afterwards.
func TestPause(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	observed := stable(t, c, name).Status.ObservedGeneration
	before := get(t, c, name, &appsv1.Deployment{})

	annotate(t, c, name, v1beta1.PausedAnnotation, "true")
	says(t, c, name, v1beta1.ConditionPaused, v1beta1.ReasonPaused)
	if mm := stable(t, c, name); mm.Status.State != v1beta1.Stable {
		t.Errorf("with nothing to do the state is %s", mm.Status.State)
	}
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.MattermostEnv = []corev1.EnvVar{{Name: "MM_EXAMPLE", Value: "x"}}
	})
	eventually(t, func(ctx context.Context) (string, error) {
		var mm v1beta1.Mattermost
		err := c.Get(ctx, name, &mm)
		if ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady); ready == nil || ready.Reason != v1beta1.ReasonPaused {
			return "the installation to say that something waits", err
		}
		if mm.Status.ObservedGeneration != observed {
			t.Errorf("generation %d counts as observed, although nothing was done about it", mm.Status.ObservedGeneration)
		}
		return "", err
	})
	if now := get(t, c, name, &appsv1.Deployment{}); now.ResourceVersion != before.ResourceVersion {
		t.Error("a paused installation was changed")
	}
	annotate(t, c, name, v1beta1.PausedAnnotation, "")
	mm := stable(t, c, name)
	if meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionPaused) != nil {
		t.Error("it still says that it is paused")
	}
	if now := get(t, c, name, &appsv1.Deployment{}); now.Generation != before.Generation+1 {
		t.Errorf("the Deployment's generation is %d after %d", now.Generation, before.Generation)
	}
}

// TestDeletionProtection: a protected installation cannot be deleted, also not with
// all others of its namespace.
func TestDeletionProtection(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	name := create(t, c, ns, "chat")
	annotate(t, c, name, v1beta1.ProtectedAnnotation, "true")
	eventually(t, func(ctx context.Context) (string, error) {
		// The API server learns of its own policies in a moment.
		err := c.Delete(ctx, example(ns, "chat"), client.DryRunAll)
		if err == nil {
			return "the deletion to be refused", nil
		}
		if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), v1beta1.ProtectedAnnotation) {
			return "", err
		}
		return "", nil
	})
	if err := c.DeleteAllOf(t.Context(), &v1beta1.Mattermost{}, client.InNamespace(ns)); err == nil {
		t.Error("it could be deleted with all others")
	}
	annotate(t, c, name, v1beta1.ProtectedAnnotation, "")
	if err := c.Delete(t.Context(), example(ns, "chat")); err != nil {
		t.Error(err)
	}
}

// TestRotation: a changed credential rolls the pods once, another key of its Secret
// does not, and who opted out keeps them.
func TestRotation(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name, calm := create(t, c, ns, "chat"), create(t, c, ns, "calm")
	stable(t, c, name)
	annotate(t, c, calm, v1beta1.RotationAnnotation, "off")
	stable(t, c, calm)
	before, calmBefore := get(t, c, name, &appsv1.Deployment{}), get(t, c, calm, &appsv1.Deployment{})

	set := func(key, value string) {
		secret := get(t, c, types.NamespacedName{Namespace: ns, Name: "db"}, &corev1.Secret{})
		changed := secret.DeepCopy()
		changed.Data[key] = []byte(value)
		changed.Annotations = map[string]string{"example.com/synced": value}
		if err := c.Patch(t.Context(), changed, client.MergeFrom(secret)); err != nil {
			t.Fatal(err)
		}
	}
	set("unrelated", "example")
	set("DB_CONNECTION_STRING", "postgres://example:other@db.example.com/mm")
	rolled := func(generation int64) {
		eventually(t, func(context.Context) (string, error) {
			if now := get(t, c, name, &appsv1.Deployment{}); now.Generation != generation {
				return "the pods to roll", nil
			}
			return "", nil
		})
		stable(t, c, name)
	}
	rolled(before.Generation + 1)
	for _, value := range get(t, c, name, &appsv1.Deployment{}).Spec.Template.Annotations {
		if strings.Contains(value, "other") {
			t.Error("a credential is in an annotation")
		}
	}
	// Back to the first one: another roll, and no trace left.
	set("DB_CONNECTION_STRING", "postgres://example:example@db.example.com/mm")
	rolled(before.Generation + 2)
	if now := get(t, c, name, &appsv1.Deployment{}); len(now.Spec.Template.Annotations) > 0 {
		t.Errorf("annotations %v", now.Spec.Template.Annotations)
	}
	if now := get(t, c, calm, &appsv1.Deployment{}); now.Generation != calmBefore.Generation {
		t.Error("the pods rolled in spite of the annotation")
	}
}

// TestPreUpgrade: nothing happens before the backup, which waits for its CronJob,
// fails, is tried again, and only then the database is migrated.
func TestPreUpgrade(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	name := create(t, c, ns, "chat")
	stable(t, c, name)
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Spec.Version = "10.6.0"
		mm.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
	})
	says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonPreUpgradeNotFound)

	backup := backup(ns)
	backup.Spec.JobTemplate.Spec.BackoffLimit = new(int32(0))
	backup.Spec.JobTemplate.Spec.Template.Annotations = map[string]string{"simulated.windlass.dev/outcome": "fail"}
	if err := c.Create(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonPreUpgradeFailed)
	for _, job := range jobs(t, c, ns) {
		if job.Labels["app"] != "mattermost-pre-upgrade" {
			t.Errorf("Job %s was made before the backup succeeded", job.Name)
		}
	}
	if image := get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.5.2") {
		t.Errorf("the pods run %s without a backup", image)
	}

	// A corrected template is another Job; the failed one goes.
	corrected := backup.DeepCopy()
	corrected.Spec.JobTemplate.Spec.Template.Annotations = nil
	if err := c.Patch(t.Context(), corrected, client.MergeFrom(backup)); err != nil {
		t.Fatal(err)
	}
	stable(t, c, name)
	if image := get(t, c, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":10.6.0") {
		t.Errorf("the pods run %s", image)
	}
	says(t, c, name, v1beta1.ConditionUpdateJobSucceeded, v1beta1.ReasonUpdateJobSucceeded)
	eventually(t, func(context.Context) (string, error) {
		if left := jobs(t, c, ns); len(left) > 0 {
			return "the Jobs of the upgrade to be gone", nil
		}
		return "", nil
	})
}

// backup is a suspended CronJob, which serves as a template.
func backup(namespace string) *batchv1.CronJob {
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "backup"}}
	c.Spec.Schedule, c.Spec.Suspend = "0 3 * * *", new(true)
	c.Spec.JobTemplate.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "backup", Image: "example.com/backup:1"}},
	}
	return c
}

func jobs(t testing.TB, c client.Client, namespace string) []batchv1.Job {
	t.Helper()
	var list batchv1.JobList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}
