package v1alpha1

// What roll-outs and installations say to each other.
const (
	// Manager is the field manager of what roll-outs apply to installations.
	Manager = "windlass-rollout"
	// GroupLabel and SequenceLabel name, on an installation, the roll-out that changed it
	// last and the sequence of the revision.
	GroupLabel    = "group-id"
	SequenceLabel = "group-sequence"
	// ChangeAnnotation is the record, on an installation, of what was changed and what was
	// there before. It is written together with the change.
	ChangeAnnotation = "fleet.windlass.dev/change"
	// MigrationAnnotation is the record, on a ClusterInstallation and then on its Mattermost,
	// that a roll-out has it migrated.
	MigrationAnnotation = "fleet.windlass.dev/migration"
	// KeepsAnnotation lists what an installation keeps whatever a roll-out says: image,
	// version, size, scheduling, nodeSelector, affinity, tolerations, restart, migrate, env
	// or env/NAME, separated by commas.
	KeepsAnnotation = "fleet.windlass.dev/keeps"
	// PriorityAnnotation is a whole number; the highest goes first.
	PriorityAnnotation = "fleet.windlass.dev/priority"
	// RestartAnnotation is on pods, and has the value of the last spec.change.restart.
	RestartAnnotation = "fleet.windlass.dev/restart"
)

// Conditions. Ready sums up; Reconciling and Stalled are there only while they are True.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
	// ConditionPaused is True while spec.paused is set.
	ConditionPaused = "Paused"
	// ConditionSuperseded is True while installations belong to newer roll-outs.
	ConditionSuperseded = "Superseded"
)

// Reasons of conditions, waits and events.
const (
	// ReasonObserveFailed: the cluster could not be read, so nothing was changed.
	ReasonObserveFailed = "ObserveFailed"
	// ReasonInvalidSpec: the spec cannot be carried out as it is.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonNothingSelected: no installation has the labels that are asked for.
	ReasonNothingSelected = "NothingSelected"
	// ReasonFailureThreshold: more installations have failed than may.
	ReasonFailureThreshold = "FailureThreshold"
	// ReasonGateFailed: a gate has not passed for as long as it may.
	ReasonGateFailed = "GateFailed"
	// ReasonStepFailed: a step failed, and is tried again.
	ReasonStepFailed = "StepFailed"
	// ReasonSuperseded: newer roll-outs have the installations.
	ReasonSuperseded = "Superseded"
	// ReasonRolling: installations are being updated.
	ReasonRolling = "Rolling"
	// ReasonSoaking: the wave is watched for a while.
	ReasonSoaking = "Soaking"
	// ReasonPaused: spec.paused is set, or maxInFlight is 0.
	ReasonPaused = "Paused"
	// ReasonInstallationPaused: installations are paused by their annotation.
	ReasonInstallationPaused = "InstallationPaused"
	// ReasonUnnoticed: nobody who looks after installations has looked at what was changed.
	ReasonUnnoticed = "Unnoticed"
	// ReasonOutsideWindow: no window is open.
	ReasonOutsideWindow = "OutsideWindow"
	// ReasonGatePending: a gate does not pass, or not yet.
	ReasonGatePending = "GatePending"
	// ReasonEdited: somebody has set what the change sets to something else, in all
	// installations of the wave that had it.
	ReasonEdited = "Edited"
	// ReasonMigrationRefused: a ClusterInstallation cannot become a Mattermost as it is.
	ReasonMigrationRefused = "MigrationRefused"
	// ReasonMigrationKept: a migration is not taken back, because the Mattermost differs by now.
	ReasonMigrationKept = "MigrationKept"
	// ReasonUpdating: as many installations are updating as may.
	ReasonUpdating = "Updating"
	// ReasonRollingBack: installations get back what they had.
	ReasonRollingBack = "RollingBack"
	// ReasonRolledBack: every installation has back what it had.
	ReasonRolledBack = "RolledBack"
	// ReasonAborted: somebody ended the roll-out.
	ReasonAborted = "Aborted"
	// ReasonSucceeded: all installations are updated.
	ReasonSucceeded = "Succeeded"
)
