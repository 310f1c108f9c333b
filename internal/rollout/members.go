package rollout

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"windlass.dev/api/fleet/v1alpha1"
)

// state is how an installation stands to a revision.
type state int

const (
	awaiting state = iota
	updated
	updating
	failed
	edited
	refused
	rolledBack
	hibernating
	pendingDeletion
	states // How many there are.
)

// member is an installation that a roll-out has.
type member struct {
	*Installation
	state state
	// inFlight says that pods are being replaced because a roll-out changed something.
	inFlight bool
	// hadFailed says that it has, and has not been stable with the change since; and putBack that
	// somebody has taken the change from it meanwhile.
	hadFailed, putBack bool
	wave               int
	// key is what the order of installations goes by, before their names.
	key uint64
}

// touched says that the revision has been there, whatever came of it.
func (m *member) touched() bool {
	return slices.Contains([]state{updated, updating, failed, edited, refused, rolledBack}, m.state)
}

// held says that nothing can be done with the member for now, which holds up nobody else.
func (m *member) held() bool { return m.Hibernated || m.Paused }

// claim is a newer roll-out that takes installations before us.
type claim struct {
	selection
	name string
}

// newer reports whether one revision goes before another one. A sequence is used twice only
// by roll-outs that were made at the same moment.
func newer(sequence int64, name string, than int64, other string) bool {
	return sequence > than || sequence == than && name > other
}

// claims are those of newer roll-outs that have not come to nothing.
func claims(s *Snapshot, revision *v1alpha1.Revision) []claim {
	var all []claim
	for i := range s.Others {
		o := &s.Others[i]
		if o.Spec.Change.Migrate != s.Rollout.Spec.Change.Migrate {
			continue // They change other things.
		}
		if o.Status.Revision == nil || o.DeletionTimestamp != nil || o.Spec.End != "" || o.Status.Outcome != "" {
			continue
		}
		if revision != nil && !newer(o.Status.Revision.Sequence, o.Name, revision.Sequence, s.Rollout.Name) {
			continue
		}
		if revision == nil {
			continue // What we have no revision for yet will be newer than all.
		}
		if of, err := selectionOf(&o.Spec); err == nil {
			all = append(all, claim{of, o.Name})
		}
	}
	return all
}

// find sorts out which installations the roll-out has, and how they stand to its revision.
func (d *decider) find() {
	revision := d.status.Revision
	// Of a change that was edited right before its end nobody knows what it was.
	d.known = revision != nil && Hash(d.s.Rollout.Spec.Change) == revision.Hash
	taken := claims(d.s, revision)
	var some []member // There may be thousands, which are had sooner by the hundred than one by one.
	for _, i := range d.s.Installations {
		if i.prepared || !d.settings.has(i) {
			continue
		}
		if by := d.supersededBy(i, taken); by != "" {
			d.superseded[by]++
			d.missed(i)
			continue
		}
		if len(some) == cap(some) {
			some = make([]member, 0, 256)
		}
		some = append(some, member{Installation: i})
		m := &some[len(some)-1]
		d.stand(m, revision)
		if !d.reachedBy(i, revision) {
			d.missed(i)
		}
		d.members = append(d.members, m)
	}
	d.sort()
	d.assign()
	for _, m := range d.members {
		d.outlive(m)
		d.tally[m.state]++
	}
	d.sorted = true
}

func (d *decider) supersededBy(i *Installation, taken []claim) string {
	revision := d.status.Revision
	if revision == nil {
		return ""
	}
	if r := i.Record; r != nil && r.UID != d.s.Rollout.UID && newer(r.Sequence, r.Rollout, revision.Sequence, d.s.Rollout.Name) {
		return r.Rollout
	}
	for _, c := range taken {
		if c.has(i) {
			return c.name
		}
	}
	return ""
}

// stand says how a member stands to the revision.
func (d *decider) stand(m *member, revision *v1alpha1.Revision) {
	hasFailed, at := false, time.Time{}
	if m.Record != nil {
		hasFailed, at = m.failed(d.now, d.settings.deadline)
		takes := !m.Settled && !hasFailed && !m.Deleting
		if m.inFlight = takes && !m.shown; takes && !at.IsZero() {
			d.wakeAt(at)
		}
	}
	switch {
	case m.Deleting:
		m.state = pendingDeletion
	case d.reachedBy(m.Installation, revision):
		m.state = d.with(m.Installation, hasFailed)
		d.remember(m)
	case m.Hibernated:
		m.state = hibernating
	}
}

// remember has one that has failed stay so until it is stable with the change, or keeps what it
// has. What else becomes of it tells nothing good of the change.
func (d *decider) remember(m *member) {
	if d.stillFailed(m.Installation) && m.state != rolledBack && m.state != refused {
		m.putBack, m.hadFailed, m.state = m.state == edited, true, failed
	}
}

// missed notes one that has failed and of which nothing else tells it any more.
func (d *decider) missed(i *Installation) {
	if !i.Deleting && d.stillFailed(i) {
		d.away = append(d.away, i.Name)
	}
}

// stillFailed reports whether an installation has failed, and has not shown since that it takes
// the change.
func (d *decider) stillFailed(i *Installation) bool {
	if !d.named(i) || d.proven(i) {
		return false
	}
	return !i.Settled || !i.keepsAll(d.s.Rollout.Spec.Change)
}

// named reports whether an installation is on record as one that failed with the revision.
func (d *decider) named(i *Installation) bool {
	was, is := d.recorded.Revision, d.status.Revision
	return was != nil && is != nil && was.Hash == is.Hash && slices.Contains(d.recorded.FailedInstallations, i.Name)
}

// proven reports whether an installation is stable with the revision.
func (d *decider) proven(i *Installation) bool {
	return d.reachedBy(i, d.status.Revision) && d.with(i, false) == updated && !i.rests
}

// outlive has one that was stable with the revision, and broke after its wave was over, count
// as updated: that came of something else, and takes nothing back.
func (d *decider) outlive(m *member) {
	if !m.shown || m.hadFailed || m.state != updating && m.state != failed {
		return
	}
	over := d.recorded.FinishedAt
	for _, end := range slices.Backward(d.recorded.WaveEnds) {
		if end.After(m.Record.At.Time) {
			over = &end
		}
	}
	// One that got the change after the end has no wave.
	if over != nil && (m.failing.IsZero() || m.failing.After(over.Time) || !over.After(m.Record.At.Time)) {
		m.state = updated
	}
}

// reachedBy reports whether the revision was the last one that has been to the installation.
func (d *decider) reachedBy(m *Installation, revision *v1alpha1.Revision) bool {
	return m.Record != nil && revision != nil && m.Record.UID == d.s.Rollout.UID && m.Record.Sequence == revision.Sequence
}

// with is the state of an installation to which the revision has been.
func (d *decider) with(i *Installation, hasFailed bool) state {
	lost := nothing
	if d.known && !i.Record.Back {
		lost = i.lost(d.s.Rollout.Spec.Change, d.status.Revision.Hash)
	}
	switch {
	case i.Record.Back:
		return rolledBack
	case i.refused != "":
		return refused
	case lost == everything, lost == something && i.Settled:
		return edited
	case i.Settled:
		return updated
	case hasFailed:
		return failed
	default:
		return updating
	}
}

// sort puts members in the order in which they are taken.
func (d *decider) sort() {
	order := d.settings.strategy.Order
	for _, m := range d.members {
		switch order {
		case v1alpha1.ByPriority:
			m.key = uint64(-int64(m.Priority)) + 1<<63 // The highest first.
		case v1alpha1.AtRandom:
			h := fnv.New64a()
			_, _ = h.Write([]byte(d.s.Rollout.UID)) // A hash takes anything.
			_, _ = h.Write([]byte(m.Meta.UID))
			m.key = h.Sum64()
		case v1alpha1.ByName, "":
		}
	}
	slices.SortFunc(d.members, func(a, b *member) int { return cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(a.Name, b.Name)) })
}

// assign says to which wave each member belongs. A wave of a size has those first that the
// revision has been to, so that it never has more of them than its size, whoever comes and
// goes; and those last of which nothing can be had now.
func (d *decider) assign() {
	d.total = len(d.members)
	var touched, free, held []*member
	for _, m := range d.members {
		m.wave = -1
		switch {
		case m.state == pendingDeletion:
			d.total--
		case m.state == refused, !m.touched() && m.held():
			held = append(held, m)
		case m.touched():
			touched = append(touched, m)
		default:
			free = append(free, m)
		}
	}
	left := slices.Concat(touched, free, held)
	d.sizes = make([]int, len(d.settings.waves))
	for n, w := range d.settings.waves {
		room := d.total
		if w.size != nil {
			room = scaled(*w.size, d.total, true)
		}
		for _, m := range left {
			if room > 0 && m.wave < 0 && (w.selector == nil || w.selector.Matches(labels.Set(m.Meta.Labels))) {
				m.wave = n
				d.sizes[n]++
				room--
			}
		}
	}
}
