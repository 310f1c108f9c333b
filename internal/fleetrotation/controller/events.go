package controller

import (
	"k8s.io/apimachinery/pkg/api/meta"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
)

// announce tells which clusters are done, and how the run has ended or why it does not go
// on.
func announce(before, after *v1alpha1.FleetRotation) []kit.Event {
	was := map[string]v1alpha1.ClusterPhase{}
	for _, row := range before.Status.Clusters {
		was[row.Name] = row.Phase
	}
	var events []kit.Event
	for _, row := range after.Status.Clusters {
		if was[row.Name] == row.Phase {
			continue
		}
		switch row.Phase {
		case v1alpha1.ClusterPreparing:
			events = append(events, kit.Event{Reason: "ClusterBegun", Action: "Rotate", Message: "Cluster " + row.Name + " is begun."})
		case v1alpha1.ClusterSucceeded:
			events = append(events, kit.Event{Reason: "ClusterRotated", Action: "Rotate", Message: "Cluster " + row.Name + ": " + row.Message})
		case v1alpha1.ClusterFailed, v1alpha1.ClusterAborted:
			events = append(events, kit.Event{Warning: true, Reason: "Cluster" + string(row.Phase), Action: "Rotate", Message: "Cluster " + row.Name + ": " + row.Message})
		case v1alpha1.ClusterPending, v1alpha1.ClusterRotating, v1alpha1.ClusterVerifying, v1alpha1.ClusterAborting, v1alpha1.ClusterThawing:
		}
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionStalled} {
		now, then := meta.FindStatusCondition(after.Status.Conditions, kind), meta.FindStatusCondition(before.Status.Conditions, kind)
		if now == nil || now.Status != "True" || then != nil && then.Status == "True" && then.Reason == now.Reason {
			continue
		}
		events = append(events, kit.Event{Warning: kind == v1alpha1.ConditionStalled, Reason: now.Reason, Action: "Rotate", Message: now.Message})
	}
	return events
}
