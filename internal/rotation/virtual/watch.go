package virtual

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/rotation"
)

// undisturbed says that nobody else did anything lately that could be taken for the run's.
func (w *World) undisturbed() bool {
	return w.meddled.IsZero() || w.Now.Sub(w.meddled) > 10*time.Minute
}

// watchCordon looks whether enough nodes take pods when one is cordoned.
func (w *World) watchCordon(n *corev1.Node) {
	if n.Spec.Unschedulable || !ready(n) || !w.undisturbed() {
		return
	}
	for _, g := range sortedGroups(w.Fleet) {
		rec := recordOf(w.Run, g.Name)
		if rec == nil || g.machines[machineOf(n)] == nil {
			continue
		}
		up := -1 // The node itself.
		for id := range g.machines {
			other := w.nodes["node-"+id]
			// What somebody else keeps from pods does not keep the run from its end.
			theirs := other != nil && w.Run.Spec.End != "" && w.others[other.Name].cordoned
			if other != nil && ready(other) && (theirs || !other.Spec.Unschedulable) {
				up++
			}
		}
		if _, unavailable := limits(w.Run, w.Groups[g.Name], int(rec.Size)); up < int(rec.Size)-unavailable {
			w.violate("%s is cordoned, and then %d nodes of group %s take pods; its size is %d and %d may be unavailable", n.Name, up, g.Name, rec.Size, unavailable)
		}
	}
}

func machineOf(n *corev1.Node) string { return n.Name[len("node-"):] }

// watchSize looks whether a group is larger than it may be.
func (w *World) watchSize(g *Group) {
	rec := recordOf(w.Run, g.Name)
	if rec == nil || !w.undisturbed() {
		return
	}
	if surge, _ := limits(w.Run, w.Groups[g.Name], int(rec.Size)); g.live() > int(rec.Size)+surge {
		w.violate("group %s has %d machines; its size is %d and the surge %d", g.Name, g.live(), rec.Size, surge)
	}
}

// watchOpen looks whether a node may be opened.
func (w *World) watchOpen(r *v1alpha1.NodeReplacement) {
	phase := w.Run.Status.Phase
	ending := phase == v1alpha1.Aborting || phase == v1alpha1.RollingBack
	if w.Run.Spec.Paused && !ending {
		w.violate("%s is opened while the run is paused", r.Spec.Node)
	}
	if phase == v1alpha1.Baking {
		w.violate("%s is opened while a wave is watched", r.Spec.Node)
	}
	st := w.Run.Spec.Strategy
	if ending || st == nil || st.Canary == nil || w.Run.Status.Wave > 0 {
		return
	}
	if n := w.opened(r); n > max(st.Canary.Nodes, 1) && w.Run.Status.WaveSize > 0 {
		w.violate("%s is opened, the %dth of a canary of %d", r.Spec.Node, n, st.Canary.Nodes)
	}
}

// opened counts the nodes of a group that were opened, up to this one.
func (w *World) opened(r *v1alpha1.NodeReplacement) int32 {
	n := int32(1)
	for _, other := range w.Records {
		if other.Spec.Group == r.Spec.Group && other.Name != r.Name && other.Status.Phase != v1alpha1.SkippedPhase && other.Status.Phase != v1alpha1.Reverted {
			n++
		}
	}
	return n
}

// watchEnd looks whether a machine may be ended.
func (w *World) watchEnd(g *Group, m *cloud.Machine) {
	record := &v1alpha1.NodeReplacement{}
	for _, r := range w.Records {
		if r.Spec.Instance == m.ID && !rotation.Closed(r.Status.Phase) {
			record = r
		}
	}
	if record.Status.TerminateAt == nil {
		w.violate("machine %s is ended, and that was not written down", m.ID)
	}
	for _, p := range w.Cluster.PodsOn("node-" + m.ID) {
		if record.Status.Forced == "" && !p.PrePull {
			w.violate("machine %s is ended with Pod %s on it", m.ID, p.Name)
		}
	}
	if m.Registered && w.Now.Before(record.Status.TerminateAt.Add(5*time.Minute)) {
		w.violate("machine %s is ended while load balancers send requests to it", m.ID)
	}
	w.watchNeed(g, m, record.Spec.Reason)
}

// watchNeed looks whether a machine has to be ended at all.
func (w *World) watchNeed(g *Group, m *cloud.Machine, why string) {
	phase := w.Run.Status.Phase
	going := phase == v1alpha1.Rotating || phase == v1alpha1.Baking
	begun := recordOf(w.Run, g.Name).Rebalance
	uneven := begun != nil // Then some go for that.
	if n := w.moved(g); uneven && n > int(begun.Nodes+begun.Before) {
		w.violate("%d machines of group %s go for their zones: %+v", n, g.Name, begun)
	}
	if going && m.Template == template(g, g.Version) && !uneven && w.meddled.IsZero() && w.Run.Status.Skipped == 0 {
		w.violate("machine %s is ended although it is not outdated: %s", m.ID, why)
	}
}

// moved counts the machines of a group that the run opened because of their zones.
func (w *World) moved(g *Group) (n int) {
	for _, r := range w.Records {
		if r.Spec.Group == g.Name && strings.HasPrefix(r.Spec.Reason, "is in a zone that has more machines than another") {
			n++
		}
	}
	return n
}

// watchZones looks whether a group that is given back would end machines to even its zones out.
func (w *World) watchZones(g *Group) {
	if !g.Evens || slices.Contains(g.suspended, rebalance) || g.diverted || !w.meddled.IsZero() || w.Run.Status.Skipped > 0 || w.Run.Status.Phase == v1alpha1.Aborting {
		return
	}
	var counts []int
	for _, n := range g.zones() {
		counts = append(counts, n)
	}
	if slices.Max(counts)-slices.Min(counts) > 1 {
		w.violate("group %s is given back with machines in its zones that will be evened out undrained: %v", g.Name, g.zones())
	}
}

// ends says whether the machine of a node is being ended.
func (w *World) ends(n *corev1.Node) bool {
	for _, g := range w.Fleet {
		if m := g.machines[machineOf(n)]; m != nil {
			return m.State == cloud.Ending
		}
	}
	return true
}

// Left looks, after the run, for what it left behind.
func (w *World) Left() {
	for _, g := range sortedGroups(w.Fleet) {
		if g.Size != g.size && w.Run.Status.Phase != v1alpha1.Failed {
			w.violate("group %s is left with a size of %d, and should have %d", g.Name, g.Size, g.size)
		}
		if g.Max != g.max {
			w.violate("group %s is left with a maximum of %d, and should have %d", g.Name, g.Max, g.max)
		}
		if !slices.Equal(g.Suspended, g.suspended) || g.Run != "" {
			w.violate("group %s is left with %v suspended and the mark %q", g.Name, g.Suspended, g.Run)
		}
		for _, m := range g.machines {
			if m.Protected {
				w.violate("machine %s is left protected", m.ID)
			}
		}
	}
	w.leftNodes()
	w.leftObjects()
	for _, p := range w.pulls {
		if !w.ends(w.nodes[p.Spec.NodeName]) {
			w.violate("Pod %s, that pulled images, is left on %s", p.Name, p.Spec.NodeName)
		}
	}
}

func (w *World) leftNodes() {
	for _, name := range w.Names() {
		n := w.nodes[name]
		if w.ends(n) {
			continue // It is gone in a moment.
		}
		if n.Spec.Unschedulable && !w.others[name].cordoned {
			w.violate("%s is left cordoned", name)
		}
		if !n.Spec.Unschedulable && w.others[name].cordoned {
			w.violate("%s was cordoned by somebody else and is not any more", name)
		}
		if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded != w.others[name].excluded {
			w.violate("%s is left excluded from load balancers: %t", name, excluded)
		}
		if len(n.Spec.Taints) > 0 {
			w.violate("%s is left with taints", name)
		}
		if n.Annotations[drain.ScaleDownDisabled] != "" && !w.others[name].held {
			w.violate("%s is left held", name)
		}
	}
}

func (w *World) leftObjects() {
	for _, name := range slices.Sorted(maps.Keys(w.sets)) {
		if s := w.sets[name]; s.Replicas != s.original {
			w.violate("workload %s is left with %d replicas of %d", name, s.Replicas, s.original)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Records)) {
		if len(w.Records[name].Finalizers) > 0 {
			w.violate("record %s is left with a finalizer", name)
		}
	}
	if len(w.Run.Finalizers) > 0 {
		w.violate("the run is left with a finalizer")
	}
}
