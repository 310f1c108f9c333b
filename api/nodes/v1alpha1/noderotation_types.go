package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	run "windlass.dev/api/run/v1alpha1"
)

// NodeRotation is one run that replaces the outdated nodes of groups. It is begun by
// being made; what it aims at is fixed when it begins.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=noderotations,singular=noderotation,shortName=nrot
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=".status.phase"
// +kubebuilder:printcolumn:name="Replaced",type=integer,JSONPath=".status.replaced"
// +kubebuilder:printcolumn:name="Open",type=integer,JSONPath=".status.open"
// +kubebuilder:printcolumn:name="Outdated",type=integer,JSONPath=".status.outdated"
// +kubebuilder:printcolumn:name="Finish",type=date,JSONPath=".status.estimate.finish"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type NodeRotation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec NodeRotationSpec `json:"spec,omitempty"`
	// +optional
	Status NodeRotationStatus `json:"status,omitempty"`
}

// NodeRotationList is a list of NodeRotation.
// +kubebuilder:object:root=true
type NodeRotationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeRotation `json:"items"`
}

// End is how a run is ended before its time.
// +kubebuilder:validation:Enum=Abort;RollBack
type End string

const (
	// EndAbort reverts the nodes that are open and leaves those that were replaced.
	EndAbort End = "Abort"
	// EndRollBack gives groups their former image back, and replaces the nodes of the new one.
	EndRollBack End = "RollBack"
)

// NodeRotationSpec is what a run is to do.
// +kubebuilder:validation:XValidation:rule="has(self.groups) == has(oldSelf.groups) && (!has(self.groups) || self.groups == oldSelf.groups)",message="the groups of a run cannot be changed: make another NodeRotation"
// +kubebuilder:validation:XValidation:rule="has(self.target) == has(oldSelf.target) && (!has(self.target) || self.target == oldSelf.target)",message="the target of a run cannot be changed: make another NodeRotation"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.end) || (has(self.end) && (self.end == oldSelf.end || self.end == 'RollBack'))",message="a run that is ended cannot go on: make another NodeRotation"
type NodeRotationSpec struct {
	// Groups are names of NodeGroups; all without any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	Groups []string `json:"groups,omitempty"`
	// Target is what nodes should run. Without one it is what each group's NodeImage has
	// approved, or what the provider's group says.
	// +optional
	Target *Target `json:"target,omitempty"`
	// +optional
	Strategy *Strategy `json:"strategy,omitempty"`
	// Paused takes no further nodes; those that are open are finished.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// DryRun plans, says in the status what it would do, and changes nothing.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="whether a run is a dry run cannot be changed: make another NodeRotation"
	DryRun bool `json:"dryRun,omitempty"`
	// End ends the run before its time. It cannot be taken back.
	// +optional
	End End `json:"end,omitempty"`
}

// Target is what nodes should run. At least one field is given.
// +kubebuilder:validation:XValidation:rule="has(self.images) || has(self.templateVersion)",message="give images or templateVersion"
type Target struct {
	// Images are image ids, one for each architecture.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Images []string `json:"images,omitempty"`
	// TemplateVersion is a version of the group's launch template.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	TemplateVersion string `json:"templateVersion,omitempty"`
}

// Phase is where a run is.
type Phase string

const (
	// Pending: the run has not looked at anything yet, or waits for another run.
	Pending Phase = "Pending"
	// Rotating: nodes are replaced.
	Rotating Phase = "Rotating"
	// Baking: a wave is done and watched.
	Baking Phase = "Baking"
	// Finishing: all nodes are done, and the groups get their settings back.
	Finishing Phase = "Finishing"
	// RollingBack: nodes of the new image are replaced by nodes of the former one.
	RollingBack Phase = "RollingBack"
	// Aborting: open nodes are given back.
	Aborting Phase = "Aborting"
	// Succeeded: every node runs what it should.
	Succeeded Phase = "Succeeded"
	// Planned: the dry run is done.
	Planned Phase = "Planned"
	// RolledBack: every node runs what it did before.
	RolledBack Phase = "RolledBack"
	// Aborted: somebody, or the deadline, ended the run.
	Aborted Phase = "Aborted"
	// Failed: the run ended, and not every node runs what it should.
	Failed Phase = "Failed"
)

// NodeRotationStatus is how far a run is.
type NodeRotationStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// ProgressedAt is when a node was last opened, emptied or ended.
	// +optional
	ProgressedAt *metav1.Time `json:"progressedAt,omitempty"`
	// Outcome is how the run will end once it has cleaned up.
	// +optional
	Outcome Phase `json:"outcome,omitempty"`
	// +optional
	OutcomeMessage string `json:"outcomeMessage,omitempty"`
	// Outdated, Open, Replaced, Skipped and FailedNodes count the nodes of all groups.
	// +optional
	Outdated int32 `json:"outdated"`
	// +optional
	Open int32 `json:"open"`
	// +optional
	Replaced int32 `json:"replaced"`
	// +optional
	Skipped int32 `json:"skipped"`
	// +optional
	// +listType=map
	// +listMapKey=name
	Groups []GroupRotation `json:"groups,omitempty"`
	// Wave is the number of the wave, from 0, which is the canary's.
	// +optional
	Wave int32 `json:"wave"`
	// WaveSize is how many nodes of each group belong to the waves so far; 0 for all.
	// +optional
	WaveSize int32 `json:"waveSize,omitempty"`
	// WaveDoneAt is when the nodes of the wave were all replaced.
	// +optional
	WaveDoneAt *metav1.Time `json:"waveDoneAt,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	Gates []run.GateStatus `json:"gates,omitempty"`
	// Waits are what the run waits for, the longest first, at most 20.
	// +optional
	// +listType=atomic
	Waits []Wait `json:"waits,omitempty"`
	// Estimate is when the run will be done.
	// +optional
	Estimate *Estimate `json:"estimate,omitempty"`
	// Untold are events of which somebody has still to be told.
	// +optional
	// +listType=atomic
	Untold []Untold `json:"untold,omitempty"`
	// Plan is what a dry run found.
	// +optional
	Plan *RotationPlan `json:"plan,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GroupRotation is how far a run is with one group. It also is the record of what has to
// be restored: everything in it is written before it is acted upon.
type GroupRotation struct {
	Name string `json:"name"`
	// UID of the NodeGroup.
	UID types.UID `json:"uid"`
	// Target is what the nodes should run, and Former what the group said before.
	Target Revision `json:"target"`
	// +optional
	Former *Revision `json:"former,omitempty"`
	// Size is how many nodes the group has without surge, as somebody wants it who is not
	// the run. Max is the group's own limit.
	Size int32 `json:"size"`
	Max  int32 `json:"max"`
	// Wanted is the size that the run has asked for, surge included, and Before what it was
	// when it did: if the group's is neither of them nor between, somebody else has changed it.
	// +optional
	Wanted int32 `json:"wanted,omitempty"`
	// +optional
	Before int32 `json:"before,omitempty"`
	// Raised is the largest size that the run has asked for, to which it may have raised the
	// group's limit.
	// +optional
	Raised int32 `json:"raised,omitempty"`
	// Suspended are the processes of the group that the run has suspended.
	// +optional
	// +listType=set
	Suspended []string `json:"suspended,omitempty"`
	// Changed says that the run brings the group to its target, and back when it is aborted;
	// without it the group had its target before.
	// +optional
	Changed bool `json:"changed,omitempty"`
	// Touched says that the run may have changed something at the provider's.
	// +optional
	Touched bool `json:"touched,omitempty"`
	// Prepared says that the group was brought to its target and guarded against others.
	// +optional
	Prepared bool `json:"prepared,omitempty"`
	// Rebalance is set when nothing is left to do for the group but to even its zones out, so
	// that its provider has no node to end for that when the group is given back.
	// +optional
	Rebalance *Rebalance `json:"rebalance,omitempty"`
	// Restored says that the group has its settings back.
	// +optional
	Restored bool `json:"restored,omitempty"`
	// +optional
	Outdated int32 `json:"outdated"`
	// +optional
	Updated int32 `json:"updated"`
	// +optional
	Replaced int32 `json:"replaced"`
}

// Rebalance is what there was to even out between the zones of a group.
type Rebalance struct {
	// Nodes is how many had to be made in another zone than they were in.
	Nodes int32 `json:"nodes"`
	// Before is how many of the run's records were of such nodes before.
	// +optional
	Before int32 `json:"before,omitempty"`
	// Since is when that was found.
	Since metav1.Time `json:"since"`
	// GivenUp says that no more are tried: a new node did not come where one was missing, or
	// not in time.
	// +optional
	GivenUp bool `json:"givenUp,omitempty"`
}

// Revision is what the nodes of a group are made from.
type Revision struct {
	// Name tells revisions apart and means something to people.
	Name string `json:"name"`
	// Images are the image ids of the revision.
	// +optional
	// +listType=atomic
	Images []string `json:"images,omitempty"`
	// Template is the provider's own reference, such as lt-0123:7.
	// +optional
	Template string `json:"template,omitempty"`
}

// Wait is one thing that a run waits for.
type Wait = run.Wait

// Untold is an event of which somebody has still to be told.
type Untold = run.Untold

// Estimate is how long the run will take from now.
type Estimate struct {
	// At is when the estimate was made.
	At     metav1.Time `json:"at"`
	Finish metav1.Time `json:"finish"`
	// Seconds is how long all of it takes, and BoundSeconds what cannot be beaten.
	Seconds      int64 `json:"seconds"`
	BoundSeconds int64 `json:"boundSeconds"`
	// Dominating are what costs most, the worst first, at most 5.
	// +optional
	// +listType=atomic
	Dominating []Cost `json:"dominating,omitempty"`
}

// Cost is what one thing costs.
type Cost struct {
	// Subject such as PodDisruptionBudget/shop/payments.
	Subject string `json:"subject"`
	Seconds int64  `json:"seconds"`
}

// RotationPlan is what a run would do.
type RotationPlan struct {
	// Nodes in the order in which they would be opened, at most 500.
	// +optional
	// +listType=atomic
	Nodes []PlannedNode `json:"nodes,omitempty"`
	// Blockers are what would keep nodes from being emptied, at most 100.
	// +optional
	// +listType=atomic
	Blockers []Wait `json:"blockers,omitempty"`
}

// PlannedNode is one node that would be replaced.
type PlannedNode struct {
	Name  string `json:"name"`
	Group string `json:"group"`
	// Reason is why it is outdated.
	Reason string `json:"reason"`
}
