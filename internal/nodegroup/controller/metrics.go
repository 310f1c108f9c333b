package controller

import (
	"github.com/prometheus/client_golang/prometheus"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
)

var (
	nodesDesc = prometheus.NewDesc("windlass_node_group_nodes",
		"Nodes of the group. Each replica of Windlass counts all.", []string{"group"}, nil)
	outdatedDesc = prometheus.NewDesc("windlass_node_group_outdated_nodes",
		"Nodes of the group that do not run what they should. Each replica of Windlass counts all.", []string{"group"}, nil)
)

// count counts the nodes of groups.
func count(list *v1alpha1.NodeGroupList, tell kit.Tell) {
	for i := range list.Items {
		g := &list.Items[i]
		if g.Status.ObservedGeneration == 0 {
			continue // It was not looked at yet.
		}
		tell(nodesDesc, float64(g.Status.Nodes), g.Name)
		tell(outdatedDesc, float64(g.Status.Outdated), g.Name)
	}
}
