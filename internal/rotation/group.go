package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// group is one group of the run, as it is now.
type group struct {
	name     string
	node     *v1alpha1.NodeGroup
	rec      *v1alpha1.GroupRotation
	strategy strategy
	cloud    Cloud
	machines []*machine
	// leaving are the machines that have to go: the outdated ones, or, when the run is
	// aborted, as many as the group is too large by.
	leaving int
	// surge is how many machines more than its size the group may have at most.
	surge, unavailable int
	// available machines are Ready and take pods, and launching ones are on their way there.
	available, launching int
	open                 int
	skipped              int
	// ended are the machines that this decision ends, and dropped those of them after
	// which the group is one smaller.
	ended, dropped int
}

// machine is one machine, with its node and its record.
type machine struct {
	cloud.Machine
	node *drain.Node
	// record is the one that is not closed, and last the newest of the closed ones.
	record, last *v1alpha1.NodeReplacement
	attempts     int32
	// outdated is why the machine is, empty if it is not; leaving that it has to go.
	outdated string
	leaving  bool
}

// target is what the machines of the group should be made from now.
func (d *decider) targetOf(g *group) v1alpha1.Revision {
	if d.ending() && g.rec.Former != nil {
		return *g.rec.Former
	}
	return g.rec.Target
}

// assess finds out which machines of a group have to go, and counts the others.
func (d *decider) assess(g *group) {
	var err error
	if g.surge, err = g.strategy.surgeOf(int(g.rec.Size)); err == nil {
		g.unavailable, err = g.strategy.unavailableOf(int(g.rec.Size))
	}
	if err != nil { // It was checked when the run began.
		d.wait(v1alpha1.Wait{Subject: "NodeGroup/" + g.name, Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error()})
	}
	g.machines = make([]*machine, 0, len(g.cloud.Machines))
	outdated, updated := 0, 0
	for i := range g.cloud.Machines {
		m := &machine{Machine: g.cloud.Machines[i]}
		m.node = d.nodeOf(&m.Machine)
		for _, r := range d.records[m.ID] {
			m.attempts++
			if Closed(r.Status.Phase) {
				m.last = r
			} else {
				m.record = r
			}
		}
		m.outdated = d.whyOutdated(g, &m.Machine)
		if m.outdated != "" {
			outdated++
		} else if m.State != cloud.Ending {
			updated++
		}
		g.machines = append(g.machines, m)
	}
	if d.aborting() {
		d.chooseSurplus(g)
	} else {
		for _, m := range g.machines {
			m.leaving = m.outdated != "" && m.State != cloud.Ending
		}
	}
	for _, m := range g.machines {
		d.count(g, m)
	}
	g.rec.Outdated, g.rec.Updated = int32(outdated), int32(updated)
	g.rec.Replaced = d.replaced(g)
}

// replaced is how many nodes of the group the run has replaced.
func (d *decider) replaced(g *group) (n int32) {
	for _, all := range d.records {
		for _, r := range all {
			if r.Spec.Group == g.name && r.Status.Phase == v1alpha1.Replaced {
				n++
			}
		}
	}
	return n
}

// count puts a machine among the numbers of its group.
func (d *decider) count(g *group, m *machine) {
	if m.leaving {
		g.leaving++
	}
	if m.record != nil {
		g.open++
	}
	if m.record == nil && m.last != nil && m.last.Status.Phase == v1alpha1.SkippedPhase && m.leaving {
		g.skipped++
	}
	switch {
	case m.State == cloud.Ending || m.record != nil:
	case d.ready(g, m):
		g.available++
	case m.State == cloud.Launching || m.outdated == "" && !m.leaving:
		g.launching++
	}
}

// ready says whether a machine takes pods: its node is Ready, and has been for a while if it is new.
func (d *decider) ready(g *group, m *machine) bool {
	if m.State != cloud.Running || m.node == nil || !m.node.Ready() || m.node.Cordoned {
		return false
	}
	if m.outdated != "" || g.strategy.minReady == 0 {
		return true
	}
	settled := m.node.ReadySince.Add(g.strategy.minReady)
	if d.now.Before(settled) {
		d.wakeAt(settled)
		return false
	}
	return true
}

func (d *decider) nodeOf(m *cloud.Machine) *drain.Node {
	if m.ProviderID != "" {
		if i := strings.LastIndexByte(m.ProviderID, '/'); i >= 0 {
			if n := d.s.Cluster.NodeOf(m.ProviderID[i+1:]); n != nil && n.ProviderID == m.ProviderID {
				return n
			}
		}
	}
	if n := d.s.Cluster.NodeOf(m.ID); n != nil {
		return n
	}
	if m.Node != "" {
		return d.s.Cluster.Node(m.Node)
	}
	return nil
}

// outdatedBecause says in what a machine differs from the target; empty if in nothing. A
// target with a template counts by it, one without by its images.
func outdatedBecause(m *cloud.Machine, target v1alpha1.Revision) string {
	switch {
	case m.State == cloud.Ending:
		return ""
	case target.Template != "" && m.Template != "":
		if (cloud.Revision{Template: target.Template}).Made(m.Template) {
			return ""
		}
		return fmt.Sprintf("is made from %s, wanted is %s", m.Template, target.Template)
	case slices.Contains(target.Images, m.Image):
		return ""
	default:
		return fmt.Sprintf("runs image %s, wanted is %s", cmp.Or(m.Image, "unknown"), strings.Join(target.Images, " or "))
	}
}

// whyOutdated is why a machine has to go. When the run is rolled back, those have to go
// that it brought to its target, and no others, however old they are.
func (d *decider) whyOutdated(g *group, m *cloud.Machine) string {
	why := outdatedBecause(m, g.rec.Target)
	if d.status.Phase != v1alpha1.RollingBack {
		return why
	}
	if why != "" || m.State == cloud.Ending || g.rec.Former == nil {
		return ""
	}
	return fmt.Sprintf("runs %s, which is rolled back to %s", g.rec.Target.Name, g.rec.Former.Name)
}

// chooseSurplus chooses, when the run is aborted, which machines go so that the group has
// its size again: those that the run made or opened, the emptiest first, since nothing is
// to be moved without need.
func (d *decider) chooseSurplus(g *group) {
	surplus := -int(g.rec.Size)
	var all []*machine
	for _, m := range g.machines {
		if m.State == cloud.Ending {
			continue
		}
		surplus++
		if m.LaunchedAt.After(d.status.StartedAt.Time) || m.record != nil {
			all = append(all, m)
		}
	}
	left := func(m *machine) int {
		if m.node == nil {
			return 0
		}
		return len(d.s.Cluster.Movable(m.node.Name, &g.strategy.drain))
	}
	begun := func(m *machine) int { // What is being ended, or was chosen before, stays chosen.
		if m.record != nil && (m.record.Status.Phase == v1alpha1.Terminating || m.record.Spec.Reason == surplusReason) {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(begun(a), begun(b)), cmp.Compare(left(a), left(b)), strings.Compare(a.ID, b.ID))
	})
	for i, m := range all {
		m.leaving = i < surplus || m.record != nil && m.record.Status.Phase == v1alpha1.Terminating
	}
}

// surplusReason is why a machine goes when a run is aborted.
const surplusReason = "is one more than the group's size, and the run was ended"

// wanted is what size the group should have while so many machines have still to go.
func (g *group) wanted(leaving int) int32 {
	return g.rec.Size + int32(max(min(g.surge, leaving), 0))
}

// resize brings the group to the size that it should have now: its own, and as many more
// as may be and are needed. What somebody else changed meanwhile is theirs, and stays.
func (d *decider) resize(g *group) {
	if !g.rec.Prepared {
		d.prepare(g)
		return
	}
	size, wanted := g.cloud.Size, g.wanted(d.surging(g))
	if size != wanted && size != g.rec.Wanted && size != g.rec.Before {
		if by := size - g.rec.Wanted; g.rec.Size+by >= 0 {
			g.rec.Size += by
		}
		wanted = g.wanted(d.surging(g))
	}
	switch {
	case size < wanted && !d.ending() && !applied(d.targetOf(g), g.cloud.Revision): // What it launched would be of no use.
	case size == wanted:
		g.rec.Wanted, g.rec.Before = wanted, wanted
	case d.recordedGroup(g).Wanted != wanted || d.recordedGroup(g).Size != g.rec.Size:
		g.rec.Wanted, g.rec.Before = wanted, size // Written down first; the next pass asks for it.
	default:
		d.step(Resize{Group: g.name, Size: wanted}, fmt.Sprintf("its size is %d, %d machines have to go, and %d may be there besides", g.rec.Size, g.leaving, g.surge))
		d.wake(pollEvery)
	}
}

// surging is for how many of the machines that have to go the group may be larger now. A
// run that takes no further nodes keeps the size that it has.
func (d *decider) surging(g *group) int {
	if d.aborting() {
		return g.leaving
	}
	return min(g.leaving, d.inWave(g))
}

func (d *decider) recordedGroup(g *group) v1alpha1.GroupRotation {
	for _, rec := range d.recorded.Groups {
		if rec.Name == g.name {
			return rec
		}
	}
	return v1alpha1.GroupRotation{}
}

// prepare guards the group and brings it to its target; that it is done is seen at the
// provider's, so that a crash in between repeats it.
func (d *decider) prepare(g *group) {
	if d.aborting() {
		g.rec.Prepared = true // It is only to be restored.
		return
	}
	target := d.targetOf(g)
	if g.cloud.Run == d.s.Run.Name && applied(target, g.cloud.Revision) {
		g.rec.Prepared = true
		return
	}
	if d.recordedGroup(g).Name == "" || d.recorded.Phase != d.status.Phase {
		return // What has to be restored is written down first.
	}
	d.step(Prepare{Group: g.name, Guard: d.guardOf(g), Target: asTarget(target, g.cloud.Revision, d.ending())}, "the group is to be guarded and brought to "+target.Name)
	d.wake(pollEvery)
}

func (d *decider) guardOf(g *group) cloud.Guard {
	return cloud.Guard{Run: d.s.Run.Name, Suspend: g.rec.Suspended, Settings: cloud.Settings{Size: g.rec.Size, Max: g.rec.Max}}
}

// applied says whether new machines are made from the target.
func applied(target v1alpha1.Revision, now cloud.Revision) bool {
	if target.Template != "" {
		return target.Template == now.Template
	}
	return len(now.Images) > 0 && !slices.ContainsFunc(now.Images, func(image string) bool { return !slices.Contains(target.Images, image) })
}

func asTarget(target v1alpha1.Revision, now cloud.Revision, back bool) cloud.Target {
	switch {
	case applied(target, now):
		return cloud.Target{}
	case back:
		return cloud.Target{Template: target.Template}
	case target.Template != "":
		_, version, _ := strings.Cut(target.Template, ":")
		return cloud.Target{TemplateVersion: version}
	default:
		return cloud.Target{Images: target.Images}
	}
}

// mark puts taints on outdated nodes, and protects new ones from others who end machines.
func (d *decider) mark(g *group) {
	if !g.rec.Prepared || d.aborting() || g.leaving == 0 && g.open == 0 {
		return // Or is about to be given back.
	}
	var protect []string
	for _, m := range g.machines {
		switch {
		case m.State == cloud.Ending:
		case m.outdated == "" && !m.Protected:
			protect = append(protect, m.ID)
		}
		if n := m.node; n != nil && m.State == cloud.Running {
			d.markNode(n, m.outdated != "")
		}
	}
	if len(protect) > 0 && g.cloud.Capabilities.Surge {
		d.step(Protect{Group: g.name, Machines: protect}, "they are new, and nobody else should end them")
	}
}

func (d *decider) markNode(n *drain.Node, outdated bool) {
	change := Mark{Node: n.Name, UID: n.UID}
	if n.Tainted(v1alpha1.OutdatedTaint) != outdated {
		change.Outdated = &outdated
	}
	if !outdated && !n.ScaleDownDisabled {
		change.Hold = new(true)
	}
	if change.Outdated != nil || change.Hold != nil {
		d.step(change, "pods should move to new nodes, and these stay")
	}
}

// finish gives a group back when nothing is left to do for it.
func (d *decider) finish(g *group) {
	if !g.rec.Prepared || g.open > 0 || d.recorded.Phase != d.status.Phase {
		return
	}
	if left := g.leaving - g.skipped; left > 0 || g.skipped > 0 && d.retries(g) {
		return
	}
	if !d.aborting() && g.cloud.Size == g.rec.Size && g.available < int(g.rec.Size) {
		d.notReady(g)
		return // The last of the new nodes are not Ready yet.
	}
	clean := true
	for _, m := range g.machines {
		clean = d.unmark(m) && clean
	}
	if !clean {
		return
	}
	if d.untouched(g) {
		g.rec.Restored = true
		return
	}
	restore := Restore{Group: g.name, Guard: d.guardOf(g), Settings: cloud.Settings{Size: g.rec.Size, Max: g.rec.Max}}
	if d.ending() && g.rec.Former != nil && g.cloud.Capabilities.RollBack {
		restore.Former = asTarget(*g.rec.Former, g.cloud.Revision, true)
	}
	d.step(restore, "nothing is left to do for the group")
	d.wake(time.Second)
}

// unmark takes off a node what the run put on it, and says whether nothing was left.
func (d *decider) unmark(m *machine) bool {
	if m.node == nil || m.State == cloud.Ending {
		return true
	}
	change := Mark{Node: m.node.Name, UID: m.node.UID}
	if m.node.Tainted(v1alpha1.OutdatedTaint) {
		change.Outdated = new(false)
	}
	if m.node.ScaleDownDisabled && m.LaunchedAt.After(d.status.StartedAt.Time) {
		change.Hold = new(false)
	}
	if change.Outdated == nil && change.Hold == nil {
		return true
	}
	d.step(change, "the run is done with the node")
	return false
}
