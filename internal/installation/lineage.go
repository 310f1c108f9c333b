package installation

import (
	"fmt"
	"maps"
	"slices"

	klabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"

	"windlass.dev/api/installation/v1beta1"
)

// A ClusterInstallation of the older API is carried out as the Mattermost that it
// converts to, with a lineage: what is rendered then has that API's names, labels and
// order, down to each byte of the pods, so that neither Windlass nor a conversion of the
// resource replaces one.

// v1alpha1 reports whether the objects are like those of a ClusterInstallation.
func v1alpha1(mm *v1beta1.Mattermost) bool { return mm.Status.Lineage == v1beta1.LineageV1alpha1 }

// lineageOf is what is recorded, or else found: the Deployment selects its pods by the
// labels of the older API for as long as it lives.
func lineageOf(s Snapshot) v1beta1.Lineage {
	if s.Mattermost.Status.Lineage == "" && !Renewing(s.Mattermost) && selectsOlder(s.Deployment) {
		return v1beta1.LineageV1alpha1
	}
	return s.Mattermost.Status.Lineage
}

// wasOlder reports whether an installation is, or was, a ClusterInstallation: what that
// may do, it still may when its pods have the newer labels.
func wasOlder(mm *v1beta1.Mattermost) bool {
	return v1alpha1(mm) || mm.Status.MigratedFrom != nil || kindOf(mm).Group != v1beta1.GroupVersion.Group
}

// kindOf is the kind of the resource. A view keeps that of the resource it is of.
func kindOf(mm *v1beta1.Mattermost) schema.GroupVersionKind {
	if mm.Kind == "" {
		return v1beta1.GroupVersion.WithKind("Mattermost")
	}
	return mm.GroupVersionKind()
}

// subjectOf is what the resource is called in notes.
func subjectOf(mm *v1beta1.Mattermost) string { return kindOf(mm).Kind + "/" + mm.Name }

const (
	v1alpha1Installation = "v1alpha1.mattermost.com/installation"
	v1alpha1Resource     = "v1alpha1.mattermost.com/resource"
)

// resourceKey is the label by which stores are found to be an installation's.
func resourceKey(mm *v1beta1.Mattermost) string {
	if v1alpha1(mm) {
		return v1alpha1Resource
	}
	return resourceLabel
}

// selecting are the labels by which pods of a name are selected. They cannot change in
// the life of a Deployment.
func selecting(mm *v1beta1.Mattermost, name string) map[string]string {
	if v1alpha1(mm) {
		return map[string]string{appLabel: "mattermost", v1alpha1Installation: name, v1alpha1Resource: name}
	}
	return map[string]string{appLabel: "mattermost", installationLabel: name, resourceLabel: name}
}

// OlderPods selects the pods of sets of ClusterInstallations, by the names of the sets.
func OlderPods(sets ...string) (klabels.Selector, error) {
	// What is no value of a label no pod has.
	sets = slices.DeleteFunc(slices.Clone(sets), func(name string) bool { return len(validation.IsValidLabelValue(name)) > 0 })
	var all []klabels.Requirement
	for key, values := range map[string][]string{appLabel: {"mattermost"}, v1alpha1Installation: sets, v1alpha1Resource: sets} {
		r, err := klabels.NewRequirement(key, selection.In, values)
		if err != nil {
			return nil, fmt.Errorf("select pods by the label %s: %w", key, err)
		}
		all = append(all, *r)
	}
	return klabels.NewSelector().Add(all...), nil
}

// labelled returns the labels of an object of a name: the user's, and those of the
// installation over them. In the older API it is the other way round.
func labelled(mm *v1beta1.Mattermost, name string) map[string]string {
	under, over := mm.Spec.ResourceLabels, selecting(mm, name)
	if v1alpha1(mm) {
		under, over = over, under
	}
	all := map[string]string{}
	maps.Copy(all, under)
	maps.Copy(all, over)
	return all
}

// Set is a further set of pods beside an installation's own: it has a Deployment, a
// Service and an Ingress of its own name, and everything else in common with it.
type Set struct {
	Name string
	// IngressAnnotations are all that its Ingress has.
	IngressAnnotations map[string]string
}

// nameOf is the name of the objects of a set, or of the installation if there is none.
func nameOf(mm *v1beta1.Mattermost, set *Set) string {
	if set == nil {
		return mm.Name
	}
	return set.Name
}

// Name is that of the objects which the snapshot is about.
func (s Snapshot) Name() string { return nameOf(s.Mattermost, s.Set) }

// unselectable says why pods with the user's labels could not be selected.
func unselectable(mm *v1beta1.Mattermost) []Problem {
	for key, value := range selecting(mm, mm.Name) {
		if theirs, set := mm.Spec.ResourceLabels[key]; set && theirs != value && v1alpha1(mm) {
			return []Problem{{
				Path: "spec.resourceLabels", Reason: v1beta1.ReasonInvalidSpec,
				Message: "The label " + key + " is the one by which pods are selected, so that no pod of the Deployment would be found with another value: remove it.",
			}}
		}
	}
	return nil
}

// Serves reports whether requests can go to the pods that the snapshot is about: all
// run, with the wanted image. Of a hibernated installation none are wanted.
func Serves(s Snapshot) bool {
	mm := Default(s.Mattermost)
	if s.Deployment == nil || s.Deployment.DeletionTimestamp != nil || mainImage(s.Deployment) != image(mm) {
		return false
	}
	h := health{Wanted: replicas(mm)}
	h.rollOut(s)
	return h.PodsRun() || h.Wanted == 0
}

// OpensMySQL reports whether a Secret is meant for a MySQL that is run for the
// installation, and not for a database that exists elsewhere.
func OpensMySQL(s Secret) bool {
	if s.Has(keyConnection) {
		return false
	}
	return s.Has(keyRootPassword) || s.Has(keyUser) || s.Has(keyPassword) || s.Has(keyDatabase)
}

// SelectedBy is the label that says, in the selector of a Service of the older API, to
// which set of pods it sends.
const SelectedBy = v1alpha1Resource

// NewerSelectedBy is that label of the newer API.
const NewerSelectedBy = resourceLabel
