// Package nodeimage decides what becomes of machine images: which is the latest, when it
// is approved, and when the groups that refer to it are rotated. It is pure. Which nodes
// are outdated, and how they are replaced, is package rotation's.
package nodeimage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// Snapshot is everything that a decision looks at.
type Snapshot struct {
	Image *v1alpha1.NodeImage
	// Found is what the sources name now; nil if they were not looked at this time.
	Found *Found
	// Groups are those that refer to the image, sorted by name.
	Groups []v1alpha1.NodeGroup
	// Rotations are all runs.
	Rotations []v1alpha1.NodeRotation
}

// Found is what looking at the sources has brought.
type Found struct {
	// Images, one for each source.
	Images []v1alpha1.Image
	// Err is why the source of that number could not be read; nil if all could.
	Err    error
	Source int
}

// Begin makes the run of an approved revision.
type Begin struct{ Rotation *v1alpha1.NodeRotation }

func (b Begin) String() string { return "begin NodeRotation/" + b.Rotation.Name }

// decision is what Decide leaves for Report.
type decision struct{ status v1alpha1.NodeImageStatus }

// Times of looking at sources.
const (
	defaultInterval = 5 * time.Minute
	// retryEvery is how soon to look again when a look has failed, if that is sooner.
	retryEvery = 30 * time.Second
	// recorded is how soon to act on what was written down, if no watch tells that it was.
	recorded = time.Second
)

// Due says whether it is time to look at the sources.
func Due(image *v1alpha1.NodeImage, now time.Time) bool {
	return image.Status.ObservedGeneration != image.Generation || !now.Before(nextLook(image))
}

func nextLook(image *v1alpha1.NodeImage) time.Time {
	if image.Status.CheckedAt == nil {
		return time.Time{}
	}
	interval := defaultInterval
	if seconds := image.Spec.IntervalSeconds; seconds > 0 {
		interval = time.Duration(seconds) * time.Second
	}
	if c := conditionOf(image.Status.Conditions, v1alpha1.ConditionFound); c != nil && c.Status != metav1.ConditionTrue {
		interval = min(interval, retryEvery)
	}
	return image.Status.CheckedAt.Add(interval)
}

// Decide says what becomes of the image next.
func Decide(s Snapshot, now time.Time) plan.Plan {
	d := &decider{s: &s, now: now, status: s.Image.Status.DeepCopy()}
	if s.Image.DeletionTimestamp == nil {
		d.status.ObservedGeneration = s.Image.Generation
		d.look()
		pending := d.approve()
		d.summarize(d.rollOut(), pending)
	}
	d.plan.Status = decision{status: *d.status}
	return d.plan
}

// decider makes one decision.
type decider struct {
	s      *Snapshot
	now    time.Time
	plan   plan.Plan
	status *v1alpha1.NodeImageStatus
}

// look takes in what was found.
func (d *decider) look() {
	if found := d.s.Found; found != nil {
		d.status.CheckedAt = d.second()
		c := judge(d.s.Image.Spec.Sources, found)
		condition.Set(&d.status.Conditions, c, d.s.Image.Generation, d.now)
		if c.Status == metav1.ConditionTrue {
			d.latest(found.Images)
		}
	}
	d.wakeAt(nextLook(&v1alpha1.NodeImage{Spec: d.s.Image.Spec, Status: *d.status}))
}

func (d *decider) latest(images []v1alpha1.Image) {
	is := &v1alpha1.ImageRevision{Revision: Revision(images), Images: slices.Clone(images), Since: *d.second()}
	if was := d.status.Latest; was != nil && was.Revision == is.Revision {
		is.Since = was.Since
	}
	d.status.Latest = is
}

// Revision names a set of images: the same for the same ids, in whatever order.
func Revision(images []v1alpha1.Image) string {
	var ids []string
	for i := range images {
		ids = append(ids, images[i].ID)
	}
	slices.Sort(ids)
	return short(strings.Join(ids, "\n"))
}

// short is a hash that people can copy, of 40 bits: the sets of one image are few.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:5])
}

// found says whether the last look has succeeded.
func (d *decider) found() bool {
	c := conditionOf(d.status.Conditions, v1alpha1.ConditionFound)
	return c != nil && c.Status == metav1.ConditionTrue && d.status.Latest != nil
}

// approve records that the latest revision may be rolled out, or says why not yet; nil if
// it was before.
func (d *decider) approve() *condition.Summary {
	spec, latest, approved := &d.s.Image.Spec, d.status.Latest, d.status.Approved
	if !d.found() {
		return nil
	}
	manual := spec.Approval != v1alpha1.Automatic
	if unknown := manual && spec.Approved != "" && spec.Approved != latest.Revision && (approved == nil || spec.Approved != approved.Revision); unknown {
		return d.unknown()
	}
	if approved != nil && approved.Revision == latest.Revision {
		return nil
	}
	if manual && spec.Approved != latest.Revision {
		return waiting(v1alpha1.ReasonApprovalPending, fmt.Sprintf("revision %s (%s), first seen at %s, waits to be approved: set spec.approved to it", latest.Revision, IDs(latest), at(latest.Since.Time)))
	}
	if young := d.tooYoung(latest); young != nil {
		return young
	}
	if run := d.own(); run != nil {
		return moving(v1alpha1.ReasonRotating, fmt.Sprintf("revision %s, first seen at %s, waits for the end of NodeRotation %s", latest.Revision, at(latest.Since.Time), run.Name))
	}
	d.status.Approved = latest.DeepCopy()
	d.status.Approved.Since, d.status.Rotation = *d.second(), ""
	d.wake(recorded)
	return nil
}

func (d *decider) unknown() *condition.Summary {
	known := "latest " + d.status.Latest.Revision
	if d.status.Approved != nil && d.status.Approved.Revision != d.status.Latest.Revision {
		known += ", approved " + d.status.Approved.Revision
	}
	s := waiting(v1alpha1.ReasonUnknownRevision, fmt.Sprintf("spec.approved is %s, which is not known; known are: %s", d.s.Image.Spec.Approved, known))
	s.Stalled = true
	return s
}

// tooYoung says until when a revision has to wait; nil if it is old enough. Its age is that
// of its youngest image, or how long it is known where nobody says when one was made.
func (d *decider) tooYoung(r *v1alpha1.ImageRevision) *condition.Summary {
	since := r.Since.Time
	if latest := d.status.Latest; latest != nil && latest.Revision == r.Revision {
		since = latest.Since.Time
	}
	var made time.Time
	for i := range r.Images {
		one := since
		if t := r.Images[i].CreatedAt; t != nil {
			one = t.Time
		}
		if one.After(made) {
			made = one
		}
	}
	old := made.Add(time.Duration(d.s.Image.Spec.MinAgeSeconds) * time.Second)
	if !d.now.Before(old) {
		return nil
	}
	d.wakeAt(old)
	return moving(v1alpha1.ReasonTooYoung, fmt.Sprintf("revision %s (%s) has to be %d s old, and waits from %s until %s", r.Revision, IDs(r), d.s.Image.Spec.MinAgeSeconds, at(made), at(old)))
}

// own is the run of this image that has not ended; nil if there is none.
func (d *decider) own() *v1alpha1.NodeRotation {
	for i := range d.s.Rotations {
		if r := &d.s.Rotations[i]; d.owns(r) && !rotation.Finished(r.Status.Phase) {
			return r
		}
	}
	return nil
}

func (d *decider) owns(run *v1alpha1.NodeRotation) bool {
	owner := metav1.GetControllerOf(run)
	return owner != nil && owner.UID == d.s.Image.UID
}

// second is now as the API keeps it.
func (d *decider) second() *metav1.Time { return new(metav1.NewTime(d.now.Truncate(time.Second))) }

func (d *decider) wake(after time.Duration) {
	if d.plan.Wake == 0 || after < d.plan.Wake {
		d.plan.Wake = max(after, time.Millisecond)
	}
}

func (d *decider) wakeAt(at time.Time) { d.wake(at.Sub(d.now)) }

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// IDs of the images of a revision, as people read them.
func IDs(r *v1alpha1.ImageRevision) string {
	var all []string
	for i := range r.Images {
		all = append(all, r.Images[i].ID)
	}
	return strings.Join(all, ", ")
}
