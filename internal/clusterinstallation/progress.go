package clusterinstallation

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// reasons are those of the condition Migrated, by the phase.
var reasons = map[v1alpha1.MigrationPhase]string{
	v1alpha1.MigrationRefused:              v1beta1.ReasonMigrationRefused,
	v1alpha1.MigrationWaiting:              v1beta1.ReasonMigrationWaiting,
	v1alpha1.MigrationPreparing:            v1beta1.ReasonMigrationPreparing,
	v1alpha1.MigrationHandingOver:          v1beta1.ReasonMigrationHandingOver,
	v1alpha1.MigrationAwaitingFinalization: v1beta1.ReasonMigrationAwaitingFinalization,
	v1alpha1.MigrationReverting:            v1beta1.ReasonMigrationReverting,
	v1alpha1.MigrationReverted:             v1beta1.ReasonMigrationReverted,
	v1alpha1.MigrationInterrupted:          v1beta1.ReasonMigrationInterrupted,
}

// courseOf is what the decision left for the report. A plan that was not decided here
// leaves what is on record as it is.
func (s Snapshot) courseOf(p plan.Plan) course {
	if c, ok := p.Status.(course); ok {
		return c
	}
	recorded := s.recorded()
	c := course{Phase: recorded.Phase, Mattermost: recorded.Mattermost, Turn: recorded.Turn, Lossy: recorded.Lossy, Diverged: recorded.Diverged, Message: recorded.Status, Error: recorded.Error}
	for _, world := range s.worlds() {
		c.Views = append(c.Views, view{Snapshot: world})
	}
	return c
}

// report puts the phase on record, with what of it went wrong.
func (c course) report(stored *v1alpha1.ClusterInstallation, status *v1alpha1.ClusterInstallationStatus, outcome plan.Outcome, now time.Time) {
	said := conditions{list: &status.Conditions, generation: status.ObservedGeneration, now: now}
	if c.Phase == "" {
		status.Migration = nil
		meta.RemoveStatusCondition(said.list, v1beta1.ConditionMigrated)
		return
	}
	var failed []error
	for _, failure := range outcome.Failed {
		switch failure.Step.Action.(type) {
		case Prepare, Retire:
			failed = append(failed, failure.Err)
		}
	}
	if err := errors.Join(failed...); err != nil {
		c.Error = plan.Bounded(err.Error(), messageLimit)
	}
	migration := &v1alpha1.MigrationStatus{
		Status: plan.Bounded(c.Message, messageLimit), Error: c.Error, Phase: c.Phase, Mattermost: c.Mattermost, Turn: c.Turn, Lossy: c.Lossy, Diverged: c.Diverged,
		Since: new(metav1.NewTime(now.Truncate(time.Second))),
	}
	if was := stored.Status.Migration; was != nil && was.Phase == c.Phase && was.Since != nil {
		migration.Since = was.Since.DeepCopy()
	}
	status.Migration = migration
	message := migration.Status
	if c.Error != "" && c.Phase != v1alpha1.MigrationRefused {
		message = plan.Bounded(message+" "+c.Error, messageLimit)
	}
	said.set(metav1.Condition{Type: v1beta1.ConditionMigrated, Status: metav1.ConditionFalse, Reason: reasons[c.Phase], Message: message})
}

// stand is the report of a pass in which nothing was done for the ClusterInstallation:
// what was last seen of it stays, but for whose it is.
func (c course) stand(stored *v1alpha1.ClusterInstallation, outcome plan.Outcome, now time.Time) *v1alpha1.ClusterInstallation {
	after := stored.DeepCopy()
	status := &after.Status
	if c.Phase != v1alpha1.MigrationHandingOver && c.Phase != v1alpha1.MigrationAwaitingFinalization {
		// Of a spec that is not carried out it is not said that it was seen, so that a
		// change is told of.
		status.ObservedGeneration = stored.Generation
	}
	said := conditions{list: &status.Conditions, generation: status.ObservedGeneration, now: now}
	reason, hinders, other := reasons[c.Phase], v1beta1.ConditionReconciling, v1beta1.ConditionStalled
	status.Error = c.Error
	if c.Superseded {
		reason, hinders, other = v1beta1.ReasonSuperseded, other, hinders
		status.Error = c.Message
	}
	meta.RemoveStatusCondition(said.list, other)
	ready := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: plan.Bounded(c.Message, messageLimit)}
	status.State = v1alpha1.Reconciling
	if c.Phase == v1alpha1.MigrationAwaitingFinalization {
		ready.Status, status.State = metav1.ConditionTrue, v1alpha1.Stable
		meta.RemoveStatusCondition(said.list, hinders)
	} else {
		said.set(metav1.Condition{Type: hinders, Status: metav1.ConditionTrue, Reason: reason, Message: ready.Message})
	}
	said.set(ready)
	c.report(stored, status, outcome, now)
	return after
}
