package installation

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	mattermostv1alpha1 "windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// A Mattermost that is made from a ClusterInstallation is held until that says, in its
// status, that it changes nothing any more. Then it takes the objects over by nothing but
// its own convergence, in which those of its predecessor count as its own. Before it does
// the first thing, and before the ClusterInstallation takes anything back, it is on record
// in the Mattermost's status who of the two it is that acts.

// MigratedFrom is the UID of the ClusterInstallation that a Mattermost was made from;
// empty for none. What the status says cannot be taken away by editing the resource. The
// annotation alone counts until anything was made, so that nobody changes the lineage of
// an installation by it.
func MigratedFrom(mm *v1beta1.Mattermost) types.UID {
	switch from := types.UID(mm.Annotations[v1beta1.MigratedFromAnnotation]); {
	case mm.Status.MigratedFrom != nil:
		return mm.Status.MigratedFrom.UID
	case Begun(mm):
		return ""
	default:
		return from
	}
}

// Acts reports whether a Mattermost may have a write under way. One that does not act
// begins only after it has put on record that it does.
func Acts(mm *v1beta1.Mattermost) bool {
	return mm != nil && mm.DeletionTimestamp == nil && (MigratedFrom(mm) == "" || mm.Status.MigratedFrom != nil && !mm.Status.MigratedFrom.Held)
}

// Stopped reports whether a Mattermost has none under way, and begins none, in a turn of
// its migration.
func Stopped(mm *v1beta1.Mattermost, turn int64) bool {
	from := mm.Status.MigratedFrom
	return mm.DeletionTimestamp != nil || from != nil && from.Held && from.Turn == turn
}

// migration is what the past of a Mattermost asks of a pass. The zero value asks nothing.
type migration struct {
	From types.UID
	// Held says that the ClusterInstallation has the objects.
	Held bool
	// Begins says that the Mattermost is the one to act, and that this is not on record.
	Begins bool
	// Turn is the last one that was heard of.
	Turn int64
	// Older is still there, and is what the Mattermost was made from.
	Older *mattermostv1alpha1.ClusterInstallation
}

func migrationOf(s Snapshot) migration {
	m := migration{From: MigratedFrom(s.Mattermost)}
	if m.From == "" || s.view() || s.Mattermost.DeletionTimestamp != nil {
		return migration{}
	}
	recorded := s.Mattermost.Status.MigratedFrom
	if recorded != nil {
		m.Turn = recorded.Turn
	}
	if s.Older != nil {
		status := mattermostv1alpha1.MigrationStatus{}
		if said := s.Older.Status.Migration; said != nil && said.Mattermost == s.Mattermost.UID {
			status = *said
		}
		handsOver := status.Phase == mattermostv1alpha1.MigrationHandingOver || status.Phase == mattermostv1alpha1.MigrationAwaitingFinalization
		if s.Older.UID == m.From {
			m.Older = s.Older
			// What was said before the last turn is out of date.
			m.Held = !handsOver || status.Turn < m.Turn
		} else {
			m.Held = status.Phase == mattermostv1alpha1.MigrationReverting
		}
		m.Turn = max(m.Turn, status.Turn)
	}
	// What it has begun about its pods, it ends first.
	m.Held = m.Held && !Renewing(s.Mattermost)
	m.Begins = !m.Held && (recorded == nil || recorded.Held)
	return m
}

// PredecessorOf is whose objects are the installation's to take over; empty for nobody.
func PredecessorOf(s Snapshot) types.UID {
	if s.view() {
		return s.Predecessor
	}
	return MigratedFrom(s.Mattermost)
}

// waits says that nothing is changed in this pass.
func (m migration) waits() bool { return m.Held || m.Begins }

func (m migration) message(mm *v1beta1.Mattermost) string {
	if m.Held {
		return "ClusterInstallation/" + mm.Name + " has the objects, so that nothing is changed on behalf of the Mattermost; its status.migration says how far the migration is."
	}
	return "The objects are taken over from ClusterInstallation/" + mm.Name + "."
}

// report puts on record who acts, and from the first pass on what the objects are like,
// so that no pod is replaced: their lineage, their shape, and what was true of them.
func (m migration) report(s Snapshot, now time.Time) *v1beta1.Mattermost {
	mm := s.Mattermost.DeepCopy()
	status := &mm.Status
	if status.MigratedFrom == nil {
		status.Shape = v1beta1.ShapeStrict
		if !SelectsNewer(s.Deployment) {
			status.Lineage = v1beta1.LineageV1alpha1
		}
	}
	if older := m.Older; older != nil && (status.MigratedFrom == nil || m.Held) {
		was := older.Status.DeepCopy()
		status.Credentials, status.Good, status.RolledBackFrom = was.Credentials, was.Good, was.RolledBackFrom
		status.Version, status.Image, status.Endpoint = was.Version, was.Image, was.Endpoint
	}
	status.State, status.ObservedGeneration = v1beta1.Reconciling, mm.Generation
	c := conditions{list: &status.Conditions, generation: mm.Generation, now: now}
	c.summary(summary{state: v1beta1.Reconciling, reason: v1beta1.ReasonHeldForMigration, message: m.message(mm)})
	m.record(s.Mattermost, status, c)
	return mm
}

// record says what the Mattermost was made from, and how far that is.
func (m migration) record(stored *v1beta1.Mattermost, status *v1beta1.MattermostStatus, c conditions) {
	if m.From == "" {
		return
	}
	from := &v1beta1.MigratedFrom{UID: m.From, Held: m.Held, Turn: m.Turn}
	if stored.Status.MigratedFrom != nil {
		from.Lossy = stored.Status.MigratedFrom.Lossy
	}
	if m.Older != nil && m.Older.Status.Migration != nil {
		from.Lossy = append([]string(nil), m.Older.Status.Migration.Lossy...)
	}
	status.MigratedFrom = from
	said := metav1.Condition{Type: v1beta1.ConditionMigrated, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonMigrationHandingOver}
	switch {
	case m.Held:
		said.Reason, said.Message = v1beta1.ReasonHeldForMigration, m.message(stored)
	case m.Older != nil || m.Begins:
		said.Message = m.message(stored)
	default:
		said.Status, said.Reason = metav1.ConditionTrue, v1beta1.ReasonMigrated
		said.Message = "The Mattermost was a ClusterInstallation, with the UID " + string(m.From) + ", and has all of its objects."
		if len(from.Lossy) > 0 {
			said.Message += " It does not have: " + strings.Join(from.Lossy, " ")
		}
	}
	said.Message = plan.Bounded(said.Message, messageLimit)
	c.set(said)
}
