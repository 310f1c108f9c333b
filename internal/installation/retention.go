package installation

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// What holds data, or opens it, has no owner and so outlives the installation,
// unless its data policy says otherwise.

// Outlives reports whether an object of the installation stays when that is deleted.
func (s Snapshot) Outlives(ref plan.Ref) bool { return retained(s, s.Mattermost)[ref] }

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
	for _, c := range Companions(mm) {
		switch c.Kind {
		case mysqlClusterKind:
			names = append(names, generatedMySQLSecret(mm.Name))
		case minioKind:
			names = append(names, MinioName(mm.Name))
		}
	}
	return names
}

// own are the steps that have the generated Secrets deleted with the data. One that
// was made by hand stays in any case.
func (a *assessment) own(s Snapshot) []plan.Step {
	if !deletesData(a.Mattermost) {
		return nil
	}
	var steps []plan.Step
	for _, g := range generated(a.Mattermost) {
		live, exists := s.live(s.ref(secretKind, g.Name))
		ours := slices.ContainsFunc(live.Managed, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == Manager })
		if exists && ours && live.Controller != a.Request.Owner && (live.Controller == "" || a.Request.Controls(live)) && !live.Deleting {
			steps = append(steps, plan.Step{Action: plan.Own{Ref: live.Ref, UID: live.UID, Owner: ownerReference(a.Mattermost), From: live.Controller}, Why: "the data is deleted with the installation"})
		}
	}
	return steps
}

// letGo are the steps for what would be deleted with the installation, although the
// data is to be kept, and is not applied any more. What opens the data goes first,
// because it is found by way of it.
func (a *assessment) letGo() []plan.Step {
	if deletesData(a.Mattermost) {
		return nil
	}
	wanted := map[plan.Ref]bool{}
	for _, object := range a.Request.Wanted {
		wanted[plan.RefTo(object)] = true
	}
	var first, then []plan.Step
	var needs []string
	for _, live := range a.Request.Live {
		if !a.Request.Retained[live.Ref] || wanted[live.Ref] || !a.Request.Controls(live) || live.Deleting {
			continue
		}
		step := plan.Step{Action: plan.Disown{Ref: live.Ref, UID: live.UID, Owner: live.Controller}, Why: "its data outlives the installation"}
		if live.Ref.GroupKind() == secretKind {
			first, needs = append(first, step), append(needs, step.Action.String())
		} else {
			then = append(then, step)
		}
	}
	for i := range then {
		then[i].Needs = needs
	}
	return append(first, then...)
}
