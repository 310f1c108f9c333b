package migration

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
)

// Restart says when pods are replaced because of a migration.
type Restart string

// Restarts.
const (
	// Never: none is replaced. The pods of the next image have other labels.
	Never Restart = "Never"
	// Now: they are replaced when the objects are handed over.
	Now Restart = "Now"
	// Unknown: what the pods are made from could not be read, or contradicts itself.
	Unknown Restart = "Unknown"
)

// RestartOf says when pods are replaced, and which fields of them differ. It compares those
// that the ClusterInstallation asks for with those of its Mattermost, as its mode has them.
// What others set in the running pods stays; and none begins before its pods are as it
// asks for.
func RestartOf(w World, now time.Time) (Restart, []string) {
	ci := w.ClusterInstallation
	newer := successor(w, now)
	if w.SecretsUnread && len(clusterinstallation.References(ci)) > 0 || newer == nil {
		return Unknown, nil
	}
	before, err := template(clusterinstallation.Views(ci, w.Secrets)[0].Mattermost, w.Secrets)
	if err != nil {
		return Unknown, nil
	}
	after, err := template(newer, w.Secrets)
	if err != nil {
		return Unknown, nil
	}
	if !equality.Semantic.DeepEqual(before, after) {
		return Now, clusterinstallation.Differences("", before, after)
	}
	return Never, nil
}

// successor is the Mattermost that the controller would make of the installation if it
// was stable now, and nothing was under way, with what is then put on record of it; nil if
// it would make none.
func successor(w World, now time.Time) *v1beta1.Mattermost {
	w.Mattermost, w.Restores = nil, nil
	ci := w.ClusterInstallation.DeepCopy()
	ci.Spec.Migrate = true
	delete(ci.Annotations, v1beta1.PausedAnnotation)
	ci.Status.State, ci.Status.ObservedGeneration = v1alpha1.Stable, ci.Generation
	ci.Status.Migration = &v1alpha1.MigrationStatus{Phase: v1alpha1.MigrationPreparing}
	for _, step := range clusterinstallation.Decide(w.snapshot(ci), now).Steps {
		if made, ok := step.Action.(clusterinstallation.Prepare); ok {
			mm := made.Mattermost.DeepCopy()
			mm.Status.Shape = v1beta1.ShapeStrict
			if mm.Annotations[v1beta1.MigrationModeAnnotation] != v1beta1.MigrationRecreate {
				mm.Status.Lineage = v1beta1.LineageV1alpha1
			}
			return mm
		}
	}
	return nil
}

// template is that of an installation's pods.
func template(mm *v1beta1.Mattermost, secrets map[string]installation.Secret) (any, error) {
	r, err := installation.Render(mm, secrets, installation.RenderOptions{Shape: v1beta1.ShapeStrict})
	if err != nil {
		return nil, err
	}
	for _, object := range r.Objects {
		if object.GetKind() == "Deployment" && object.GetName() == mm.Name {
			pods, _, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "template")
			return pods, err
		}
	}
	return nil, fmt.Errorf("%s has no pods", mm.Name)
}

// Lost are the fields of the spec in which the Mattermost is not what the
// ClusterInstallation asks for, in order: what a revert takes back. There are none of a
// Mattermost that has not acted.
func Lost(w World, now time.Time) []string {
	mm := w.Mattermost
	if mm == nil || installation.MigratedFrom(mm) == "" || !installation.Acts(mm) || w.SecretsUnread {
		return nil
	}
	wanted := successor(w, now)
	if wanted == nil {
		return nil
	}
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&mm.Spec)
	if err != nil {
		return nil
	}
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&wanted.Spec)
	if err != nil {
		return nil
	}
	return clusterinstallation.Differences("spec", was, is)
}
