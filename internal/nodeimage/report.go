package nodeimage

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
)

func ready(reason, message string) *condition.Summary {
	return &condition.Summary{Ready: metav1.ConditionTrue, Reason: reason, Message: message}
}

// waiting is for what a person has to do, or may.
func waiting(reason, message string) *condition.Summary {
	return &condition.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message}
}

// moving is for what goes on by itself.
func moving(reason, message string) *condition.Summary {
	return &condition.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message, Moving: true}
}

// stalled is for what does not go on before somebody acts.
func stalled(reason, message string) *condition.Summary {
	return &condition.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message, Stalled: true}
}

func conditionOf(all []metav1.Condition, kind string) *metav1.Condition {
	return meta.FindStatusCondition(all, kind)
}

// summarize says what matters most, and then the rest: that the sources cannot be read, how
// far the approved revision is, and what the latest one waits for.
func (d *decider) summarize(rollout, pending *condition.Summary) {
	var sum condition.Summary
	for _, one := range []*condition.Summary{d.unfound(), rollout, pending} {
		switch {
		case one == nil || one.Ready == metav1.ConditionTrue:
		case sum.Reason == "":
			sum = *one
		default:
			sum.Message += "; " + one.Message
			sum.Moving, sum.Stalled = sum.Moving || one.Moving, sum.Stalled || one.Stalled
		}
	}
	if sum.Reason == "" {
		if rollout == nil {
			return // Nothing was looked at yet.
		}
		sum = *rollout
	}
	sum.Stalled = sum.Stalled && !sum.Moving
	sum.Set(&d.status.Conditions, d.s.Image.Generation, d.now)
	if sum.Ready != metav1.ConditionTrue {
		d.plan.Why = append(d.plan.Why, plan.Note{Subject: "NodeImage/" + d.s.Image.Name, Reason: sum.Reason, Message: sum.Message})
	}
}

// unfound is why the sources name no images; nil if they do.
func (d *decider) unfound() *condition.Summary {
	c := conditionOf(d.status.Conditions, v1alpha1.ConditionFound)
	if c == nil || c.Status == metav1.ConditionTrue {
		return nil
	}
	s := &condition.Summary{Ready: c.Status, Reason: c.Reason, Message: c.Message, Stalled: c.Status == metav1.ConditionFalse}
	if latest := d.status.Latest; latest != nil {
		s.Message += fmt.Sprintf("; revision %s (%s) is kept, and not rolled out any further", latest.Revision, IDs(latest))
	}
	return s
}

// Report returns the image with the status that it should have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.NodeImage {
	after := s.Image.DeepCopy()
	if d, ok := p.Status.(decision); ok {
		after.Status = d.status
	}
	for _, done := range outcome.Done {
		if begun, ok := done.Action.(Begin); ok {
			after.Status.Rotation = begun.Rotation.Name
		}
	}
	for _, failed := range outcome.Failed {
		condition.Summary{
			Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonStepFailed, Message: failed.Step.Action.String() + ": " + failed.Err.Error(), Moving: true,
		}.Set(&after.Status.Conditions, s.Image.Generation, now)
	}
	return after
}

// Unknown returns the image with a status that says that nothing could be read.
func Unknown(image *v1alpha1.NodeImage, err error, now time.Time) *v1alpha1.NodeImage {
	after := image.DeepCopy()
	condition.Set(&after.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonObserveFailed, Message: err.Error()}, image.Generation, now)
	return after
}
