package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	run "windlass.dev/api/run/v1alpha1"
)

// Phase is where a roll-out is.
type Phase string

const (
	// Pending: the revision is not recorded yet, or nothing is selected.
	Pending Phase = "Pending"
	// Rolling: installations are updated.
	Rolling Phase = "Rolling"
	// Soaking: a wave is done and watched.
	Soaking Phase = "Soaking"
	// Halted: more installations have failed than may; no further one is taken.
	Halted Phase = "Halted"
	// RollingBack: installations get back what they had.
	RollingBack Phase = "RollingBack"
	// Aborting: no further installation is taken; those that are updating go on.
	Aborting Phase = "Aborting"
	// Succeeded: all installations are updated but those that hibernate, are paused or
	// refused, or were edited since.
	Succeeded Phase = "Succeeded"
	// Superseded: all installations belong to newer roll-outs.
	Superseded Phase = "Superseded"
	// RolledBack: every installation has back what it had.
	RolledBack Phase = "RolledBack"
	// Aborted: somebody ended the roll-out.
	Aborted Phase = "Aborted"
)

// Revision is one content of spec.change.
type Revision struct {
	// Hash of the change: the same for the same change.
	Hash string `json:"hash"`
	// Sequence is higher than that of any revision before, of this or another roll-out over
	// the same installations.
	Sequence int64 `json:"sequence"`
	// Since is when it was recorded.
	Since metav1.Time `json:"since"`
}

// InstallationRolloutStatus is how far a roll-out is. Which installation is at which
// revision is on the installation.
type InstallationRolloutStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// +optional
	Revision *Revision `json:"revision,omitempty"`
	// StartedAt is when the revision had something to change for the first time.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// FinishedAt is when the revision came to its end; one that is superseded before has not.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// Outcome is how the revision will end, if not by success.
	// +optional
	Outcome Phase `json:"outcome,omitempty"`
	// +optional
	OutcomeMessage string `json:"outcomeMessage,omitempty"`
	// Wave is the number of the wave, from 0.
	// +optional
	Wave int32 `json:"wave"`
	// WaveDoneAt is when the installations of the wave were all updated.
	// +optional
	WaveDoneAt *metav1.Time `json:"waveDoneAt,omitempty"`
	// WaveEnds are when waves were over, in their order; the last one's is FinishedAt.
	// +optional
	// +listType=atomic
	WaveEnds []metav1.Time `json:"waveEnds,omitempty"`
	// Total is how many installations are selected, without those that are superseded; the
	// following add up to it.
	// +optional
	Total int32 `json:"total"`
	// Updated have the revision and are stable.
	// +optional
	Updated int32 `json:"updated"`
	// Updating have the revision and are not stable yet.
	// +optional
	Updating int32 `json:"updating"`
	// Hibernating have no pods, and get the revision when they wake.
	// +optional
	Hibernating int32 `json:"hibernating"`
	// PendingDeletion are being deleted.
	// +optional
	PendingDeletion int32 `json:"pendingDeletion"`
	// AwaitingUpdate do not have the revision yet.
	// +optional
	AwaitingUpdate int32 `json:"awaitingUpdate"`
	// Failed have the revision, and did not become stable; or were stable, and are no more
	// while their wave is rolled out or watched.
	// +optional
	Failed int32 `json:"failed"`
	// Edited had the revision until somebody set what it changes to something else, which
	// stays so.
	// +optional
	Edited int32 `json:"edited"`
	// Refused are ClusterInstallations that cannot become Mattermosts as they are. They run
	// on unchanged, and follow when they can.
	// +optional
	Refused int32 `json:"refused"`
	// RolledBack have back what they had before the revision.
	// +optional
	RolledBack int32 `json:"rolledBack"`
	// Superseded are selected and belong to newer roll-outs. They are not in Total.
	// +optional
	Superseded int32 `json:"superseded"`
	// CountedAt is when the counts were last written; they are written every few seconds.
	// +optional
	CountedAt *metav1.Time `json:"countedAt,omitempty"`
	// FailedInstallations are some of those that failed, as namespace/name: at most 20, or one
	// more than may fail up to 500, so that those are known whom somebody has since helped.
	// +optional
	// +listType=atomic
	FailedInstallations []string `json:"failedInstallations,omitempty"`
	// UpdatingInstallations are some of those that are updating, at most 20.
	// +optional
	// +listType=atomic
	UpdatingInstallations []string `json:"updatingInstallations,omitempty"`
	// EditedInstallations are some of those that were edited, at most 20.
	// +optional
	// +listType=atomic
	EditedInstallations []string `json:"editedInstallations,omitempty"`
	// RefusedInstallations are some of those that are refused, at most 20.
	// +optional
	// +listType=atomic
	RefusedInstallations []string `json:"refusedInstallations,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	Gates []run.GateStatus `json:"gates,omitempty"`
	// Waits are what the roll-out waits for, at most 20.
	// +optional
	// +listType=atomic
	Waits []run.Wait `json:"waits,omitempty"`
	// Untold are events of which somebody has still to be told.
	// +optional
	// +listType=atomic
	Untold []run.Untold `json:"untold,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
