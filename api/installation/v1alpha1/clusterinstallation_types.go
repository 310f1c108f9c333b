package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1beta1"
)

// ClusterInstallation is one installation of Mattermost, in the older API.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=".status.state",description="State of Mattermost"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=".status.image",description="Image of Mattermost"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=".status.version",description="Version of Mattermost"
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=".status.endpoint",description="Endpoint"
type ClusterInstallation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterInstallationSpec `json:"spec"`
	// +optional
	Status ClusterInstallationStatus `json:"status,omitempty"`
}

// ClusterInstallationList is a list of ClusterInstallation.
//
// +kubebuilder:object:root=true
type ClusterInstallationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterInstallation `json:"items"`
}

// ClusterInstallationSpec is what an installation is wanted to be. Its JSON form is
// the one that the Mattermost Operator stores.
type ClusterInstallationSpec struct {
	// Image without a tag; mattermost/mattermost-enterprise-edition when empty.
	// +optional
	Image string `json:"image,omitempty"`
	// Version is the image's tag, or a digest that starts with sha256:.
	// +optional
	Version string `json:"version,omitempty"`
	// Size is a preset such as 1000users. It is expanded over what is set, and erased.
	// +optional
	Size string `json:"size,omitempty"`
	// Replicas is the number of pods; 0 is the default, less than 0 hibernates.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// Resources of the main container; from the size when empty.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// IngressName is the host name.
	IngressName string `json:"ingressName"`
	// MattermostLicenseSecret names a Secret with the key license.
	// +optional
	MattermostLicenseSecret string `json:"mattermostLicenseSecret,omitempty"`
	// NodeSelector of the pods.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// Minio is the file store.
	// +optional
	Minio Minio `json:"minio,omitempty"`
	// Database of the installation.
	// +optional
	Database Database `json:"database,omitempty"`
	// BlueGreen runs two sets of pods, of which one serves.
	// +optional
	BlueGreen BlueGreen `json:"blueGreen,omitempty"`
	// Canary runs a further set of pods.
	// +optional
	Canary Canary `json:"canary,omitempty"`
	// ElasticSearch of the installation.
	// +optional
	ElasticSearch ElasticSearch `json:"elasticSearch,omitempty"`
	// UseServiceLoadBalancer exposes the Service as a load balancer, without an Ingress.
	// +optional
	UseServiceLoadBalancer bool `json:"useServiceLoadBalancer,omitempty"`
	// ServiceAnnotations are those of the Service, if that is a load balancer.
	// +optional
	ServiceAnnotations map[string]string `json:"serviceAnnotations,omitempty"`
	// UseIngressTLS asks for TLS, with the Secret that is named after the host.
	// +optional
	UseIngressTLS bool `json:"useIngressTLS,omitempty"`
	// ResourceLabels are added to the objects of the installation.
	// +optional
	ResourceLabels map[string]string `json:"resourceLabels,omitempty"`
	// IngressAnnotations are those of the Ingress, over the defaults.
	// +optional
	IngressAnnotations map[string]string `json:"ingressAnnotations,omitempty"`
	// MattermostEnv is merged over the generated environment by name.
	// +optional
	MattermostEnv []corev1.EnvVar `json:"mattermostEnv,omitempty"`
	// LivenessProbe is merged over the default.
	// +optional
	LivenessProbe corev1.Probe `json:"livenessProbe,omitempty"`
	// ReadinessProbe is merged over the default.
	// +optional
	ReadinessProbe corev1.Probe `json:"readinessProbe,omitempty"`
	// ImagePullPolicy of the main container; IfNotPresent when empty.
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Migrate asks for a Mattermost resource in place of this one.
	// +optional
	Migrate bool `json:"migrate,omitempty"`
}

// BlueGreen runs two sets of pods, of which one serves.
type BlueGreen struct {
	// ProductionDeployment is the one that serves: blue or green.
	// +optional
	ProductionDeployment string `json:"productionDeployment,omitempty"`
	// Enable says whether the two run, in place of the installation's own pods.
	// +optional
	Enable bool `json:"enable,omitempty"`
	// Blue is one of them.
	// +optional
	Blue AppDeployment `json:"blue,omitempty"`
	// Green is the other one.
	// +optional
	Green AppDeployment `json:"green,omitempty"`
}

// Canary runs a further set of pods.
type Canary struct {
	// Enable says whether it runs.
	// +optional
	Enable bool `json:"enable,omitempty"`
	// Deployment is the set of pods.
	// +optional
	Deployment AppDeployment `json:"deployment,omitempty"`
}

// AppDeployment is a set of pods.
type AppDeployment struct {
	// Name of its objects; the installation's with -blue, -green or -canary when empty.
	// +optional
	Name string `json:"name,omitempty"`
	// IngressName is its host name; the installation's with blue. or green. before it
	// when empty. A canary has the installation's.
	// +optional
	IngressName string `json:"ingressName,omitempty"`
	// Image without a tag. Required.
	// +optional
	Image string `json:"image,omitempty"`
	// Version is the image's tag, or a digest. Required.
	// +optional
	Version string `json:"version,omitempty"`
	// ResourceLabels are added to all objects while this is the one that serves.
	// +optional
	ResourceLabels map[string]string `json:"resourceLabels,omitempty"`
}

// Minio is the file store: one that exists, or one that the MinIO operator runs.
type Minio struct {
	// StorageSize of each replica.
	// +kubebuilder:validation:Pattern=`^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$`
	// +optional
	StorageSize string `json:"storageSize,omitempty"`
	// Replicas of MinIO.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// Resources of each replica.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// ExternalURL is that of an S3 service that exists, without a scheme.
	// +optional
	ExternalURL string `json:"externalURL,omitempty"`
	// ExternalBucket in it.
	// +optional
	ExternalBucket string `json:"externalBucket,omitempty"`
	// Secret names a Secret with accesskey and secretkey.
	// +optional
	Secret string `json:"secret,omitempty"`
}

// Database is one that exists, or one that the MySQL operator runs.
type Database struct {
	// Type is mysql.
	// +optional
	Type string `json:"type,omitempty"`
	// Secret names a Secret with DB_CONNECTION_STRING, for a database that exists, or
	// else with ROOT_PASSWORD, USER, PASSWORD and DATABASE.
	// +optional
	Secret string `json:"secret,omitempty"`
	// StorageSize of each replica.
	// +kubebuilder:validation:Pattern=`^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$`
	// +optional
	StorageSize string `json:"storageSize,omitempty"`
	// Replicas of the database.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// Resources of each replica. The MySQL operator is not told of them.
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

// RunningState is the one-word state of an installation.
type RunningState string

// States of an installation.
const (
	// Reconciling: not all is as wanted yet; conditions say why.
	Reconciling RunningState = "reconciling"
	// Stable: all pods of the wanted version serve.
	Stable RunningState = "stable"
)

// ClusterInstallationStatus is what an installation was last seen to be.
type ClusterInstallationStatus struct {
	// State is reconciling or stable.
	// +optional
	State RunningState `json:"state,omitempty"`
	// Version that serves.
	// +optional
	Version string `json:"version,omitempty"`
	// Image that serves, without its tag.
	// +optional
	Image string `json:"image,omitempty"`
	// Endpoint is the host under which the installation is reached.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// Replicas is the number of pods, of the set that serves.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// UpdatedReplicas is the number of those of the wanted version that are available.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty"`
	// BlueName is the name of the blue set, while there is one.
	// +optional
	BlueName string `json:"blueName,omitempty"`
	// GreenName is the name of the green set, while there is one.
	// +optional
	GreenName string `json:"greenName,omitempty"`
	// Migration tells how far the way to a Mattermost resource is.
	// +optional
	Migration *MigrationStatus `json:"migration,omitempty"`
	// ObservedGeneration is that of the spec which this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Error is what keeps the spec from being carried out, if anything does.
	// +optional
	Error string `json:"error,omitempty"`
	// Credentials is a digest of the Secrets with which the pods first ran.
	// +optional
	Credentials string `json:"credentials,omitempty"`
	// Good is the image with which all pods last were available.
	// +optional
	Good *v1beta1.Release `json:"good,omitempty"`
	// RolledBackFrom is the full name of an image whose pods did not become available.
	// +optional
	RolledBackFrom string `json:"rolledBackFrom,omitempty"`
	// Restore is the MattermostRestoreDB for which the installation stands still.
	// +optional
	Restore *RestoreReference `json:"restore,omitempty"`
	// Conditions are those of a Mattermost, and CanaryReady.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Inventory lists the objects that Windlass made for the installation.
	// +listType=map
	// +listMapKey=group
	// +listMapKey=kind
	// +listMapKey=name
	// +optional
	Inventory []v1beta1.InventoryItem `json:"inventory,omitempty"`
}

// RestoreReference names a MattermostRestoreDB.
type RestoreReference struct {
	// Name of the object.
	Name string `json:"name"`
	// UID of the object.
	UID types.UID `json:"uid"`
}

// MigrationStatus tells how far the way to a Mattermost resource is.
type MigrationStatus struct {
	// Status is where it stands.
	// +optional
	Status string `json:"status,omitempty"`
	// Error is what holds it up.
	// +optional
	Error string `json:"error,omitempty"`
	// Phase is how far it is; it is on record before what it allows is done.
	// +optional
	Phase MigrationPhase `json:"phase,omitempty"`
	// Since is when the phase began.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// Mattermost is the UID of the Mattermost that takes the objects over.
	// +optional
	Mattermost types.UID `json:"mattermost,omitempty"`
	// Turn counts how often it changed who of the two acts. Who was told to stop says of
	// which turn it has.
	// +optional
	Turn int64 `json:"turn,omitempty"`
	// Diverged are the fields of the spec in which the Mattermost, which has taken over, is
	// not what the ClusterInstallation asks for: what a revert takes back.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Diverged []string `json:"diverged,omitempty"`
	// Lossy lists what of the resource its Mattermost does not have.
	// +listType=atomic
	// +optional
	Lossy []string `json:"lossy,omitempty"`
}

// MigrationPhase is how far a migration is.
type MigrationPhase string

// Phases of a migration.
const (
	// MigrationRefused: it cannot be done; the installation goes on as it is.
	MigrationRefused MigrationPhase = "Refused"
	// MigrationWaiting: it begins when the installation is stable.
	MigrationWaiting MigrationPhase = "Waiting"
	// MigrationPreparing: the Mattermost is made and follows the ClusterInstallation,
	// which is still the one that is carried out.
	MigrationPreparing MigrationPhase = "Preparing"
	// MigrationHandingOver: the Mattermost is carried out, and takes the objects over.
	MigrationHandingOver MigrationPhase = "HandingOver"
	// MigrationAwaitingFinalization: all is handed over, and somebody has asked for a look
	// before the ClusterInstallation is deleted.
	MigrationAwaitingFinalization MigrationPhase = "AwaitingFinalization"
	// MigrationReverting: the ClusterInstallation takes the objects back.
	MigrationReverting MigrationPhase = "Reverting"
	// MigrationReverted: it has them, and the Mattermost is gone.
	MigrationReverted MigrationPhase = "Reverted"
	// MigrationInterrupted: the Mattermost was deleted, and the ClusterInstallation has
	// the objects again.
	MigrationInterrupted MigrationPhase = "Interrupted"
)
