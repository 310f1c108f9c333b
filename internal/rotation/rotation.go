// Package rotation decides how the nodes of groups are replaced: which are outdated, which
// to open next, when a machine may be ended, what a run waits for, and how long it will
// take. It is pure: the same snapshot gives the same plan, in the controller, on the
// command line and in the simulation. How pods leave a node is decided by package drain.
package rotation

import (
	"slices"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit/plan"
)

// Snapshot is everything that a decision looks at.
type Snapshot struct {
	Run *v1alpha1.NodeRotation
	// Others are all other runs.
	Others []v1alpha1.NodeRotation
	// Groups and Images are all there are, by their name.
	Groups map[string]*v1alpha1.NodeGroup
	Images map[string]*v1alpha1.NodeImage
	// Clouds is what the providers say of the groups, by the group's name.
	Clouds map[string]Cloud
	// Records are the run's own.
	Records []v1alpha1.NodeReplacement
	Cluster *drain.Cluster
	// Observed is what checks of gates have seen since the last decision, by their name.
	Observed map[string]gate.Observation
	// Views are kept by who decides again and again; nil for nothing kept.
	Views *Views
	// ControlPlane says what is wrong with the API servers or their store; empty if nothing is.
	ControlPlane string
}

// Cloud is what a provider says of a group.
type Cloud struct {
	cloud.Group
	Capabilities cloud.Capabilities
	// Problem is why nothing is known of it; empty if something is.
	Problem string
}

// Decision is what Decide leaves for Report: the status that the run should have.
type Decision struct{ Status v1alpha1.NodeRotationStatus }

// Decide says what the run does next. The plan's Status is a Decision.
func Decide(s Snapshot, now time.Time) plan.Plan { return newDecider(s, now).decide() }

// Thoroughly is Decide without what saves it time; it decides the same, as tests make sure.
func Thoroughly(s Snapshot, now time.Time) plan.Plan {
	s.Views = nil
	d := newDecider(s, now)
	d.thorough = true
	return d.decide()
}

func (d *decider) decide() plan.Plan {
	d.run()
	if !Finished(d.recorded.Phase) {
		d.summarize()
	}
	d.tell()
	d.plan.Status = Decision{Status: *d.status}
	return d.plan
}

// Finished says whether a run is over.
func Finished(p v1alpha1.Phase) bool {
	return slices.Contains([]v1alpha1.Phase{v1alpha1.Succeeded, v1alpha1.Planned, v1alpha1.RolledBack, v1alpha1.Aborted, v1alpha1.Failed}, p)
}

// Closed says whether the record of a node is over.
func Closed(p v1alpha1.ReplacementPhase) bool {
	return p == v1alpha1.Replaced || p == v1alpha1.Reverted || p == v1alpha1.SkippedPhase
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}
