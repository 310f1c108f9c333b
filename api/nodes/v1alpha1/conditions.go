package v1alpha1

// Finalizer keeps a run, and the record of a node, until what they have changed is undone.
const Finalizer = "nodes.windlass.dev/undo"

// Labels and taints that rotations put on nodes.
const (
	// OutdatedTaint is on outdated nodes, with effect PreferNoSchedule, so that pods that
	// move do not move to where they have to leave again.
	OutdatedTaint = "nodes.windlass.dev/outdated"
	// RotationLabel is on NodeReplacements, and names their run.
	RotationLabel = "nodes.windlass.dev/rotation"
	// PrePullLabel is on pods that do nothing but pull images, and names their run.
	PrePullLabel = "nodes.windlass.dev/pre-pull"
	// ApprovalAnnotation is on a run that a NodeImage has begun, and says for which approval:
	// the revision, and when it was approved.
	ApprovalAnnotation = "nodes.windlass.dev/approval"
)

// Conditions. Ready sums up; Reconciling and Stalled are there only while they are True.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
	// ConditionBlocked is True while a node cannot be emptied and nothing but a person, or
	// a time-out, will change that.
	ConditionBlocked = "Blocked"
	// ConditionPaused is True while no further nodes are taken.
	ConditionPaused = "Paused"
	// ConditionGatesPassed says what the gates say.
	ConditionGatesPassed = "GatesPassed"
	// ConditionFound says whether the sources of a NodeImage name images.
	ConditionFound = "Found"
)

// Reasons of conditions, waits and events.
const (
	// ReasonObserveFailed: the cluster or the provider could not be read, so nothing was changed.
	ReasonObserveFailed = "ObserveFailed"
	// ReasonInvalidSpec: the spec names what does not exist or contradicts itself.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonGroupBusy: another run has the group.
	ReasonGroupBusy = "GroupBusy"
	// ReasonUnsupported: the provider lacks what the strategy needs.
	ReasonUnsupported = "Unsupported"
	// ReasonTargetChanged: somebody else changed what the group's machines are made from.
	ReasonTargetChanged = "TargetChanged"
	// ReasonStepFailed: a step failed, and is tried again.
	ReasonStepFailed = "StepFailed"
	// ReasonRotating: nodes are being replaced.
	ReasonRotating = "Rotating"
	// ReasonSucceeded: every node runs what it should.
	ReasonSucceeded = "Succeeded"
	// ReasonOutsideWindow: no window is open.
	ReasonOutsideWindow = "OutsideWindow"
	// ReasonPaused: spec.paused is set.
	ReasonPaused = "Paused"
	// ReasonBaking: the wave is watched for a while.
	ReasonBaking = "Baking"
	// ReasonGatePending: a gate does not pass, or not yet.
	ReasonGatePending = "GatePending"
	// ReasonGateFailed: a gate has not passed for as long as it may.
	ReasonGateFailed = "GateFailed"
	// ReasonSurgeNotReady: new nodes are not Ready yet.
	ReasonSurgeNotReady = "SurgeNotReady"
	// ReasonPulling: a new node pulls the images of the pods that are going to move to it.
	ReasonPulling = "PullingImages"
	// ReasonNoCapacity: the pods of no further node fit elsewhere.
	ReasonNoCapacity = "NoCapacity"
	// ReasonBudget: a disruption budget allows no disruption now.
	ReasonBudget = "DisruptionBudget"
	// ReasonBudgetNever: a disruption budget can never allow a disruption.
	ReasonBudgetNever = "DisruptionBudgetNever"
	// ReasonTwoBudgets: two budgets cover one pod, and the API server evicts no such pod.
	ReasonTwoBudgets = "TwoDisruptionBudgets"
	// ReasonBarePod: nobody would make the pod again.
	ReasonBarePod = "BarePod"
	// ReasonLocalVolume: a volume of the pod does not leave the node.
	ReasonLocalVolume = "LocalVolume"
	// ReasonUnhealthyPod: the pod is not Ready, and its budget does not let such pods go.
	ReasonUnhealthyPod = "UnhealthyPod"
	// ReasonStuckTerminating: the pod should be gone and is not.
	ReasonStuckTerminating = "StuckTerminating"
	// ReasonTerminating: pods are ending.
	ReasonTerminating = "PodsTerminating"
	// ReasonWaitCompleted: a rule waits for the pod to end by itself.
	ReasonWaitCompleted = "WaitingForCompletion"
	// ReasonReplacements: pods that left are not Ready elsewhere yet.
	ReasonReplacements = "ReplacementsNotReady"
	// ReasonVolumes: volumes are still attached.
	ReasonVolumes = "VolumesAttached"
	// ReasonLoadBalancers: load balancers still send requests.
	ReasonLoadBalancers = "LoadBalancersDraining"
	// ReasonDrainTimeout: a node was not empty in time.
	ReasonDrainTimeout = "DrainTimeout"
	// ReasonNodeNotReady: a new node did not become Ready in time.
	ReasonNodeNotReady = "NodeNotReady"
	// ReasonDeadline: the run took longer than it may.
	ReasonDeadline = "DeadlineExceeded"
	// ReasonNoProgress: nothing has moved for longer than it may.
	ReasonNoProgress = "NoProgress"
	// ReasonQuorum: a control plane could lose its quorum.
	ReasonQuorum = "Quorum"
	// ReasonAborted: somebody ended the run.
	ReasonAborted = "Aborted"
	// ReasonRolledBack: the former image is back.
	ReasonRolledBack = "RolledBack"
	// ReasonProviderProblem: the provider says that it cannot do what was asked.
	ReasonProviderProblem = "ProviderProblem"
	// ReasonFound: each source names an image.
	ReasonFound = "Found"
	// ReasonImageNotFound: a source names no image, or one that is gone.
	ReasonImageNotFound = "ImageNotFound"
	// ReasonArchitectureUnknown: nobody says for which machines an image is.
	ReasonArchitectureUnknown = "ArchitectureUnknown"
	// ReasonApprovalPending: a revision waits for spec.approved.
	ReasonApprovalPending = "ApprovalPending"
	// ReasonUnknownRevision: spec.approved is a revision that is not known.
	ReasonUnknownRevision = "UnknownRevision"
	// ReasonTooYoung: a revision has not been there for as long as it has to.
	ReasonTooYoung = "TooYoung"
	// ReasonUpToDate: every node runs what it should.
	ReasonUpToDate = "UpToDate"
	// ReasonOutdated: nodes do not run what they should, and no run replaces them.
	ReasonOutdated = "Outdated"
	// ReasonNoGroups: no NodeGroup refers to the NodeImage.
	ReasonNoGroups = "NoGroups"
	// ReasonGroupNotRead: it is not known yet whether the nodes of a group are outdated.
	ReasonGroupNotRead = "GroupNotRead"
	// ReasonRotationFailed: the run of the revision has ended, and nodes are still outdated.
	ReasonRotationFailed = "RotationFailed"
)
