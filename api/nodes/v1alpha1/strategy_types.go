package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	run "windlass.dev/api/run/v1alpha1"
)

// Strategy is how nodes are replaced. What a run leaves out is taken from the group,
// and what the group leaves out has the default that is said here.
// +kubebuilder:validation:XValidation:rule="!(has(self.maxSurge) && has(self.maxUnavailable) && string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",message="maxSurge and maxUnavailable cannot both be 0: no node could ever be replaced"
type Strategy struct {
	// MaxSurge is how many more nodes than its size a group may have: a number, or a
	// percentage that is rounded up; 25% without one. It is 0 for control planes.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%?$`
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
	// MaxUnavailable is how many fewer Ready nodes than its size a group may have: a
	// number, or a percentage that is rounded down; 0 without one. It is 1 for control planes.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%?$`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	// Canary nodes go first, and are watched for a while before any other.
	// +optional
	Canary *Canary `json:"canary,omitempty"`
	// Waves lets the run begin small and grow; without it everything is one wave.
	// +optional
	Waves *Waves `json:"waves,omitempty"`
	// Zones is how the nodes of different zones take turns; Balanced without one.
	// +optional
	Zones ZoneOrder `json:"zones,omitempty"`
	// Order puts the nodes that a rule selects before those of later rules, and these
	// before those that no rule selects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Order []metav1.LabelSelector `json:"order,omitempty"`
	// Windows are when new nodes may be taken; any time without one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Windows []run.Window `json:"windows,omitempty"`
	// MinReadySeconds is how long a new node has to be Ready before it counts; 10 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`
	// NodeReadyTimeoutSeconds is how long a new node may take to become Ready before the
	// run fails; 900 without one.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	NodeReadyTimeoutSeconds *int32 `json:"nodeReadyTimeoutSeconds,omitempty"`
	// ProgressDeadlineSeconds is how long the run may go without any progress before it
	// says that it is Stalled; 3600 without one.
	// +optional
	// +kubebuilder:validation:Minimum=60
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
	// DeadlineSeconds is how long the run may take; it is aborted then. No limit without one.
	// +optional
	// +kubebuilder:validation:Minimum=60
	DeadlineSeconds *int32 `json:"deadlineSeconds,omitempty"`
	// OnFailure is what becomes of a run that failed; Stop without one.
	// +optional
	OnFailure OnFailure `json:"onFailure,omitempty"`
	// PrePull has new nodes pull images before pods move to them; without it pods wait for
	// their images.
	// +optional
	PrePull *PrePull `json:"prePull,omitempty"`
	// Drain is how pods leave a node.
	// +optional
	Drain *Drain `json:"drain,omitempty"`
	// Gates have to pass before the next wave, and while one bakes.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Gates []run.Gate `json:"gates,omitempty"`
	// Notifications are who is told.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Notifications []run.Notification `json:"notifications,omitempty"`
}

// PrePull is what new nodes pull before they count as Ready: the images that most pods
// run that have still to move. It is for clusters whose pods share few large images.
type PrePull struct {
	// MaxImages is how many images a node pulls; 10 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	MaxImages int32 `json:"maxImages,omitempty"`
	// TimeoutSeconds is how long a node may take to; it counts as Ready then all the same.
	// 300 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
	// PullSecrets are Secrets in the namespace in which Windlass runs, for registries that
	// ask who pulls.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	PullSecrets []string `json:"pullSecrets,omitempty"`
}

// Canary is the first wave.
type Canary struct {
	// Nodes of each group; 1 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Nodes int32 `json:"nodes,omitempty"`
	// BakeSeconds is how long the gates have to pass after it; 300 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	BakeSeconds *int32 `json:"bakeSeconds,omitempty"`
}

// Waves is how a run grows.
type Waves struct {
	// First is how many nodes of each group are in the first wave; 1 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	First int32 `json:"first,omitempty"`
	// Factor is how many times as many are in the next one; 2 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Factor int32 `json:"factor,omitempty"`
	// BakeSeconds is how long the gates have to pass after each wave.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	BakeSeconds int32 `json:"bakeSeconds,omitempty"`
}

// ZoneOrder is how zones take turns.
// +kubebuilder:validation:Enum=Balanced;OneAtATime;Any
type ZoneOrder string

const (
	// Balanced takes as many nodes of each zone as of the others.
	Balanced ZoneOrder = "Balanced"
	// OneAtATime has nodes of one zone open only.
	OneAtATime ZoneOrder = "OneAtATime"
	// AnyZone does not look at zones.
	AnyZone ZoneOrder = "Any"
)

// OnFailure is what becomes of a run that failed.
// +kubebuilder:validation:Enum=Stop;RollBack
type OnFailure string

const (
	// Stop reverts the nodes that are open and leaves those that were replaced.
	Stop OnFailure = "Stop"
	// RollBack gives the group its former image back, and replaces the nodes of the new one.
	RollBack OnFailure = "RollBack"
)

// Drain is how pods leave a node.
type Drain struct {
	// TimeoutSeconds is how long a node may take to be empty; 1800 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
	// OnTimeout is what becomes of a node that is not; Skip without one.
	// +optional
	OnTimeout OnDrainTimeout `json:"onTimeout,omitempty"`
	// GracePeriodCapSeconds shortens the grace period of pods that have a longer one.
	// Without it each pod has its own.
	// +optional
	// +kubebuilder:validation:Minimum=1
	GracePeriodCapSeconds *int32 `json:"gracePeriodCapSeconds,omitempty"`
	// Rules are for pods that need other care; the first that selects a pod counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Rules []PodRule `json:"rules,omitempty"`
	// DefaultBudget is how many pods of one owner may be unavailable at a time if no
	// disruption budget covers them: a number, or a percentage that is rounded down but
	// to no less than 1; 25% without one.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%?$`
	DefaultBudget *intstr.IntOrString `json:"defaultBudget,omitempty"`
	// PodSurge gives a workload one more replica while its budget allows no disruption;
	// WhenBlocked without one.
	// +optional
	PodSurge PodSurge `json:"podSurge,omitempty"`
	// UnhealthyPodsSeconds is how long a pod that is not Ready and that its budget guards may
	// block a node before it is deleted; never without one.
	// +optional
	// +kubebuilder:validation:Minimum=60
	UnhealthyPodsSeconds *int32 `json:"unhealthyPodsSeconds,omitempty"`
	// StuckTerminatingSeconds is how long after the end of its grace period a pod may still be
	// there before it is deleted without one; never without one.
	// +optional
	// +kubebuilder:validation:Minimum=30
	StuckTerminatingSeconds *int32 `json:"stuckTerminatingSeconds,omitempty"`
	// BarePods is what becomes of pods that nobody will make again; Block without one.
	// +optional
	BarePods Irreplaceable `json:"barePods,omitempty"`
	// LocalVolumes is what becomes of pods whose volumes do not leave the node; Block without one.
	// +optional
	LocalVolumes Irreplaceable `json:"localVolumes,omitempty"`
	// WaitForReplacements keeps a node until the pods that left it are Ready elsewhere; true
	// without one.
	// +optional
	WaitForReplacements *bool `json:"waitForReplacements,omitempty"`
	// VolumesDetachedTimeoutSeconds is how long to wait for volumes to be detached before a node
	// is ended nevertheless; 360 without one, and 0 does not wait.
	// +optional
	// +kubebuilder:validation:Minimum=0
	VolumesDetachedTimeoutSeconds *int32 `json:"volumesDetachedTimeoutSeconds,omitempty"`
	// DeregisteredTimeoutSeconds is how long to wait for load balancers to let go of a node
	// before it is ended nevertheless; 300 without one, and 0 does not wait.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DeregisteredTimeoutSeconds *int32 `json:"deregisteredTimeoutSeconds,omitempty"`
}

// OnDrainTimeout is what becomes of a node that is not empty in time.
// +kubebuilder:validation:Enum=Skip;Block;Force
type OnDrainTimeout string

const (
	// SkipNode gives the node back, and comes to it once more at the end.
	SkipNode OnDrainTimeout = "Skip"
	// BlockRun keeps the node as it is until somebody helps.
	BlockRun OnDrainTimeout = "Block"
	// ForceNode deletes what is left on the node.
	ForceNode OnDrainTimeout = "Force"
)

// PodSurge is when a workload gets one more replica.
// +kubebuilder:validation:Enum=Never;WhenBlocked
type PodSurge string

const (
	NeverSurge       PodSurge = "Never"
	SurgeWhenBlocked PodSurge = "WhenBlocked"
)

// Irreplaceable is what becomes of what is lost with the node.
// +kubebuilder:validation:Enum=Block;Evict
type Irreplaceable string

const (
	// BlockNode keeps the node until somebody helps.
	BlockNode Irreplaceable = "Block"
	// EvictAnyway evicts the pod, with whatever is lost by it.
	EvictAnyway Irreplaceable = "Evict"
)

// PodAction is what a drain does with a pod.
// +kubebuilder:validation:Enum=Evict;WaitCompleted;Skip
type PodAction string

const (
	// EvictPod evicts it, as its budget allows.
	EvictPod PodAction = "Evict"
	// WaitCompleted waits until the pod has ended by itself.
	WaitCompleted PodAction = "WaitCompleted"
	// SkipPod leaves the pod on the node, which may be ended with it.
	SkipPod PodAction = "Skip"
)

// PodRule is for pods that need other care than most.
type PodRule struct {
	// Namespaces of the pods; all without any.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Namespaces []string `json:"namespaces,omitempty"`
	// Selector of the pods; all without one.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Action is Evict without one.
	// +optional
	Action PodAction `json:"action,omitempty"`
	// Order in which the pods of a node leave: a lower one first, and pods of the next once
	// those of the one before are gone; 0 without one.
	// +optional
	// +kubebuilder:validation:Minimum=-1000
	// +kubebuilder:validation:Maximum=1000
	Order int32 `json:"order,omitempty"`
	// GracePeriodCapSeconds overrides that of the drain.
	// +optional
	// +kubebuilder:validation:Minimum=1
	GracePeriodCapSeconds *int32 `json:"gracePeriodCapSeconds,omitempty"`
}
