package virtual

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/rotation"
)

// others is what others than the controller did to a node. Server-side apply keeps what
// two have set until both have given it up.
type others struct{ cordoned, excluded, held bool }

// change changes a node: the index keeps what it is given.
func (w *World) change(name string, edit func(*corev1.Node)) {
	n := w.nodes[name].DeepCopy()
	edit(n)
	w.nodes[name] = n
	w.Cluster.SetNode(n)
	w.schedule()
}

func (w *World) mark(a rotation.Mark) {
	n := w.nodes[a.Node]
	if n == nil || n.UID != a.UID {
		return
	}
	if a.Cordon != nil && *a.Cordon {
		w.watchCordon(n)
	}
	w.change(a.Node, func(n *corev1.Node) {
		if a.Cordon != nil {
			n.Spec.Unschedulable = *a.Cordon || w.others[n.Name].cordoned
			delete(n.Labels, corev1.LabelNodeExcludeBalancers)
			if *a.Cordon || w.others[n.Name].excluded {
				n.Labels[corev1.LabelNodeExcludeBalancers] = "true"
			}
		}
		if a.Outdated != nil {
			n.Spec.Taints = nil
			if *a.Outdated {
				n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutdatedTaint, Effect: corev1.TaintEffectPreferNoSchedule}}
			}
		}
		if a.Hold != nil {
			n.Annotations = map[string]string{}
			if *a.Hold {
				n.Annotations[drain.ScaleDownDisabled] = "true"
			}
		}
	})
}

// Cordon is somebody who cordons a node, or uncordons it.
func (w *World) Cordon(name string, on bool) {
	if w.nodes[name] == nil {
		return
	}
	w.meddled = w.Now
	o := w.others[name]
	o.cordoned = on
	w.others[name] = o
	w.change(name, func(n *corev1.Node) { n.Spec.Unschedulable = on })
}

// Exclude is somebody who keeps load balancers from a node.
func (w *World) Exclude(name string) {
	o := w.others[name]
	o.excluded = true
	w.others[name] = o
	w.change(name, func(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "true" })
}

// Hold is somebody who keeps the cluster autoscaler from a node.
func (w *World) Hold(name string) {
	o := w.others[name]
	o.held = true
	w.others[name] = o
	w.change(name, func(n *corev1.Node) { n.Annotations = map[string]string{drain.ScaleDownDisabled: "true"} })
}

// DeletePod is somebody who deletes one of the pods.
func (w *World) DeletePod(number int) {
	all := slices.Sorted(maps.Keys(w.pods))
	if len(all) == 0 {
		return
	}
	w.meddled = w.Now
	if p := w.pods[all[number%len(all)]]; p.DeletionTimestamp == nil {
		w.endPod(p, w.sets[p.Labels["app"]])
	}
}

// DeleteNode is somebody who deletes a Node, whose machine stays, and makes it again.
func (w *World) DeleteNode(name string) {
	w.meddled = w.Now
	w.removeNode(name)
	delete(w.others, name)
	w.after(30*time.Second, func() {
		for _, g := range w.Fleet {
			if m := g.machines[name[len("node-"):]]; m != nil {
				w.join(g, m)
			}
		}
	})
}

// EndMachine is somebody who ends one of a group's machines.
func (w *World) EndMachine(group string, number int) {
	g := w.Fleet[group]
	all := slices.Sorted(maps.Keys(g.machines))
	if len(all) == 0 {
		return
	}
	w.meddled = w.Now
	if m := g.machines[all[number%len(all)]]; m.State != "Ending" {
		w.ending(g, m)
	}
}

// Resize is somebody who changes the size of a group by some machines, if the run does not
// change it at the same time.
func (w *World) Resize(group string, by int32) {
	g, rec := w.Fleet[group], recordOf(w.Run, group)
	if g.size+by < 1 || rec != nil && !rec.Restored && (rec.Wanted != g.Size || rec.Before != g.Size) {
		return
	}
	w.meddled = w.Now
	g.Size += by
	g.size += by
	g.Max, g.max = max(g.Max, g.Size), max(g.max, g.size)
	for _, id := range slices.Sorted(maps.Keys(g.machines)) { // It ends machines of its own choice.
		if m := g.machines[id]; g.live() > int(g.Size) && m.State != "Ending" && !m.Protected {
			w.ending(g, m)
		}
	}
	w.fill(g)
}

// Supply says how many machines of a group there can be.
func (w *World) Supply(group string, capacity int) {
	w.Fleet[group].Capacity = capacity
	w.fill(w.Fleet[group])
}
