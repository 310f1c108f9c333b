package rollout

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
		"untouched":                       {"", "", 0, 0, false, stands{awaiting, false}},
		"untouched, by a former roll-out": {others, older.MigrationHandingOver, 0, 0, false, stands{awaiting, true}},
		"nobody looks":                    {mine, "", 0, 0, false, stands{updating, true}},
		"nobody looks, for too long":      {mine, "", 0, time.Hour, false, stands{updating, true}},
		"is not carried out, as a Mattermost has its place": {mine, "", 0, time.Hour, false, stands{failed, false}},
		"waits to be stable":                 {mine, older.MigrationWaiting, 0, 0, false, stands{updating, true}},
		"is handed over":                     {mine, older.MigrationHandingOver, 0, 0, false, stands{updating, true}},
		"is deleted at the end":              {mine, older.MigrationHandingOver, 0, 0, true, stands{updating, true}},
		"is deleted by somebody":             {mine, older.MigrationPreparing, 0, 0, true, stands{pendingDeletion, false}},
		"waits for a word":                   {mine, older.MigrationAwaitingFinalization, 0, time.Hour, false, stands{updated, false}},
		"is refused":                         {mine, older.MigrationRefused, time.Second, 2 * time.Second, false, stands{refused, false}},
		"has been refused before":            {mine, older.MigrationRefused, -time.Hour, 2 * time.Hour, false, stands{refused, false}},
		"was refused for long, and is cured": {mine, older.MigrationPreparing, time.Hour, time.Hour + time.Second, false, stands{updating, true}},
		"is asked for again, after a revert": {mine, older.MigrationReverted, time.Minute, time.Hour, false, stands{updating, true}},
		"somebody takes it back":             {mine + " ", older.MigrationReverting, time.Second, 2 * time.Second, false, stands{edited, true}},
		"somebody took it back":              {mine + " ", older.MigrationReverted, time.Second, 2 * time.Second, false, stands{edited, false}},
		"its Mattermost was deleted":         {mine, older.MigrationInterrupted, time.Second, 2 * time.Second, false, stands{failed, false}},
		"is taken back":                      {back, older.MigrationReverting, 0, 0, false, stands{rolledBack, true}},
		"was taken back":                     {back, older.MigrationReverted, 0, 0, false, stands{rolledBack, false}},
		"is still handed over, taken back":   {back, older.MigrationHandingOver, 0, 0, false, stands{rolledBack, true}},
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
			ci.Spec.Migrate = !strings.Contains(c.record, "back") && !strings.HasSuffix(c.record, " ")
			if strings.HasPrefix(name, "nobody looks") || strings.HasPrefix(name, "is asked for again") {
				ci.Generation = 1
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

// TestRefusedHoldsUpNobody: what cannot be migrated is named with the reason, and the others
// are migrated.
func TestRefusedHoldsUpNobody(t *testing.T) {
	t.Parallel()
	one := func(name, record string, phase older.MigrationPhase) *Installation {
		ci := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
		if record != "" {
			ci.Annotations = map[string]string{v1alpha1.MigrationAnnotation: record}
			ci.Spec.Migrate = true
		}
		ci.Status.Migration = &older.MigrationStatus{Phase: phase, Error: "Disable BlueGreen to enable migration."}
		return ReadOlder(ci)
	}
	d := migrating(epoch, one("a", `{"rollout":"june","uid":"june-uid","sequence":2,"at":"2026-11-26T12:00:00Z"}`, older.MigrationRefused))
	s := *d.s
	s.Rollout.Spec.Strategy.Waves = []v1alpha1.InstallationWave{{Size: number(1)}}
	s.Installations = append(s.Installations, one("b", "", ""))
	p := Decide(s, epoch)
	status := Report(s, p, planOutcome, epoch).Status
	if status.Wave != 0 || status.Failed != 0 || status.Refused != 1 || len(status.RefusedInstallations) != 1 {
		t.Errorf("wave %d, %d failed, refused %v", status.Wave, status.Failed, status.RefusedInstallations)
	}
	wait := waitFor(status.Waits, v1alpha1.ReasonMigrationRefused)
	if wait == nil || wait.Subject != "ClusterInstallation/ns/a" || wait.Message != "Disable BlueGreen to enable migration." {
		t.Errorf("waits %v", status.Waits)
	}
	if len(p.Steps) != 1 || p.Steps[0].Action.String() != "migrate ClusterInstallation/ns/b" {
		t.Errorf("steps %v", p.Steps)
	}
}

// TestWhoseMigrationItIs: one that was under way before is not taken back.
func TestWhoseMigrationItIs(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before   bool // Was spec.migrate set before the roll-out came?
		reverted bool // Has somebody taken it back since?
		revised  bool // Does the roll-out come twice?
		want     bool // What is spec.migrate after the roll-back?
	}{
		"the roll-out's":                        {false, false, false, false},
		"the roll-out's, in two revisions":      {false, false, true, false},
		"somebody else's":                       {true, false, false, true},
		"somebody else's, in two revisions":     {true, false, true, true},
		"somebody else's, who took it back":     {true, true, false, false},
		"the roll-out's, somebody took it back": {false, true, false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ci := &older.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat"}}
			ci.Spec.Migrate = c.before
			r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: "june", UID: "june-uid"}}
			r.Status.Revision = &v1alpha1.Revision{Sequence: 2}
			write := func(back bool) {
				action, err := migrate(r, ReadOlder(ci), epoch, back)
				if err != nil {
					t.Fatal(err)
				}
				patch := struct {
					Metadata struct{ Annotations map[string]string }
					Spec     struct{ Migrate bool }
				}{}
				if err := json.Unmarshal(action.(Merge).Patch, &patch); err != nil {
					t.Fatal(err)
				}
				ci.Annotations, ci.Spec.Migrate = patch.Metadata.Annotations, patch.Spec.Migrate
			}
			write(false)
			if !ci.Spec.Migrate {
				t.Fatal("it does not migrate")
			}
			if c.revised {
				r.Status.Revision.Sequence++
				write(false)
			}
			if c.reverted {
				ci.Spec.Migrate = false
			}
			write(true)
			if ci.Spec.Migrate != c.want {
				t.Errorf("after the roll-back spec.migrate is %t", ci.Spec.Migrate)
			}
			if c.want && !ReadOlder(ci).Settled {
				t.Error("the roll-back waits for what goes on without it")
			}
		})
	}
}
