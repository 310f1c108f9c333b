package installation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"windlass.dev/api/installation/v1beta1"
)

// Problem is something that keeps an installation from being carried out.
type Problem struct {
	// Path is the field, such as spec.database.external.secret.
	Path string
	// Reason is one of the API's documented reasons.
	Reason string
	// Message says what is wrong and what to do, in sentences.
	Message string
}

func sorted(problems []Problem) []Problem {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})
	return problems
}

// Validate returns what is wrong with a defaulted spec by itself, in order.
func Validate(mm *v1beta1.Mattermost) []Problem {
	var problems []Problem
	invalid := func(path, format string, args ...any) {
		problems = append(problems, Problem{Path: path, Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)})
	}
	problems = append(problems, validateName(mm)...)
	problems = append(problems, validateDatabase(mm)...)
	problems = append(problems, validateFileStore(mm)...)
	problems = append(problems, validateRouting(mm)...)
	problems = append(problems, validateRoute(mm)...)
	if policy := mm.Annotations[v1beta1.DataPolicyAnnotation]; policy != "" && policy != dataRetain && policy != dataDelete {
		invalid("metadata.annotations", "%s is %q: want %s or %s.", v1beta1.DataPolicyAnnotation, policy, dataRetain, dataDelete)
	}
	if mm.Spec.Replicas != nil && *mm.Spec.Replicas < 0 {
		invalid("spec.replicas", "The number is %d: want 0, which hibernates, or more.", *mm.Spec.Replicas)
	}
	if fileStore(mm) == fileStoreExternal && !mm.Spec.FileStore.External.UseServiceAccount && mm.Spec.FileStore.External.Secret == "" {
		invalid("spec.fileStore.external.secret", "Name the Secret with accesskey and secretkey, or set useServiceAccount.")
	}
	for i, volume := range mm.Spec.Volumes {
		if !allowedVolume(volume) {
			invalid(fmt.Sprintf("spec.volumes[%d]", i), "Volume %q has a source that is not allowed: use a ConfigMap, Secret, EmptyDir, PersistentVolumeClaim, Projected, DownwardAPI or CSI source.", volume.Name)
		}
	}
	if problem := mountsWithoutVolume(mm); problem != nil {
		problems = append(problems, *problem)
	}
	problems = append(problems, repeated(mm)...)
	return sorted(problems)
}

// validateName returns what is wrong with the name for what is named after it.
func validateName(mm *v1beta1.Mattermost) []Problem {
	var problems []Problem
	invalid := func(format string, args ...any) {
		problems = append(problems, Problem{Path: "metadata.name", Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)})
	}
	if wrong := validation.IsDNS1035Label(mm.Name); len(wrong) > 0 {
		invalid("The Service has the installation's name, which is no name of a Service (%s): make the installation anew under another one.", strings.Join(wrong, "; "))
	}
	// The name that MinIO's operator gives its Service.
	if service := MinioName(mm.Name) + "-hl-svc"; fileStore(mm) == fileStoreManaged && len(service) > validation.DNS1035LabelMaxLength {
		invalid("MinIO's Service would be called %q, which is longer than %d characters: give the installation a shorter name, or use another file store.", service, validation.DNS1035LabelMaxLength)
	}
	return problems
}

// validateRouting returns what is wrong with how requests reach the pods.
func validateRouting(mm *v1beta1.Mattermost) []Problem {
	var problems []Problem
	invalid := func(path, message string) {
		problems = append(problems, Problem{Path: path, Reason: v1beta1.ReasonInvalidSpec, Message: message})
	}
	switch routing(mm) {
	case routingIngress:
		if host(mm) == "" {
			invalid("spec.ingress.host", "An Ingress needs a host: set it, or set spec.ingress.enabled to false.")
		}
		if in := mm.Spec.Ingress; in != nil && in.IngressClass != nil && *in.IngressClass == "" {
			invalid("spec.ingress.ingressClass", "An empty class is no class: name one or remove the field.")
		}
	case routingALB:
		if len(hostNames(mm.Spec.AWSLoadBalancerController.Hosts)) == 0 {
			invalid("spec.awsLoadBalancerController.hosts", "An AWS load balancer needs a host: add one, or set enabled to false.")
		}
		if mm.Spec.UseServiceLoadBalancer {
			invalid("spec.useServiceLoadBalancer", "A Service with a load balancer and one behind the AWS load balancer controller exclude each other: leave one out.")
		}
	default:
	}
	return problems
}

func allowedVolume(v corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.EmptyDir != nil || v.PersistentVolumeClaim != nil ||
		v.Projected != nil || v.DownwardAPI != nil || v.CSI != nil
}

func mountsWithoutVolume(mm *v1beta1.Mattermost) *Problem {
	names := map[string]bool{dataVolume: ClaimName(mm) != "", licenceVolume: mm.Spec.LicenseSecret != ""}
	for _, v := range mm.Spec.Volumes {
		names[v.Name] = true
	}
	for i, m := range mm.Spec.VolumeMounts {
		if !names[m.Name] {
			return &Problem{
				Path: fmt.Sprintf("spec.volumeMounts[%d]", i), Reason: v1beta1.ReasonInvalidSpec,
				Message: fmt.Sprintf("There is no volume %q: add it to spec.volumes.", m.Name),
			}
		}
	}
	return nil
}

// repeated refuses entries that share the key by which Kubernetes merges a
// list: only one of them could be applied.
func repeated(mm *v1beta1.Mattermost) []Problem {
	var problems []Problem
	check := func(path, what string, taken []string, keys []string) {
		for i, key := range keys {
			if slices.Contains(taken, key) || slices.Contains(keys[:i], key) {
				problems = append(problems, Problem{
					Path: fmt.Sprintf("%s[%d]", path, i), Reason: v1beta1.ReasonInvalidSpec,
					Message: fmt.Sprintf("The %s %s is used twice: use another.", what, key),
				})
			}
		}
	}
	var volumes, mounts, ports, containers, inits []string
	for _, v := range mm.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, m := range mm.Spec.VolumeMounts {
		mounts = append(mounts, m.MountPath)
	}
	for _, p := range mm.Spec.PodExtensions.ContainerPorts {
		ports = append(ports, fmt.Sprintf("%d/%s", p.ContainerPort, cmp.Or(p.Protocol, corev1.ProtocolTCP)))
	}
	for _, c := range mm.Spec.PodExtensions.SidecarContainers {
		containers = append(containers, c.Name)
	}
	for _, c := range mm.Spec.PodExtensions.InitContainers {
		inits = append(inits, c.Name)
	}
	var takenVolumes, takenPaths []string
	if ClaimName(mm) != "" {
		takenVolumes, takenPaths = append(takenVolumes, dataVolume), append(takenPaths, dataPath)
	}
	if mm.Spec.LicenseSecret != "" {
		takenVolumes, takenPaths = append(takenVolumes, licenceVolume), append(takenPaths, licencePath)
	}
	check("spec.volumes", "name", takenVolumes, volumes)
	check("spec.volumeMounts", "path", takenPaths, mounts)
	check("spec.podExtensions.containerPorts", "port", []string{"8065/TCP", "8067/TCP"}, ports)
	check("spec.podExtensions.sidecarContainers", "name", append(slices.Clone(inits), mainContainer), containers)
	check("spec.podExtensions.initContainers", "name", []string{mainContainer, databaseCheck, mysqlCheck, minioBucket, minioCheck}, inits)
	return problems
}

// Check returns what is wrong with the Secrets that the spec refers to, in order.
func Check(mm *v1beta1.Mattermost, secrets map[string]Secret) []Problem {
	var problems []Problem
	problems = append(problems, checkDatabase(mm, secrets)...)
	problems = append(problems, checkGenerated(mm, secrets)...)
	if fs := mm.Spec.FileStore.External; fileStore(mm) == fileStoreExternal && !fs.UseServiceAccount && fs.Secret != "" {
		problems = append(problems, checkKeys("spec.fileStore.external.secret", fs.Secret, secrets, keyAccess, keySecret)...)
	}
	if name := mm.Spec.LicenseSecret; name != "" {
		problems = append(problems, checkKeys("spec.licenseSecret", name, secrets, keyLicence)...)
	}
	return sorted(problems)
}

func checkKeys(path, name string, secrets map[string]Secret, keys ...string) []Problem {
	secret, ok := secrets[name]
	if !ok {
		return []Problem{{
			Path: path, Reason: v1beta1.ReasonSecretNotFound,
			Message: fmt.Sprintf("There is no Secret %q: create it with %s; the installation goes on by itself then.", name, strings.Join(keys, " and ")),
		}}
	}
	var problems []Problem
	for _, key := range keys {
		if !secret.HasValue(key) {
			problems = append(problems, Problem{
				Path: path, Reason: v1beta1.ReasonSecretInvalid,
				Message: fmt.Sprintf("Secret %q has no value for %s: add it; the installation goes on by itself then.", name, key),
			})
		}
	}
	return problems
}

func checkDatabase(mm *v1beta1.Mattermost, secrets map[string]Secret) []Problem {
	const path = "spec.database.external.secret"
	name := externalDatabase(mm)
	if name == "" {
		return nil
	}
	problems := checkKeys(path, name, secrets, keyConnection)
	secret, ok := secrets[name]
	if !ok || !secret.Has(keyCheckURL) {
		return problems
	}
	allowed := []string{"http", "https"}
	switch databaseType(secret) {
	case databasePostgres:
		allowed = append(allowed, "postgres")
	case databaseMySQL:
		// A MySQL server answers HTTP well enough to be seen.
	case databaseOther:
		allowed = append(allowed, "postgres", "mysql")
	}
	switch {
	case !slices.Contains(allowed, secret.CheckScheme):
		problems = append(problems, Problem{
			Path: path, Reason: v1beta1.ReasonSecretInvalid,
			Message: fmt.Sprintf("%s in Secret %q has to be a URL that starts with one of %s.", keyCheckURL, name, strings.Join(allowed, ", ")),
		})
	case !secret.CheckHost:
		problems = append(problems, Problem{
			Path: path, Reason: v1beta1.ReasonSecretInvalid,
			Message: fmt.Sprintf("%s in Secret %q has to name a host.", keyCheckURL, name),
		})
	}
	return problems
}
