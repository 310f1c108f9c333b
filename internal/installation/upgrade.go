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

// upgrade is where an installation stands between two images. What has to be done
// before, such as a backup, and then the migration of the database by a Job of the
// new image, run while the old pods serve; only when both have succeeded do the
// pods follow.
type upgrade struct {
	// Needed says that the live pods run another image than the wanted one, and
	// that a Job has to succeed in between.
	Needed bool
	// From and To are the images.
	From, To string
	// Jobs have to succeed, one after the other.
	Jobs []upgradeJob
	// migrating says that the Job that migrates the database exists.
	migrating bool
	// elsewhere says that a Job of another set's upgrade runs: two migrations of one
	// database must not run side by side.
	elsewhere bool
	// Missing names the CronJob that the first of them is made of, if there is none.
	Missing string
	// Stale are Jobs of upgrades that are no longer wanted; they end before a
	// new one may start, because two migrations must not run side by side.
	Stale []batchv1.Job
}

// upgradeJob is a Job that an upgrade needs, and it itself, if it exists.
type upgradeJob struct {
	// Intent is what is applied.
	Intent *unstructured.Unstructured
	Live   *batchv1.Job
	// Task says what it does, for people.
	Task                       string
	Running, Failed, Succeeded string
}

func (j upgradeJob) done() bool   { return j.Live != nil && jobIs(j.Live, batchv1.JobComplete) }
func (j upgradeJob) failed() bool { return j.Live != nil && jobIs(j.Live, batchv1.JobFailed) }

// current is the first Job that has not succeeded, or the last one.
func (u upgrade) current() upgradeJob {
	i := slices.IndexFunc(u.Jobs, func(j upgradeJob) bool { return !j.done() })
	if i < 0 {
		return u.Jobs[len(u.Jobs)-1]
	}
	return u.Jobs[i]
}

// Done says that the pods may follow.
func (u upgrade) Done() bool { return !u.Needed || u.Missing == "" && u.current().done() }

// Failed says that a Job has given up, or cannot be made.
func (u upgrade) Failed() bool { return u.Needed && (u.Missing != "" || u.current().failed()) }

// assessUpgrade compares the live Deployment with the wanted one.
func assessUpgrade(s Snapshot, mm *v1beta1.Mattermost, deployment *unstructured.Unstructured) (upgrade, error) {
	var u upgrade
	if deployment != nil {
		u.To = intendedImage(deployment)
	}
	if deployment != nil && s.Deployment != nil {
		u.From = mainImage(s.Deployment)
	}
	u.elsewhere = s.Elsewhere
	// On the way back the database stays as it is: it was migrated for the newer one.
	if u.From != "" && u.From != u.To && rolledBack(Default(s.Mattermost)).From != u.From {
		if err := u.needs(s, mm, deployment); err != nil {
			return u, err
		}
	}
	for i := range s.Jobs {
		job := &s.Jobs[i]
		if !isUpgradeJob(s.Name(), job) {
			continue
		}
		at := slices.IndexFunc(u.Jobs, func(j upgradeJob) bool { return j.Intent.GetName() == job.Name })
		switch {
		case at >= 0 && job.DeletionTimestamp == nil:
			u.Jobs[at].Live = job
		case u.migrating && job.Labels[appLabel] == preUpgradeLabel:
			// What had to be done before was done; it is removed at the end.
		default:
			u.Stale = append(u.Stale, *job)
		}
	}
	slices.SortFunc(u.Stale, func(a, b batchv1.Job) int { return cmp.Compare(a.Name, b.Name) })
	return u, nil
}

// needs lists the Jobs of the upgrade. Once the database is being migrated, what had
// to be done before is over, whatever becomes of its Job or its template: a backup
// of a half migrated database would take the place of the good one.
func (u *upgrade) needs(s Snapshot, mm *v1beta1.Mattermost, deployment *unstructured.Unstructured) error {
	migrate, err := UpdateJob(mm, deployment)
	if err != nil {
		return err
	}
	u.migrating = !updateJobDisabled(mm) && slices.ContainsFunc(s.Jobs, func(j batchv1.Job) bool {
		return j.Name == migrate.GetName() && j.DeletionTimestamp == nil
	})
	if name := PreUpgrade(mm); name != "" && !u.migrating {
		u.Needed = true
		if s.PreUpgrade == nil {
			u.Missing = name
			return nil
		}
		job, err := preUpgradeJob(mm, s.PreUpgrade, u.To)
		if err != nil {
			return err
		}
		u.Jobs = append(u.Jobs, upgradeJob{
			Intent: job, Task: "has to succeed before the upgrade to",
			Running: v1beta1.ReasonPreUpgradeRunning, Failed: v1beta1.ReasonPreUpgradeFailed, Succeeded: v1beta1.ReasonUpdateJobSucceeded,
		})
	}
	if !updateJobDisabled(mm) {
		u.Needed = true
		u.Jobs = append(u.Jobs, upgradeJob{
			Intent: migrate, Task: "migrates the database for",
			Running: v1beta1.ReasonUpdateJobRunning, Failed: v1beta1.ReasonUpdateJobFailed, Succeeded: v1beta1.ReasonUpdateJobSucceeded,
		})
	}
	return nil
}

// note says where an upgrade stands; ok is false when there is none.
func (u upgrade) note(subject string) (note plan.Note, ok bool) {
	note = plan.Note{Subject: subject}
	if !u.Needed {
		return note, false
	}
	if u.Missing != "" {
		note.Reason = v1beta1.ReasonPreUpgradeNotFound
		note.Message = fmt.Sprintf("There is no CronJob %q, of which a Job has to succeed before the upgrade to %s; %s keeps serving. Create it, or remove spec.updateJob.preUpgrade; the upgrade goes on by itself then.", u.Missing, u.To, u.From)
		return note, true
	}
	job := u.current()
	name := job.Intent.GetName()
	switch {
	case job.failed():
		note.Reason = job.Failed
		note.Message = fmt.Sprintf("Job %s, which %s %s, failed (%s); %s keeps serving. Read the logs of its pods; then delete the Job to try again, or set the version back.",
			name, job.Task, u.To, failure(job.Live), u.From)
	case job.done():
		note.Reason = job.Succeeded
		note.Message = fmt.Sprintf("Job %s, which %s %s, succeeded; %s replaces %s.", name, job.Task, u.To, u.To, u.From)
	case len(u.Stale) > 0:
		note.Reason = job.Running
		note.Message = fmt.Sprintf("Job %s of another upgrade has to end before the one to %s begins; %s keeps serving.", u.Stale[0].Name, u.To, u.From)
	default:
		note.Reason = job.Running
		note.Message = fmt.Sprintf("Job %s, which %s %s, is not done yet; %s keeps serving until it is.", name, job.Task, u.To, u.From)
	}
	return note, true
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
	if !u.Needed || u.Missing != "" || len(u.Stale) > 0 || u.elsewhere {
		return steps
	}
	if job := u.current(); job.Live == nil {
		steps = append(steps, plan.Step{Action: plan.Apply{Object: job.Intent}, Why: fmt.Sprintf("it %s %s, which replaces %s", job.Task, u.To, u.From)})
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
