package installation

import (
	"fmt"
	"slices"
	"time"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// Begun reports whether anything of the installation was ever made, as far as its
// resource knows. One that was begun is looked after during a freeze too.
func Begun(mm *v1beta1.Mattermost) bool {
	status := mm.Status
	return len(status.Inventory) > 0 || status.Shape != "" || status.Version != "" || status.Image != ""
}

// frozen returns the freeze that holds up an installation; nil for none.
func (s Snapshot) frozen(now time.Time) *admission.Freeze {
	ours := func(l inventory.Live) bool { return l.Controller == s.Mattermost.UID }
	if Begun(s.Mattermost) || s.Deployment != nil || slices.ContainsFunc(s.Live, ours) {
		return nil
	}
	return admission.Of(s.Freeze, now)
}

func frozenNote(subject string, f *admission.Freeze) plan.Note {
	return plan.Note{Subject: subject, Reason: v1beta1.ReasonAdmissionFrozen, Message: fmt.Sprintf(
		"The cluster admits no new installations: %s says so since %s, for now until %s. Nothing has to be done: this one is made once that is over.",
		f.By, f.Since.UTC().Format(time.RFC3339), f.Until.UTC().Format(time.RFC3339))}
}

// freeze takes over what the plan said, so that the status tells of the same moment.
func (a *assessment) freeze(p plan.Plan) {
	if i := slices.IndexFunc(p.Why, func(n plan.Note) bool { return n.Reason == v1beta1.ReasonAdmissionFrozen }); i >= 0 {
		a.Frozen = plan.Bounded(p.Why[i].Message, messageLimit)
	}
}
