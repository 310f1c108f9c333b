package controller

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/nodeimage"
)

// revised tells of another latest or approved revision.
func revised(before, after *v1alpha1.NodeImageStatus) (events []kit.Event) {
	if is := after.Latest; is != nil && (before.Latest == nil || before.Latest.Revision != is.Revision) {
		events = append(events, kit.Event{Reason: "RevisionFound", Action: "Look", Message: fmt.Sprintf("revision %s is the latest: %s", is.Revision, nodeimage.IDs(is))})
	}
	if is := after.Approved; is != nil && (before.Approved == nil || before.Approved.Revision != is.Revision) {
		events = append(events, kit.Event{Reason: "RevisionApproved", Action: "Approve", Message: fmt.Sprintf("revision %s is approved: %s", is.Revision, nodeimage.IDs(is))})
	}
	return events
}

// begun tells of a run; nil if the step has begun none.
func begun(step plan.Step) *kit.Event {
	b, ok := step.Action.(nodeimage.Begin)
	if !ok {
		return nil
	}
	return &kit.Event{Reason: "RotationBegun", Action: "Begin", Message: fmt.Sprintf("NodeRotation %s is begun: %s", b.Rotation.Name, step.Why)}
}

// stuck tells that nothing goes on before somebody acts.
func stuck(before, after *v1alpha1.NodeImageStatus) *kit.Event {
	was, is := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionStalled), meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionStalled)
	if is == nil || is.Status != metav1.ConditionTrue || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return nil
	}
	return &kit.Event{Warning: true, Reason: is.Reason, Action: "Decide", Message: is.Message}
}
