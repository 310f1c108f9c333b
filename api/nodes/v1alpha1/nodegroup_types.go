package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeGroup is a group of machines that are alike and that a provider keeps at a size.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=nodegroups,singular=nodegroup
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=".spec.role"
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=".status.nodes"
// +kubebuilder:printcolumn:name="Outdated",type=integer,JSONPath=".status.outdated"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type NodeGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NodeGroupSpec `json:"spec"`
	// +optional
	Status NodeGroupStatus `json:"status,omitempty"`
}

// NodeGroupList is a list of NodeGroup.
// +kubebuilder:object:root=true
type NodeGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeGroup `json:"items"`
}

// Role is what the nodes of a group do.
// +kubebuilder:validation:Enum=ControlPlane;Worker
type Role string

const (
	// ControlPlane nodes go first, one at a time.
	ControlPlane Role = "ControlPlane"
	// Worker nodes run the applications.
	Worker Role = "Worker"
)

// NodeGroupSpec is what a NodeGroup is.
type NodeGroupSpec struct {
	// Provider is who keeps the machines.
	Provider Provider `json:"provider"`
	// Image is the name of the NodeImage that the nodes should run. Without one, nodes
	// are outdated that do not run what the provider's group says.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Image string `json:"image,omitempty"`
	// Role is Worker without one.
	// +optional
	Role Role `json:"role,omitempty"`
	// Order of groups of one role: lower ones first, equal ones together.
	// +optional
	Order int32 `json:"order,omitempty"`
	// Strategy is what the rotations of this group do, as far as they do not say it.
	// +optional
	Strategy *Strategy `json:"strategy,omitempty"`
}

// Provider is who keeps machines. Exactly one is given.
// +kubebuilder:validation:XValidation:rule="[has(self.autoScaling), has(self.eks), has(self.clusterAPI), has(self.karpenter), has(self.simulated)].filter(x, x).size() == 1",message="give exactly one of autoScaling, eks, clusterAPI, karpenter and simulated"
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a group's provider cannot be changed: make another NodeGroup"
type Provider struct {
	// +optional
	AutoScaling *AutoScalingGroup `json:"autoScaling,omitempty"`
	// +optional
	EKS *EKSNodegroup `json:"eks,omitempty"`
	// +optional
	ClusterAPI *MachineDeployment `json:"clusterAPI,omitempty"`
	// +optional
	Karpenter *KarpenterNodePool `json:"karpenter,omitempty"`
	// +optional
	Simulated *SimulatedGroup `json:"simulated,omitempty"`
}

// AutoScalingGroup is a group of Amazon EC2 Auto Scaling.
type AutoScalingGroup struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Region string `json:"region"`
	// RoleARN is assumed, for a group of another account.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	RoleARN string `json:"roleARN,omitempty"`
}

// EKSNodegroup is a managed node group of Amazon EKS.
type EKSNodegroup struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	Cluster string `json:"cluster"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Region string `json:"region"`
	// RoleARN is assumed, for a cluster of another account.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	RoleARN string `json:"roleARN,omitempty"`
}

// MachineDeployment is one of Cluster API, in this cluster or in that of its management.
type MachineDeployment struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Kubeconfig is that of the management cluster; this cluster without one.
	// +optional
	Kubeconfig *SecretReference `json:"kubeconfig,omitempty"`
}

// SecretReference names a Secret whose key kubeconfig is used.
type SecretReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// KarpenterNodePool is a NodePool of Karpenter.
type KarpenterNodePool struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SimulatedGroup is a group of simulated machines, for trying things out.
type SimulatedGroup struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// NodeGroupStatus is what is known of a group.
type NodeGroupStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Nodes is how many machines there are.
	// +optional
	Nodes int32 `json:"nodes"`
	// Outdated is how many of them do not run what they should.
	// +optional
	Outdated int32 `json:"outdated"`
	// Revision is what they should run.
	// +optional
	Revision string `json:"revision,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
