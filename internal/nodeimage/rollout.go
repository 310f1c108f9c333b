package nodeimage

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// maxGroups is how many groups one run takes.
const maxGroups = 100

// maxNamed is how many groups a message names.
const maxNamed = 5

// rollOut begins the run of the approved revision if there has to be one, and says how far
// it is; nil without an approved revision.
func (d *decider) rollOut() *condition.Summary {
	approved := d.status.Approved
	if approved == nil {
		return nil
	}
	run := d.runOf(approved)
	if run != nil {
		d.status.Rotation = run.Name
	} else if d.status.Rotation != "" {
		d.status.Rotation = "" // It was deleted, so that it is tried again.
	}
	if own := d.own(); own != nil {
		return moving(v1alpha1.ReasonRotating, fmt.Sprintf("NodeRotation %s replaces nodes", own.Name))
	}
	if len(d.s.Groups) == 0 {
		return ready(v1alpha1.ReasonNoGroups, fmt.Sprintf("revision %s is approved, and no NodeGroup refers to the NodeImage", approved.Revision))
	}
	if other := d.busy(); other != nil {
		return moving(v1alpha1.ReasonGroupBusy, fmt.Sprintf("revision %s, approved at %s, waits for the end of NodeRotation %s, which has its groups", approved.Revision, at(approved.Since.Time), other.Name))
	}
	if unread := d.unread(approved); len(unread) > 0 {
		return moving(v1alpha1.ReasonGroupNotRead, fmt.Sprintf("revision %s, approved at %s, waits to be compared with the nodes of NodeGroup %s", approved.Revision, at(approved.Since.Time), some(unread)))
	}
	outdated := d.outdated()
	switch {
	case len(outdated) == 0:
		return ready(v1alpha1.ReasonUpToDate, fmt.Sprintf("every node runs revision %s", approved.Revision))
	case run != nil && run.Status.Phase == v1alpha1.Succeeded:
		return waiting(v1alpha1.ReasonOutdated, fmt.Sprintf("NodeRotation %s has succeeded, and nodes of NodeGroup %s are outdated since: make a NodeRotation for them", run.Name, some(outdated)))
	case run != nil:
		return stalled(v1alpha1.ReasonRotationFailed, fmt.Sprintf("NodeRotation %s for revision %s is %s, and nodes of NodeGroup %s are outdated: delete it to try again", run.Name, approved.Revision, run.Status.Phase, some(outdated)))
	}
	return d.begin(approved)
}

// begin makes the run, if all that it needs is on record.
func (d *decider) begin(approved *v1alpha1.ImageRevision) *condition.Summary {
	spec := &d.s.Image.Spec
	if len(d.s.Groups) > maxGroups {
		return stalled(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("%d NodeGroups refer to the NodeImage, and a run takes %d: use several NodeImages", len(d.s.Groups), maxGroups))
	}
	if spec.Approval != v1alpha1.Automatic && spec.Approved != approved.Revision {
		return waiting(v1alpha1.ReasonApprovalPending, fmt.Sprintf("revision %s was approved and is no longer, and nodes do not run it yet: set spec.approved to it", approved.Revision))
	}
	if young := d.tooYoung(approved); young != nil {
		return young
	}
	if !d.found() {
		return nil // Why is what is said anyway.
	}
	why := fmt.Sprintf("revision %s is approved, and nodes do not run it", approved.Revision)
	summary := moving(v1alpha1.ReasonRotating, why)
	if was := d.s.Image.Status.Approved; was == nil || was.Revision != approved.Revision || !was.Since.Equal(&approved.Since) {
		return summary // It is written down first: the run aims at what is in the status.
	}
	d.plan.Steps = append(d.plan.Steps, plan.Step{Action: Begin{Rotation: d.rotation(approved)}, Why: why})
	return summary
}

// rotation is the run of a revision. Its name is free: a run of a former approval of the
// same revision keeps its own.
func (d *decider) rotation(approved *v1alpha1.ImageRevision) *v1alpha1.NodeRotation {
	image := d.s.Image
	r := &v1alpha1.NodeRotation{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRotation"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        d.free(approved.Revision),
			Annotations: map[string]string{v1alpha1.ApprovalAnnotation: approval(approved)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeImage", Name: image.Name, UID: image.UID, Controller: new(true),
			}},
		},
		Spec: v1alpha1.NodeRotationSpec{Strategy: image.Spec.Strategy.DeepCopy()},
	}
	for i := range d.s.Groups {
		r.Spec.Groups = append(r.Spec.Groups, d.s.Groups[i].Name)
	}
	return r
}

// nameLimit is that of a label's value, in which records have the name of their run.
const nameLimit = 63

func (d *decider) free(revision string) string {
	taken := map[string]bool{}
	for i := range d.s.Rotations {
		taken[d.s.Rotations[i].Name] = true
	}
	for n := 1; ; n++ {
		suffix := "-" + revision
		if n > 1 {
			suffix += fmt.Sprintf("-%d", n)
		}
		base := d.s.Image.Name
		if len(base)+len(suffix) > nameLimit {
			hash := "-" + short(base)
			base = strings.TrimRight(base[:nameLimit-len(suffix)-len(hash)], "-.") + hash
		}
		if name := base + suffix; !taken[name] {
			return name
		}
	}
}

// approval tells approvals apart, also of one revision that comes back.
func approval(r *v1alpha1.ImageRevision) string { return r.Revision + "/" + at(r.Since.Time) }

// runOf is the run that was begun for an approval; nil if none was.
func (d *decider) runOf(approved *v1alpha1.ImageRevision) *v1alpha1.NodeRotation {
	for i := range d.s.Rotations {
		if r := &d.s.Rotations[i]; d.owns(r) && r.Annotations[v1alpha1.ApprovalAnnotation] == approval(approved) {
			return r
		}
	}
	return nil
}

// busy is a run of somebody else that has a group of the image, or is about to; nil if none does.
func (d *decider) busy() *v1alpha1.NodeRotation {
	for i := range d.s.Rotations {
		r := &d.s.Rotations[i]
		if rotation.Finished(r.Status.Phase) || r.Spec.DryRun {
			continue
		}
		for j := range d.s.Groups {
			name := d.s.Groups[j].Name
			pending := r.Status.StartedAt == nil && (len(r.Spec.Groups) == 0 || slices.Contains(r.Spec.Groups, name))
			if pending || rotation.Holds(r, name) {
				return r
			}
		}
	}
	return nil
}

// unread are the groups of which it is not known yet how they stand to the revision.
func (d *decider) unread(approved *v1alpha1.ImageRevision) (names []string) {
	for i := range d.s.Groups {
		if g := &d.s.Groups[i]; g.Status.Revision != approved.Revision || g.Status.ObservedGeneration != g.Generation {
			names = append(names, g.Name)
		}
	}
	return names
}

func (d *decider) outdated() (names []string) {
	for i := range d.s.Groups {
		if d.s.Groups[i].Status.Outdated > 0 {
			names = append(names, d.s.Groups[i].Name)
		}
	}
	return names
}

// some names the first few.
func some(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNamed], ", "), len(all)-maxNamed)
}
