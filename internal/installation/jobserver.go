package installation

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

const (
	jobServerContainer = "mattermost-jobserver"
	// jobServerLabel is the value of the app label of its pods, so that no
	// Service selects them.
	jobServerLabel = "mattermost-jobserver"
	// jobServerReplicas is how many there are: two would run each job twice. It
	// stays while the installation hibernates, as the Mattermost Operator has it.
	jobServerReplicas = 1
)

// dedicatedJobServer says that a Deployment of its own runs the jobs.
func dedicatedJobServer(mm *v1beta1.Mattermost) bool {
	return mm.Spec.JobServer != nil && mm.Spec.JobServer.DedicatedJobServer
}

// JobServerName is that of the Deployment for jobs.
func JobServerName(name string) string { return name + "-jobserver" }

// jobServerSelector holds every label of the pods, which is how the Mattermost
// Operator made it. It cannot be changed, so that a change of the user's labels
// means another Deployment.
func jobServerSelector(mm *v1beta1.Mattermost) map[string]string {
	all := maps.Clone(podLabels(mm, nil))
	all[appLabel] = jobServerLabel
	return all
}

// jobServer runs the jobs: the pods' main container with another command,
// without what serves requests, and without sidecars.
func jobServer(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) (*appsv1ac.DeploymentApplyConfiguration, error) {
	c := container(mm, secrets, options)
	c.Name, c.Command = jobServerContainer, []string{"mattermost", "jobserver"}
	c.Ports, c.LivenessProbe, c.ReadinessProbe = nil, nil, nil
	pods, err := podSpec(mm, secrets, []corev1.Container{c}, options)
	if err != nil {
		return nil, err
	}
	template := corev1ac.PodTemplateSpec().WithLabels(jobServerSelector(mm)).WithSpec(pods)
	if annotations := podAnnotations(mm, options); len(annotations) > 0 {
		template.WithAnnotations(annotations)
	}
	return appsv1ac.Deployment(JobServerName(mm.Name), mm.Namespace).
		WithLabels(labels(mm)).
		WithOwnerReferences(owner(mm)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(jobServerReplicas).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(jobServerSelector(mm))).
			WithStrategy(strategy(mm)).
			WithRevisionHistoryLimit(historyLimit(mm)).
			WithTemplate(template)), nil
}
