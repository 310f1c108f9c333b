package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/fleet/v1alpha1"
	older "windlass.dev/api/installation/v1alpha1"
	installations "windlass.dev/api/installation/v1beta1"
)

func TestMigrating(t *testing.T) {
	t.Parallel()
	const (
		mine   = `{"rollout":"june","uid":"june-uid","sequence":1,"at":"2026-11-26T12:00:00Z"}`
		back   = `{"rollout":"june","uid":"june-uid","sequence":1,"at":"2026-11-26T12:00:00Z","back":true}`
		others = `{"rollout":"may","uid":"may-uid","sequence":1,"at":"2026-11-26T12:00:00Z"}`
	)
	type stands struct {
		State    state
		InFlight bool
	}
	cases := map[string]struct {
		record   string
		phase    older.MigrationPhase
		since    time.Duration
		after    time.Duration
		deleting bool
		want     stands
	}{
		"untouched":                        {"", "", 0, 0, false, stands{awaiting, false}},
		"untouched, by a former roll-out":  {others, older.MigrationHandingOver, 0, 0, false, stands{awaiting, true}},
		"nobody looks":                     {mine, "", 0, 0, false, stands{updating, true}},
		"nobody looks, for too long":       {mine, "", 0, time.Minute, false, stands{failed, false}},
		"waits to be stable":               {mine, older.MigrationWaiting, 0, 0, false, stands{updating, true}},
		"is handed over":                   {mine, older.MigrationHandingOver, 0, 0, false, stands{updating, true}},
		"is deleted at the end":            {mine, older.MigrationHandingOver, 0, 0, true, stands{updating, true}},
		"is deleted by somebody":           {mine, older.MigrationPreparing, 0, 0, true, stands{pendingDeletion, false}},
		"waits for a word":                 {mine, older.MigrationAwaitingFinalization, 0, time.Hour, false, stands{updated, false}},
		"is refused":                       {mine, older.MigrationRefused, time.Second, 2 * time.Second, false, stands{failed, false}},
		"was refused before the change":    {mine, older.MigrationRefused, -time.Hour, 2 * time.Second, false, stands{updating, true}},
		"its Mattermost was deleted":       {mine, older.MigrationInterrupted, time.Second, 2 * time.Second, false, stands{failed, false}},
		"is taken back":                    {back, older.MigrationReverting, 0, 0, false, stands{rolledBack, true}},
		"was taken back":                   {back, older.MigrationReverted, 0, 0, false, stands{rolledBack, false}},
		"is still handed over, taken back": {back, older.MigrationHandingOver, 0, 0, false, stands{rolledBack, true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ci := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat"}}
			if c.record != "" {
				ci.Annotations = map[string]string{v1alpha1.MigrationAnnotation: c.record}
			}
			if c.deleting {
				ci.DeletionTimestamp = new(metav1.NewTime(epoch))
			}
			ci.Status.Migration = &older.MigrationStatus{Phase: c.phase, Since: new(metav1.NewTime(epoch.Add(c.since)))}
			d := migrating(epoch.Add(c.after), ReadOlder(ci))
			if diff := cmp.Diff(c.want, stands{d.members[0].state, d.members[0].inFlight}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// migrating is a decision about one installation that has sorted out how it stands.
func migrating(now time.Time, i *Installation) *decider {
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "june", UID: "june-uid"}, Spec: v1alpha1.InstallationRolloutSpec{
		Change: v1alpha1.InstallationChange{Migrate: true}, Strategy: &v1alpha1.RolloutStrategy{ProgressDeadlineSeconds: new(int32(60))},
	}}
	r.Status.Revision = &v1alpha1.Revision{Hash: Hash(r.Spec.Change), Sequence: 2}
	if i.Record != nil && i.Record.UID == r.UID {
		r.Status.Revision.Sequence = i.Record.Sequence
	}
	d := &decider{s: &Snapshot{Rollout: r, Installations: []*Installation{i}}, now: now, recorded: &r.Status, status: r.Status.DeepCopy(), superseded: map[string]int{}}
	var err error
	if d.settings, err = parse(&r.Spec); err != nil {
		panic(err)
	}
	d.find()
	return d
}

// TestMigrated: what became a Mattermost stays one, and other roll-outs have it.
func TestMigrated(t *testing.T) {
	t.Parallel()
	mm := &installations.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", Generation: 1, Annotations: map[string]string{
		v1alpha1.MigrationAnnotation: `{"rollout":"june","uid":"june-uid","sequence":1,"at":"2026-11-26T12:00:00Z"}`,
	}}}
	mm.Status.ObservedGeneration, mm.Status.State = 1, installations.Stable
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "june", UID: "june-uid"}}
	i := ReadMigrated(mm, r)
	if i == nil {
		t.Fatal("it is not known any more")
	}
	d := migrating(epoch, i)
	d.s.Rollout.Spec.End = v1alpha1.EndRollBack
	if d.members[0].state != updated {
		t.Errorf("its state is %d", d.members[0].state)
	}
	if d.rollBack(); len(d.plan.Steps) > 0 || d.status.Phase != v1alpha1.RolledBack {
		t.Errorf("it is taken back: %v", d.plan.Steps)
	}
	mm.Spec.Version, mm.Generation = "10.7.0", 2 // Its user edits it, long after.
	mm.Status.Conditions = []metav1.Condition{{Type: installations.ConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch)}}
	if d := migrating(epoch.Add(time.Hour), ReadMigrated(mm, r)); d.members[0].state != updating {
		t.Errorf("while it takes an edit, its state is %d", d.members[0].state)
	}
	r.UID = "another"
	if ReadMigrated(mm, r) != nil {
		t.Error("a roll-out has what another one migrated")
	}
	if Read(mm).Record != nil {
		t.Error("for other roll-outs it was changed by one")
	}
}
