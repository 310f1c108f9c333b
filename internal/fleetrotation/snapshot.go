// Package fleetrotation decides how the nodes of a fleet of clusters are rotated: which
// cluster is begun when, what is done in it next, and when all stops. It replaces no node:
// that is up to the NodeRotation that it makes in each cluster.
//
// A cluster goes from Pending over Preparing (admission is frozen), Rotating, Verifying
// and Thawing (the freeze is lifted) to its end; from anywhere in between, a failure or
// an abort leads over Thawing too. Each phase is stored before anything is done in it, so
// that what a dead process has begun is known to the next one.
package fleetrotation

import (
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
)

// Manager is the field manager of FleetRotations, and of what is made in clusters.
const Manager = "windlass-fleet"

// namesLimit is how many installations that are not stable a baseline names.
const namesLimit = 100

// Snapshot is everything that a decision about one run may look at.
type Snapshot struct {
	// Fleet is the resource as it is stored.
	Fleet *v1alpha1.FleetRotation
	// Registered are the clusters that there are.
	Registered []Registration
	// Members are what was read in the clusters that Looks names, by name.
	Members map[string]Member
}

// Registration is a cluster by its name and the labels by which waves select it.
type Registration struct {
	Name   string
	Labels map[string]string
}

// Member is what was read in one cluster.
type Member struct {
	// Problem is why nothing could be read; nil if all that follows was.
	Problem *Problem
	// Namespace is where Windlass runs in the cluster.
	Namespace string
	// Version is that of Kubernetes, and Unfit what keeps the cluster from being rotated;
	// both only if Look.Check asks for them.
	Version string
	Unfit   []Problem
	// Freeze is the Lease that freezes admission; nil when there is none.
	Freeze *coordinationv1.Lease
	// Rotation has the name that the run gives its NodeRotation; nil when there is none.
	Rotation *v1alpha1.NodeRotation
	// Installations only if Look.Installations asks for them.
	Installations *Installations
}

// Problem is a reason and a sentence. It has no secret in it.
type Problem struct{ Reason, Message string }

// Installations are those of one cluster.
type Installations struct {
	Total int
	// Unstable are those that are not stable, as namespace/name, sorted.
	Unstable []string
}

// InstallationsOf counts the installations of a cluster. One that waits for a freeze to
// end is none yet: it is not stable because of us.
func InstallationsOf(list []installations.Mattermost) *Installations {
	all := &Installations{}
	for i := range list {
		mm := &list[i]
		if waitsForFreeze(mm) {
			continue
		}
		all.Total++
		if mm.Status.State != installations.Stable {
			all.Unstable = append(all.Unstable, mm.Namespace+"/"+mm.Name)
		}
	}
	slices.Sort(all.Unstable)
	return all
}

func waitsForFreeze(mm *installations.Mattermost) bool {
	return slices.ContainsFunc(mm.Status.Conditions, func(c condition) bool {
		return c.Type == installations.ConditionReady && c.Reason == installations.ReasonAdmissionFrozen
	})
}

// RotationName is that of the NodeRotation in each cluster: no other run makes one of
// the same name, even one of the same name as this.
func RotationName(fleet *v1alpha1.FleetRotation) string {
	id := strings.ReplaceAll(string(fleet.UID), "-", "")
	return fleet.Name + "-" + id[:min(len(id), 8)]
}

// Holder is the run as the holder of a freeze.
func Holder(fleet *v1alpha1.FleetRotation) string {
	return "FleetRotation/" + fleet.Name + "/" + string(fleet.UID)
}

// Look says what has to be read in a cluster beside its freeze and its rotation.
type Look struct {
	Cluster string
	// Check asks whether the cluster can be rotated at all.
	Check bool
	// Installations asks for those.
	Installations bool
}

// Looks says what a decision has to know: nothing of clusters in which nothing can be
// done now.
func Looks(fleet *v1alpha1.FleetRotation, now time.Time) []Look {
	if Finished(fleet) {
		return nil
	}
	var all []Look
	for _, row := range fleet.Status.Clusters {
		look := Look{Cluster: row.Name}
		switch row.Phase {
		case v1alpha1.ClusterPending:
			look.Check = true
		case v1alpha1.ClusterPreparing, v1alpha1.ClusterVerifying:
			look.Installations = true
		case v1alpha1.ClusterSucceeded:
			if row.Wave != fleet.Status.Wave || !baked(fleet, now) {
				continue
			}
			look.Installations = true
		case v1alpha1.ClusterFailed, v1alpha1.ClusterAborted:
			continue
		case v1alpha1.ClusterRotating, v1alpha1.ClusterAborting, v1alpha1.ClusterThawing:
		}
		all = append(all, look)
	}
	return all
}

// baked reports whether the current wave is at the end of its bake, when its clusters are
// looked at once more.
func baked(fleet *v1alpha1.FleetRotation, now time.Time) bool {
	bake := bakeOf(fleet)
	return bake > 0 && fleet.Status.WaveDoneAt != nil && !now.Before(fleet.Status.WaveDoneAt.Add(bake))
}

// Finished reports whether the run touches no cluster any more.
func Finished(fleet *v1alpha1.FleetRotation) bool {
	phase := fleet.Status.Phase
	return phase == v1alpha1.Succeeded || phase == v1alpha1.Failed || phase == v1alpha1.Aborted
}

// over reports whether nothing will be done in a cluster any more.
func over(row v1alpha1.ClusterRotation) bool {
	return row.Phase == v1alpha1.ClusterSucceeded || row.Phase == v1alpha1.ClusterFailed || row.Phase == v1alpha1.ClusterAborted
}

// active reports whether something was, or is to be, done in a cluster.
func active(row v1alpha1.ClusterRotation) bool {
	return !over(row) && row.Phase != v1alpha1.ClusterPending
}
