package installation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"windlass.dev/api/installation/v1beta1"
)

const (
	// updateJobLabel is the value of the app label of a Job's pods, so that no
	// Service selects them.
	updateJobLabel = "mattermost-update-check"
	// preUpgradeLabel is that of a Job that runs before.
	preUpgradeLabel = "mattermost-pre-upgrade"
	// updateJobRetries is how often the pod of a Job is tried again.
	updateJobRetries = 10
	// updateJobDeadline bounds a migration, in seconds. The largest known ones
	// take hours.
	updateJobDeadline = 12 * 60 * 60
	// maxJobName leaves room for what a Job adds to its pods' names.
	maxJobName = 52
)

// UpdateJob returns the Job that migrates the database for the image in a
// Deployment that Render made. It runs the pods' main container and init
// containers with other arguments, and no sidecars, which would never end. Its
// name holds a digest of its pods, so that another Job has another name.
func UpdateJob(mm *v1beta1.Mattermost, deployment *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	content, _, err := unstructured.NestedMap(deployment.Object, "spec", "template", "spec")
	if err != nil {
		return nil, fmt.Errorf("render update Job: %w", err)
	}
	var pods corev1ac.PodSpecApplyConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &pods); err != nil {
		return nil, fmt.Errorf("render update Job: %w", err)
	}
	for _, c := range pods.Containers {
		if *c.Name == mainContainer {
			c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle, c.Ports = nil, nil, nil, nil, nil
			c.Args = []string{"db", "migrate"}
			pods.Containers = []corev1ac.ContainerApplyConfiguration{c}
			break
		}
	}
	pods.TopologySpreadConstraints = nil // It is one pod, and none of those that serve.
	pods.WithRestartPolicy(corev1.RestartPolicyNever)
	template := corev1ac.PodTemplateSpec().WithLabels(updateJobLabels(mm)).WithSpec(&pods)
	if u := mm.Spec.UpdateJob; u != nil && len(u.ExtraAnnotations) > 0 {
		template.WithAnnotations(u.ExtraAnnotations)
	}
	name, err := upgradeJobName(deployment.GetName(), "-update-", template)
	if err != nil {
		return nil, err
	}
	job := batchv1ac.Job(name, mm.Namespace).
		WithLabels(map[string]string{appLabel: updateJobLabel, installationLabel: deployment.GetName()}).
		WithOwnerReferences(owner(mm)).
		WithSpec(batchv1ac.JobSpec().WithBackoffLimit(updateJobRetries).WithActiveDeadlineSeconds(updateJobDeadline).WithTemplate(template))
	return toUnstructured(job)
}

func updateJobLabels(mm *v1beta1.Mattermost) map[string]string {
	all := map[string]string{}
	if mm.Spec.UpdateJob != nil {
		maps.Copy(all, mm.Spec.UpdateJob.ExtraLabels)
	}
	all[appLabel] = updateJobLabel
	return all
}

// upgradeJobName holds a digest of what the Job does.
func upgradeJobName(of, infix string, does any) (string, error) {
	content, err := json.Marshal(does)
	if err != nil {
		return "", fmt.Errorf("render Job: %w", err)
	}
	// The name counts too, because a long one is cut off.
	sum := sha256.Sum256(append([]byte(of+"\x00"), content...))
	suffix := infix + hex.EncodeToString(sum[:5])
	name := of
	if len(name) > maxJobName-len(suffix) {
		name = strings.TrimRight(name[:maxJobName-len(suffix)], "-.")
	}
	return name + suffix, nil
}

// PreUpgrade names the CronJob of which a Job has to succeed before an upgrade;
// empty for none.
func PreUpgrade(mm *v1beta1.Mattermost) string {
	if mm.Spec.UpdateJob == nil || mm.Spec.UpdateJob.PreUpgrade == nil {
		return ""
	}
	return mm.Spec.UpdateJob.PreUpgrade.CronJob
}

// preUpgradeJob is made of the CronJob's template, once for each image.
func preUpgradeJob(mm *v1beta1.Mattermost, from *batchv1.CronJob, image string) (*unstructured.Unstructured, error) {
	spec := batchv1ac.JobSpec()
	if err := recast(from.Spec.JobTemplate.Spec, spec); err != nil {
		return nil, fmt.Errorf("render pre-upgrade Job: %w", err)
	}
	// It has to be there until the database is being migrated, and to run at once.
	spec.TTLSecondsAfterFinished, spec.Suspend = nil, nil
	name, err := upgradeJobName(mm.Name, "-pre-upgrade-", []any{image, spec})
	if err != nil {
		return nil, err
	}
	all := maps.Clone(from.Spec.JobTemplate.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, map[string]string{appLabel: preUpgradeLabel, installationLabel: mm.Name})
	job := batchv1ac.Job(name, mm.Namespace).WithLabels(all).WithAnnotations(from.Spec.JobTemplate.Annotations).WithOwnerReferences(owner(mm)).WithSpec(spec)
	return toUnstructured(job)
}

// isUpgradeJob tells our Jobs from others that the installation controls.
func isUpgradeJob(of string, job *batchv1.Job) bool { return UpgradeJobOf(job) == of }

// UpgradeJobOf names the installation, or the set of its pods, that a Job upgrades;
// empty for none.
func UpgradeJobOf(job *batchv1.Job) string {
	if app := job.Labels[appLabel]; app == updateJobLabel || app == preUpgradeLabel {
		return job.Labels[installationLabel]
	}
	return ""
}

// UnfinishedJob reports whether a Job has neither succeeded nor given up.
func UnfinishedJob(job *batchv1.Job) bool {
	return !jobIs(job, batchv1.JobComplete) && !jobIs(job, batchv1.JobFailed)
}
