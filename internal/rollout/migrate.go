package rollout

import (
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

// ReadOlder makes an Installation of a ClusterInstallation, for a roll-out that migrates. It
// is settled when it need not be waited for: its objects are handed over, or it has them
// back. One that hibernates is migrated like any other.
func ReadOlder(ci *older.ClusterInstallation) *Installation {
	i := read("ClusterInstallation", &ci.ObjectMeta, v1alpha1.MigrationAnnotation)
	i.Paused = i.Paused || slices.ContainsFunc(strings.Split(ci.Annotations[v1alpha1.KeepsAnnotation], ","), func(kept string) bool { return strings.TrimSpace(kept) == "migrate" })
	var phase older.MigrationPhase
	var since *metav1.Time
	if m := ci.Status.Migration; m != nil {
		phase, since = m.Phase, m.Since
	}
	if i.Record == nil {
		i.Settled = true
		return i
	}
	switch {
	case i.Record.Back:
		i.Settled = phase == "" || phase == older.MigrationReverted || phase == older.MigrationRefused || phase == older.MigrationWaiting
	case phase == older.MigrationAwaitingFinalization:
		i.Settled = true
	case phase == older.MigrationHandingOver:
		i.Deleting = false // That is how a migration ends; its Mattermost goes on.
	case phase == older.MigrationRefused, phase == older.MigrationInterrupted:
		i.stalled = since != nil && !since.Before(&i.Record.At)
	}
	if !i.Settled {
		i.failing = i.Record.At.Time
	}
	return i
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
	i.Hibernated = mm.Spec.Replicas != nil && *mm.Spec.Replicas == 0
	i.settle(mm)
	i.Hibernated = false // It has all that it can get.
	return i
}

// migrate is the step that has a ClusterInstallation migrated, or taken back.
func migrate(r *v1alpha1.InstallationRollout, i *Installation, now time.Time, back bool) (plan.Action, error) {
	record := Record{Rollout: r.Name, UID: r.UID, Sequence: r.Status.Revision.Sequence, At: metav1.NewTime(now), Back: back}
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(object{
		"metadata": object{"resourceVersion": i.Meta.ResourceVersion, "annotations": object{v1alpha1.MigrationAnnotation: string(text)}},
		"spec":     object{"migrate": !back},
	})
	verb := "migrate"
	if back {
		verb = "take back"
	}
	return Merge{Verb: verb, Kind: i.Kind, Installation: i.Name, Patch: patch}, err
}
