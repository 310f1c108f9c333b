package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MattermostRestoreDB restores the database of a ClusterInstallation.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=".status.state",description="State of Mattermost DB Restore"
// +kubebuilder:printcolumn:name="Original DB Replicas",type=string,JSONPath=".status.originalDBReplicas",description="Original DB Replicas"
type MattermostRestoreDB struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec MattermostRestoreDBSpec `json:"spec,omitempty"`
	// +optional
	Status MattermostRestoreDBStatus `json:"status,omitempty"`
}

// MattermostRestoreDBList is a list of MattermostRestoreDB.
//
// +kubebuilder:object:root=true
type MattermostRestoreDBList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MattermostRestoreDB `json:"items"`
}

// MattermostRestoreDBSpec is what to restore.
type MattermostRestoreDBSpec struct {
	// MattermostClusterName is the name of the ClusterInstallation.
	// +optional
	MattermostClusterName string `json:"mattermostClusterName,omitempty"`
	// RestoreSecret names the Secret with which the backup is read.
	// +optional
	RestoreSecret string `json:"restoreSecret,omitempty"`
	// InitBucketURL is where the backup is.
	// +optional
	InitBucketURL string `json:"initBucketURL,omitempty"`
	// MattermostDBUser is the user in the backup, if that is not mmuser.
	// +optional
	MattermostDBUser string `json:"mattermostDBUser,omitempty"`
	// MattermostDBPassword is that user's, in plain text.
	// +optional
	MattermostDBPassword string `json:"mattermostDBPassword,omitempty"`
	// MattermostDBName is the database in the backup, if that is not mattermost.
	// +optional
	MattermostDBName string `json:"mattermostDBName,omitempty"`
	// MattermostDBSecret names a Secret with USER, PASSWORD and DATABASE of the backup, in
	// place of the three fields before. ROOT_PASSWORD may be there too.
	// +optional
	MattermostDBSecret string `json:"mattermostDBSecret,omitempty"`
}

// RestoreState is the one-word state of a restore.
type RestoreState string

// States of a restore.
const (
	// Restoring: it is under way.
	Restoring RestoreState = "restoring"
	// Finished: it succeeded.
	Finished RestoreState = "finished"
	// Failed: it did not.
	Failed RestoreState = "failed"
)

// RestorePhase is how far a restore is.
type RestorePhase string

// Phases of a restore. A phase is on record before what it allows is done.
const (
	// RestoreWaiting: nothing was touched yet; the condition Ready says what it waits for.
	RestoreWaiting RestorePhase = "Waiting"
	// RestoreKeepingVolumes: what holds the old data is kept from being deleted with its claims.
	RestoreKeepingVolumes RestorePhase = "KeepingVolumes"
	// RestoreStoppingMattermost: its pods go.
	RestoreStoppingMattermost RestorePhase = "StoppingMattermost"
	// RestoreStoppingDatabase: its pods go.
	RestoreStoppingDatabase RestorePhase = "StoppingDatabase"
	// RestoreDeletingVolumes: the claims on record go. From here on it cannot be called off.
	RestoreDeletingVolumes RestorePhase = "DeletingVolumes"
	// RestoreStartingDatabase: the database starts from the backup.
	RestoreStartingDatabase RestorePhase = "StartingDatabase"
	// RestoreSettlingDatabase: the database is told to forget the backup, and restarts.
	RestoreSettlingDatabase RestorePhase = "SettlingDatabase"
	// RestoreStartingMattermost: everything is as the ClusterInstallation says again, as
	// soon as its pods run.
	RestoreStartingMattermost RestorePhase = "StartingMattermost"
	// RestoreFinished: it succeeded, and does nothing any more.
	RestoreFinished RestorePhase = "Finished"
	// RestoreAbandoned: the ClusterInstallation went in the middle of it.
	RestoreAbandoned RestorePhase = "Abandoned"
)

// ReplacedData is what becomes of the volumes with the old data.
type ReplacedData string

// What may become of them.
const (
	// RetainReplacedData keeps the volumes, without a claim.
	RetainReplacedData ReplacedData = "Retain"
	// DeleteReplacedData does what their reclaim policy says, which mostly is to delete them.
	DeleteReplacedData ReplacedData = "Delete"
)

// RestoreRun is what was begun: an object runs once.
type RestoreRun struct {
	// UID is that of the object that runs.
	UID types.UID `json:"uid"`
	// Generation is that of its spec when it began.
	Generation int64 `json:"generation"`
	// Installation is the name of the ClusterInstallation.
	Installation string `json:"installation"`
	// InstallationUID is its UID.
	InstallationUID types.UID `json:"installationUID"`
	// ReplacedData is what was chosen.
	ReplacedData ReplacedData `json:"replacedData"`
	// InitBucketURL is the backup, as the spec last had it while that could still be changed.
	InitBucketURL string `json:"initBucketURL"`
	// RestoreSecret is with which it is read, likewise.
	RestoreSecret string `json:"restoreSecret"`
	// Started is when it began.
	Started metav1.Time `json:"started"`
	// Ended is when it was over.
	// +optional
	Ended *metav1.Time `json:"ended,omitempty"`
	// CredentialsWritten says that those of the backup are in the database's Secret.
	// +optional
	CredentialsWritten bool `json:"credentialsWritten,omitempty"`
}

// RestoreVolume is a claim with old data.
type RestoreVolume struct {
	// Claim is the name of the PersistentVolumeClaim.
	Claim string `json:"claim"`
	// UID is that of the claim. One of the same name with another UID is never touched.
	UID types.UID `json:"uid"`
	// Volume is the name of the PersistentVolume, if the claim is bound.
	// +optional
	Volume string `json:"volume,omitempty"`
	// Size is what the claim has, or else asks for.
	// +optional
	Size string `json:"size,omitempty"`
	// Kept says that the volume stays when its claim is deleted.
	// +optional
	Kept bool `json:"kept,omitempty"`
}

// MattermostRestoreDBStatus is how far the restore is.
type MattermostRestoreDBStatus struct {
	// State is restoring, finished or failed; empty while nothing was begun. It has failed
	// when a person has to change something.
	// +optional
	State RestoreState `json:"state,omitempty"`
	// OriginalDBReplicas is how many replicas the database had before.
	// +optional
	OriginalDBReplicas int32 `json:"originalDBReplicas,omitempty"`
	// ObservedGeneration is that of the spec which this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is how far it is.
	// +optional
	Phase RestorePhase `json:"phase,omitempty"`
	// Run is what was begun; not there before.
	// +optional
	Run *RestoreRun `json:"run,omitempty"`
	// Volumes are the claims that are deleted, or would be while nothing was begun.
	// +listType=map
	// +listMapKey=claim
	// +optional
	Volumes []RestoreVolume `json:"volumes,omitempty"`
	// Confirmation stands for exactly these volumes in the annotation that begins the restore.
	// +optional
	Confirmation string `json:"confirmation,omitempty"`
	// Conditions say why it is where it is.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
