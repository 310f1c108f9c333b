package fleetrotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

const (
	// messageLimit bounds a condition's message, in bytes.
	messageLimit = 1024
	// waitsLimit is how many waits the status has.
	waitsLimit = 20
)

// Report returns a copy of the run with the status it should now have.
func Report(s Snapshot, _ plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.FleetRotation {
	r := assess(s, now)
	fleet := r.fleet
	for _, failure := range outcome.Failed {
		r.failed(clusterOf(failure.Step.Action), failure.Err)
	}
	status := &fleet.Status
	status.ObservedGeneration = fleet.Generation
	if !Finished(s.Fleet) {
		status.Selected = selectedCount(fleet, s.Registered)
	}
	status.Done = int32(len(r.named(func(row v1alpha1.ClusterRotation) bool { return row.Phase == v1alpha1.ClusterSucceeded })))
	status.Failed = int32(len(r.named(func(row v1alpha1.ClusterRotation) bool { return row.Phase == v1alpha1.ClusterFailed })))
	slices.SortStableFunc(r.waits, func(a, b v1alpha1.Wait) int {
		return cmp.Or(a.Since.Compare(b.Since.Time), strings.Compare(a.Subject, b.Subject), strings.Compare(a.For, b.For))
	})
	status.Waits = r.waits[:min(len(r.waits), waitsLimit)]
	r.conditions()
	return fleet
}

// Unknown is the report of a pass that could not read what it needed.
func Unknown(stored *v1alpha1.FleetRotation, err error, now time.Time) *v1alpha1.FleetRotation {
	r := &run{fleet: stored.DeepCopy(), now: now}
	r.condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonObserveFailed,
		"Nothing was changed, because the run could not be looked at: "+err.Error())
	return r.fleet
}

// failed notes what a step in a cluster failed of. It is tried again in the next pass.
func (r *run) failed(cluster string, err error) {
	for i := range r.fleet.Status.Clusters {
		if row := &r.fleet.Status.Clusters[i]; row.Name == cluster && !over(*row) && row.Phase != v1alpha1.ClusterThawing {
			r.waitsFor(row, "", v1alpha1.ReasonStepFailed, err.Error(), row.Since, time.Time{})
		}
	}
}

// summary is the one sentence about a run.
type summary struct {
	reason, message string
	ready           bool
	// needsPerson says that nothing will change by waiting.
	needsPerson bool
}

func (r *run) summarise() summary {
	status := r.fleet.Status
	working := r.named(active)
	switch {
	case status.Phase == v1alpha1.Succeeded:
		return summary{reason: v1alpha1.ReasonSucceeded, message: fmt.Sprintf("The nodes of %d clusters run what they should.", status.Done), ready: true}
	case status.Phase == v1alpha1.Aborted:
		return summary{reason: v1alpha1.ReasonAborted, message: status.OutcomeMessage, needsPerson: true}
	case status.Phase == v1alpha1.Failed:
		return summary{reason: v1alpha1.ReasonClusterFailed, message: status.OutcomeMessage, needsPerson: true}
	case r.invalid() != "":
		return summary{reason: v1alpha1.ReasonInvalidSpec, message: r.invalid(), needsPerson: true}
	case r.noClusters:
		return summary{reason: v1alpha1.ReasonNoClusters, message: "No wave selects a cluster that is registered; see windlass fleet clusters.", needsPerson: true}
	case status.Outcome != "":
		left := r.named(func(row v1alpha1.ClusterRotation) bool { return !over(row) })
		return summary{reason: v1alpha1.ReasonEnding, message: status.OutcomeMessage + " Still to be brought to an end: " + listed(left) + "."}
	case r.fleet.Spec.Paused && len(working) == 0:
		return summary{reason: v1alpha1.ReasonPaused, message: "The run is paused, and no cluster is being rotated.", needsPerson: true}
	case status.Phase == v1alpha1.Baking:
		return summary{reason: v1alpha1.ReasonBaking, message: capital(r.waveName(status.Wave)) + " is done and left to itself for a while."}
	case len(working) == 0:
		return summary{reason: v1alpha1.ReasonRotating, message: capital(r.waveName(status.Wave)) + " waits for its clusters."}
	default:
		return summary{reason: v1alpha1.ReasonRotating, message: fmt.Sprintf("In %s nodes are replaced in %s.", r.waveName(status.Wave), listed(working))}
	}
}

func (r *run) conditions() {
	s := r.summarise()
	ready, hinder, other := metav1.ConditionFalse, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	if s.ready {
		ready = metav1.ConditionTrue
	}
	if s.needsPerson {
		hinder, other = other, hinder
	}
	list := &r.fleet.Status.Conditions
	r.condition(v1alpha1.ConditionReady, ready, s.reason, s.message)
	meta.RemoveStatusCondition(list, other)
	if s.ready {
		meta.RemoveStatusCondition(list, hinder)
	} else {
		r.condition(hinder, metav1.ConditionTrue, s.reason, s.message)
	}
	if r.fleet.Spec.Paused && !Finished(r.fleet) {
		r.condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPaused, "No further cluster is begun; those that were begun are finished.")
	} else {
		meta.RemoveStatusCondition(list, v1alpha1.ConditionPaused)
	}
}

func (r *run) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&r.fleet.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: plan.Bounded(message, messageLimit),
		ObservedGeneration: r.fleet.Generation, LastTransitionTime: r.time(),
	})
}

// pausedSince is since when the run is paused.
func (r *run) pausedSince() metav1.Time {
	if c := meta.FindStatusCondition(r.fleet.Status.Conditions, v1alpha1.ConditionPaused); c != nil {
		return c.LastTransitionTime
	}
	return r.time()
}
