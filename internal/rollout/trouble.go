package rollout

import (
	"fmt"
	"slices"
	"time"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
)

// stopped names the members that somebody paused in the middle of what is done to them.
func (d *decider) stopped() {
	var names []string
	for _, m := range d.members {
		if m.inFlight && m.Meta.Annotations[installations.PausedAnnotation] == "true" { // To keep what it has is something else.
			names = append(names, m.Name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		d.wait("installations", "the end of a pause", v1alpha1.ReasonInstallationPaused,
			listed(names)+": while the annotation "+installations.PausedAnnotation+" is true nobody goes on with them, and they have failed if they are not stable in time", time.Time{})
	}
}

// unfit tells of ClusterInstallations that cannot be migrated, which hold up nobody.
func (d *decider) unfit() {
	for _, m := range d.members {
		if m.state == refused {
			d.wait(m.Kind+"/"+m.Name, "", v1alpha1.ReasonMigrationRefused, m.refused, time.Time{})
		}
	}
}

// takenBack reports whether nobody kept the revision of all in the wave that had it, so that
// the next wave would be for nothing, and says so. At the end it is about all waves.
func (d *decider) takenBack(wave int, last bool) bool {
	var names []string
	for _, m := range d.members {
		switch {
		case m.wave != wave && !last:
		case m.state == updated, m.state == failed && !m.putBack:
			return false
		case m.state == edited, m.putBack:
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return false
	}
	slices.Sort(names)
	d.wait("the roll-out", "", v1alpha1.ReasonEdited, fmt.Sprintf("all that had the change so far, in wave %d, have something else in its place now (%s), perhaps from a tool that applies them: "+
		"change it there, or have them keep what they have with the annotation %s", wave, listed(names), v1alpha1.KeepsAnnotation), time.Time{})
	return true
}

// unnoticed names the members of which nobody has taken notice for as long as they have to
// become stable. They have not failed: the next ones would fare no better, nor would those that
// were given back what they had.
func (d *decider) unnoticed() {
	var names []string
	for _, m := range d.members {
		if d.unheard(m) {
			names = append(names, m.Name)
		}
		if d.unheard(m) && m.state == updating {
			d.unheeded++
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		d.wait("installations", "somebody who looks after them", v1alpha1.ReasonUnnoticed,
			listed(names)+": nobody has looked at them since they were changed, so that nothing is known of how they take it: does Windlass run, and does it look after their namespaces? It goes on by itself when it does; or take them out of spec.selector", time.Time{})
	}
}

func (d *decider) unheard(m *member) bool {
	late := m.unseen && m.inFlight && !d.now.Before(m.failing.Add(d.settings.deadline))
	return late && (m.state == updating || m.state == rolledBack || m.hadFailed)
}
