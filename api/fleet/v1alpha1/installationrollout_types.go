package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	run "windlass.dev/api/run/v1alpha1"
)

// InstallationRollout brings one change to many installations, wave by wave. It stays in
// charge after it has succeeded: installations that were hibernated, or that are made
// later, get the change too. An edit of spec.change is a new revision and begins anew.
// Deleting it undoes nothing and leaves what was changed as it is.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=installationrollouts,singular=installationrollout,shortName=irol
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=".status.phase"
// +kubebuilder:printcolumn:name="Wave",type=integer,JSONPath=".status.wave"
// +kubebuilder:printcolumn:name="Total",type=integer,JSONPath=".status.total"
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=".status.updated"
// +kubebuilder:printcolumn:name="Updating",type=integer,JSONPath=".status.updating"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=".status.failed"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name can have 63 characters: it is the value of a label of installations"
type InstallationRollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec InstallationRolloutSpec `json:"spec"`
	// +optional
	Status InstallationRolloutStatus `json:"status,omitempty"`
}

// InstallationRolloutList is a list of InstallationRollout.
// +kubebuilder:object:root=true
type InstallationRolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []InstallationRollout `json:"items"`
}

// End is how a roll-out is ended before its time.
// +kubebuilder:validation:Enum=Abort;RollBack
type End string

const (
	// EndAbort changes no further installation and leaves those that were changed.
	EndAbort End = "Abort"
	// EndRollBack gives installations back what the revision has changed.
	EndRollBack End = "RollBack"
)

// InstallationRolloutSpec is what a roll-out is to do.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.end) || (has(self.end) && (self.end == oldSelf.end || self.end == 'RollBack'))",message="a roll-out that is ended cannot go on: make another InstallationRollout"
// +kubebuilder:validation:XValidation:rule="!has(self.end) || self.change == oldSelf.change",message="the change of a roll-out that is ended is what it gives back: make another InstallationRollout"
type InstallationRolloutSpec struct {
	// Selector selects installations by their labels; an empty one selects all.
	Selector metav1.LabelSelector `json:"selector"`
	// Namespaces to look in; all without any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`
	// Change is what installations get.
	Change InstallationChange `json:"change"`
	// +optional
	Strategy *RolloutStrategy `json:"strategy,omitempty"`
	// Paused changes no further installation; those that are being updated go on.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// End ends the roll-out before its time. It cannot be taken back.
	// +optional
	End End `json:"end,omitempty"`
}

// InstallationChange is what installations get. It goes before what they have, except for
// what an installation keeps by the annotation fleet.windlass.dev/keeps.
// +kubebuilder:validation:XValidation:rule="has(self.image) || has(self.version) || has(self.env) || has(self.scheduling) || has(self.size) || has(self.restart) || has(self.migrate)",message="say what to change: image, version, env, scheduling, size, restart or migrate"
// +kubebuilder:validation:XValidation:rule="!has(self.migrate) || (self.migrate && !(has(self.image) || has(self.version) || has(self.env) || has(self.scheduling) || has(self.size) || has(self.restart)))",message="migrate is true, and the only change of its roll-out"
// +kubebuilder:validation:XValidation:rule="has(self.migrate) == has(oldSelf.migrate)",message="a roll-out either migrates or it does not: make another InstallationRollout"
type InstallationChange struct {
	// Image without a tag.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s:@]+(:[0-9]+/[^\\\\s:@]+)?$')",message="give the image without a tag and without a digest, such as registry.example.com/team/mattermost"
	Image string `json:"image,omitempty"`
	// Version is the image's tag, or a digest that starts with sha256:.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(sha256:[a-f0-9]{64}|[A-Za-z0-9_][A-Za-z0-9_.-]*)$')",message="give a tag such as 10.6.0, or a digest such as sha256: and 64 hexadecimal digits"
	Version string `json:"version,omitempty"`
	// Env are variables of mattermostEnv; others stay as they are.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Env []corev1.EnvVar `json:"env,omitempty"`
	// Scheduling is where pods run.
	// +optional
	Scheduling *SchedulingChange `json:"scheduling,omitempty"`
	// Size is a preset of replicas and resources, which replaces those of the installation.
	// +optional
	// +kubebuilder:validation:Enum=miniSingleton;miniHA;cloud10users;cloud100users;"100users";"1000users";"5000users";"10000users";"25000users"
	Size string `json:"size,omitempty"`
	// Restart replaces all pods once for each new value, such as a date.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Restart string `json:"restart,omitempty"`
	// Migrate makes Mattermosts of ClusterInstallations. Then those are what is selected.
	// +optional
	Migrate bool `json:"migrate,omitempty"`
}

// SchedulingChange is where pods run.
// +kubebuilder:validation:XValidation:rule="has(self.nodeSelector) || has(self.affinity) || has(self.tolerations)",message="say what to change: nodeSelector, affinity or tolerations"
type SchedulingChange struct {
	// NodeSelector has labels that are added; others stay.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity is laid over that of the installation.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// Tolerations replace those of the installation.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
}

// Order is which installations of a wave go first.
// +kubebuilder:validation:Enum=Name;Priority;Random
type Order string

const (
	// ByName goes by namespace and name.
	ByName Order = "Name"
	// ByPriority goes by the annotation fleet.windlass.dev/priority, the highest first, and
	// by name among equals; without one it is 0.
	ByPriority Order = "Priority"
	// AtRandom is another order for each roll-out, and always the same for one.
	AtRandom Order = "Random"
)

// RolloutStrategy is how the change reaches installations.
type RolloutStrategy struct {
	// Waves in their order; what no wave takes is one more wave at the end.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Waves []InstallationWave `json:"waves,omitempty"`
	// MaxInFlight is how many installations may be updating at a time: a number, or a
	// percentage of all that is rounded up; 10 without one. 0 takes none.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%?$`
	MaxInFlight *intstr.IntOrString `json:"maxInFlight,omitempty"`
	// Limits are further limits, for installations that have the same value of a label.
	// +optional
	// +listType=map
	// +listMapKey=label
	// +kubebuilder:validation:MaxItems=8
	Limits []LabelLimit `json:"limits,omitempty"`
	// Order is which installations of a wave go first; Name without one.
	// +optional
	Order Order `json:"order,omitempty"`
	// FailureThreshold is how many installations may fail, as a number or a percentage of
	// all that is rounded down; 0 without one.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]+%?$`
	FailureThreshold *intstr.IntOrString `json:"failureThreshold,omitempty"`
	// ProgressDeadlineSeconds is how long an installation may take to become stable before
	// it has failed; 900 without one.
	// +optional
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=86400
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
	// OnFailure is what is done when more have failed than may; Pause without one.
	// +optional
	OnFailure run.OnGateFailure `json:"onFailure,omitempty"`
	// Windows are when installations may be taken; any time without one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Windows []run.Window `json:"windows,omitempty"`
	// Gates have to pass for further installations to be taken.
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

// InstallationWave is a part of the installations: those that no wave before it has.
// +kubebuilder:validation:XValidation:rule="has(self.selector) != has(self.size)",message="give either selector or size"
type InstallationWave struct {
	// Selector selects installations by their labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Size is how many: a number, or a percentage of all that is rounded up.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]*%?$`
	Size *intstr.IntOrString `json:"size,omitempty"`
	// SoakSeconds is how long the wave is watched before the next one begins.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	SoakSeconds int32 `json:"soakSeconds,omitempty"`
}

// LabelLimit is a limit for installations that have the same value of a label. Those that
// lack the label count as having the same.
type LabelLimit struct {
	// Label of installations, such as topology.kubernetes.io/zone.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Label string `json:"label"`
	// MaxInFlight is how many of them may be updating at a time: a number, or a percentage
	// of those with that value, rounded up.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]*%?$`
	MaxInFlight intstr.IntOrString `json:"maxInFlight"`
}
