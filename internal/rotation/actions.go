package rotation

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/kit/plan"
)

// Guard keeps the run, by a finalizer, until what it changed is undone; or lets it go.
type Guard struct{ On bool }

func (a Guard) String() string {
	if a.On {
		return "guard run"
	}
	return "release run"
}

// Prepare brings a provider's group to its target and guards it against others.
type Prepare struct {
	Group  string
	Guard  cloud.Guard
	Target cloud.Target
}

func (a Prepare) String() string { return "prepare NodeGroup/" + a.Group }

// Resize makes a group want a number of machines.
type Resize struct {
	Group string
	Size  int32
}

func (a Resize) String() string { return fmt.Sprintf("resize NodeGroup/%s to %d", a.Group, a.Size) }

// Protect keeps the provider from ending new machines by itself.
type Protect struct {
	Group    string
	Machines []string
}

func (a Protect) String() string {
	return "protect machines of NodeGroup/" + a.Group + ": " + strings.Join(a.Machines, ", ")
}

// Deregister takes a machine out of its load balancers.
type Deregister struct{ Group, Machine string }

func (a Deregister) String() string { return "deregister " + a.Machine }

// End ends a machine; its group wants Size machines from then on.
type End struct {
	Group, Machine string
	Size           int32
}

func (a End) String() string { return "end " + a.Machine }

// Restore gives a group back.
type Restore struct {
	Group    string
	Guard    cloud.Guard
	Settings cloud.Settings
	Former   cloud.Target
}

func (a Restore) String() string { return "restore NodeGroup/" + a.Group }

// GroupOf is the NodeGroup whose provider a step asks for something; empty if it asks none.
func GroupOf(action plan.Action) string {
	switch a := action.(type) {
	case Prepare:
		return a.Group
	case Resize:
		return a.Group
	case Protect:
		return a.Group
	case Deregister:
		return a.Group
	case End:
		return a.Group
	case Restore:
		return a.Group
	default:
		return ""
	}
}

// Open writes the record of a node that is about to be replaced.
type Open struct{ Record *v1alpha1.NodeReplacement }

func (a Open) String() string { return "open " + a.Record.Name }

// Record writes how far the replacement of a node is.
type Record struct {
	Name   string
	UID    types.UID
	Status v1alpha1.NodeReplacementStatus
}

func (a Record) String() string { return "record " + a.Name }

// Close lets a finished record be deleted.
type Close struct {
	Name string
	UID  types.UID
}

func (a Close) String() string { return "close " + a.Name }

// Mark puts what a run needs on a node, or takes it off again; what is nil stays.
type Mark struct {
	Node string
	UID  types.UID
	// Outdated is the taint that makes schedulers prefer other nodes.
	Outdated *bool
	// Cordon keeps pods, and load balancers, from the node. What somebody else has set as
	// well stays when it is taken off.
	Cordon *bool
	// Hold keeps the cluster autoscaler from the node.
	Hold *bool
}

func (a Mark) String() string {
	var what []string
	for name, on := range map[string]*bool{"outdated": a.Outdated, "cordon": a.Cordon, "hold": a.Hold} {
		if on != nil {
			what = append(what, fmt.Sprintf("%s=%t", name, *on))
		}
	}
	return "mark Node/" + a.Node + " " + strings.Join(sorted(what), " ")
}

// Evict asks a pod to go, or deletes it.
type Evict struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	Grace           *int64
	Force           bool
}

func (a Evict) String() string {
	if a.Force {
		return "delete Pod/" + a.Namespace + "/" + a.Name
	}
	return "evict Pod/" + a.Namespace + "/" + a.Name
}

// Scale gives a workload a number of replicas, or an autoscaler a minimum, if it has From.
// If it has another, or is gone, somebody else changed it: that is no error, and it stays.
type Scale struct {
	Kind, Namespace, Name string
	From, To              int32
}

func (a Scale) String() string {
	return fmt.Sprintf("scale %s/%s/%s to %d", a.Kind, a.Namespace, a.Name, a.To)
}

// DeleteNode removes the Node of a machine that is gone.
type DeleteNode struct {
	Name string
	UID  types.UID
}

func (a DeleteNode) String() string { return "delete Node/" + a.Name }
