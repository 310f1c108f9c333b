package installation

import (
	"slices"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// What holds data, or opens it, has no owner and so outlives the installation,
// unless its data policy says otherwise.

// retained are these objects, wanted now or before.
func retained(s Snapshot, mm *v1beta1.Mattermost) map[plan.Ref]bool {
	all := map[plan.Ref]bool{s.ref(claimKind, mm.Name): true}
	for _, c := range Companions(mm) {
		all[c.Ref] = c.holdsData()
	}
	for _, name := range ownSecrets(mm) {
		all[s.ref(secretKind, name)] = true
	}
	return all
}

// ownSecrets are the Secrets that are generated for the installation, or were.
func ownSecrets(mm *v1beta1.Mattermost) []string {
	var names []string
	for _, g := range generated(mm) {
		names = append(names, g.Name)
	}
	for _, item := range mm.Status.Inventory {
		if item.Kind == secretKind.Kind && item.Group == "" && !slices.Contains(names, item.Name) {
			names = append(names, item.Name)
		}
	}
	return names
}

// letGo are the steps for what is not wanted any more and still would be deleted
// with the installation, although its data is to be kept.
func (a *assessment) letGo() []plan.Step {
	if deletesData(a.Mattermost) {
		return nil
	}
	wanted := map[plan.Ref]bool{}
	for _, object := range a.Request.Wanted {
		wanted[plan.RefTo(object)] = true
	}
	var steps []plan.Step
	for _, live := range a.Request.Live {
		if a.Request.Retained[live.Ref] && !wanted[live.Ref] && live.Controller == a.Request.Owner && !live.Deleting && !formers(live.Managed, "") {
			steps = append(steps, plan.Step{Action: plan.Disown{Ref: live.Ref, UID: live.UID, Owner: a.Request.Owner}, Why: "its data outlives the installation"})
		}
	}
	return steps
}
