// Package nodegroup decides what is said of a group of machines: how many there are, how
// many of them are outdated, and what its provider complains about. It is pure, and
// changes nothing: which nodes are outdated, and how they are replaced, is package
// rotation's.
package nodegroup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// Snapshot is everything that a decision looks at.
type Snapshot struct {
	Group *v1alpha1.NodeGroup
	// Images are all there are, by their name.
	Images map[string]*v1alpha1.NodeImage
	// Run has the group now, and knows more of it than anybody; nil if no run does, and
	// then there is a description.
	Run         *v1alpha1.NodeRotation
	Description *Description
}

// Description is what the provider said.
type Description struct {
	cloud.Group
	// Err is why nothing is known; nil if something is.
	Err error
	// At is when it was asked.
	At time.Time
}

// LookEvery is how old a description may be.
const LookEvery = time.Minute

// Holder is the run that has a group now; nil if none does.
func Holder(runs []v1alpha1.NodeRotation, group string) *v1alpha1.NodeRotation {
	for i := range runs {
		if rotation.Holds(&runs[i], group) {
			return &runs[i]
		}
	}
	return nil
}

// Decide says how the group is. The plan has no steps.
func Decide(s Snapshot, now time.Time) plan.Plan {
	status := s.Group.Status.DeepCopy()
	status.ObservedGeneration = s.Group.Generation
	p := plan.Plan{Status: status}
	var sum condition.Summary
	if s.Run != nil {
		sum = underway(s.Run, s.Group.Name, status)
	} else {
		p.Wake = max(s.Description.At.Add(LookEvery).Sub(now), time.Millisecond)
		sum = assess(&s, status)
	}
	sum.Set(&status.Conditions, s.Group.Generation, now)
	if sum.Ready != metav1.ConditionTrue {
		p.Why = []plan.Note{{Subject: "NodeGroup/" + s.Group.Name, Reason: sum.Reason, Message: sum.Message}}
	}
	return p
}

// underway takes over what a run has counted. It has not counted yet where there is nothing.
func underway(run *v1alpha1.NodeRotation, group string, status *v1alpha1.NodeGroupStatus) condition.Summary {
	for i := range run.Status.Groups {
		g := &run.Status.Groups[i]
		if g.Name != group || g.Outdated+g.Updated == 0 {
			continue
		}
		status.Nodes, status.Outdated, status.Revision = g.Outdated+g.Updated, g.Outdated, g.Target.Name
		if run.Status.Phase == v1alpha1.RollingBack && g.Former != nil {
			status.Revision = g.Former.Name
		}
	}
	return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonRotating, Message: fmt.Sprintf("NodeRotation %s replaces its nodes", run.Name), Moving: true}
}

// assess compares the machines with what they should run. What is not known stays as it was.
func assess(s *Snapshot, status *v1alpha1.NodeGroupStatus) condition.Summary {
	if err := s.Description.Err; err != nil {
		sum := condition.Summary{Ready: metav1.ConditionUnknown, Reason: v1alpha1.ReasonProviderProblem, Message: cloud.Explain(err)}
		if errors.Is(err, cloud.ErrNotFound) || errors.Is(err, cloud.ErrInvalid) || errors.Is(err, cloud.ErrUnsupported) {
			sum.Ready, sum.Stalled = metav1.ConditionFalse, true
		}
		return sum
	}
	a := rotation.Assess(s.Group, s.Images, rotation.Cloud{Group: s.Description.Group})
	status.Nodes, status.Outdated, status.Revision = a.Nodes, a.Outdated, a.Target.Name
	if a.Problem != "" {
		if s.Images[s.Group.Spec.Image] == nil {
			return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonInvalidSpec, Message: a.Problem, Stalled: true}
		}
		return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonApprovalPending, Message: a.Problem}
	}
	if problems := s.Description.Problems; len(problems) > 0 {
		return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonProviderProblem, Message: sentences(problems)}
	}
	if a.Outdated > 0 {
		return condition.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonOutdated, Message: fmt.Sprintf("there are nodes that do not run %s", a.Target.Name)}
	}
	return condition.Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonUpToDate, Message: fmt.Sprintf("every node runs %s", a.Target.Name)}
}

func sentences(problems []cloud.Problem) string {
	var all []string
	for _, p := range problems {
		text := p.Message
		if p.Zone != "" && !strings.Contains(text, p.Zone) {
			text = p.Zone + ": " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// Report returns the group with the status that it should have.
func Report(s Snapshot, p plan.Plan) *v1alpha1.NodeGroup {
	after := s.Group.DeepCopy()
	if status, ok := p.Status.(*v1alpha1.NodeGroupStatus); ok {
		after.Status = *status
	}
	return after
}

// Unknown returns the group with a status that says that nothing could be read.
func Unknown(group *v1alpha1.NodeGroup, err error, now time.Time) *v1alpha1.NodeGroup {
	after := group.DeepCopy()
	condition.Set(&after.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonObserveFailed, Message: err.Error()}, group.Generation, now)
	return after
}
