package drain

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// Resources are amounts: CPU in thousandths, memory in bytes, and what else a node has to
// offer by its name.
type Resources struct {
	CPU, Memory, Pods int64
	Others            map[corev1.ResourceName]int64
}

func resourcesOf(list corev1.ResourceList) Resources {
	var all Resources
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			all.CPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			all.Memory = quantity.Value()
		case corev1.ResourcePods:
			all.Pods = quantity.Value()
		default:
			if all.Others == nil {
				all.Others = map[corev1.ResourceName]int64{}
			}
			all.Others[name] = quantity.Value()
		}
	}
	return all
}

// requestsOf is what a pod takes of a node, its own place included.
func requestsOf(pod *corev1.Pod) Resources {
	all := resourcesOf(resource.PodRequests(pod, resource.PodResourcesOptions{}))
	all.Pods = 1
	return all
}

// add changes the amounts by others; r may share its map with nobody.
func (r *Resources) add(other Resources, sign int64) {
	r.CPU += sign * other.CPU
	r.Memory += sign * other.Memory
	r.Pods += sign * other.Pods
	for name, amount := range other.Others {
		if r.Others == nil {
			r.Others = map[corev1.ResourceName]int64{}
		}
		r.Others[name] += sign * amount
	}
}

// less returns what is left of r when other is taken.
func (r Resources) less(other Resources) Resources {
	r.Others = maps.Clone(r.Others)
	r.add(other, -1)
	return r
}

// lacks names the first resource of which there is not enough; empty if there is.
func (r *Resources) lacks(need *Resources) corev1.ResourceName {
	switch {
	case need.Pods > r.Pods:
		return corev1.ResourcePods
	case need.CPU > 0 && need.CPU > r.CPU:
		return corev1.ResourceCPU
	case need.Memory > 0 && need.Memory > r.Memory:
		return corev1.ResourceMemory
	}
	if len(need.Others) == 0 {
		return "" // Asked for every pod that is placed, and most need nothing else.
	}
	for _, name := range slices.Sorted(maps.Keys(need.Others)) {
		if need.Others[name] > 0 && need.Others[name] > r.Others[name] {
			return name
		}
	}
	return ""
}
