package installation

import (
	"fmt"

	"windlass.dev/api/installation/v1beta1"
)

// A roll-out that makes no progress leaves the old pods serving, but not all that a
// roll-out needs is there twice for ever. Who wants it has the former image come back.
// That a roll-out has failed is recorded before anything is changed, so that a crash
// in between does not begin it anew.

// rollBack is what became of the wanted image.
type rollBack struct {
	// From is the image that failed; empty while none did.
	From string
	// To is the one that runs instead.
	To v1beta1.Release
}

// rolledBack returns what is recorded, while the spec still wants what failed.
func rolledBack(mm *v1beta1.Mattermost) rollBack {
	from, to := mm.Status.RolledBackFrom, mm.Status.Good
	if !rollsBack(mm) || to == nil || from == "" || from != image(mm) {
		return rollBack{}
	}
	return rollBack{From: from, To: *to}
}

func rollsBack(mm *v1beta1.Mattermost) bool {
	return mm.Annotations[v1beta1.RollBackAnnotation] == "on"
}

// running is the installation as it is carried out: with the former image, if the
// wanted one failed.
func (r rollBack) running(mm *v1beta1.Mattermost) *v1beta1.Mattermost {
	if r.From == "" {
		return mm
	}
	mm = mm.DeepCopy()
	mm.Spec.Image, mm.Spec.Version = r.To.Image, r.To.Version
	return mm
}

// failedImage is the wanted image, if its pods do not become available and there is
// another one to go back to; else what is recorded and still wanted.
func failedImage(s Snapshot, mm *v1beta1.Mattermost) string {
	if r := rolledBack(mm); r.From != "" {
		return r.From
	}
	good, live := mm.Status.Good, s.Deployment
	if !rollsBack(mm) || good == nil || live == nil || mainImage(live) != image(mm) || live.Status.ObservedGeneration != live.Generation || noProgress(live) == "" {
		return ""
	}
	former := mm.DeepCopy()
	former.Spec.Image, former.Spec.Version = good.Image, good.Version
	if image(former) == image(mm) {
		return "" // It is not the image's fault.
	}
	return image(mm)
}

// message says what happened, how far it is, and what to do.
func (r rollBack) message(mm *v1beta1.Mattermost, h health) string {
	back := image(r.running(mm))
	switch {
	case h.PodsRun():
		back += " is back"
	case h.Stuck != "":
		back += fmt.Sprintf(" is to come back, and makes no progress either (%s)", h.Stuck)
	default:
		back += " is coming back"
	}
	return fmt.Sprintf("The pods of %s did not become available, so %s. Look at the events and logs of the pods that failed; then set another version, or remove the annotation %s to try this one again.", r.From, back, v1beta1.RollBackAnnotation)
}
