package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Mattermost is one installation of Mattermost.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=mattermosts,shortName=mm,singular=mattermost
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=".status.state",description="State of Mattermost"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=".status.image",description="Image of Mattermost"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=".status.version",description="Version of Mattermost"
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=".status.endpoint",description="Endpoint"
type Mattermost struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   MattermostSpec   `json:"spec,omitempty"`
	Status MattermostStatus `json:"status,omitempty"`
}

// MattermostList is a list of Mattermost.
//
// +kubebuilder:object:root=true
type MattermostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Mattermost `json:"items"`
}

// MattermostSpec is what an installation is wanted to be. Its JSON form is the
// one that the Mattermost Operator stores, down to fields that are written
// although they are empty.
type MattermostSpec struct {
	// Size is a preset such as 1000users or miniSingleton. It is expanded into
	// replicas and resources, overriding them, and then erased. Fields that stay
	// empty are filled from 5000users.
	// +optional
	Size string `json:"size,omitempty"`
	// Image without a tag; mattermost/mattermost-enterprise-edition when empty.
	// +optional
	Image string `json:"image,omitempty"`
	// Version is the image's tag, or a digest that starts with sha256:.
	// +optional
	Version string `json:"version,omitempty"`
	// Replicas is the number of pods; 0 hibernates. A HorizontalPodAutoscaler of
	// the Deployment goes before it.
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// MattermostEnv is merged over the generated environment by name.
	// +optional
	MattermostEnv []corev1.EnvVar `json:"mattermostEnv,omitempty"`
	// LicenseSecret names a Secret with the key license.
	// +optional
	LicenseSecret string `json:"licenseSecret,omitempty"`

	// IngressName is the host name. Deprecated: use ingress.host.
	// +optional
	IngressName string `json:"ingressName"`
	// IngressAnnotations are those of the Ingress. Deprecated: use ingress.annotations.
	// +optional
	IngressAnnotations map[string]string `json:"ingressAnnotations,omitempty"`
	// UseIngressTLS asks for TLS. Deprecated: use ingress.tlsSecret.
	// +optional
	UseIngressTLS bool `json:"useIngressTLS,omitempty"`
	// UseServiceLoadBalancer exposes the Service as a load balancer, without an Ingress.
	// +optional
	UseServiceLoadBalancer bool `json:"useServiceLoadBalancer,omitempty"`
	// ServiceAnnotations are those of the Service.
	// +optional
	ServiceAnnotations map[string]string `json:"serviceAnnotations,omitempty"`
	// ResourceLabels are added to the objects of the installation.
	// +optional
	ResourceLabels map[string]string `json:"resourceLabels,omitempty"`
	// Ingress configures the Ingress; it goes before the deprecated fields.
	// +optional
	Ingress *Ingress `json:"ingress,omitempty"`
	// HTTPRoute configures a route of the Gateway API.
	// +optional
	HTTPRoute *HTTPRoute `json:"httpRoute,omitempty"`
	// AWSLoadBalancerController routes through an AWS load balancer.
	// +optional
	AWSLoadBalancerController *AWSLoadBalancerController `json:"awsLoadBalancerController,omitempty"`

	// Volumes of the pods: ConfigMap, Secret, EmptyDir, PersistentVolumeClaim,
	// Projected, DownwardAPI and CSI.
	// +optional
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// VolumeMounts of the main container.
	// +optional
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
	// ImagePullPolicy of the main container; IfNotPresent when empty.
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// ImagePullSecrets of the pods.
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// DNSConfig of the pods.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// DNSPolicy of the pods.
	// +optional
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`

	// Database of the installation.
	// +optional
	Database Database `json:"database,omitempty"`
	// FileStore of the installation.
	// +optional
	FileStore FileStore `json:"fileStore,omitempty"`
	// ElasticSearch of the installation.
	// +optional
	ElasticSearch ElasticSearch `json:"elasticSearch,omitempty"`

	// Scheduling of the pods.
	// +optional
	Scheduling Scheduling `json:"scheduling,omitempty"`
	// Probes of the main container, merged over the defaults.
	// +optional
	Probes Probes `json:"probes,omitempty"`
	// PodTemplate customises the pods.
	// +optional
	PodTemplate *PodTemplate `json:"podTemplate,omitempty"`
	// DeploymentTemplate customises the Deployment.
	// +optional
	DeploymentTemplate *DeploymentTemplate `json:"deploymentTemplate,omitempty"`
	// UpdateJob customises the Job that migrates the database before an upgrade.
	// +optional
	UpdateJob *UpdateJob `json:"updateJob,omitempty"`
	// JobServer runs background jobs in a Deployment of their own.
	// +optional
	JobServer *JobServer `json:"jobServer,omitempty"`
	// PodExtensions adds to the pods.
	// +optional
	PodExtensions PodExtensions `json:"podExtensions,omitempty"`
	// ResourcePatch changes generated objects by JSON patches.
	// +optional
	ResourcePatch *ResourcePatch `json:"resourcePatch,omitempty"`
}

// Ingress configures the Ingress.
type Ingress struct {
	// Enabled says whether there is an Ingress.
	Enabled bool `json:"enabled"`
	// Host is the first host, and the site's URL. Required when enabled.
	// +optional
	Host string `json:"host,omitempty"`
	// Hosts are further hosts.
	// +optional
	Hosts []IngressHost `json:"hosts,omitempty"`
	// Annotations are merged over the defaults. Snippets are dropped.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// TLSSecret names the Secret with the certificate for all hosts.
	// +optional
	TLSSecret string `json:"tlsSecret,omitempty"`
	// IngressClass names the class; when absent an annotation asks for nginx.
	// +optional
	IngressClass *string `json:"ingressClass,omitempty"`
}

// IngressHost is one host.
type IngressHost struct {
	// HostName of the host.
	// +optional
	HostName string `json:"hostName,omitempty"`
}

// HTTPRoute configures a route of the Gateway API.
type HTTPRoute struct {
	// Enabled says whether there is a route.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// Host is the first host.
	// +optional
	Host string `json:"host,omitempty"`
	// Hosts are further hosts.
	// +optional
	Hosts []IngressHost `json:"hosts,omitempty"`
	// GatewayRef names the Gateway.
	// +optional
	GatewayRef *GatewayReference `json:"gatewayRef,omitempty"`
	// Annotations of the route.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// RequestTimeout, such as 3600s.
	// +optional
	RequestTimeout string `json:"requestTimeout,omitempty"`
	// BackendRequestTimeout, such as 3600s.
	// +optional
	BackendRequestTimeout string `json:"backendRequestTimeout,omitempty"`
}

// GatewayReference names a Gateway.
type GatewayReference struct {
	// Name of the Gateway.
	Name string `json:"name"`
	// Namespace of the Gateway; the installation's when empty.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Group of the Gateway's kind.
	// +optional
	Group string `json:"group,omitempty"`
	// SectionName of the Gateway's listener.
	// +optional
	SectionName string `json:"sectionName,omitempty"`
}

// AWSLoadBalancerController routes through an AWS load balancer.
type AWSLoadBalancerController struct {
	// Enabled says whether it is used.
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// Hosts that are routed. Required when enabled.
	// +optional
	Hosts []IngressHost `json:"hosts,omitempty"`
	// CertificateARN of the certificate for HTTPS.
	// +optional
	CertificateARN string `json:"certificateARN,omitempty"`
	// InternetFacing says whether the load balancer is public.
	// +optional
	InternetFacing bool `json:"internetFacing,omitempty"`
	// IngressClassName of an IngressClass that exists.
	// +optional
	IngressClassName string `json:"ingressClassName,omitempty"`
	// Annotations of the Ingress.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Database of an installation: external, or run by a database operator.
type Database struct {
	// External is a database that exists.
	// +optional
	External *ExternalDatabase `json:"external,omitempty"`
	// OperatorManaged is a database run by a database operator.
	// +optional
	OperatorManaged *OperatorManagedDatabase `json:"operatorManaged,omitempty"`
	// DisableReadinessCheck leaves out the init container that waits for the database.
	// +optional
	DisableReadinessCheck bool `json:"disableReadinessCheck,omitempty"`
	// ReadinessCheck configures that init container.
	// +optional
	ReadinessCheck *DatabaseReadinessCheck `json:"readinessCheck,omitempty"`
}

// DatabaseReadinessCheck configures how pods wait for the database.
type DatabaseReadinessCheck struct {
	// Mode is external (a separate image) or builtin (the Mattermost image).
	// +kubebuilder:validation:Enum=external;builtin
	// +optional
	Mode string `json:"mode,omitempty"`
	// Timeout of the builtin check; 5m when empty.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// ExternalDatabase is a database that exists.
type ExternalDatabase struct {
	// Secret names a Secret with DB_CONNECTION_STRING and, optionally,
	// MM_SQLSETTINGS_DATASOURCE, MM_SQLSETTINGS_DATASOURCEREPLICAS and
	// DB_CONNECTION_CHECK_URL.
	// +optional
	Secret string `json:"secret,omitempty"`
}

// OperatorManagedDatabase is a database run by a database operator.
type OperatorManagedDatabase struct {
	// Type is mysql.
	// +optional
	Type string `json:"type,omitempty"`
	// StorageSize of each replica.
	// +kubebuilder:validation:Pattern=`^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$`
	// +optional
	StorageSize string `json:"storageSize,omitempty"`
	// Replicas of the database.
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// Resources of each replica.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// InitBucketURL is a dump to start from.
	// +optional
	InitBucketURL string `json:"initBucketURL,omitempty"`
	// BackupSchedule is a cron expression.
	// +optional
	BackupSchedule string `json:"backupSchedule,omitempty"`
	// BackupURL is where backups go.
	// +optional
	BackupURL string `json:"backupURL,omitempty"`
	// BackupRemoteDeletePolicy says what happens to old backups.
	// +optional
	BackupRemoteDeletePolicy string `json:"backupRemoteDeletePolicy,omitempty"`
	// BackupSecretName names the Secret for backups.
	// +optional
	BackupSecretName string `json:"backupSecretName,omitempty"`
	// BackupRestoreSecretName names the Secret for restoring.
	// +optional
	BackupRestoreSecretName string `json:"backupRestoreSecretName,omitempty"`
	// Version of the database.
	// +optional
	Version string `json:"version,omitempty"`
	// Secret names a Secret with ROOT_PASSWORD, USER, PASSWORD and DATABASE, for mysql.
	// One is generated when it is empty.
	// +optional
	Secret string `json:"secret,omitempty"`
}

// FileStore of an installation: one of its members.
type FileStore struct {
	// External is an S3 bucket that exists.
	// +optional
	External *ExternalFileStore `json:"external,omitempty"`
	// ExternalVolume is a claim that exists.
	// +optional
	ExternalVolume *ExternalVolumeFileStore `json:"externalVolume,omitempty"`
	// Local is a claim that is made for the installation.
	// +optional
	Local *LocalFileStore `json:"local,omitempty"`
	// OperatorManaged is run by the MinIO operator.
	// +optional
	OperatorManaged *OperatorManagedFileStore `json:"operatorManaged,omitempty"`
}

// ExternalFileStore is an S3 bucket that exists.
type ExternalFileStore struct {
	// URL of the S3 service, without a scheme.
	// +optional
	URL string `json:"url,omitempty"`
	// Bucket in it.
	// +optional
	Bucket string `json:"bucket,omitempty"`
	// Secret names a Secret with accesskey and secretkey.
	// +optional
	Secret string `json:"secret,omitempty"`
	// UseServiceAccount uses the ServiceAccount of the installation's name, which
	// has to exist with an IAM role, instead of keys.
	// +optional
	UseServiceAccount bool `json:"useServiceAccount,omitempty"`
}

// ExternalVolumeFileStore is a claim that exists.
type ExternalVolumeFileStore struct {
	// VolumeClaimName of the claim.
	// +optional
	VolumeClaimName string `json:"volumeClaimName,omitempty"`
}

// LocalFileStore is a claim that is made for the installation.
type LocalFileStore struct {
	// Enabled says whether it is used.
	Enabled bool `json:"enabled"`
	// StorageSize of the claim.
	// +kubebuilder:validation:Pattern=`^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$`
	// +optional
	StorageSize string `json:"storageSize,omitempty"`
	// AccessModes of the claim.
	// +optional
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// StorageClassName of the claim; the cluster's default when unset.
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// OperatorManagedFileStore is run by the MinIO operator.
type OperatorManagedFileStore struct {
	// StorageSize of each replica.
	// +kubebuilder:validation:Pattern=`^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$`
	// +optional
	StorageSize string `json:"storageSize,omitempty"`
	// Replicas of MinIO.
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// Resources of each replica.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// Secret names a Secret with accesskey and secretkey. One is generated when it is
	// empty.
	// +optional
	Secret string `json:"secret,omitempty"`
}

// ElasticSearch of an installation.
type ElasticSearch struct {
	// Host is its URL.
	// +optional
	Host string `json:"host,omitempty"`
	// UserName to log in with.
	// +optional
	UserName string `json:"username,omitempty"`
	// Password to log in with, in plain text.
	// +optional
	Password string `json:"password,omitempty"`
}

// Scheduling of the pods.
type Scheduling struct {
	// Resources of the main container; from the size when empty.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// NodeSelector of the pods.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// Tolerations of the pods.
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
}

// Probes of the main container.
type Probes struct {
	// LivenessProbe is merged over the default.
	// +optional
	LivenessProbe corev1.Probe `json:"livenessProbe,omitempty"`
	// ReadinessProbe is merged over the default.
	// +optional
	ReadinessProbe corev1.Probe `json:"readinessProbe,omitempty"`
}

// PodTemplate customises the pods.
type PodTemplate struct {
	// Command of the main container; mattermost when empty.
	// +optional
	Command []string `json:"command,omitempty"`
	// SecurityContext of the pods.
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`
	// ContainerSecurityContext of the main container.
	// +optional
	ContainerSecurityContext *corev1.SecurityContext `json:"containerSecurityContext,omitempty"`
	// ExtraAnnotations of the pods.
	// +optional
	ExtraAnnotations map[string]string `json:"extraAnnotations,omitempty"`
	// ExtraLabels of the pods.
	// +optional
	ExtraLabels map[string]string `json:"extraLabels,omitempty"`
}

// DeploymentTemplate customises the Deployment.
type DeploymentTemplate struct {
	// DeploymentStrategyType is RollingUpdate or Recreate.
	// +optional
	DeploymentStrategyType string `json:"deploymentStrategyType,omitempty"`
	// RevisionHistoryLimit is how many old ReplicaSets are kept; 5 when absent.
	// +optional
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// UpdateJob customises the Job that migrates the database before an upgrade.
type UpdateJob struct {
	// Disabled upgrades without the Job.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
	// ExtraLabels of the Job's pods.
	// +optional
	ExtraLabels map[string]string `json:"extraLabels,omitempty"`
	// ExtraAnnotations of the Job's pods.
	// +optional
	ExtraAnnotations map[string]string `json:"extraAnnotations,omitempty"`
	// PreUpgrade runs before the database is migrated, and has to succeed.
	// +optional
	PreUpgrade *PreUpgrade `json:"preUpgrade,omitempty"`
}

// PreUpgrade is what has to succeed before an upgrade, such as a backup.
type PreUpgrade struct {
	// CronJob names a CronJob of the namespace, of whose template a Job is made for
	// each upgrade. It may be suspended.
	// +kubebuilder:validation:MinLength=1
	CronJob string `json:"cronJob"`
}

// JobServer runs background jobs apart.
type JobServer struct {
	// DedicatedJobServer says whether it does.
	// +optional
	DedicatedJobServer bool `json:"dedicatedJobServer,omitempty"`
}

// PodExtensions adds to the pods.
type PodExtensions struct {
	// InitContainers that run after the generated ones.
	// +optional
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// SidecarContainers beside the main container.
	// +optional
	SidecarContainers []corev1.Container `json:"sidecarContainers,omitempty"`
	// ContainerPorts of the main container beside the generated ones.
	// +optional
	ContainerPorts []corev1.ContainerPort `json:"containerPorts,omitempty"`
}

// ResourcePatch changes generated objects.
type ResourcePatch struct {
	// Service is the patch of the Service.
	// +optional
	Service *Patch `json:"service,omitempty"`
	// Deployment is the patch of the Deployment.
	// +optional
	Deployment *Patch `json:"deployment,omitempty"`
}

// Patch is a JSON patch (RFC 6902) as text.
type Patch struct {
	// Disable leaves the object unpatched.
	// +optional
	Disable bool `json:"disable,omitempty"`
	// Patch is the text.
	// +optional
	Patch string `json:"patch,omitempty"`
}
