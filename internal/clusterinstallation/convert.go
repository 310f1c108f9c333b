package clusterinstallation

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// Convert returns the Mattermost that runs the same pods as a ClusterInstallation with
// defaults, which its lineage sees to, and, in sentences, what of its spec has no effect, or another one than its
// author may think. What the referenced Secrets hold decides about the database. It is
// the one place where fields are mapped. Sets of pods beside the installation's own are
// not part of it; see Sets.
func Convert(ci *v1alpha1.ClusterInstallation, secrets map[string]installation.Secret) (*v1beta1.Mattermost, []string) {
	spec := ci.Spec.DeepCopy()
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: ci.Namespace, Name: ci.Name}}
	meta := ci.DeepCopy()
	mm.Labels, mm.Annotations = meta.Labels, meta.Annotations
	mm.Spec = v1beta1.MattermostSpec{
		Size: spec.Size, Image: spec.Image, Version: spec.Version, ImagePullPolicy: spec.ImagePullPolicy,
		Replicas:               replicas(spec.Replicas),
		MattermostEnv:          environment(spec),
		LicenseSecret:          spec.MattermostLicenseSecret,
		UseServiceLoadBalancer: spec.UseServiceLoadBalancer,
		ResourceLabels:         spec.ResourceLabels,
		Ingress: &v1beta1.Ingress{
			Enabled: !spec.UseServiceLoadBalancer, Host: spec.IngressName, Annotations: spec.IngressAnnotations,
			TLSSecret: tlsSecret(spec, spec.IngressName),
		},
		Database:      database(spec, secrets),
		FileStore:     fileStore(spec, ci.Name),
		ElasticSearch: v1beta1.ElasticSearch(spec.ElasticSearch),
		Scheduling:    v1beta1.Scheduling{Resources: spec.Resources, NodeSelector: spec.NodeSelector, Affinity: spec.Affinity},
		Probes:        v1beta1.Probes{LivenessProbe: spec.LivenessProbe, ReadinessProbe: spec.ReadinessProbe},
	}
	if spec.UseServiceLoadBalancer {
		mm.Spec.ServiceAnnotations = spec.ServiceAnnotations
	}
	mm.Status.Lineage, mm.Status.Shape = v1beta1.LineageV1alpha1, v1beta1.ShapeStrict
	return installation.Default(mm), notes(ci)
}

// notes are in order.
func notes(ci *v1alpha1.ClusterInstallation) []string {
	var all []string
	spec := &ci.Spec
	if spec.Canary.Enable && len(spec.Canary.Deployment.ResourceLabels) > 0 {
		all = append(all, "spec.canary.deployment.resourceLabels: no object has them; use spec.resourceLabels.")
	}
	if spec.Canary.Enable && spec.Canary.Deployment.IngressName != "" {
		all = append(all, "spec.canary.deployment.ingressName: a canary has the installation's host.")
	}
	if spec.BlueGreen.Enable && len(spec.ResourceLabels) > 0 {
		all = append(all, "spec.resourceLabels: while blue-green is on, the labels are those of the set that serves.")
	}
	if spec.Minio.ExternalURL == "" && spec.Minio.ExternalBucket != "" {
		all = append(all, "spec.minio.externalBucket: without externalURL it is looked for in the MinIO of the installation, where only the bucket "+ci.Name+" is made.")
	}
	if !spec.UseServiceLoadBalancer && len(spec.ServiceAnnotations) > 0 {
		all = append(all, "spec.serviceAnnotations: only a Service with a load balancer has them.")
	}
	return all
}

// replicas is the number in which less than 0 means none.
func replicas(n int32) *int32 {
	if n < 0 {
		return new(int32)
	}
	return set(n)
}

// tlsSecret is named after a host.
func tlsSecret(spec *v1alpha1.ClusterInstallationSpec, host string) string {
	if !spec.UseIngressTLS {
		return ""
	}
	return strings.ReplaceAll(host, ".", "-") + "-tls-cert"
}

// environment is the user's, and what a Mattermost would set otherwise: the older API
// speaks to every file store without TLS.
func environment(spec *v1alpha1.ClusterInstallationSpec) []corev1.EnvVar {
	env := spec.MattermostEnv
	fix := func(name, value string) {
		if !slices.ContainsFunc(env, func(e corev1.EnvVar) bool { return e.Name == name }) {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	switch {
	case spec.Minio.ExternalURL != "":
		fix("MM_FILESETTINGS_AMAZONS3SSL", "false")
	case spec.Minio.ExternalBucket != "":
		fix("MM_FILESETTINGS_AMAZONS3BUCKET", spec.Minio.ExternalBucket)
	}
	return env
}

// database is external if its Secret says where it is. One that says nothing at all is
// taken for such a Secret too, so that what is missing can be told.
func database(spec *v1alpha1.ClusterInstallationSpec, secrets map[string]installation.Secret) v1beta1.Database {
	if name := spec.Database.Secret; name != "" && !installation.OpensMySQL(secrets[name]) {
		return v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: name}}
	}
	return v1beta1.Database{OperatorManaged: managedDatabase(spec.Database)}
}

func managedDatabase(db v1alpha1.Database) *v1beta1.OperatorManagedDatabase {
	om := &v1beta1.OperatorManagedDatabase{
		Type: db.Type, Secret: db.Secret, StorageSize: db.StorageSize, Resources: db.Resources, Version: db.Version,
		InitBucketURL: db.InitBucketURL, BackupSchedule: db.BackupSchedule, BackupURL: db.BackupURL,
		BackupRemoteDeletePolicy: db.BackupRemoteDeletePolicy, BackupSecretName: db.BackupSecretName, BackupRestoreSecretName: db.BackupRestoreSecretName,
		Replicas: set(db.Replicas),
	}
	if db.Replicas == 0 && db.InitBucketURL != "" { // It is filled from the dump first.
		om.Replicas = new(int32)
	}
	return om
}

func fileStore(spec *v1alpha1.ClusterInstallationSpec, name string) v1beta1.FileStore {
	if spec.Minio.ExternalURL != "" {
		return v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: spec.Minio.ExternalURL, Bucket: cmp.Or(spec.Minio.ExternalBucket, name), Secret: spec.Minio.Secret}}
	}
	return v1beta1.FileStore{OperatorManaged: managedFileStore(spec.Minio)}
}

func managedFileStore(m v1alpha1.Minio) *v1beta1.OperatorManagedFileStore {
	return &v1beta1.OperatorManagedFileStore{StorageSize: m.StorageSize, Replicas: set(m.Replicas), Resources: m.Resources, Secret: m.Secret}
}
