package migration

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// What a standing says beside the phases on record.
const (
	// Asked: something was asked for that no controller has seen yet.
	Asked v1alpha1.MigrationPhase = "Asked"
	// Migrated: there is only the Mattermost.
	Migrated v1alpha1.MigrationPhase = "Migrated"
	// Superseded: the ClusterInstallation was made anew after its migration.
	Superseded v1alpha1.MigrationPhase = "Superseded"
)

// Standing is how far the migration of one installation is.
type Standing struct {
	Namespace string                  `json:"namespace"`
	Name      string                  `json:"name"`
	Phase     v1alpha1.MigrationPhase `json:"phase"`
	Since     *metav1.Time            `json:"since,omitempty"`
	// Turn counts how often it changed who of the two acts.
	Turn int64 `json:"turn,omitempty"`
	// Message says what is waited for, and Error what holds it up.
	Message string `json:"message,omitempty"`
	Error   string `json:"error,omitempty"`
	// Lossy lists what of the ClusterInstallation its Mattermost does not have.
	Lossy []string `json:"lossy,omitempty"`
}

// AtRest reports whether nothing goes on before somebody does something.
func (s Standing) AtRest() bool {
	switch s.Phase {
	case Asked, v1alpha1.MigrationWaiting, v1alpha1.MigrationPreparing, v1alpha1.MigrationHandingOver, v1alpha1.MigrationReverting:
		return false
	default:
		return true
	}
}

// Failed reports whether it came to rest otherwise than it was asked to.
func (s Standing) Failed() bool {
	return slices.Contains([]v1alpha1.MigrationPhase{v1alpha1.MigrationRefused, v1alpha1.MigrationInterrupted, Superseded}, s.Phase)
}

// StandingOf says how far the migration is of which there are these two, of which one may
// be nil. ok is false if none was ever asked for.
func StandingOf(ci *v1alpha1.ClusterInstallation, mm *v1beta1.Mattermost) (s Standing, ok bool) {
	switch {
	case ci == nil && (mm == nil || installation.MigratedFrom(mm) == ""):
		return s, false
	case ci == nil:
		return ended(mm), true
	}
	s = Standing{Namespace: ci.Namespace, Name: ci.Name}
	if superseded(ci, mm) {
		s.Phase, s.Message = Superseded, "Mattermost/"+mm.Name+" was made from a ClusterInstallation of this name and has its place: delete this one, and whatever makes it; or have it take the installation back, by windlass migrate revert."
		if c := meta.FindStatusCondition(ci.Status.Conditions, v1beta1.ConditionStalled); c != nil && c.Reason == v1beta1.ReasonSuperseded {
			s.Since = &c.LastTransitionTime
		}
		if ci.Annotations[v1alpha1.RevertAnnotation] == "true" {
			s.unseen("It is to take the installation back.")
		}
		return s, true
	}
	m := ci.Status.Migration
	if m == nil || m.Phase == "" {
		s.unseen("It is to become a Mattermost.")
		return s, ci.Spec.Migrate
	}
	s.Phase, s.Since, s.Turn, s.Message, s.Error, s.Lossy = m.Phase, m.Since, m.Turn, m.Status, m.Error, m.Lossy
	if s.Phase == v1alpha1.MigrationRefused {
		s.Message, s.Error = cmp.Or(m.Error, m.Status), ""
	}
	if what := outdated(ci, m); what != "" {
		s.unseen(what)
	}
	return s, true
}

// superseded reports whether the Mattermost was another ClusterInstallation of this name,
// from which this one is not taking the installation back.
func superseded(ci *v1alpha1.ClusterInstallation, mm *v1beta1.Mattermost) bool {
	if mm == nil || mm.DeletionTimestamp != nil {
		return false
	}
	from := installation.MigratedFrom(mm)
	m := ci.Status.Migration
	return from != "" && from != ci.UID && (m == nil || m.Phase != v1alpha1.MigrationReverting || m.Mattermost != mm.UID)
}

// outdated says what was asked for after what is on record; empty for nothing.
func outdated(ci *v1alpha1.ClusterInstallation, m *v1alpha1.MigrationStatus) string {
	asked, phase := ci.Spec.Migrate, m.Phase
	switch {
	case phase == v1alpha1.MigrationReverting:
		return "" // What is asked for meanwhile comes after it.
	case phase == v1alpha1.MigrationReverted && asked:
		return "It is to become a Mattermost again."
	case phase == v1alpha1.MigrationReverted:
		return ""
	case !asked:
		return "It is to stay a ClusterInstallation."
	case phase == v1alpha1.MigrationRefused && ci.Status.ObservedGeneration != ci.Generation:
		return "It was changed after it was refused."
	case phase == v1alpha1.MigrationAwaitingFinalization && ci.Annotations[v1alpha1.FinalizeAnnotation] != "Manual":
		return "It is to end: the ClusterInstallation is to be deleted."
	default:
		return ""
	}
}

func (s *Standing) unseen(what string) {
	s.Phase, s.Error, s.Since = Asked, "", nil
	s.Message = what + " No controller has seen that yet."
}

// ended is the standing of which only the Mattermost is left.
func ended(mm *v1beta1.Mattermost) Standing {
	s := Standing{Namespace: mm.Namespace, Name: mm.Name, Phase: v1alpha1.MigrationHandingOver}
	if from := mm.Status.MigratedFrom; from != nil {
		s.Turn, s.Lossy = from.Turn, from.Lossy
	}
	if c := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionMigrated); c != nil {
		s.Since, s.Message = &c.LastTransitionTime, c.Message
		if c.Status == metav1.ConditionTrue {
			s.Phase = Migrated
		}
	}
	return s
}

// Sort has those that failed first, then those that go on, those that rest, and those
// that are through.
func Sort(all []Standing) {
	rank := func(s Standing) int {
		switch {
		case s.Failed():
			return 0
		case !s.AtRest():
			return 1
		case s.Phase != Migrated:
			return 2
		default:
			return 3
		}
	}
	slices.SortFunc(all, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
}

// Candidate is an installation that is to be migrated, as it is now.
type Candidate struct {
	Preflight Preflight
	// Standing is that of a migration that was asked for; nil for none.
	Standing *Standing
}

func (c Candidate) asked() bool { return c.Standing != nil && !c.Standing.AtRest() }

// held reports whether it only waits for the installation, which is why it changes
// nothing.
func (c Candidate) held() bool {
	return c.asked() && c.Standing.Phase == v1alpha1.MigrationWaiting && c.Preflight.Verdict == Waits
}

// InFlight counts those that are under way, or about to be.
func InFlight(all []Candidate) int {
	n := 0
	for _, c := range all {
		if c.asked() && !c.held() {
			n++
		}
	}
	return n
}

// Next are those to begin now, in order, so that no more than most are under way at a
// time. One that has to wait for its installation takes the place of none that need not:
// such are begun only when all that is left fits.
func Next(all []Candidate, most int) (begin []types.NamespacedName) {
	var ready, waiting []types.NamespacedName
	held := 0
	for _, c := range all {
		name := types.NamespacedName{Namespace: c.Preflight.Namespace, Name: c.Preflight.Name}
		switch {
		case c.held():
			held++
		case c.asked() || c.Preflight.Asked:
		case c.Preflight.Verdict == Ready:
			ready = append(ready, name)
		case c.Preflight.Verdict == Waits:
			waiting = append(waiting, name)
		}
	}
	flying := InFlight(all)
	if flying+held+len(ready)+len(waiting) <= most {
		return append(ready, waiting...)
	}
	return ready[:max(0, min(len(ready), most-flying))]
}

// Unready says why a migration cannot be finished, of those that are held before their
// end; empty if it can.
func Unready(ci *v1alpha1.ClusterInstallation, mm *v1beta1.Mattermost) string {
	s, ok := StandingOf(ci, mm)
	switch {
	case !ok:
		return "no migration was asked for: begin it with windlass migrate start"
	case s.Phase != v1alpha1.MigrationAwaitingFinalization:
		return strings.TrimSpace(string(s.Phase) + ": " + s.Message + " " + s.Error)
	case mm == nil || mm.UID != ci.Status.Migration.Mattermost || mm.DeletionTimestamp != nil:
		return "its Mattermost is gone, or another one, or about to go"
	case mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation:
		return "the Mattermost is not stable: windlass explain mattermost " + mm.Name + " says why"
	case ci.Annotations[v1beta1.PausedAnnotation] == "true":
		return "it is paused: remove the annotation " + v1beta1.PausedAnnotation
	case ci.Annotations[v1beta1.ProtectedAnnotation] == "true":
		return "it is protected: remove the annotation " + v1beta1.ProtectedAnnotation + " from the ClusterInstallation"
	default:
		return s.Error
	}
}
