package restore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
)

// Report returns a copy of the restore with the status it should now have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.MattermostRestoreDB {
	after := s.Restore.DeepCopy()
	c, ok := p.Status.(*course)
	if !ok {
		return after
	}
	status := *c.next.DeepCopy()
	for _, step := range outcome.Done {
		switch action := step.Action.(type) {
		case KeepVolume:
			if i := slices.IndexFunc(status.Volumes, func(v v1alpha1.RestoreVolume) bool { return v.UID == action.Claim }); i >= 0 {
				status.Volumes[i].Kept = true
			}
		case WriteCredentials:
			status.Run.CredentialsWritten = true
		}
	}
	said := c.said
	if len(outcome.Failed) > 0 {
		said = failed(outcome.Failed)
	}
	status.ObservedGeneration = s.Restore.Generation
	said.Set(&status.Conditions, s.Restore.Generation, now)
	if len(c.warnings) > 0 {
		var all []string
		for _, w := range c.warnings {
			all = append(all, w.message)
		}
		condition.Set(&status.Conditions, metav1.Condition{
			Type: v1beta1.ConditionSpecWarnings, Status: metav1.ConditionTrue, Reason: c.warnings[0].reason, Message: strings.Join(all, " "),
		}, s.Restore.Generation, now)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1beta1.ConditionSpecWarnings)
	}
	slices.SortFunc(status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	after.Status = status
	return after
}

// failed says which step failed of what.
func failed(failures []plan.Failure) condition.Summary {
	var all []string
	forbidden := true
	for _, f := range failures {
		all = append(all, f.Err.Error())
		forbidden = forbidden && apierrors.IsForbidden(errors.Unwrap(f.Err))
	}
	slices.Sort(all)
	message := strings.Join(all, "; ")
	if forbidden {
		message = fmt.Sprintf("%s. Grant Windlass the ClusterRole windlass-restores; or delete this object, and make another one with %s.", message, v1alpha1.DeleteReplacedData)
	}
	return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonRestoreStepFailed, Message: message, Moving: true}
}

// Unknown is the report of a pass that could not read what it needed.
func Unknown(stored *v1alpha1.MattermostRestoreDB, err error, now time.Time) *v1alpha1.MattermostRestoreDB {
	after := stored.DeepCopy()
	condition.Set(&after.Status.Conditions, metav1.Condition{
		Type: condition.Ready, Status: metav1.ConditionUnknown, Reason: v1beta1.ReasonObserveFailed,
		Message: "Nothing was changed, because the restore could not be looked at: " + err.Error(),
	}, stored.Generation, now)
	return after
}
