package clusterinstallation

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// podSet is a set of pods that a spec asks for beside the installation's own.
type podSet struct {
	app v1alpha1.AppDeployment
	// path leads to it in the spec.
	path string
	host string
	// annotations are all that its Ingress has.
	annotations map[string]string
}

// canaryAnnotations have nginx send those here that carry a cookie.
var canaryAnnotations = map[string]string{
	"kubernetes.io/ingress.class":                  "nginx",
	"nginx.ingress.kubernetes.io/canary":           "true",
	"nginx.ingress.kubernetes.io/canary-by-cookie": "canary",
}

const canaryPath = "spec.canary.deployment"

// sets are those of a spec with defaults, in the order in which they are carried out.
func sets(ci *v1alpha1.ClusterInstallation) []podSet {
	var all []podSet
	if bg := ci.Spec.BlueGreen; bg.Enable {
		for _, set := range []podSet{{app: bg.Blue, path: "spec.blueGreen.blue"}, {app: bg.Green, path: "spec.blueGreen.green"}} {
			set.host, set.annotations = set.app.IngressName, ci.Spec.IngressAnnotations
			all = append(all, set)
		}
	}
	if canary := ci.Spec.Canary; canary.Enable {
		all = append(all, podSet{app: canary.Deployment, path: canaryPath, host: ci.Spec.IngressName, annotations: canaryAnnotations})
	}
	return all
}

// production is the name of the set that is to serve; the installation's for its own
// pods.
func production(ci *v1alpha1.ClusterInstallation) string {
	switch bg := ci.Spec.BlueGreen; {
	case bg.Enable && bg.ProductionDeployment == blue:
		return bg.Blue.Name
	case bg.Enable && bg.ProductionDeployment == green:
		return bg.Green.Name
	default:
		return ci.Name
	}
}

// View is the Mattermost that stands for an installation, or for a set of its pods.
type View struct {
	Mattermost *v1beta1.Mattermost
	// Set is nil for the installation's own.
	Set *installation.Set
}

// Views are the Mattermosts that a stored ClusterInstallation is carried out as: its own,
// and one for each further set of its pods.
func Views(stored *v1alpha1.ClusterInstallation, secrets map[string]installation.Secret) []View {
	ci := Default(stored)
	mm, _ := Convert(ci, secrets)
	stand(mm, stored)
	if ci.Spec.BlueGreen.Enable {
		// All objects have the labels of the set that serves, and no others.
		mm.Spec.ResourceLabels = map[string]v1alpha1.AppDeployment{blue: ci.Spec.BlueGreen.Blue, green: ci.Spec.BlueGreen.Green}[ci.Spec.BlueGreen.ProductionDeployment].ResourceLabels
	}
	all := []View{{Mattermost: mm}}
	for _, set := range sets(ci) {
		view := mm.DeepCopy()
		view.Spec.Image, view.Spec.Version = set.app.Image, set.app.Version
		view.Spec.Ingress.Host, view.Spec.Ingress.TLSSecret = set.host, tlsSecret(&ci.Spec, set.host)
		// What is said of the whole is not said of the set.
		view.Status.Conditions, view.Status.Good, view.Status.RolledBackFrom = nil, nil, ""
		all = append(all, View{Mattermost: view, Set: &installation.Set{Name: set.app.Name, IngressAnnotations: maps.Clone(set.annotations)}})
	}
	return all
}

// stand lets a Mattermost stand for the resource: with its identity and its status.
func stand(mm *v1beta1.Mattermost, stored *v1alpha1.ClusterInstallation) {
	ci := stored.DeepCopy()
	mm.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterInstallation"}
	mm.ObjectMeta = ci.ObjectMeta
	// An installation of the older API has the shape that the API always had.
	delete(mm.Annotations, v1beta1.ShapeAnnotation)
	lineage := mm.Status.Lineage
	mm.Status = StatusOf(ci.Status)
	mm.Status.Lineage = lineage
}

// StatusOf is the status in the words of the newer API.
func StatusOf(s v1alpha1.ClusterInstallationStatus) v1beta1.MattermostStatus {
	return v1beta1.MattermostStatus{
		State: v1beta1.RunningState(s.State), Version: s.Version, Image: s.Image, Endpoint: s.Endpoint,
		Replicas: s.Replicas, UpdatedReplicas: s.UpdatedReplicas,
		ObservedGeneration: s.ObservedGeneration, Error: s.Error, Credentials: s.Credentials,
		Good: s.Good, RolledBackFrom: s.RolledBackFrom, Conditions: s.Conditions, Inventory: s.Inventory,
	}
}

// References returns the names of the Secrets that decide what is rendered.
func References(stored *v1alpha1.ClusterInstallation) []string {
	return installation.References(Views(stored, nil)[0].Mattermost)
}

// Begun reports whether anything of the installation was ever made, as far as its
// resource knows.
func Begun(stored *v1alpha1.ClusterInstallation) bool {
	return installation.Begun(&v1beta1.Mattermost{Status: StatusOf(stored.Status)})
}

// Hosts are those whose requests are to reach the installation, or a set of its pods.
func Hosts(stored *v1alpha1.ClusterInstallation) []string {
	var all []string
	for _, view := range Views(stored, nil) {
		all = append(all, installation.Hosts(view.Mattermost)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
