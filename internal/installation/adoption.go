package installation

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// Former is the field manager of the Mattermost Operator, from which
// installations are taken over.
const Former = "mattermost-operator"

// lastApplied is the annotation in which the Mattermost Operator keeps what it
// made: for Secrets that is their values.
const lastApplied = "mattermost.com/last-applied"

const whyTakenOver = "the Mattermost Operator made it"

// formers says that the Mattermost Operator has set fields of the object, or of
// its subresource, by updates. The cache keeps no more of them than that.
func formers(managed []metav1.ManagedFieldsEntry, subresource string) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == Former && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == subresource
	})
}

// takeOver puts, before the step that applies an object, the one that takes it
// over. What is applied equals what is there, so that nothing restarts; what is
// there beyond that was the Mattermost Operator's and goes.
func (a *assessment) takeOver(s Snapshot, converging []plan.Step) []plan.Step {
	var steps []plan.Step
	for _, g := range generated(a.Mattermost) {
		if live, exists := s.live(s.ref(secretKind, g.Name)); exists && a.takes(live) {
			steps = append(steps, a.takeOverStep(live))
		}
	}
	applied := map[plan.Ref]bool{}
	for _, step := range converging {
		if apply, ok := step.Action.(plan.Apply); ok {
			ref := plan.RefTo(apply.Object)
			applied[ref] = true
			if live, exists := s.live(ref); exists && a.takes(live) {
				taken := a.takeOverStep(live)
				steps = append(steps, taken)
				step.Needs = append(slices.Clone(step.Needs), taken.Action.String())
			}
		}
		steps = append(steps, step)
	}
	// What equals its recorded state was ours before, and the Mattermost Operator's
	// again in the meantime.
	for _, object := range a.Request.Wanted {
		ref := plan.RefTo(object)
		live, exists := s.live(ref)
		if !exists || applied[ref] || !a.takes(live) || a.Request.Recreate[ref] != "" {
			continue
		}
		taken := a.takeOverStep(live)
		steps = append(steps, taken, plan.Step{Action: plan.Apply{Object: object}, Needs: []string{taken.Action.String()}, Why: whyTakenOver})
	}
	return steps
}

// takeOverStatus comes last: while the status is the Mattermost Operator's, all that
// it may have left is looked for.
func (a *assessment) takeOverStatus(s Snapshot) []plan.Step {
	if s.Set != nil || !formers(s.Mattermost.ManagedFields, "status") {
		return nil
	}
	var needs []string
	for _, step := range a.letGo() {
		needs = append(needs, step.Action.String())
	}
	return []plan.Step{{Needs: needs, Why: whyTakenOver, Action: plan.TakeOver{
		Ref: s.ref(kindOf(s.Mattermost).GroupKind(), s.Mattermost.Name), UID: s.Mattermost.UID,
		From: Former, Subresource: "status", How: plan.Applied,
	}}}
}

// takes says that the object is this installation's and has fields of the
// Mattermost Operator.
func (a *assessment) takes(live inventory.Live) bool {
	return formers(live.Managed, "") && !live.Deleting && (a.Request.Controls(live) || live.Controller == "" && a.Request.Retained[live.Ref])
}

func (a *assessment) takeOverStep(live inventory.Live) plan.Step {
	action := plan.TakeOver{Ref: live.Ref, UID: live.UID, From: Former, How: plan.Applied}
	switch live.Ref.GroupKind() {
	case secretKind:
		action.How = plan.Updated // Its values are never applied.
	case claimKind:
		// What admission filled in when it was made cannot be changed any more.
		action.How = plan.Unowned
	}
	if action.How != plan.Applied {
		action.Annotations = []string{lastApplied}
		if !deletesData(a.Mattermost) {
			action.Disown = live.Controller
		}
	}
	return plan.Step{Action: action, Why: whyTakenOver}
}
