package fleetrotation

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"windlass.dev/api/nodes/v1alpha1"
)

// members are the clusters of a wave, sorted: those that it selects and no wave before
// it does, and that do not belong to the run already. A name counts also if no such
// cluster is registered: that is told, and not passed over.
func members(fleet *v1alpha1.FleetRotation, registered []Registration, number int32) []string {
	taken := map[string]bool{}
	for _, row := range fleet.Status.Clusters {
		taken[row.Name] = true
	}
	for _, wave := range fleet.Spec.Waves[:number] {
		for _, name := range selected(wave, registered) {
			taken[name] = true
		}
	}
	names := slices.DeleteFunc(selected(fleet.Spec.Waves[number], registered), func(name string) bool { return taken[name] })
	slices.Sort(names)
	return names
}

func selected(wave v1alpha1.FleetWave, registered []Registration) []string {
	if len(wave.Names) > 0 {
		return slices.Clone(wave.Names)
	}
	selector, err := metav1.LabelSelectorAsSelector(wave.ClusterSelector)
	if err != nil {
		return nil // See invalid.
	}
	var names []string
	for _, cluster := range registered {
		if selector.Matches(labels.Set(cluster.Labels)) {
			names = append(names, cluster.Name)
		}
	}
	return names
}

// invalid says which wave selects nothing because its selector cannot be read; the API
// server takes any. A run that has begun was valid, and its waves do not change.
func (r *run) invalid() string {
	if len(r.fleet.Status.Clusters) > 0 {
		return ""
	}
	for i, wave := range r.fleet.Spec.Waves {
		if _, err := metav1.LabelSelectorAsSelector(wave.ClusterSelector); err != nil {
			return fmt.Sprintf("spec.waves[%d].clusterSelector: %s; make another FleetRotation.", i, err)
		}
	}
	return ""
}

// selectedCount is how many clusters belong to the run, as far as that is known.
func selectedCount(fleet *v1alpha1.FleetRotation, registered []Registration) int32 {
	all := map[string]bool{}
	for _, row := range fleet.Status.Clusters {
		all[row.Name] = true
	}
	for number := range fleet.Spec.Waves {
		if len(fleet.Status.Clusters) == 0 || number > int(fleet.Status.Wave) {
			for _, name := range members(fleet, registered, int32(number)) {
				all[name] = true
			}
		}
	}
	return int32(len(all))
}
