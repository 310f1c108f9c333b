package rollout

import (
	"maps"
	"slices"
)

// slots are how many more installations may be changed, in all and by the values of labels.
type slots struct {
	free   int
	limits []limit
}

type limit struct {
	label string
	free  map[string]int
}

// slots are as many as there may be.
func (d *decider) slots(most int) *slots {
	s := &slots{free: most}
	for _, given := range d.settings.strategy.Limits {
		l := limit{label: given.Label, free: map[string]int{}}
		for _, m := range d.members {
			if m.state != pendingDeletion {
				l.free[m.Meta.Labels[l.label]]++
			}
		}
		for value, n := range l.free {
			l.free[value] = scaled(given.MaxInFlight, n, true)
		}
		s.limits = append(s.limits, l)
	}
	return s
}

// without are those that some members leave.
func (s *slots) without(members []*member, has func(*member) bool) *slots {
	left := &slots{free: s.free}
	for _, l := range s.limits {
		left.limits = append(left.limits, limit{label: l.label, free: maps.Clone(l.free)})
	}
	for _, m := range members {
		if has(m) {
			left.use(m)
		}
	}
	return left
}

func flying(m *member) bool { return m.inFlight }

func (s *slots) use(m *member) {
	s.free--
	for _, l := range s.limits {
		l.free[m.Meta.Labels[l.label]]--
	}
}

func (s *slots) room(m *member) bool {
	return s.free > 0 && !slices.ContainsFunc(s.limits, func(l limit) bool { return l.free[m.Meta.Labels[l.label]] <= 0 })
}

// places are those of a revision: one that is in flight already, with a former one, has a
// place in flight, and yet no more get the revision before it has shown itself.
type places struct{ inFlight, revision *slots }

func (d *decider) places() places {
	all := d.slots(d.settings.maxInFlight(d.total))
	return places{
		inFlight: all.without(d.members, flying),
		revision: all.without(d.members, func(m *member) bool { return m.state == updating || m.hadFailed && m.inFlight }),
	}
}

// take reports whether the member may be changed now.
func (p places) take(m *member) bool {
	if !p.revision.room(m) || !m.inFlight && !p.inFlight.room(m) {
		return false
	}
	p.revision.use(m)
	if !m.inFlight {
		p.inFlight.use(m)
	}
	return true
}
