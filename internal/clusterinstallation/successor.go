package clusterinstallation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
)

// trackers are the labels and annotations by which tools find what they made, and
// delete what they find and did not make. The Mattermost is not theirs. Those that end in
// a slash stand for all that begin with it.
var trackers = []string{
	corev1.LastAppliedConfigAnnotation,
	"argocd.argoproj.io/", "app.kubernetes.io/instance",
	"kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/",
	"meta.helm.sh/", "helm.sh/", "app.kubernetes.io/managed-by",
	"objectset.rio.cattle.io/",
	"config.kubernetes.io/", "internal.config.kubernetes.io/", "config.k8s.io/", "cli-utils.sigs.k8s.io/",
}

// ours are annotations that have no effect on a ClusterInstallation and would have one
// on its Mattermost, or the other way round.
var ours = []string{v1beta1.ShapeAnnotation, v1beta1.MigratedFromAnnotation, v1alpha1.FinalizeAnnotation, v1alpha1.RevertAnnotation}

// Tracks reports whether a label or annotation is one of those, so that the Mattermost does not
// have it.
func Tracks(key string) bool {
	return slices.ContainsFunc(trackers, func(t string) bool {
		return key == t || strings.HasSuffix(t, "/") && strings.HasPrefix(key, t)
	})
}

// successor is the Mattermost that the ClusterInstallation is to become, and, in
// sentences, what of the ClusterInstallation it does not have.
func (s Snapshot) successor() (mm *v1beta1.Mattermost, lossy []string) {
	ci := Default(s.ClusterInstallation)
	mm, lossy = Convert(ci, s.Views[0].Secrets)
	mm.Status = v1beta1.MattermostStatus{} // It is put on record by who carries the Mattermost out.
	for _, of := range []struct {
		kind string
		all  map[string]string
	}{{"label", mm.Labels}, {"annotation", mm.Annotations}} {
		for _, key := range slices.Sorted(maps.Keys(of.all)) {
			switch {
			case slices.Contains(ours, key):
				delete(of.all, key)
			case Tracks(key):
				delete(of.all, key)
				if key != corev1.LastAppliedConfigAnnotation {
					lossy = append(lossy, fmt.Sprintf("The %s %s: by it another tool tracks what it made.", of.kind, key))
				}
			}
		}
	}
	if mm.Annotations == nil {
		mm.Annotations = map[string]string{}
	}
	mm.Annotations[v1beta1.MigratedFromAnnotation] = string(ci.UID)
	stored := &s.ClusterInstallation.Spec
	if !stored.BlueGreen.Enable && !equality.Semantic.DeepEqual(stored.BlueGreen, v1alpha1.BlueGreen{}) {
		lossy = append(lossy, "spec.blueGreen: it is turned off, and what it says besides is dropped.")
	}
	if !stored.Canary.Enable && !equality.Semantic.DeepEqual(stored.Canary, v1alpha1.Canary{}) {
		lossy = append(lossy, "spec.canary: it is turned off, and what it says besides is dropped.")
	}
	return mm, lossy
}
