package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RunningState is the one-word state of an installation.
type RunningState string

// States of an installation.
const (
	// Reconciling: something is missing or wrong; error and conditions say what.
	Reconciling RunningState = "reconciling"
	// Ready: at least one pod of the wanted version serves.
	Ready RunningState = "ready"
	// Stable: all pods of the wanted version serve.
	Stable RunningState = "stable"
)

// Release is an image and its version, as in the spec.
type Release struct {
	Image   string `json:"image"`
	Version string `json:"version"`
}

// Shape is what the objects of an installation are like.
// +kubebuilder:validation:Enum=Strict;Standard
type Shape string

const (
	// ShapeStrict is equal to what the Mattermost Operator makes. It is that of an
	// installation that is taken over, so that no pod restarts.
	ShapeStrict Shape = "Strict"
	// ShapeStandard is that of a new installation: only ready pods are served, they
	// drain before they stop, and they are spread, budgeted and confined.
	ShapeStandard Shape = "Standard"
)

// Lineage is the older API from which an installation comes.
// +kubebuilder:validation:Enum=V1alpha1
type Lineage string

// LineageV1alpha1 is that of a ClusterInstallation of mattermost.com/v1alpha1. Its
// objects have that API's labels, selectors, and order of environment variables, so
// that its pods go on as they are.
const LineageV1alpha1 Lineage = "V1alpha1"

// MattermostStatus is what an installation was last seen to be.
type MattermostStatus struct {
	// State is reconciling, ready or stable.
	// +optional
	State RunningState `json:"state,omitempty"`
	// Replicas is the number of pods.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// UpdatedReplicas is the number of available pods of the wanted version.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty"`
	// Version that serves.
	// +optional
	Version string `json:"version,omitempty"`
	// Image that serves, without its tag.
	// +optional
	Image string `json:"image,omitempty"`
	// Endpoint is the host under which the installation is reached.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// ObservedGeneration is that of the spec which this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// StableGeneration is the last generation of the spec with which all pods were
	// available.
	// +optional
	StableGeneration int64 `json:"stableGeneration,omitempty"`
	// Error is what keeps the spec from being carried out, if anything does.
	// +optional
	Error string `json:"error,omitempty"`
	// ResourcePatch is what became of spec.resourcePatch.
	// +optional
	ResourcePatch *ResourcePatchStatus `json:"resourcePatch,omitempty"`
	// Shape is what the objects are like: equal to what the Mattermost Operator
	// makes, or as Windlass makes them for a new installation.
	// +optional
	Shape Shape `json:"shape,omitempty"`
	// Lineage is the older API whose labels and selectors the objects keep; empty for
	// none.
	// +optional
	Lineage Lineage `json:"lineage,omitempty"`
	// Renewal is there while the pods are replaced by ones with the labels of this API.
	// +optional
	Renewal *Renewal `json:"renewal,omitempty"`
	// MigratedFrom is the ClusterInstallation that became this Mattermost, if one did.
	// +optional
	MigratedFrom *MigratedFrom `json:"migratedFrom,omitempty"`
	// Credentials is a digest of the Secrets with which the pods first ran. While
	// the Secrets have another one, the pods carry it, so that they are replaced
	// when it changes.
	// +optional
	Credentials string `json:"credentials,omitempty"`
	// Good is the image with which all pods last were available.
	// +optional
	Good *Release `json:"good,omitempty"`
	// RolledBackFrom is the full name of an image whose pods did not become available.
	// While the spec wants it, the good one runs.
	// +optional
	RolledBackFrom string `json:"rolledBackFrom,omitempty"`
	// Conditions are Ready, Reconciling or Stalled, Paused, Released, SpecWarnings,
	// DatabaseReady, FileStoreReady, EndpointReady, UpdateJobSucceeded and ResourcesPatched.
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
	Inventory []InventoryItem `json:"inventory,omitempty"`
}

// Renewal is how pods with the labels of the older API are replaced by ones with those of
// this one. A Deployment cannot change by which labels it selects, so that it is made anew
// while the former one's pods serve.
type Renewal struct {
	// Since is when it began.
	Since metav1.Time `json:"since"`
	// Replicas is how many pods there were.
	Replicas int32 `json:"replicas"`
}

// The values of MigrationModeAnnotation.
const (
	MigrationInPlace  = "InPlace"
	MigrationRecreate = "Recreate"
)

// MigratedFrom is the ClusterInstallation that became a Mattermost.
type MigratedFrom struct {
	// UID of it.
	UID types.UID `json:"uid"`
	// Held says that the ClusterInstallation has the objects, and that nothing is changed
	// on behalf of the Mattermost.
	// +optional
	Held bool `json:"held,omitempty"`
	// Turn of the migration of which that is said.
	// +optional
	Turn int64 `json:"turn,omitempty"`
	// Lossy lists what of the ClusterInstallation the Mattermost does not have.
	// +listType=atomic
	// +optional
	Lossy []string `json:"lossy,omitempty"`
}

// InventoryItem is one object that Windlass made.
type InventoryItem struct {
	// Group of its kind; empty for the core group.
	Group string `json:"group"`
	// Kind of it.
	Kind string `json:"kind"`
	// Name of it.
	Name string `json:"name"`
	// Digest of what was last applied.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// ResourcePatchStatus is what became of spec.resourcePatch.
type ResourcePatchStatus struct {
	// ServicePatch is about the Service.
	// +optional
	ServicePatch *PatchStatus `json:"servicePatch,omitempty"`
	// DeploymentPatch is about the Deployment.
	// +optional
	DeploymentPatch *PatchStatus `json:"deploymentPatch,omitempty"`
}

// PatchStatus is what became of one patch.
type PatchStatus struct {
	// Applied says whether it was applied.
	// +optional
	Applied bool `json:"applied,omitempty"`
	// Error says why not.
	// +optional
	Error string `json:"error,omitempty"`
}
