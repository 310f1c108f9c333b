package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// FleetRotation rotates the nodes of many clusters, wave by wave: in each cluster it
// freezes the admission of new installations, makes a NodeRotation, looks whether all is
// as well as before, and lifts the freeze. It is begun by being made in the management
// cluster; a wave is not touched before the one before it has passed.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=fleetrotations,singular=fleetrotation,shortName=frot
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=".status.phase"
// +kubebuilder:printcolumn:name="Wave",type=integer,JSONPath=".status.wave"
// +kubebuilder:printcolumn:name="Clusters",type=integer,JSONPath=".status.selected"
// +kubebuilder:printcolumn:name="Done",type=integer,JSONPath=".status.done"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=".status.failed"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 54",message="the name can have 54 characters: those of the NodeRotations are made of it"
type FleetRotation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FleetRotationSpec `json:"spec"`
	// +optional
	Status FleetRotationStatus `json:"status,omitempty"`
}

// FleetRotationList is a list of FleetRotation.
// +kubebuilder:object:root=true
type FleetRotationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FleetRotation `json:"items"`
}

// FleetRotationSpec is what a run over a fleet is to do.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.end) || (has(self.end) && self.end == oldSelf.end)",message="a run that is ended cannot go on: make another FleetRotation"
// +kubebuilder:validation:XValidation:rule="!has(self.end) || self.end == 'Abort'",message="a fleet can be aborted only; roll back in its clusters, where the former images are known"
// +kubebuilder:validation:XValidation:rule="has(self.rotation) == has(oldSelf.rotation)",message="the rotation of a run cannot be changed: make another FleetRotation"
type FleetRotationSpec struct {
	// Waves in their order. A cluster belongs to the first wave that selects it.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the waves of a run cannot be changed: make another FleetRotation"
	Waves []FleetWave `json:"waves"`
	// Rotation is the spec of the NodeRotation that is made in each cluster.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the rotation of a run cannot be changed: make another FleetRotation"
	// +kubebuilder:validation:XValidation:rule="!has(self.paused) && !has(self.dryRun) && !has(self.end)",message="paused, dryRun and end cannot be given to all clusters: use those of the FleetRotation, or make a NodeRotation in one cluster"
	Rotation *NodeRotationSpec `json:"rotation,omitempty"`
	// FailureThreshold is how many clusters may fail before the run stops: those that are
	// being rotated are aborted then, and no other is begun. 0 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	FailureThreshold int32 `json:"failureThreshold,omitempty"`
	// FreezeAdmission keeps new installations out of a cluster while it is rotated; true
	// without one.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="whether a run freezes admission cannot be changed: make another FleetRotation"
	FreezeAdmission *bool `json:"freezeAdmission,omitempty"`
	// FreezeSeconds is after how long a freeze ends by itself when the management cluster
	// no longer renews it, which it does three times as often; 120 without one.
	// +optional
	// +kubebuilder:validation:Minimum=15
	// +kubebuilder:validation:Maximum=3600
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="how long a freeze lasts cannot be changed: make another FleetRotation"
	FreezeSeconds *int32 `json:"freezeSeconds,omitempty"`
	// ClusterTimeoutSeconds is how long a cluster may be unreachable, may take to become as
	// well as before, and may take to end a rotation that is aborted; it has failed after
	// that. 600 without one. How long a rotation may take is up to its own strategy.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	ClusterTimeoutSeconds *int32 `json:"clusterTimeoutSeconds,omitempty"`
	// Paused begins no further cluster; those that were begun are finished.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// End ends the run before its time, and the rotations that run. It cannot be taken back.
	// +optional
	End End `json:"end,omitempty"`
}

// FleetWave is a part of the fleet. Which clusters belong to it is fixed when it begins.
// +kubebuilder:validation:XValidation:rule="has(self.clusterSelector) != has(self.names)",message="give either clusterSelector or names"
type FleetWave struct {
	// ClusterSelector selects clusters by the labels of their registration; an empty one
	// selects all.
	// +optional
	ClusterSelector *metav1.LabelSelector `json:"clusterSelector,omitempty"`
	// Names are those of clusters' registrations.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MaxLength=253
	Names []string `json:"names,omitempty"`
	// MaxParallel is how many clusters of the wave are rotated at a time; 1 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxParallel int32 `json:"maxParallel,omitempty"`
	// BakeSeconds is how long the clusters are left to themselves after the wave. They have
	// to be as well as before at its end.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	BakeSeconds int32 `json:"bakeSeconds,omitempty"`
}

// FleetRotationStatus is how far a run over a fleet is.
type FleetRotationStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is Pending, Rotating, Baking, Aborting, Succeeded, Aborted or Failed.
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// Outcome is how the run will end once no cluster is touched any more.
	// +optional
	Outcome Phase `json:"outcome,omitempty"`
	// +optional
	OutcomeMessage string `json:"outcomeMessage,omitempty"`
	// Wave is the number of the wave, from 0.
	// +optional
	Wave int32 `json:"wave"`
	// WaveDoneAt is when the clusters of the wave were all done.
	// +optional
	WaveDoneAt *metav1.Time `json:"waveDoneAt,omitempty"`
	// Selected, Done and Failed count clusters: of all waves, those that succeeded, and
	// those that did not.
	// +optional
	Selected int32 `json:"selected"`
	// +optional
	Done int32 `json:"done"`
	// +optional
	Failed int32 `json:"failed"`
	// Clusters are those of the waves that were begun. What is done in a cluster is written
	// here before it is done.
	// +optional
	// +listType=map
	// +listMapKey=name
	Clusters []ClusterRotation `json:"clusters,omitempty"`
	// Waits are what the run waits for, the longest first, at most 20.
	// +optional
	// +listType=atomic
	Waits []Wait `json:"waits,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClusterPhase is where a run is with one cluster.
type ClusterPhase string

const (
	// ClusterPending: nothing was done in the cluster.
	ClusterPending ClusterPhase = "Pending"
	// ClusterPreparing: admission is being frozen, and what is well is noted.
	ClusterPreparing ClusterPhase = "Preparing"
	// ClusterRotating: the cluster's own NodeRotation is at work.
	ClusterRotating ClusterPhase = "Rotating"
	// ClusterVerifying: the nodes were replaced, and all has to become as well as before.
	ClusterVerifying ClusterPhase = "Verifying"
	// ClusterAborting: the cluster's NodeRotation is told to end.
	ClusterAborting ClusterPhase = "Aborting"
	// ClusterThawing: the freeze is being lifted.
	ClusterThawing ClusterPhase = "Thawing"
	// ClusterSucceeded: every node runs what it should, and all is as well as before.
	ClusterSucceeded ClusterPhase = "Succeeded"
	// ClusterFailed: not so.
	ClusterFailed ClusterPhase = "Failed"
	// ClusterAborted: the run was ended before the cluster was done.
	ClusterAborted ClusterPhase = "Aborted"
)

// ClusterRotation is how far a run is with one cluster.
type ClusterRotation struct {
	// Name is that of the cluster's registration.
	Name string `json:"name"`
	// Wave is the number of its wave, from 0.
	Wave  int32        `json:"wave"`
	Phase ClusterPhase `json:"phase"`
	// Since is when the phase began.
	Since metav1.Time `json:"since"`
	// Outcome is the phase that follows on Thawing.
	// +optional
	Outcome ClusterPhase `json:"outcome,omitempty"`
	// Reason and Message say why the phase is what it is, or what it waits for.
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// Version is the Kubernetes version of the cluster.
	// +optional
	Version string `json:"version,omitempty"`
	// UnreachableSince is since when the cluster does not answer.
	// +optional
	UnreachableSince *metav1.Time `json:"unreachableSince,omitempty"`
	// Rotation is the name of the NodeRotation in the cluster, and RotationUID its UID once
	// it was seen.
	// +optional
	Rotation string `json:"rotation,omitempty"`
	// +optional
	RotationUID types.UID `json:"rotationUID,omitempty"`
	// Outdated, Open, Replaced and Skipped are the NodeRotation's counts of nodes.
	// +optional
	Outdated int32 `json:"outdated"`
	// +optional
	Open int32 `json:"open"`
	// +optional
	Replaced int32 `json:"replaced"`
	// +optional
	Skipped int32 `json:"skipped"`
	// Baseline is how the installations were before.
	// +optional
	Baseline *Baseline `json:"baseline,omitempty"`
}

// Baseline is how the installations of a cluster were before its nodes were rotated.
type Baseline struct {
	// Installations is how many there were, and Unstable how many of them were not stable.
	Installations int32 `json:"installations"`
	Unstable      int32 `json:"unstable"`
	// Names are those that were not stable, as namespace/name, at most 100.
	// +optional
	// +listType=set
	Names []string `json:"names,omitempty"`
}
