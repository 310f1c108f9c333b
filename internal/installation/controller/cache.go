package controller

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rollouts "windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit"
)

var (
	mattermosts = kit.Kind{
		GroupVersionKind: v1beta1.GroupVersion.WithKind("Mattermost"),
		New:              func() client.Object { return &v1beta1.Mattermost{} },
		NewList:          func() client.ObjectList { return &v1beta1.MattermostList{} },
		Named:            true, // It owns, and is not owned.
	}
	clusterInstallations = kit.Kind{
		GroupVersionKind: v1alpha1.GroupVersion.WithKind("ClusterInstallation"),
		New:              func() client.Object { return &v1alpha1.ClusterInstallation{} },
		NewList:          func() client.ObjectList { return &v1alpha1.ClusterInstallationList{} },
		Named:            true, // As a Mattermost.
	}
	deployments = kit.Kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		New:              func() client.Object { return &appsv1.Deployment{} },
		NewList:          func() client.ObjectList { return &appsv1.DeploymentList{} },
	}
	services = kit.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
		New:              func() client.Object { return &corev1.Service{} },
		NewList:          func() client.ObjectList { return &corev1.ServiceList{} },
	}
	claims = kit.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
		New:              func() client.Object { return &corev1.PersistentVolumeClaim{} },
		NewList:          func() client.ObjectList { return &corev1.PersistentVolumeClaimList{} },
	}
	// Of Secrets only those are written that are generated for an installation.
	secrets = kit.Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Secret"),
		New:              func() client.Object { return &corev1.Secret{} },
		Named:            true,
	}
	ingressClasses = kit.Kind{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		New:              func() client.Object { return &networkingv1.IngressClass{} },
		Named:            true,
	}
	cronJobs = kit.Kind{
		GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("CronJob"),
		New:              func() client.Object { return &batchv1.CronJob{} },
		Named:            true,
	}
	budgets = kit.Kind{
		GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		New:              func() client.Object { return &policyv1.PodDisruptionBudget{} },
		NewList:          func() client.ObjectList { return &policyv1.PodDisruptionBudgetList{} },
	}
	jobs = kit.Kind{
		GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("Job"),
		New:              func() client.Object { return &batchv1.Job{} },
		NewList:          func() client.ObjectList { return &batchv1.JobList{} },
	}
)

// written are the kinds that the controller writes. Of those that it does not
// look into, the cache holds the metadata only.
var written = append(kit.Kinds{
	mattermosts,
	clusterInstallations,
	services,
	claims,
	kit.Metadata(corev1.SchemeGroupVersion.WithKind("ServiceAccount")),
	kit.Metadata(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}),
	kit.Metadata(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}),
	kit.Metadata(schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}),
	deployments,
	jobs,
	budgets,
	secrets,
	ingressClasses,
}, companions()...)

// companions are the kinds that not every cluster knows.
func companions() []kit.Kind {
	var all []kit.Kind
	for _, kind := range installation.CompanionKinds() {
		all = append(all, kit.Unstructured(kind))
	}
	return all
}

// CacheByObject says how the cache holds the kinds of this controller. A
// cluster has many more Deployments, Jobs and Secrets than installations, so of
// each only that is kept which is read, and of a Secret no value ever. Of Leases there
// is the one in Windlass' namespace that freezes admission.
func CacheByObject(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&coordinationv1.Lease{}: {
			Namespaces: map[string]cache.Config{namespace: {}},
			Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, v1beta1.AdmissionFreeze),
		},
		&v1beta1.Mattermost{}:                    {Transform: transform(func(*v1beta1.Mattermost) {})},
		&appsv1.Deployment{}:                     {Transform: transform(keepDeployment)},
		&corev1.Service{}:                        {Transform: transform(keepService)},
		&corev1.PersistentVolumeClaim{}:          {Transform: transform(keepClaim)},
		&appsv1.ReplicaSet{}:                     {Transform: transform(keepReplicaSet)},
		&batchv1.Job{}:                           {Transform: transform(keepJob)},
		&policyv1.PodDisruptionBudget{}:          {Transform: transform(keepBudget)},
		&corev1.Secret{}:                         {Transform: transform(func(s *corev1.Secret) { *s = *installation.Redact(s) })},
		&autoscalingv2.HorizontalPodAutoscaler{}: {Transform: transform(keepAutoscaler)},
	}
}

// transform keeps the metadata of our own, and of the rest what keep leaves.
func transform[O client.Object](keep func(O)) func(any) (any, error) {
	return func(item any) (any, error) {
		object, ok := item.(O)
		if !ok {
			return StripMetadata(item) // A tombstone, or the metadata only.
		}
		keep(object)
		return StripMetadata(object)
	}
}

// StripMetadata drops the field ownership of others, which is most of an
// object's size and never read, and most of the spec of companions.
func StripMetadata(item any) (any, error) {
	object, ok := item.(metav1.Object)
	if !ok {
		return item, nil
	}
	if companion, ok := item.(*unstructured.Unstructured); ok {
		keepCompanion(companion)
	}
	_, generated := item.(*corev1.Secret) // Those that we made are not applied, but updated.
	resource := isResource(item)
	var ours []metav1.ManagedFieldsEntry
	for _, entry := range object.GetManagedFields() {
		if kept, ok := keepManaged(entry, resource, generated); ok {
			ours = append(ours, kept)
		}
	}
	object.SetManagedFields(ours)
	if !resource { // That one is written back whole.
		delete(object.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	}
	return object, nil
}

func isResource(item any) bool {
	switch item.(type) {
	case *v1beta1.Mattermost, *v1alpha1.ClusterInstallation:
		return true
	default:
		return false
	}
}

// keepManaged returns what is asked of an entry of a resource's, or another object's, field
// ownership; ok is false if that is nothing.
func keepManaged(entry metav1.ManagedFieldsEntry, resource, generated bool) (kept metav1.ManagedFieldsEntry, ok bool) {
	applied := entry.Operation == metav1.ManagedFieldsOperationApply
	mine := entry.Manager == installation.Manager
	switch {
	case resource && entry.Manager == rollouts.Manager && applied:
		// What a roll-out has applied, it has to apply again.
	case entry.Manager == installation.Former && entry.Operation == metav1.ManagedFieldsOperationUpdate, resource && (mine || entry.Manager == installation.StatusManager):
		// That there are some is all that is asked.
		return metav1.ManagedFieldsEntry{Manager: entry.Manager, Operation: entry.Operation, Subresource: entry.Subresource}, true
	case mine && (generated || applied) && entry.Subresource == "":
	default:
		return entry, false
	}
	if resource || generated {
		entry.Time = nil
	}
	return entry, true
}

// keepCompanion drops the spec, but for what of a MySQL tells whether it is stopped, and
// from which backup it starts.
func keepCompanion(companion *unstructured.Unstructured) {
	kept := map[string]any{}
	if companion.GroupVersionKind() == installation.MySQLKind {
		for _, field := range []string{"replicas", "initBucketURL"} {
			if value, ok, _ := unstructured.NestedFieldNoCopy(companion.Object, "spec", field); ok {
				kept[field] = value
			}
		}
	}
	delete(companion.Object, "spec")
	if len(kept) > 0 {
		companion.Object["spec"] = kept
	}
}

// mine reports whether an installation controls the object.
func mine(object metav1.Object) bool {
	owner := metav1.GetControllerOf(object)
	return owner != nil && slices.ContainsFunc([]kit.Kind{mattermosts, clusterInstallations}, func(k kit.Kind) bool {
		return owner.Kind == k.Kind && strings.HasPrefix(owner.APIVersion, k.Group+"/")
	})
}

func keepDeployment(d *appsv1.Deployment) {
	if !mine(d) {
		d.Spec, d.Status = appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{}
		d.Annotations, d.Labels = nil, nil
		return
	}
	kept := appsv1.DeploymentSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector}
	if value, ok := d.Spec.Template.Annotations[installation.CredentialsAnnotation]; ok {
		kept.Template.Annotations = map[string]string{installation.CredentialsAnnotation: value}
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		kept.Template.Spec.Containers = append(kept.Template.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	d.Spec = kept
}

func keepService(s *corev1.Service) {
	kept := corev1.ServiceSpec{}
	if mine(s) {
		kept.Type, kept.ClusterIP, kept.Selector = s.Spec.Type, s.Spec.ClusterIP, s.Spec.Selector
	} else {
		s.Status, s.Annotations, s.Labels = corev1.ServiceStatus{}, nil, nil
	}
	s.Spec = kept
}

// keepClaim keeps of all claims alike what an installation may ask of one: a
// claim that is not controlled by it may be its file store, or a replica of its database,
// which is told of by its volume and size when it is restored.
func keepClaim(c *corev1.PersistentVolumeClaim) {
	c.Spec = corev1.PersistentVolumeClaimSpec{
		AccessModes: c.Spec.AccessModes, StorageClassName: c.Spec.StorageClassName, VolumeName: c.Spec.VolumeName,
		Resources: corev1.VolumeResourceRequirements{Requests: c.Spec.Resources.Requests},
	}
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: c.Status.Phase, Capacity: c.Status.Capacity}
	c.Annotations, c.Labels = nil, nil
}

func keepReplicaSet(rs *appsv1.ReplicaSet) {
	rs.Spec = appsv1.ReplicaSetSpec{}
	rs.Labels = nil
	rs.Status.Conditions = nil
}

func keepJob(job *batchv1.Job) {
	job.Spec = batchv1.JobSpec{}
	if !mine(job) {
		job.Status = batchv1.JobStatus{}
		job.Annotations, job.Labels = nil, nil
	}
}

func keepBudget(b *policyv1.PodDisruptionBudget) {
	b.Spec = policyv1.PodDisruptionBudgetSpec{Selector: b.Spec.Selector}
	b.Status = policyv1.PodDisruptionBudgetStatus{}
	if !mine(b) {
		b.Annotations, b.Labels = nil, nil
	}
}

func keepAutoscaler(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	hpa.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: hpa.Spec.ScaleTargetRef}
	hpa.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
	hpa.Annotations, hpa.Labels = nil, nil
}

// Indexes beside kit.OwnerIndex.
const (
	// secretIndex finds the installations that refer to a Secret, by its name.
	secretIndex = "windlass.dev/secret"
	// claimIndex finds the installations that mount a claim, by its name.
	claimIndex = "windlass.dev/claim"
	// preUpgradeIndex finds the installations that name a CronJob, by its name.
	preUpgradeIndex = "windlass.dev/pre-upgrade"
	// hostIndex finds the installations that have a host.
	hostIndex = "windlass.dev/host"
	// foreignIndex finds the disruption budgets that no installation made.
	foreignIndex = "windlass.dev/foreign"
	// targetIndex finds the autoscalers of a Deployment, by its name.
	targetIndex = "windlass.dev/scale-target"
)

func bySecret(object client.Object) []string {
	switch resource := object.(type) {
	case *v1beta1.Mattermost:
		return installation.References(resource)
	case *v1alpha1.ClusterInstallation:
		return clusterinstallation.References(resource)
	default:
		return nil
	}
}

func byClaim(object client.Object) []string {
	mm, ok := object.(*v1beta1.Mattermost)
	if !ok {
		return nil
	}
	if name := installation.ClaimName(mm); name != "" {
		return []string{name}
	}
	return nil
}

func byPreUpgrade(object client.Object) []string {
	mm, ok := object.(*v1beta1.Mattermost)
	if !ok {
		return nil
	}
	if name := installation.PreUpgrade(mm); name != "" {
		return []string{name}
	}
	return nil
}

func byHost(object client.Object) []string {
	switch resource := object.(type) {
	case *v1beta1.Mattermost:
		return installation.Hosts(resource)
	case *v1alpha1.ClusterInstallation:
		return clusterinstallation.Hosts(resource)
	default:
		return nil
	}
}

// foreign is the one value of foreignIndex.
const foreign = "true"

func byForeign(object client.Object) []string {
	if mine(object) {
		return nil
	}
	return []string{foreign}
}

func byTarget(object client.Object) []string {
	hpa, ok := object.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok || hpa.Spec.ScaleTargetRef.Kind != "Deployment" || !strings.HasPrefix(hpa.Spec.ScaleTargetRef.APIVersion, "apps/") {
		return nil
	}
	return []string{hpa.Spec.ScaleTargetRef.Name}
}
