package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeReplacement is the record of one node that is being replaced. It is written before
// what it tells of is done, so that whoever reads it knows what may have been done.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=nodereplacements,singular=nodereplacement
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=".spec.node"
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=".spec.group"
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=".status.phase"
// +kubebuilder:printcolumn:name="Waits for",type=string,JSONPath=".status.wait.for"
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=".status.wait.since"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type NodeReplacement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NodeReplacementSpec `json:"spec"`
	// +optional
	Status NodeReplacementStatus `json:"status,omitempty"`
}

// NodeReplacementList is a list of NodeReplacement.
// +kubebuilder:object:root=true
type NodeReplacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeReplacement `json:"items"`
}

// NodeReplacementSpec is what was known when the node was opened.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a record cannot be changed"
type NodeReplacementSpec struct {
	// Rotation is the name of the run.
	Rotation string    `json:"rotation"`
	Group    string    `json:"group"`
	Node     string    `json:"node"`
	NodeUID  types.UID `json:"nodeUID"`
	// Instance is what the provider calls the machine.
	Instance string `json:"instance"`
	// +optional
	Zone string `json:"zone,omitempty"`
	// Reason is why the node is replaced.
	Reason string `json:"reason"`
	// CordonedBefore says that the node was cordoned by somebody else, and stays so if it
	// is given back.
	// +optional
	CordonedBefore bool `json:"cordonedBefore,omitempty"`
	// ExcludedBefore says the same of its exclusion from load balancers.
	// +optional
	ExcludedBefore bool `json:"excludedBefore,omitempty"`
	// Attempt counts from 0: a node that was skipped is tried once more at the end.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
}

// ReplacementPhase is where the replacement of a node is.
type ReplacementPhase string

const (
	// Opened: the node is chosen, and about to be cordoned.
	Opened ReplacementPhase = "Opened"
	// Draining: its pods are leaving.
	Draining ReplacementPhase = "Draining"
	// Drained: it has no pods any more, and waits for their replacements and volumes.
	Drained ReplacementPhase = "Drained"
	// Terminating: load balancers let go of its machine, which is ended then. There is no way back.
	Terminating ReplacementPhase = "Terminating"
	// Replaced: its machine is gone.
	Replaced ReplacementPhase = "Replaced"
	// Reverting: it is being given back.
	Reverting ReplacementPhase = "Reverting"
	// Reverted: it was given back.
	Reverted ReplacementPhase = "Reverted"
	// SkippedPhase: it was given back because it could not be emptied.
	SkippedPhase ReplacementPhase = "Skipped"
)

// NodeReplacementStatus is how far the replacement of a node is.
type NodeReplacementStatus struct {
	// +optional
	Phase ReplacementPhase `json:"phase,omitempty"`
	// Since is when the phase began.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// DrainDeadline is when the node has to be empty.
	// +optional
	DrainDeadline *metav1.Time `json:"drainDeadline,omitempty"`
	// Pods are those that have left the node or still have to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Pods []LeavingPod `json:"pods,omitempty"`
	// Surges are workloads that were given one more replica so that a pod can leave.
	// +optional
	// +listType=atomic
	Surges []WorkloadSurge `json:"surges,omitempty"`
	// +optional
	Wait *Wait `json:"wait,omitempty"`
	// DrainedAt is when the node was found empty.
	// +optional
	DrainedAt *metav1.Time `json:"drainedAt,omitempty"`
	// TerminateAt is when the machine was going to be ended.
	// +optional
	TerminateAt *metav1.Time `json:"terminateAt,omitempty"`
	// SizeAfter is what size the group is asked to have when the machine is ended.
	// +optional
	SizeAfter *int32 `json:"sizeAfter,omitempty"`
	// Forced says that the node was ended although not everything had left it, and why.
	// +optional
	Forced string `json:"forced,omitempty"`
	// FinishedAt is when the record was done with.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// Message says what happened, in a sentence.
	// +optional
	Message string `json:"message,omitempty"`
}

// LeavingPod is a pod that leaves a node.
type LeavingPod struct {
	UID types.UID `json:"uid"`
	// Owner is who will make another, as Kind/namespace/name.
	// +optional
	Owner string `json:"owner,omitempty"`
	// LeftAt is when it was found to be gone or going.
	// +optional
	LeftAt *metav1.Time `json:"leftAt,omitempty"`
}

// WorkloadSurge is a workload with one more replica than its owner wants.
type WorkloadSurge struct {
	// Kind is Deployment or HorizontalPodAutoscaler.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Before is its number of replicas, or its minimum, before; After while it is raised.
	Before int32 `json:"before"`
	After  int32 `json:"after"`
	// Restored says that it has its number back.
	// +optional
	Restored bool `json:"restored,omitempty"`
}
