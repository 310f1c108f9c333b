package fleetrotation

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

// Freeze stores the Lease that freezes a cluster's admission: it is made if it has no
// resource version, and replaces the one that has it otherwise.
type Freeze struct {
	Cluster string
	Lease   *coordinationv1.Lease
}

// Thaw deletes that Lease, if it still is as it was read.
type Thaw struct {
	Cluster string
	Lease   *coordinationv1.Lease
}

// MakeRotation makes the NodeRotation of a cluster.
type MakeRotation struct {
	Cluster  string
	Rotation *v1alpha1.NodeRotation
}

// EndRotation tells the NodeRotation of a cluster to give back what it has open.
type EndRotation struct {
	Cluster string
	Name    string
	UID     types.UID
}

func (f Freeze) String() string       { return "freeze Cluster/" + f.Cluster }
func (t Thaw) String() string         { return "thaw Cluster/" + t.Cluster }
func (m MakeRotation) String() string { return "rotate Cluster/" + m.Cluster }
func (e EndRotation) String() string  { return "abort Cluster/" + e.Cluster }

// clusterOf returns in which cluster an action is carried out; empty for none.
func clusterOf(action plan.Action) string {
	switch action := action.(type) {
	case Freeze:
		return action.Cluster
	case Thaw:
		return action.Cluster
	case MakeRotation:
		return action.Cluster
	case EndRotation:
		return action.Cluster
	default:
		return ""
	}
}
