package clusterinstallation

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// Snapshot is everything that a decision about one installation may look at.
type Snapshot struct {
	// ClusterInstallation is the resource as it is stored.
	ClusterInstallation *v1alpha1.ClusterInstallation
	// Views are what there is of each of its views, in their order. The first has all
	// live objects, and all Jobs.
	Views []installation.Snapshot
	// Mattermost is the one of the same name, whoever made it; nil when there is none.
	Mattermost *v1beta1.Mattermost
	// Restores are those of the namespace.
	Restores []v1alpha1.MattermostRestoreDB
}

// The kinds of which each set of pods has one, by its name.
var (
	deploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	serviceKind    = schema.GroupKind{Kind: "Service"}
	ingressKind    = schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}
	jobKind        = schema.GroupKind{Group: "batch", Kind: "Job"}
)

// Names are the objects whose names the sets of pods need for themselves.
func Names(stored *v1alpha1.ClusterInstallation) []plan.Ref {
	var names []plan.Ref
	for _, set := range sets(Default(stored)) {
		names = append(names, objectsOf(stored.Namespace, set.app.Name)...)
	}
	return names
}

func objectsOf(namespace, set string) []plan.Ref {
	return []plan.Ref{plan.RefOf(serviceKind, namespace, set), plan.RefOf(ingressKind, namespace, set), plan.RefOf(deploymentKind, namespace, set)}
}

// worlds are the snapshots of the views as each of them is decided: each with its own
// objects, and the first with all that is no set's. Requests are moved from one set of
// pods to another only when all pods of the other run, and pods go only when no request
// goes to them any more.
func (s Snapshot) worlds() []installation.Snapshot {
	ci := Default(s.ClusterInstallation)
	found := slices.Concat(Validate(ci), s.unlikeSets(ci))
	_, warnings := Convert(ci, s.Views[0].Secrets)
	all := slices.Clone(s.Views)
	names := make([]string, len(all))
	restoring := s.restoring()
	for i := range all {
		all[i].Restoring = restoring
		names[i] = ci.Name
		if all[i].Set != nil {
			names[i] = all[i].Set.Name
		}
		all[i].NewShape, all[i].Found, all[i].Predecessor = v1beta1.ShapeStrict, found, s.Predecessor()
	}
	main := &all[0]
	if s.newer() {
		for i := range all {
			all[i].Mattermost = all[i].Mattermost.DeepCopy()
			all[i].Mattermost.Status.Lineage = ""
		}
	}
	for i := range all[1:] {
		s.part(&all[i+1], names[i+1])
	}
	main.Live = slices.DeleteFunc(slices.Clone(main.Live), func(l inventory.Live) bool { return isSets(l.Ref, names[1:]) })
	main.Jobs = slices.DeleteFunc(slices.Clone(main.Jobs), func(j batchv1.Job) bool {
		// One of a set that is not wanted any more is removed like its other objects.
		of := installation.UpgradeJobOf(&j)
		return of != "" && of != ci.Name
	})
	main.Warnings = warnings
	if incomplete := complete(s.ClusterInstallation, ci, found); incomplete != nil {
		main.Complete = incomplete
	}
	s.serve(ci, all, names)
	s.leftBehind(main)
	if installation.Released(main.Mattermost) {
		holdBack(all)
	}
	return all
}

// newer reports whether the pods have the labels of a Mattermost, which is so when the
// installation was one and their Deployment was made anew meanwhile. They keep them.
func (s Snapshot) newer() bool { return installation.SelectsNewer(s.Views[0].Deployment) }

// unlikeSets says that sets of pods would not have the labels by which the Service sends.
func (s Snapshot) unlikeSets(ci *v1alpha1.ClusterInstallation) []installation.Problem {
	if !s.newer() || len(sets(ci)) == 0 {
		return nil
	}
	return []installation.Problem{{
		Path: sets(ci)[0].path, Reason: v1beta1.ReasonInvalidSpec,
		Message: "The pods have the labels of the Mattermost that this ClusterInstallation was, beside which there are no other sets of pods: turn blue-green and canary off.",
	}}
}

// holdBack lets no view be handed back to the Mattermost Operator before all can be: it
// looks after an installation as a whole.
func holdBack(all []installation.Snapshot) {
	ready := func(view installation.Snapshot) bool {
		return slices.ContainsFunc(installation.Decide(view, time.Time{}).Why, func(n plan.Note) bool { return n.Reason == v1beta1.ReasonReleased })
	}
	if slices.ContainsFunc(all, func(view installation.Snapshot) bool { return !ready(view) }) {
		for i := range all {
			// What is in its own way is said of it, not that others are.
			all[i].Held = ready(all[i])
		}
	}
}

// part gives a set its share of the objects and Jobs.
func (s Snapshot) part(set *installation.Snapshot, name string) {
	set.Live = nil
	for _, live := range s.Views[0].Live {
		if isSets(live.Ref, []string{name}) {
			set.Live = append(set.Live, live)
		}
	}
	set.Jobs = slices.DeleteFunc(slices.Clone(s.Views[0].Jobs), func(j batchv1.Job) bool { return installation.UpgradeJobOf(&j) != name })
}

// isSets reports whether an object is one of the sets' own.
func isSets(ref plan.Ref, sets []string) bool {
	switch ref.GroupKind() {
	case deploymentKind, serviceKind, ingressKind:
		return slices.Contains(sets, ref.Name)
	default:
		return false
	}
}

// serve says to which pods requests go, and keeps those to which they go.
func (s Snapshot) serve(ci *v1alpha1.ClusterInstallation, all []installation.Snapshot, names []string) {
	main, wanted, now := &all[0], production(ci), serving(s.Views[0])
	at := slices.Index(names, wanted)
	main.Serves = wanted
	if now != "" && now != wanted {
		main.Keep = objectsOf(ci.Namespace, now)
		if s.runs(now) && (at < 0 || !installation.Serves(all[at])) {
			main.Serves = now
		}
	}
	for _, job := range s.Views[0].Jobs {
		of := installation.UpgradeJobOf(&job)
		if slices.Contains(names[1:], of) {
			main.Keep = append(main.Keep, plan.RefOf(jobKind, job.Namespace, job.Name))
		}
		for i := range all {
			all[i].Elsewhere = all[i].Elsewhere || of != "" && of != names[i] && installation.UnfinishedJob(&job)
		}
	}
	if ci.Spec.BlueGreen.Enable {
		main.WithoutPods, main.Deployment, main.ReplicaSets, main.Autoscaled = true, (*appsv1.Deployment)(nil), nil, false
	}
}

// serving names the set to whose pods the Service sends; empty when there is no Service.
func serving(main installation.Snapshot) string {
	if main.Service == nil {
		return ""
	}
	return cmp.Or(main.Service.Spec.Selector[installation.SelectedBy], main.Service.Spec.Selector[installation.NewerSelectedBy])
}

// runs reports whether the installation has a Deployment of that name.
func (s Snapshot) runs(name string) bool {
	return slices.ContainsFunc(s.Views[0].Live, func(l inventory.Live) bool {
		return l.Ref.GroupKind() == deploymentKind && l.Ref.Name == name && l.Controller == s.ClusterInstallation.UID && !l.Deleting
	})
}

// leftBehind takes for our own what the Mattermost Operator made for sets of pods that
// are not wanted any more, so that it is removed.
func (s Snapshot) leftBehind(main *installation.Snapshot) {
	for _, live := range main.Live {
		ours := slices.ContainsFunc(live.Managed, func(e metav1.ManagedFieldsEntry) bool {
			return e.Manager == installation.Former && e.Operation == metav1.ManagedFieldsOperationUpdate
		})
		if !ours || live.Ref.Name == main.Mattermost.Name || !isSets(live.Ref, []string{live.Ref.Name}) {
			continue
		}
		item := v1beta1.InventoryItem{Group: live.Ref.Group, Kind: live.Ref.Kind, Name: live.Ref.Name}
		recorded := slices.ContainsFunc(main.Mattermost.Status.Inventory, func(i v1beta1.InventoryItem) bool {
			return i.Group == item.Group && i.Kind == item.Kind && i.Name == item.Name
		})
		if !recorded {
			main.Mattermost = main.Mattermost.DeepCopy()
			main.Mattermost.Status.Inventory = append(main.Mattermost.Status.Inventory, item)
		}
	}
}
