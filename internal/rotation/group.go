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
	// unknown says that nothing is known of it now, and lost that nothing will be.
	unknown, lost bool
	view          *view // nil while it is unknown
	machines      []*machine
	// pulls are the images that new nodes pull; found when they are first asked for.
	pulls []string
	// kinds of machines, as far as it was asked why they are outdated.
	kinds []kind
	// leaving are the machines that have still to go: the outdated ones, unless the run is
	// aborted, and those that the group is too large by; not those that were given up.
	leaving int
	// live machines are not being ended.
	live int
	// done machines are gone, or going, because the run opened them.
	done int
	// surge is how many machines more than its size the group may have at most.
	surge, unavailable int
	// available machines are Ready and take pods, and launching ones are on their way there.
	available, launching int
	// cordoned ones are, by somebody else, while the run is being ended: it cannot wait until
	// they change their mind.
	cordoned int
	// open machines have a record that is not closed; records counts those of machines that
	// are gone, too.
	open, records int
	// moved ones were opened because of their zones; of them movedGone are gone, or were given
	// back, and movedAt is when something became of the last one.
	moved, movedGone int
	movedAt          time.Time
	// skipped machines were given back, and untried ones have still to be opened a first time.
	skipped, untried int
	// ended are the machines that are asked to end, and after is the size that the group has
	// then.
	ended int
	after int32
}

// kind is what a machine's being outdated depends on. There are few, however many machines.
type kind struct {
	ending          bool
	template, image string
	why             string // it is outdated; empty if it is not
}

// machine is one machine, with its node and its record.
type machine struct {
	*cloud.Machine
	node *drain.Node
	// record is the one that is not closed, and last the newest of the closed ones.
	record, last *v1alpha1.NodeReplacement
	attempts     int32
	// outdated is why the machine is, empty if it is not; uneven why its zone makes it go, and
	// leaving that it has to go.
	outdated, uneven string
	leaving          bool
}

// skipped says that the machine was given back because it could not be emptied, and had to go.
func (m *machine) skipped() bool {
	return m.record == nil && m.last != nil && m.last.Status.Phase == v1alpha1.SkippedPhase && !isUneven(m.last)
}

// givenUp says that it is not tried again.
func (m *machine) givenUp() bool { return m.skipped() && m.attempts >= maxAttempts }

// committed says that its end has been decided, and may have begun.
func (m *machine) committed() bool {
	return m.record != nil && m.record.Status.Phase == v1alpha1.Terminating
}

// made says that the run had it made, or somebody else did during the run. What is on
// record has no fractions of seconds: a machine of the run's first second counts as its own.
// A dry run, which is not on record as begun, makes none.
func (d *decider) made(m *machine) bool {
	began := d.recorded.StartedAt
	return began != nil && !m.LaunchedAt.Before(began.Time)
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
	g.after = g.cloud.Size
	d.tellOutdated(g)
	d.adopt(g)
	for _, m := range g.machines {
		m.leaving = m.State != cloud.Ending && !m.givenUp() && (m.committed() || !d.aborting() && (m.outdated != "" || m.movedAway()))
	}
	d.even(g)
	d.chooseSurplus(g)
	for _, m := range g.machines {
		d.count(g, m)
	}
	if d.untouched(g) && (g.leaving > 0 || g.records > 0) {
		g.rec.Prepared = false // It was given back, and there is something to do after all.
	}
}

// tellOutdated says of each machine why it is outdated, and counts them.
func (d *decider) tellOutdated(g *group) {
	g.rec.Outdated, g.rec.Updated = 0, 0
	for _, m := range g.machines {
		ending := m.State == cloud.Ending
		if !ending {
			g.live++
		}
		if m.outdated = d.whyOutdated(g, m.Machine); m.outdated != "" {
			g.rec.Outdated++
		} else if !ending {
			g.rec.Updated++
		}
	}
}

// recall finds the records of the group's machines, and counts what the run has opened.
func (d *decider) recall(g *group) {
	g.rec.Replaced = 0
	for i := range d.s.Records {
		r := &d.s.Records[i]
		if r.Spec.Group != g.name {
			continue
		}
		closed := Closed(r.Status.Phase)
		switch {
		case isUneven(r):
			g.recallMove(r)
		case r.Status.Phase == v1alpha1.Replaced && !isSurplus(r): // Of a wave such a one is one all the same.
			g.rec.Replaced++
		}
		m := g.view.machine(r.Spec.Instance)
		switch {
		case !closed:
			if g.records++; m == nil || m.State == cloud.Ending {
				g.done++ // Otherwise it is counted below, and has still to go.
			}
		case r.Status.Phase == v1alpha1.Replaced:
			g.done++
		}
		if m == nil {
			continue
		}
		m.attempts = max(m.attempts, r.Spec.Attempt+1)
		if !closed {
			m.record = r
		} else if m.last == nil || m.last.Spec.Attempt < r.Spec.Attempt {
			m.last = r
		}
	}
}

// recallMove counts a record of a machine that goes, or went, because of its zone.
func (g *group) recallMove(r *v1alpha1.NodeReplacement) {
	at := r.CreationTimestamp.Time
	if g.moved++; Closed(r.Status.Phase) {
		if g.movedGone++; r.Status.FinishedAt != nil {
			at = r.Status.FinishedAt.Time
		}
	}
	if at.After(g.movedAt) {
		g.movedAt = at
	}
}

// count puts a machine among the numbers of its group.
func (d *decider) count(g *group, m *machine) {
	if m.State != cloud.Ending && m.record != nil {
		g.open++
	}
	if m.leaving {
		g.leaving++
	}
	if m.skipped() {
		g.skipped++
	} else if m.leaving && (m.record == nil || m.record.Spec.Attempt == 0) {
		g.untried++
	}
	if m.State != cloud.Ending && m.record == nil {
		d.countFree(g, m)
	}
}

// countFree counts a machine that the run has not opened.
func (d *decider) countFree(g *group, m *machine) {
	switch {
	case d.ready(g, m):
		g.available++
	case d.ending() && cordoned(m):
		g.cordoned++
	case m.State == cloud.Launching || m.outdated == "" && !m.leaving:
		g.launching++
	}
}

// cordoned says that a Ready node takes no pods because somebody said so.
func cordoned(m *machine) bool {
	return m.State == cloud.Running && m.node != nil && m.node.Ready() && m.node.Cordoned
}

// ready says whether a machine takes pods: its node is Ready, and has been for a while if it is new.
func (d *decider) ready(g *group, m *machine) bool {
	if m.State != cloud.Running || m.node == nil || !m.node.Ready() || m.node.Cordoned {
		return false
	}
	if _, busy := d.pulling(g, m); busy {
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
	ending := m.State == cloud.Ending
	i := slices.IndexFunc(g.kinds, func(k kind) bool { return k.ending == ending && k.template == m.Template && k.image == m.Image })
	if i < 0 {
		i = len(g.kinds)
		g.kinds = append(g.kinds, kind{ending: ending, template: m.Template, image: m.Image, why: outdatedBecause(m, g.rec.Target)})
	}
	why := g.kinds[i].why
	if d.status.Phase != v1alpha1.RollingBack {
		return why
	}
	if why != "" || m.State == cloud.Ending || g.rec.Former == nil {
		return ""
	}
	return fmt.Sprintf("runs %s, which is rolled back to %s", g.rec.Target.Name, g.rec.Former.Name)
}

// stays says that nothing has made the machine go so far.
func (m *machine) stays() bool { return m.State != cloud.Ending && !m.leaving }

// wanted is what size the group should have while so many machines have still to go.
func (g *group) wanted(leaving int) int32 {
	return g.rec.Size + int32(max(min(g.surge, leaving), 0))
}

// adopt takes over what somebody else made of the group's size: it is theirs, and stays.
// While the size goes from one to another that the run asked for, what is between them is
// the run's own.
func (d *decider) adopt(g *group) {
	if !g.rec.Prepared {
		return
	}
	size := g.cloud.Size
	if limit := g.cloud.Max; limit < g.rec.Max || limit > max(g.rec.Max, g.rec.Raised, size) {
		g.rec.Max = limit
	}
	by := max(size-max(g.rec.Wanted, g.rec.Before), 0) + min(size-min(g.rec.Wanted, g.rec.Before), 0)
	if by == 0 {
		return
	}
	g.rec.Size = max(g.rec.Size+by, 0)
	g.rec.Rebalance = nil // It is for another size.
	g.rec.Wanted, g.rec.Before, g.rec.Raised = size, size, max(g.rec.Raised, size)
	g.rec.Max = max(g.rec.Max, g.rec.Size)
	var err error
	if g.surge, err = g.strategy.surgeOf(int(g.rec.Size)); err == nil {
		g.unavailable, _ = g.strategy.unavailableOf(int(g.rec.Size))
	}
}

// resize brings the group to the size that it should have now: its own, and as many more
// as may be and are needed.
func (d *decider) resize(g *group) {
	if !g.rec.Prepared {
		d.prepare(g)
		return
	}
	if g.after < g.cloud.Size {
		return // It gets smaller by the machines that are ended.
	}
	size, wanted, was := g.cloud.Size, g.wanted(d.surging(g)), d.recordedGroup(g)
	if least, most := min(was.Wanted, was.Before), max(was.Wanted, was.Before); least < wanted && wanted < most {
		wanted = was.Wanted // One thing after another: else nobody could tell who asked for what.
	}
	if size > wanted {
		// A group that is made smaller ends machines of its own choice: so only what it has
		// not got can be taken back. The others are emptied first.
		wanted = min(size, max(wanted, int32(g.live)))
	}
	switch {
	case size < wanted && !d.ending() && !applied(d.targetOf(g), g.cloud.Revision): // What it launched would be of no use.
	case size == wanted:
		g.rec.Wanted, g.rec.Before = wanted, wanted
	case was.Wanted != wanted || was.Size != g.rec.Size:
		g.rec.Raised = max(g.rec.Raised, wanted)
		g.rec.Wanted, g.rec.Before = wanted, size // Written down first; the next pass asks for it.
	default:
		d.step(Resize{Group: g.name, Size: wanted}, fmt.Sprintf("its size is %d, %d machines have to go, and %d may be there besides", g.rec.Size, g.leaving, g.surge))
		d.wake(pollEvery)
	}
}

// surging is for how many of the machines that have to go the group may be larger now. A
// run that takes no further nodes keeps the size that it has.
func (d *decider) surging(g *group) int { return min(g.leaving, d.inWave(g)) }

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
	target := d.targetOf(g)
	if d.aborting() {
		target = v1alpha1.Revision{} // It is only to be restored, for which the mark has to be seen first.
	}
	is := applied(target, g.cloud.Revision) || d.aborting()
	if was := d.recordedGroup(g); !was.Touched || d.recorded.Phase != d.status.Phase {
		g.rec.Touched = true
		return // What has to be restored is written down first.
	}
	if g.cloud.Run == d.s.Run.Name && is {
		g.rec.Prepared = true
		return
	}
	step := Prepare{Group: g.name, Guard: d.guardOf(g)}
	if !is {
		step.Target = asTarget(target, g.cloud.Revision, d.ending())
	}
	d.step(step, "the group is to be guarded and brought to "+cmp.Or(target.Name, "rest"))
	d.wake(time.Second)
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
			d.markNode(n, m.outdated != "", d.made(m))
		}
	}
	if len(protect) > 0 && g.cloud.Capabilities.Surge {
		d.step(Protect{Group: g.name, Machines: protect}, "they are new, and nobody else should end them")
	}
}

func (d *decider) markNode(n *drain.Node, outdated, made bool) {
	change := Mark{Node: n.Name, UID: n.UID}
	if n.Outdated != outdated {
		change.Outdated = new(outdated)
	}
	if !outdated && made && !n.ScaleDownDisabled { // What was there before is not held: whoever held it keeps it so.
		change.Hold = new(true)
	}
	if change.Outdated != nil || change.Hold != nil {
		d.step(change, "pods should move to new nodes, and these stay")
	}
}

// finish gives a group back when nothing is left to do for it, and says whether that is so.
func (d *decider) finish(g *group) bool {
	if !g.rec.Prepared || g.leaving > 0 || g.records > 0 {
		return false
	}
	if d.recorded.Phase != d.status.Phase || d.unwritten(g) {
		return true
	}
	// A group that is too large because no machine of it could be emptied stays so.
	size := max(g.rec.Size, int32(g.live))
	if g.cloud.Size != size || d.recordedGroup(g).Wanted != size {
		d.wake(pollEvery)
		return true
	}
	if !d.aborting() && !d.settled(g) {
		d.notReady(g)
		return true // The last of the new nodes are not Ready yet.
	}
	d.giveBack(g, size)
	return true
}

// giveBack takes the run's marks off the group's nodes, and then off the group.
func (d *decider) giveBack(g *group, size int32) {
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
	restore := Restore{Group: g.name, Guard: d.guardOf(g), Settings: cloud.Settings{Size: size, Max: max(g.rec.Max, size)}}
	if d.ending() && g.rec.Former != nil && g.cloud.Capabilities.RollBack && (g.rec.Changed || !d.aborting()) {
		restore.Former = asTarget(*g.rec.Former, g.cloud.Revision, true)
	}
	why := "nothing is left to do for the group"
	if zones := g.spread(); !zones.even() {
		why = fmt.Sprintf("nothing more can be done for the group, whose provider may end machines without a drain to even its zones out (%s)", zones)
	}
	d.step(restore, why)
	d.wake(time.Second)
}

// settled says that the group has all its machines, and all that are not outdated are Ready
// nodes. One that somebody cordoned is theirs to uncordon.
func (d *decider) settled(g *group) bool {
	if g.live < int(g.rec.Size) {
		return false
	}
	return !slices.ContainsFunc(g.machines, func(m *machine) bool {
		if m.State == cloud.Ending || m.outdated != "" || m.record != nil || !d.made(m) {
			return false
		}
		return !d.ready(g, m) && (m.node == nil || !m.node.Ready() || !m.node.Cordoned)
	})
}

// unmark takes off a node what the run put on it, and says whether nothing was left.
func (d *decider) unmark(m *machine) bool {
	if m.node == nil || m.State == cloud.Ending {
		return true
	}
	clean := d.unpull(m)
	change := Mark{Node: m.node.Name, UID: m.node.UID}
	if m.node.Outdated {
		change.Outdated = new(false)
	}
	if m.node.ScaleDownDisabled && d.made(m) {
		change.Hold = new(false)
	}
	if change.Outdated == nil && change.Hold == nil {
		return clean
	}
	d.step(change, "the run is done with the node")
	return false
}
