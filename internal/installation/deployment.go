package installation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

// pingPath answers when the server serves.
const pingPath = "/api/v4/system/ping"

// defaultCheckTimeout is how long the builtin database check waits.
const defaultCheckTimeout = 5 * time.Minute

func deployment(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) (*appsv1ac.DeploymentApplyConfiguration, error) {
	name := nameOf(mm, options.Set)
	main := container(mm, secrets, options)
	if !options.strict() {
		main.StartupProbe, main.Lifecycle = startupProbe(main.LivenessProbe), drainFirst()
	}
	containers := append([]corev1.Container{main}, mm.Spec.PodExtensions.SidecarContainers...)
	pods, err := podSpec(mm, secrets, containers, options)
	if err != nil {
		return nil, err
	}
	if !options.strict() {
		pods.WithTerminationGracePeriodSeconds(gracePeriod).WithTopologySpreadConstraints(spread(mm)...)
	}
	template := corev1ac.PodTemplateSpec().WithLabels(podLabels(mm, options.Set)).WithSpec(pods)
	if annotations := podAnnotations(mm, options); len(annotations) > 0 {
		template.WithAnnotations(annotations)
	}
	spec := appsv1ac.DeploymentSpec().
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(selecting(mm, name))).
		WithStrategy(strategy(mm)).
		WithRevisionHistoryLimit(historyLimit(mm)).
		WithTemplate(template)
	if !options.OmitReplicas {
		spec.WithReplicas(*cmp.Or(options.Replicas, new(replicas(mm))))
	}
	return appsv1ac.Deployment(name, mm.Namespace).WithLabels(labelled(mm, name)).WithOwnerReferences(owner(mm)).WithSpec(spec), nil
}

// strategy never has fewer pods than wanted, unless the user asks for all of
// them to stop first.
func strategy(mm *v1beta1.Mattermost) *appsv1ac.DeploymentStrategyApplyConfiguration {
	if t := mm.Spec.DeploymentTemplate; t != nil && t.DeploymentStrategyType == string(appsv1.RecreateDeploymentStrategyType) {
		return appsv1ac.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)
	}
	return appsv1ac.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(appsv1ac.RollingUpdateDeployment().WithMaxSurge(intstr.FromInt32(1)).WithMaxUnavailable(intstr.FromInt32(0)))
}

func historyLimit(mm *v1beta1.Mattermost) int32 {
	if t := mm.Spec.DeploymentTemplate; t != nil && t.RevisionHistoryLimit != nil {
		return *t.RevisionHistoryLimit
	}
	return 5
}

func podSpec(mm *v1beta1.Mattermost, secrets map[string]Secret, containers []corev1.Container, options RenderOptions) (*corev1ac.PodSpecApplyConfiguration, error) {
	spec := corev1.PodSpec{
		ServiceAccountName: mm.Name,
		ImagePullSecrets:   mm.Spec.ImagePullSecrets,
		DNSConfig:          mm.Spec.DNSConfig,
		DNSPolicy:          mm.Spec.DNSPolicy,
		Affinity:           mm.Spec.Scheduling.Affinity,
		NodeSelector:       mm.Spec.Scheduling.NodeSelector,
		Tolerations:        mm.Spec.Scheduling.Tolerations,
		Volumes:            volumes(mm),
		Containers:         containers,
	}
	checks := slices.Concat(databaseChecks(mm, secrets), minioChecks(mm))
	if t := mm.Spec.PodTemplate; t != nil {
		spec.SecurityContext = t.SecurityContext
	}
	if !options.strict() {
		confine(mm, &spec, checks)
	}
	spec.InitContainers = append(checks, mm.Spec.PodExtensions.InitContainers...)
	// The user's parts have core types; an apply configuration has the same JSON.
	content, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("render pods: %w", err)
	}
	intent := corev1ac.PodSpec()
	if err := json.Unmarshal(content, intent); err != nil {
		return nil, fmt.Errorf("render pods: %w", err)
	}
	return intent, nil
}

func container(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) corev1.Container {
	c := corev1.Container{
		Name:                     mainContainer,
		Image:                    image(mm),
		ImagePullPolicy:          mm.Spec.ImagePullPolicy,
		Command:                  []string{"mattermost"},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Ports: append([]corev1.ContainerPort{
			{Name: "app", ContainerPort: appPort, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
		}, ports(mm)...),
		Env:            environment(mm, secrets),
		Resources:      mm.Spec.Scheduling.Resources,
		VolumeMounts:   mounts(mm),
		LivenessProbe:  probe(10, 3, mm.Spec.Probes.LivenessProbe, options),
		ReadinessProbe: probe(5, 6, mm.Spec.Probes.ReadinessProbe, options),
	}
	if t := mm.Spec.PodTemplate; t != nil {
		c.SecurityContext = t.ContainerSecurityContext
		if len(t.Command) > 0 {
			c.Command = t.Command
		}
	}
	return c
}

// ports returns the user's, with the protocol that is part of their identity.
func ports(mm *v1beta1.Mattermost) []corev1.ContainerPort {
	var all []corev1.ContainerPort
	for _, p := range mm.Spec.PodExtensions.ContainerPorts {
		p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
		all = append(all, p)
	}
	return all
}

// probe returns the default with the user's settings over it: a handler
// replaces the handler, a number other than 0 the number. Times are seconds.
func probe(period, failures int32, theirs corev1.Probe, options RenderOptions) *corev1.Probe {
	delay := int32(10)
	if !options.strict() {
		delay = 0 // Neither begins before the startup probe has succeeded.
	}
	p := &corev1.Probe{
		ProbeHandler:        corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: pingPath, Port: intstr.FromInt32(appPort)}},
		InitialDelaySeconds: cmp.Or(theirs.InitialDelaySeconds, delay),
		PeriodSeconds:       cmp.Or(theirs.PeriodSeconds, period),
		FailureThreshold:    cmp.Or(theirs.FailureThreshold, failures),
		TimeoutSeconds:      theirs.TimeoutSeconds,
		SuccessThreshold:    theirs.SuccessThreshold,
	}
	if !options.strict() {
		p.TerminationGracePeriodSeconds = theirs.TerminationGracePeriodSeconds
	}
	if h := theirs.ProbeHandler; h.Exec != nil || h.HTTPGet != nil || h.TCPSocket != nil || h.GRPC != nil {
		p.ProbeHandler = *h.DeepCopy()
	}
	return p
}

func volumes(mm *v1beta1.Mattermost) []corev1.Volume {
	all := append([]corev1.Volume(nil), mm.Spec.Volumes...)
	if name := ClaimName(mm); name != "" {
		all = append(all, corev1.Volume{Name: dataVolume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	if name := mm.Spec.LicenseSecret; name != "" {
		all = append(all, corev1.Volume{Name: licenceVolume, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name},
		}})
	}
	return all
}

func mounts(mm *v1beta1.Mattermost) []corev1.VolumeMount {
	all := append([]corev1.VolumeMount(nil), mm.Spec.VolumeMounts...)
	if ClaimName(mm) != "" {
		all = append(all, corev1.VolumeMount{Name: dataVolume, MountPath: dataPath})
	}
	if mm.Spec.LicenseSecret != "" {
		all = append(all, corev1.VolumeMount{Name: licenceVolume, MountPath: licencePath, ReadOnly: true})
	}
	return all
}

// databaseChecks returns the init container that waits for the database, or none.
func databaseChecks(mm *v1beta1.Mattermost, secrets map[string]Secret) []corev1.Container {
	if mm.Spec.Database.DisableReadinessCheck {
		return nil
	}
	name := externalDatabase(mm)
	if managedDatabase(mm) == databaseMySQL {
		return mysqlChecks(mm)
	}
	if check := mm.Spec.Database.ReadinessCheck; check != nil && check.Mode == "builtin" || managedDatabase(mm) == databasePostgres {
		timeout := defaultCheckTimeout
		if check != nil && check.Timeout != nil {
			timeout = check.Timeout.Duration
		}
		return []corev1.Container{{
			Name: databaseCheck, Image: image(mm), ImagePullPolicy: mm.Spec.ImagePullPolicy,
			Command: []string{"/mattermost/bin/mattermost"},
			Args:    []string{"db", "ping", "--timeout=" + timeout.String()},
			Env:     databaseEnv(mm, secrets),
		}}
	}
	if !secrets[name].Has(keyCheckURL) {
		return nil
	}
	check := corev1.Container{
		Name: databaseCheck, ImagePullPolicy: corev1.PullIfNotPresent,
		Env: []corev1.EnvVar{fromSecret(keyCheckURL, name, keyCheckURL)},
	}
	until := ""
	switch databaseType(secrets[name]) {
	case databasePostgres:
		check.Image, until = "postgres:13", `pg_isready --dbname="$DB_CONNECTION_CHECK_URL"`
	case databaseMySQL:
		check.Image, until = "appropriate/curl:latest", `curl --max-time 5 "$DB_CONNECTION_CHECK_URL"`
	default:
		return nil
	}
	check.Command = []string{"sh", "-c", "until " + until + "; do echo waiting for database; sleep 5; done;"}
	return []corev1.Container{check}
}
