package installation

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// upgrade is where an installation stands between two images. The database is
// migrated by a Job of the new image while the old pods serve; only when it has
// completed do the pods follow.
type upgrade struct {
	// Needed says that the live pods run another image than the wanted one, and
	// that a Job is to migrate the database in between.
	Needed bool
	// From and To are the images.
	From, To string
	// Job is the Job that this upgrade needs, and Live is it, if it exists.
	Job  *unstructured.Unstructured
	Live *batchv1.Job
	// Stale are Jobs of upgrades that are no longer wanted; they end before a
	// new one may start, because two migrations must not run side by side.
	Stale []batchv1.Job
}

// Done says that the pods may follow.
func (u upgrade) Done() bool { return !u.Needed || u.Live != nil && jobIs(u.Live, batchv1.JobComplete) }

// Failed says that the Job has given up.
func (u upgrade) Failed() bool { return u.Needed && u.Live != nil && jobIs(u.Live, batchv1.JobFailed) }

// assessUpgrade compares the live Deployment with the wanted one.
func assessUpgrade(s Snapshot, mm *v1beta1.Mattermost, deployment *unstructured.Unstructured) (upgrade, error) {
	u := upgrade{To: intendedImage(deployment)}
	if s.Deployment != nil {
		u.From = mainImage(s.Deployment)
	}
	if u.From != "" && u.From != u.To && !updateJobDisabled(mm) {
		job, err := UpdateJob(mm, deployment)
		if err != nil {
			return u, err
		}
		u.Needed, u.Job = true, job
	}
	for i := range s.Jobs {
		job := &s.Jobs[i]
		switch {
		case !isUpdateJob(mm, job):
		case u.Needed && job.Name == u.Job.GetName() && job.DeletionTimestamp == nil:
			u.Live = job
		default:
			u.Stale = append(u.Stale, *job)
		}
	}
	slices.SortFunc(u.Stale, func(a, b batchv1.Job) int { return cmp.Compare(a.Name, b.Name) })
	return u, nil
}

// steps are those that bring the upgrade forward.
func (u upgrade) steps() []plan.Step {
	var steps []plan.Step
	for _, job := range u.Stale {
		if job.DeletionTimestamp != nil {
			continue
		}
		steps = append(steps, plan.Step{
			// In the foreground: the Job stays until its pods are gone.
			Action: plan.Delete{Ref: plan.RefOf(jobKind, job.Namespace, job.Name), UID: job.UID, Foreground: true},
			Why:    "belongs to an upgrade that is over or no longer wanted",
		})
	}
	if u.Needed && u.Live == nil && len(u.Stale) == 0 {
		steps = append(steps, plan.Step{Action: plan.Apply{Object: u.Job}, Why: fmt.Sprintf("the database has to be migrated before %s replaces %s", u.To, u.From)})
	}
	return steps
}

func jobIs(job *batchv1.Job, condition batchv1.JobConditionType) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == condition && c.Status == corev1.ConditionTrue
	})
}

// failure is what Kubernetes says about a Job that gave up.
func failure(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

func mainImage(deployment *appsv1.Deployment) string {
	for _, c := range deployment.Spec.Template.Spec.Containers {
		if c.Name == mainContainer {
			return c.Image
		}
	}
	return ""
}

func intendedImage(deployment *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok && container["name"] == mainContainer {
			image, _ := container["image"].(string)
			return image
		}
	}
	return ""
}

func updateJobDisabled(mm *v1beta1.Mattermost) bool {
	return mm.Spec.UpdateJob != nil && mm.Spec.UpdateJob.Disabled
}
