package rollout

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

const olderKind = "ClusterInstallation"

// ReadOlder makes an Installation of a ClusterInstallation, for a roll-out that migrates. It
// is settled when it need not be waited for: its objects are handed over, or it has them
// back. One that hibernates is migrated like any other.
func ReadOlder(ci *older.ClusterInstallation) *Installation {
	i := read(olderKind, &ci.ObjectMeta, v1alpha1.MigrationAnnotation)
	i.migrating, i.asleep = ci.Spec.Migrate, ci.Spec.Replicas < 0
	i.keeps = slices.ContainsFunc(strings.Split(ci.Annotations[v1alpha1.KeepsAnnotation], ","), func(kept string) bool { return strings.TrimSpace(kept) == migratePart })
	i.Paused = i.Paused || i.keeps
	if m := ci.Status.Migration; m != nil {
		i.diverged = len(m.Diverged) > 0
		i.migrates(ci, m)
	} else {
		i.migrates(ci, &older.MigrationStatus{})
	}
	return i
}

// unbegun are the phases in which the ClusterInstallation has all that is its.
var unbegun = []older.MigrationPhase{"", older.MigrationReverted, older.MigrationRefused, older.MigrationWaiting}

// migrates says how the ClusterInstallation takes its migration.
func (i *Installation) migrates(ci *older.ClusterInstallation, m *older.MigrationStatus) {
	if i.Record == nil {
		i.Settled = true
		return
	}
	switch phase := m.Phase; {
	case i.Record.Back || !i.migrating: // Or it was somebody else's migration, which goes on.
		i.Settled = i.migrating || slices.Contains(unbegun, phase)
	case ci.Annotations[installations.ReleasedAnnotation] == "true" && slices.Contains(unbegun, phase):
		i.Settled, i.refused = true, "it is handed back to the Mattermost Operator: remove its annotation "+installations.ReleasedAnnotation+" to have it migrated"
	case phase == older.MigrationRefused: // Perhaps nobody has seen yet that it was cured.
		i.Settled, i.refused = true, cmp.Or(m.Error, "windlass migrate status has the reason")
	case phase == older.MigrationAwaitingFinalization:
		i.Settled = true
	case phase == older.MigrationHandingOver:
		i.Deleting = false // That is how a migration ends; its Mattermost goes on.
	case phase == "", phase == older.MigrationReverted:
		i.unseen = ci.Status.ObservedGeneration != ci.Generation // Of the former time.
	case phase == older.MigrationInterrupted:
		i.stalled = m.Since != nil && !m.Since.Before(&i.Record.At)
	}
	if !i.Settled {
		i.failing = later(i.Record.At, m.Since) // Such as one that was refused for long.
	}
}

// later is the later of two times, of which the second one may be none.
func later(a metav1.Time, b *metav1.Time) time.Time {
	if b != nil && b.After(a.Time) {
		return b.Time
	}
	return a.Time
}

// ReadMigrated makes an Installation of a Mattermost that was a ClusterInstallation, for the
// roll-out that had it migrated. It is nil for one that was not, or by another roll-out.
func ReadMigrated(mm *installations.Mattermost, r *v1alpha1.InstallationRollout) *Installation {
	if mm.Annotations[v1alpha1.MigrationAnnotation] == "" {
		return nil
	}
	i := read("Mattermost", &mm.ObjectMeta, v1alpha1.MigrationAnnotation)
	if i.Record == nil || i.Record.UID != r.UID {
		return nil
	}
	i.final = true
	i.Hibernated = mm.Spec.Replicas != nil && *mm.Spec.Replicas == 0 && !i.Record.Asleep
	i.settle(mm)
	i.Hibernated = false // It has all that it can get.
	return i
}

// migrate is the step that has a ClusterInstallation migrated, or taken back. A migration
// that was under way before is somebody else's, and is not taken back.
func migrate(r *v1alpha1.InstallationRollout, i *Installation, now time.Time, back bool) (plan.Action, error) {
	record := Record{Rollout: r.Name, UID: r.UID, Sequence: r.Status.Revision.Sequence, At: metav1.NewTime(now), Asleep: i.asleep, Back: back}
	wanted, verb := true, "migrate"
	if back {
		wanted, verb = i.migrating && i.wasMigrating(), "take back"
	} else {
		// One that a former revision began is ours, too.
		ours := i.migrating && i.Record != nil && i.Record.UID == r.UID && !i.Record.Back && !i.wasMigrating()
		was, err := json.Marshal(i.migrating && !ours)
		if err != nil {
			return nil, err
		}
		record.Before = map[string]json.RawMessage{migratePart: was}
	}
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(object{
		"metadata": object{"resourceVersion": i.Meta.ResourceVersion, "annotations": object{v1alpha1.MigrationAnnotation: string(text)}},
		"spec":     object{"migrate": wanted},
	})
	return Merge{Verb: verb, Kind: i.Kind, Installation: i.Name, Patch: patch}, err
}

// migratePart is what Record.Before calls spec.migrate.
const migratePart = "migrate"

// wasMigrating says that a ClusterInstallation was asked to migrate before the roll-out came.
func (i *Installation) wasMigrating() bool {
	return i.Record != nil && string(i.Record.Before[migratePart]) == "true"
}
