package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeImage says where the machine image that nodes should run comes from. When a new
// one appears, is old enough and approved, the groups that refer to it are rotated.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=nodeimages,singular=nodeimage
// +kubebuilder:printcolumn:name="Latest",type=string,JSONPath=".status.latest.revision"
// +kubebuilder:printcolumn:name="Approved",type=string,JSONPath=".status.approved.revision"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type NodeImage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NodeImageSpec `json:"spec"`
	// +optional
	Status NodeImageStatus `json:"status,omitempty"`
}

// NodeImageList is a list of NodeImage.
// +kubebuilder:object:root=true
type NodeImageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeImage `json:"items"`
}

// Approval is who decides that an image is rolled out.
// +kubebuilder:validation:Enum=Manual;Automatic
type Approval string

const (
	// Manual waits for spec.approved.
	Manual Approval = "Manual"
	// Automatic begins a rotation as soon as the image is old enough.
	Automatic Approval = "Automatic"
)

// NodeImageSpec is what is wanted of a NodeImage.
type NodeImageSpec struct {
	// Sources name the image, one for each architecture of machines.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	Sources []ImageSource `json:"sources"`
	// IntervalSeconds is how often to look for a new image; 300 without one.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	IntervalSeconds int32 `json:"intervalSeconds,omitempty"`
	// MinAgeSeconds is how long an image has to have been there before it is rolled out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinAgeSeconds int32 `json:"minAgeSeconds,omitempty"`
	// Approval is Manual without one.
	// +optional
	Approval Approval `json:"approval,omitempty"`
	// Approved is the revision, of status.latest, that may be rolled out if Approval is Manual.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Approved string `json:"approved,omitempty"`
	// Strategy of the rotations that a new image begins; what it leaves out is taken from each group.
	// +optional
	Strategy *Strategy `json:"strategy,omitempty"`
}

// ImageSource names one image. Exactly one of ssmParameter, filter and fixed is given.
// +kubebuilder:validation:XValidation:rule="[has(self.ssmParameter), has(self.filter), has(self.fixed)].filter(x, x).size() == 1",message="give exactly one of ssmParameter, filter and fixed"
// +kubebuilder:validation:XValidation:rule="has(self.fixed) || has(self.region)",message="give the region in which the image is looked for"
type ImageSource struct {
	// SSMParameter is the name of a parameter of Systems Manager whose value is an image id.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1011
	SSMParameter string `json:"ssmParameter,omitempty"`
	// Filter selects the newest image of an owner by its name or tags.
	// +optional
	Filter *ImageFilter `json:"filter,omitempty"`
	// Fixed is an image id.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Fixed string `json:"fixed,omitempty"`
	// Region of AWS.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Region string `json:"region,omitempty"`
	// RoleARN is assumed to look.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	RoleARN string `json:"roleARN,omitempty"`
}

// ImageFilter selects images; the newest that is available is taken.
// +kubebuilder:validation:XValidation:rule="has(self.name) || has(self.tags)",message="give a name or tags, so that not just any image of the owner is taken"
type ImageFilter struct {
	// Owner is an account, or self, amazon or aws-marketplace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Owner string `json:"owner"`
	// Name is a pattern in which * stands for any text.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxProperties=20
	Tags map[string]string `json:"tags,omitempty"`
	// Architecture such as x86_64 or arm64.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Architecture string `json:"architecture,omitempty"`
}

// Image is one image that was found.
type Image struct {
	// ID is what the provider calls it.
	ID string `json:"id"`
	// +optional
	Name string `json:"name,omitempty"`
	// Architecture such as x86_64 or arm64; empty where it is not known.
	// +optional
	Architecture string `json:"architecture,omitempty"`
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
}

// ImageRevision is a set of images, one for each source.
type ImageRevision struct {
	// Revision is a name for these images, the same for the same ids.
	Revision string `json:"revision"`
	// +listType=atomic
	Images []Image `json:"images"`
	// Since is when the set was first seen, or approved.
	Since metav1.Time `json:"since"`
}

// NodeImageStatus is what was found.
type NodeImageStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Latest is what the sources name now.
	// +optional
	Latest *ImageRevision `json:"latest,omitempty"`
	// Approved is what groups should run.
	// +optional
	Approved *ImageRevision `json:"approved,omitempty"`
	// CheckedAt is when the sources were last looked at, whether or not that succeeded.
	// +optional
	CheckedAt *metav1.Time `json:"checkedAt,omitempty"`
	// Rotation is the run that was begun for Approved.
	// +optional
	Rotation string `json:"rotation,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
