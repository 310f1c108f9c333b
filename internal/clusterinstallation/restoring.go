package clusterinstallation

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/installation"
)

// A restore says in its own status how far it is, and the installation is carried out by
// that: each of the two is written by one controller only, and the spec by neither.

// RestoreBegun reports whether a restore was begun: this object, and not one that it is a copy of.
func RestoreBegun(r *v1alpha1.MattermostRestoreDB) bool {
	return r.Status.Run != nil && r.Status.Run.UID == r.UID
}

// Holds reports whether a restore has the installation stand still, by the phase on record.
func Holds(r *v1alpha1.MattermostRestoreDB, ci *v1alpha1.ClusterInstallation) bool {
	if !RestoreBegun(r) || r.Status.Run.InstallationUID != ci.UID || r.Namespace != ci.Namespace {
		return false
	}
	switch r.Status.Phase {
	case v1alpha1.RestoreStoppingMattermost, v1alpha1.RestoreStoppingDatabase, v1alpha1.RestoreDeletingVolumes,
		v1alpha1.RestoreStartingDatabase, v1alpha1.RestoreSettlingDatabase:
		return true
	default:
		return false
	}
}

// Restore is the one restore for which the installation stands still; nil for none. Of
// several, that is the one for which it did so already, or else the oldest: the others
// see in the status that it is not theirs, and have touched nothing.
func (s Snapshot) Restore() *v1alpha1.MattermostRestoreDB {
	ci := s.ClusterInstallation
	if ci.DeletionTimestamp != nil {
		return nil
	}
	var known types.UID
	if ci.Status.Restore != nil {
		known = ci.Status.Restore.UID
	}
	var first *v1alpha1.MattermostRestoreDB
	for i := range s.Restores {
		r := &s.Restores[i]
		if !Holds(r, ci) {
			continue
		}
		if r.UID == known {
			return r
		}
		if first == nil || cmp.Or(r.CreationTimestamp.Compare(first.CreationTimestamp.Time), cmp.Compare(r.UID, first.UID)) < 0 {
			first = r
		}
	}
	return first
}

// restoring is what that restore asks for; nil for none.
func (s Snapshot) restoring() *installation.Restoring {
	r := s.Restore()
	if r == nil {
		return nil
	}
	asked := &installation.Restoring{By: "MattermostRestoreDB/" + r.Name, InitBucketURL: r.Status.Run.InitBucketURL, Secret: r.Status.Run.RestoreSecret}
	switch r.Status.Phase {
	case v1alpha1.RestoreStoppingDatabase, v1alpha1.RestoreDeletingVolumes:
		asked.Database = true
	case v1alpha1.RestoreStartingDatabase:
		asked.Database, asked.Replicas = true, max(1, Default(s.ClusterInstallation).Spec.Database.Replicas)
	default: // The database is as the spec says.
	}
	return asked
}

// reference names a restore in the status.
func reference(r *v1alpha1.MattermostRestoreDB) *v1alpha1.RestoreReference {
	if r == nil {
		return nil
	}
	return &v1alpha1.RestoreReference{Name: r.Name, UID: r.UID}
}

// unfinished names a restore of the installation that was begun and is not over; empty for
// none. At its end it waits for the installation to run again, and no longer has it stand
// still.
func (s Snapshot) unfinished() string {
	for i := range s.Restores {
		r := &s.Restores[i]
		over := r.Status.Phase == v1alpha1.RestoreFinished || r.Status.Phase == v1alpha1.RestoreAbandoned
		if RestoreBegun(r) && !over && r.Status.Run.InstallationUID == s.ClusterInstallation.UID {
			return r.Name
		}
	}
	return ""
}
