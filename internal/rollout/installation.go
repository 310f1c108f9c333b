package rollout

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/fleet/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// Record is what an installation says of the last change that a roll-out made to it. It is
// the value of v1alpha1.ChangeAnnotation.
type Record struct {
	Rollout  string    `json:"rollout"`
	UID      types.UID `json:"uid"`
	Sequence int64     `json:"sequence"`
	// Installation is the UID of the Mattermost that was changed. A migration's has none, since it
	// goes from one resource to the other.
	Installation types.UID `json:"installation,omitempty"`
	// At is when it was changed, or given back.
	At metav1.Time `json:"at"`
	// Generation is the last one that is not about the change.
	Generation int64 `json:"generation"`
	// Asleep says that a ClusterInstallation had no pods when it was migrated.
	Asleep bool `json:"asleep,omitempty"`
	// Back says that the installation has back what it had.
	Back bool `json:"back,omitempty"`
	// Before is what was there before, by the names that KeepsAnnotation uses; null for
	// what was not there.
	Before map[string]json.RawMessage `json:"before,omitempty"`
}

// Installation is what a decision looks at of one installation. It is made once for each
// version of the resource, so that a decision about thousands of them parses nothing.
type Installation struct {
	// Meta is that of the resource. It is not to be changed, nor is what follows.
	Meta *metav1.ObjectMeta
	// Mattermost is nil for a ClusterInstallation, and for what became of one in the eyes
	// of a roll-out that migrates.
	Mattermost *installations.Mattermost
	// Name is namespace/name, and Kind of what.
	Name, Kind string
	// Record is nil if no roll-out has changed it, or somebody has removed that.
	Record   *Record
	Priority int
	// Settled says that it is as its spec says, and has been looked at since that changed.
	Settled bool
	// Hibernated says that it has, and wants, no pods.
	Hibernated bool
	// Paused says that an annotation keeps it from being changed.
	Paused   bool
	Deleting bool
	// rests says that it is settled for nothing but its sleep or a pause, which tells nothing of
	// the change.
	rests bool
	// shown says that all of its pods were available with the last change.
	shown bool
	// refused is why it cannot be migrated as it is; empty if it can.
	refused string
	// diverged says that what became of it is not what it says, which is lost if it is taken back.
	diverged bool
	// migrating is what a ClusterInstallation's spec says.
	migrating bool
	// asleep says that a ClusterInstallation has, and wants, no pods, and is migrated all the same.
	asleep bool
	// keeps says that a ClusterInstallation is to stay one.
	keeps bool
	// prepared says that it is still being made of a ClusterInstallation, whose spec it follows.
	prepared bool
	// unseen says that nobody who looks after installations has taken notice of the change.
	unseen bool
	// stalled says that it will not become stable by waiting, since the last change.
	stalled bool
	// final says that nothing can be given back.
	final bool
	// failing is since when it has not become stable; zero if it is, or its state is not of
	// the last change.
	failing time.Time
	// looked is what edited last found out.
	looked struct {
		revision string
		lacks    lack
	}
}

// Read makes an Installation of a resource.
func Read(mm *installations.Mattermost) *Installation {
	i := read("Mattermost", &mm.ObjectMeta, v1alpha1.ChangeAnnotation)
	i.Mattermost = mm
	i.Hibernated = mm.Spec.Replicas != nil && *mm.Spec.Replicas == 0 && mm.Spec.Size == ""
	i.prepared = !i.Deleting && !installation.Acts(mm)
	if i.Record != nil && i.Record.copied(mm) {
		i.Record = nil
	}
	i.settle(mm)
	return i
}

// copied reports whether the record came with a manifest from a former resource of the name, as
// out of a backup.
func (r *Record) copied(mm *installations.Mattermost) bool {
	return r.Installation != "" && r.Installation != mm.UID
}

// read is what all kinds have in common.
func read(kind string, meta *metav1.ObjectMeta, annotation string) *Installation {
	i := &Installation{
		Meta: meta, Kind: kind, Name: meta.Namespace + "/" + meta.Name, Deleting: meta.DeletionTimestamp != nil,
		Paused: meta.Annotations[installations.PausedAnnotation] == "true",
	}
	i.Priority, _ = strconv.Atoi(meta.Annotations[v1alpha1.PriorityAnnotation])
	var record Record
	if text := meta.Annotations[annotation]; text != "" && json.Unmarshal([]byte(text), &record) == nil && record.Sequence > 0 {
		i.Record = &record
	}
	return i
}

// settle says how the installation takes the change.
func (i *Installation) settle(mm *installations.Mattermost) {
	stable := mm.Status.ObservedGeneration == mm.Generation && mm.Status.State == installations.Stable
	i.Settled, i.rests = i.Hibernated || stable, i.Hibernated || !stable
	if i.Record == nil {
		return
	}
	i.shown = mm.Status.StableGeneration > i.Record.Generation
	// One that took the change well until it was paused: what is wanted of it since is somebody
	// else's. One that has failed stays so while somebody looks at it.
	i.Settled = i.Settled || i.shown && sincePaused(mm, installations.ConditionReady)
	if !i.Settled {
		i.assess(mm)
	}
}

// assess tells trouble that is the change's from what was there before.
func (i *Installation) assess(mm *installations.Mattermost) {
	status, since := &mm.Status, i.Record.At.Time
	if status.ObservedGeneration <= i.Record.Generation {
		i.failing = since
		i.unseen = !i.Paused || !meta.IsStatusConditionTrue(status.Conditions, installations.ConditionPaused)
		return
	}
	ready := meta.FindStatusCondition(status.Conditions, installations.ConditionReady)
	switch {
	case ready == nil: // As another operator reports.
		i.failing = since
	case ready.Status == metav1.ConditionTrue: // It was stable, and has been edited since.
	default:
		i.failing = since
		if began := began(status.Conditions); began.After(since) {
			i.failing = began
		}
	}
	stalled := meta.FindStatusCondition(status.Conditions, installations.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue || stalled.LastTransitionTime.Before(&i.Record.At) {
		return
	}
	// Of one that is paused nobody looks at a newer generation.
	isPaused := stalled.Reason == installations.ReasonPaused
	i.stalled = isPaused && !sincePaused(mm, installations.ConditionStalled) || !isPaused && status.ObservedGeneration == mm.Generation
}

// sincePaused reports whether a condition says that the installation is paused, and has been
// as it is only since that.
func sincePaused(mm *installations.Mattermost, kind string) bool {
	c := meta.FindStatusCondition(mm.Status.Conditions, kind)
	paused := meta.FindStatusCondition(mm.Status.Conditions, installations.ConditionPaused)
	return c != nil && c.Reason == installations.ReasonPaused && paused != nil && !c.LastTransitionTime.Before(&paused.LastTransitionTime)
}

// began is since when an installation has not been as it should be. A condition Ready that was
// not known for a moment says too late a time.
func began(conditions []metav1.Condition) time.Time {
	var first time.Time
	for _, c := range conditions {
		hinders := c.Status == metav1.ConditionTrue && (c.Type == installations.ConditionReconciling || c.Type == installations.ConditionStalled)
		if at := c.LastTransitionTime.Time; (c.Type == installations.ConditionReady || hinders) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// failed reports whether it has failed by now, and if not, when it will have unless it
// becomes stable; zero for never. What nobody looks at tells nothing of the change.
func (i *Installation) failed(now time.Time, deadline time.Duration) (bool, time.Time) {
	switch {
	case i.stalled:
		return true, time.Time{}
	case i.failing.IsZero():
		return false, time.Time{}
	default:
		at := i.failing.Add(deadline)
		late := !now.Before(at)
		if late && i.unseen {
			return false, time.Time{}
		}
		return late, at
	}
}

// lack is how much of what a revision sets has something else in its place since.
type lack uint8

const (
	nothing lack = iota
	something
	everything
)

// lost says how much that is. What it found out is remembered, for a decision asks it of
// thousands.
func (i *Installation) lost(change v1alpha1.InstallationChange, revision string) lack {
	if i.looked.revision != revision {
		i.looked.revision, i.looked.lacks = revision, i.lacks(change)
	}
	return i.looked.lacks
}

// keepsAll says that it is to have nothing of a change.
func (i *Installation) keepsAll(change v1alpha1.InstallationChange) bool {
	return i.keeps || !change.Migrate && len(parts(change, i.Meta.Annotations[v1alpha1.KeepsAnnotation])) == 0
}

func (i *Installation) lacks(change v1alpha1.InstallationChange) lack {
	switch {
	case change.Migrate && i.Kind == olderKind && !i.migrating && !i.keeps:
		return everything
	case change.Migrate, i.Mattermost == nil: // What became a Mattermost stays one.
		return nothing
	}
	live, given := content(i.Mattermost), parts(change, i.Meta.Annotations[v1alpha1.KeepsAnnotation])
	n := 0
	for part := range given {
		has := partOf(live, part)
		if !came(has, part, given, nil) || part == "size" && has == nil && i.outgrew(live, change.Size) {
			n++
		}
	}
	switch n {
	case 0:
		return nothing
	case len(given):
		return everything
	default:
		return something
	}
}

// outgrew reports whether the installation has other resources than those that a size stands
// for and that was carried out. The size itself is gone then, and replicas are an autoscaler's, too.
func (i *Installation) outgrew(live object, size string) bool {
	bySize := resized(i.Mattermost, size)
	return slices.ContainsFunc(sized, func(part string) bool {
		return strings.HasSuffix(part, "resources") && !came(partOf(live, part), part, nil, bySize)
	})
}
