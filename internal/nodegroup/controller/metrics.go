package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
)

var (
	nodesDesc = prometheus.NewDesc("windlass_node_group_nodes",
		"Nodes of the group. Each replica of Windlass counts all.", []string{"group"}, nil)
	outdatedDesc = prometheus.NewDesc("windlass_node_group_outdated_nodes",
		"Nodes of the group that do not run what they should. Each replica of Windlass counts all.", []string{"group"}, nil)
)

// counts reads the groups when it is asked, from the cache, so that a group that is deleted
// leaves nothing behind.
type counts struct {
	run   context.Context //nolint:containedctx // A scrape comes with none; what it reads ends with the run.
	cache client.Reader
}

// collectTimeout bounds a scrape: reading the cache takes milliseconds.
const collectTimeout = 5 * time.Second

func (counts) Describe(descs chan<- *prometheus.Desc) {
	descs <- nodesDesc
	descs <- outdatedDesc
}

func (c counts) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.run, collectTimeout)
	defer cancel()
	var list v1alpha1.NodeGroupList
	if err := c.cache.List(ctx, &list); err != nil {
		return // The cache is not filled yet.
	}
	for i := range list.Items {
		g := &list.Items[i]
		if g.Status.ObservedGeneration == 0 {
			continue // It was not looked at yet.
		}
		metrics <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(g.Status.Nodes), g.Name)
		metrics <- prometheus.MustNewConstMetric(outdatedDesc, prometheus.GaugeValue, float64(g.Status.Outdated), g.Name)
	}
}
