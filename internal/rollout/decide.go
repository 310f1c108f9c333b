package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit/plan"
)

// decider makes one decision. It reads the snapshot and fills the plan and the status.
type decider struct {
	s        *Snapshot
	now      time.Time
	plan     plan.Plan
	settings settings
	// recorded is the status as it is on record: only on that is acted.
	recorded *v1alpha1.InstallationRolloutStatus
	status   *v1alpha1.InstallationRolloutStatus
	// known says that spec.change is what the revision is of.
	known   bool
	members []*member
	// sorted says that they are known, and how they stand.
	sorted bool
	// tally counts members by state, total those that are not being deleted, and sizes those
	// of each wave.
	tally [states]int
	total int
	sizes []int
	// superseded counts installations by the newer roll-out that has them.
	superseded map[string]int
	// away are those that have failed with the revision and show nothing of it any more: newer
	// roll-outs have them, or somebody has replaced them as a whole.
	away []string
	// unheeded are how many are updating for all that is known, and nobody looks after them.
	unheeded int
	waits    []run.Wait
	verdict  gate.Verdict
}

// Decide says what to do next about one roll-out, and why not more.
func Decide(s Snapshot, now time.Time) plan.Plan {
	d := &decider{s: &s, now: now, recorded: &s.Rollout.Status, status: s.Rollout.Status.DeepCopy(), superseded: map[string]int{}}
	d.status.ObservedGeneration = s.Rollout.Generation
	if s.Rollout.DeletionTimestamp == nil {
		d.run()
	}
	d.summarize()
	d.plan.Status = d.status
	return d.plan
}

func (d *decider) run() {
	var err error
	if d.settings, err = parse(&d.s.Rollout.Spec); err == nil && d.begins() {
		err = d.settings.lasts(d.s.Rollout.Spec.Change)
	}
	if err != nil {
		d.wait("the roll-out", "", v1alpha1.ReasonInvalidSpec, err.Error()+": edit the roll-out", time.Time{})
		if d.status.Phase == "" {
			d.status.Phase = v1alpha1.Pending
		}
		return
	}
	revised := d.revise()
	d.find()
	if revised {
		d.status.Revision.Sequence = d.nextSequence()
		return // It is acted upon when it is on record.
	}
	if d.status.Revision == nil {
		d.finish(v1alpha1.Aborted) // Ended before it began.
		return
	}
	d.judge()
	d.end()
	switch d.recorded.Outcome {
	case v1alpha1.RolledBack:
		d.rollBack()
	case v1alpha1.Aborted:
		d.abort()
	default:
		if d.status.Outcome == "" {
			d.goOn()
		}
	}
}

// begins reports whether the change is another one than that on record.
func (d *decider) begins() bool {
	return d.s.Rollout.Spec.End == "" && (d.status.Revision == nil || d.status.Revision.Hash != Hash(d.s.Rollout.Spec.Change))
}

// revise begins a new revision if the change is another one than that on record.
func (d *decider) revise() bool {
	if !d.begins() {
		return false
	}
	st, hash := d.status, Hash(d.s.Rollout.Spec.Change)
	st.Revision = &v1alpha1.Revision{Hash: hash, Since: d.time()}
	st.Phase, st.Outcome, st.OutcomeMessage, st.StartedAt, st.FinishedAt, st.Wave, st.WaveDoneAt, st.WaveEnds = v1alpha1.Pending, "", "", nil, nil, 0, nil, nil
	// Nothing is older than what comes now, so that nothing of it is superseded.
	st.Revision.Sequence = 1<<63 - 1
	d.wakeIn(time.Second)
	return true
}

// nextSequence is higher than that of all that there was.
func (d *decider) nextSequence() int64 {
	highest := int64(0)
	if d.recorded.Revision != nil {
		highest = d.recorded.Revision.Sequence
	}
	for i := range d.s.Others {
		if r := d.s.Others[i].Status.Revision; r != nil {
			highest = max(highest, r.Sequence)
		}
	}
	for _, m := range d.members {
		if m.Record != nil {
			highest = max(highest, m.Record.Sequence)
		}
	}
	return highest + 1
}

// tooMany reports whether more have failed than may: of those that the roll-out has, or of all
// that it selects. That one belongs to a newer roll-out by now does not make the change any better.
func (d *decider) tooMany() bool {
	all := d.total
	for _, n := range d.superseded {
		all += n
	}
	return d.total > 0 && (d.tally[failed] > d.settings.mayFail(d.total) || d.tally[failed]+len(d.away) > d.settings.mayFail(all))
}

// haveFailed names those because of which there are too many.
func (d *decider) haveFailed() string { return listed(slices.Concat(d.names(failed), d.away)) }

func (d *decider) names(s state) []string {
	var names []string
	for _, m := range d.members {
		if m.state == s {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// goOn is a decision about a revision that is neither new nor ended.
func (d *decider) goOn() {
	if d.total == 0 && len(d.superseded) > 0 {
		d.status.Phase = v1alpha1.Superseded
		return
	}
	if d.recorded.Phase == v1alpha1.Superseded {
		d.resume()
		return // Gates, for one, are looked at when it is on record.
	}
	if d.status.FinishedAt == nil {
		d.status.Phase = v1alpha1.Rolling
	}
	if d.total == 0 && d.status.FinishedAt == nil {
		d.status.Phase = v1alpha1.Pending
		d.wait("the roll-out", "", v1alpha1.ReasonNothingSelected, "no installation has the labels and namespaces of spec.selector and spec.namespaces; it begins when one has", time.Time{})
		return
	}
	if d.status.StartedAt == nil {
		at := d.time()
		d.status.StartedAt = &at
	}
	held := d.holds()
	if !held {
		d.takeAll()
	}
	d.stopped()
	d.unnoticed()
	if d.status.FinishedAt == nil {
		d.wave(held)
	}
	if d.tooMany() && d.status.FinishedAt == nil {
		d.status.Phase = v1alpha1.Halted
	}
	d.unfit() // Last, for there may be many.
}

// resume goes on after newer roll-outs were ended or deleted, and watches anew what was not
// watched meanwhile. If it had succeeded before, what had the revision then is past.
func (d *decider) resume() {
	if end := d.status.FinishedAt; end != nil {
		d.status.FinishedAt, d.status.WaveEnds = nil, append(d.status.WaveEnds, *end)
	}
	d.status.Phase, d.status.WaveDoneAt = v1alpha1.Rolling, nil
	d.wakeIn(time.Second)
}

// reached is the number of the last wave whose members may be taken.
func (d *decider) reached() int {
	if d.recorded.FinishedAt != nil && d.status.FinishedAt != nil {
		return len(d.settings.waves)
	}
	return int(d.recorded.Wave)
}

// takeAll changes as many installations as may be.
func (d *decider) takeAll() {
	free := d.places()
	blocked := false
	awaited := make([]*member, 0, d.tally[awaiting])
	for _, first := range []bool{true, false} { // What is in flight with a former revision goes first.
		for _, m := range d.members {
			if m.state == awaiting && m.wave <= d.reached() && !m.Paused && m.inFlight == first {
				awaited = append(awaited, m)
			}
		}
	}
	for _, m := range d.due(awaited) {
		if len(d.plan.Steps) == perPass {
			d.wakeIn(time.Second)
			break
		}
		if !free.take(m) {
			blocked = true
			continue
		}
		d.step(m, "does not have the revision", take)
	}
	if blocked {
		d.wait("the roll-out", "installations that are updating", v1alpha1.ReasonUpdating, "as many installations are updating as may; the others follow", time.Time{})
	}
	if slices.ContainsFunc(d.members, func(m *member) bool { return m.state == awaiting && m.Paused }) {
		d.wait("installations", "", v1alpha1.ReasonInstallationPaused, "some are paused by their annotation; they follow when it is removed", time.Time{})
	}
}

// due are the members that may be changed now as far as they are concerned: those come last
// that were refused, and are tried again now and then, so that they take nobody's place.
func (d *decider) due(members []*member) []*member {
	first, last := make([]*member, 0, len(members)), []*member(nil)
	for _, m := range members {
		r, refused := d.s.Refused[m.Name]
		switch {
		case !refused:
			first = append(first, m)
			continue
		case d.now.Before(r.Again):
			d.wakeAt(r.Again)
		default:
			last = append(last, m)
		}
		d.wait(m.Kind+"/"+m.Name, "", v1alpha1.ReasonStepFailed, r.Message, time.Time{})
	}
	return append(first, last...)
}

func (d *decider) step(m *member, why string, make func(*v1alpha1.InstallationRollout, *Installation, time.Time) (plan.Action, error)) {
	action, err := make(d.s.Rollout, m.Installation, d.time().Time)
	if err != nil {
		d.wait(m.Kind+"/"+m.Name, "", v1alpha1.ReasonStepFailed, err.Error(), time.Time{})
		return
	}
	d.plan.Steps = append(d.plan.Steps, plan.Step{Action: action, Why: why})
}

// wave goes on to the next one when all of the current one are done, and watched for as
// long as they are to be.
func (d *decider) wave(held bool) {
	st, number := d.status, int(d.recorded.Wave)
	if slices.ContainsFunc(d.members, func(m *member) bool {
		return m.state == updating || m.state == awaiting && m.wave <= number && !m.held()
	}) {
		return
	}
	if st.WaveDoneAt == nil {
		at := d.time()
		st.WaveDoneAt = &at
	}
	soak := time.Duration(0)
	if number < len(d.settings.waves) && d.sizes[number] > 0 { // Of nothing there is nothing to watch.
		soak = d.settings.waves[number].soak
	}
	if until := st.WaveDoneAt.Add(soak); soak > 0 && d.now.Before(until) {
		st.Phase = v1alpha1.Soaking
		d.wait("the roll-out", "", v1alpha1.ReasonSoaking, fmt.Sprintf("wave %d is watched", number), until)
		d.wakeAt(until)
		return
	}
	next := number + 1
	for next < len(d.settings.waves) && d.sizes[next] == 0 {
		next++
	}
	last := next >= len(d.settings.waves)
	switch {
	case held, d.tooMany(), d.takenBack(number, last):
	case last:
		d.finish(v1alpha1.Succeeded)
	default:
		st.Wave, st.WaveDoneAt, st.WaveEnds = int32(next), nil, append(st.WaveEnds, d.time())
		d.wakeIn(time.Second)
	}
}

func (d *decider) finish(phase v1alpha1.Phase) {
	if d.status.FinishedAt == nil {
		at := d.time()
		d.status.FinishedAt = &at
	}
	d.status.Phase = phase
}

// time is now, as precise as the API keeps it.
func (d *decider) time() metav1.Time { return metav1.NewTime(d.now.Truncate(time.Second)) }

func (d *decider) wakeAt(at time.Time) { d.wakeIn(max(at.Sub(d.now), time.Millisecond)) }

func (d *decider) wakeIn(in time.Duration) {
	if d.plan.Wake == 0 || in < d.plan.Wake {
		d.plan.Wake = in
	}
}

// wait says what is waited for, since when, and until when if that is known.
func (d *decider) wait(subject, what, reason, message string, until time.Time) {
	w := run.Wait{Subject: subject, For: what, Reason: reason, Message: plan.Bounded(message, 512), Since: d.time()}
	if !until.IsZero() {
		w.Until = new(metav1.NewTime(until.Truncate(time.Second)))
	}
	for _, was := range d.recorded.Waits {
		if was.Subject == subject && was.For == what && was.Reason == reason {
			w.Since = was.Since
		}
	}
	d.waits = append(d.waits, w)
	d.plan.Why = append(d.plan.Why, plan.Note{Subject: subject, Reason: reason, Message: strings.TrimSpace(what + " " + w.Message)})
}

// listed names at most five.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (d *decider) condition(kind string, on bool, reason, message string) {
	list := &d.status.Conditions
	if !on {
		meta.RemoveStatusCondition(list, kind)
		return
	}
	d.setCondition(kind, metav1.ConditionTrue, reason, message)
}

func (d *decider) setCondition(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&d.status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: plan.Bounded(message, 1024), ObservedGeneration: d.s.Rollout.Generation, LastTransitionTime: d.time(),
	})
}
