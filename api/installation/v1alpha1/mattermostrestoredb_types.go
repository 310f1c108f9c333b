package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// MattermostRestoreDBStatus is how far the restore is.
type MattermostRestoreDBStatus struct {
	// State is restoring, finished or failed.
	// +optional
	State RestoreState `json:"state,omitempty"`
	// OriginalDBReplicas is how many replicas the database had before.
	// +optional
	OriginalDBReplicas int32 `json:"originalDBReplicas,omitempty"`
	// ObservedGeneration is that of the spec which this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions say why it is where it is.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
