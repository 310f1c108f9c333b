package clusterinstallation

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// Prepare makes the Mattermost that a ClusterInstallation is to become, or has it follow
// the ClusterInstallation while that is still the one that is carried out.
type Prepare struct {
	// Mattermost has a resource version if it is there.
	Mattermost *v1beta1.Mattermost
}

func (p Prepare) String() string { return "prepare Mattermost/" + p.Mattermost.Name }

// Retire deletes one of the two resources, and nothing that it owns, provided that
// the API server shows no object of which it is an owner, and that the other is as it was
// decided about: if it was edited, it may not be stable any more.
type Retire struct {
	Ref plan.Ref
	UID types.UID
	// ResourceVersion is the one that was decided about, as is the heir's.
	ResourceVersion string
	// Heir is the other resource.
	Heir        plan.Ref
	HeirUID     types.UID
	HeirVersion string
}

func (r Retire) String() string { return "retire " + r.Ref.String() }

// course is what a migration asks of one pass, and leaves for its report.
type course struct {
	// Phase is to be on record after the pass; empty for no migration.
	Phase v1alpha1.MigrationPhase
	// Mattermost is the UID of the one that takes over.
	Mattermost types.UID
	// Turn is the one of which the phase is.
	Turn  int64
	Lossy []string
	// Diverged are the fields of the Mattermost's spec that a revert takes back.
	Diverged []string
	// Stands says that nothing is done for the ClusterInstallation in this pass.
	Stands bool
	// Superseded says that a Mattermost which another one became has its place.
	Superseded bool
	// Begins says that the migration may begin, and Ready that the hand-over may, if
	// nothing is left to do before.
	Begins, Ready bool
	// Message says where it stands, and Error what holds it up.
	Message, Error string
	// Action brings it forward; nil for none. Why is its reason.
	Action plan.Action
	Why    string
	// Views are what there is to report of, unless it stands.
	Views []view
}

// madeFrom reports whether a Mattermost is the one that a ClusterInstallation is to become.
func (s Snapshot) madeFrom() bool {
	return s.Mattermost != nil && s.ClusterInstallation.UID != "" && installation.MigratedFrom(s.Mattermost) == s.ClusterInstallation.UID
}

// recorded is what the status says of a migration.
func (s Snapshot) recorded() v1alpha1.MigrationStatus {
	if m := s.ClusterInstallation.Status.Migration; m != nil {
		return *m
	}
	return v1alpha1.MigrationStatus{}
}

// Predecessor is the Mattermost whose objects the ClusterInstallation takes back; empty
// for none. That one is known not to write, or nothing is done.
func (s Snapshot) Predecessor() types.UID {
	switch recorded := s.recorded(); {
	case recorded.Phase == v1alpha1.MigrationReverting, recorded.Phase == v1alpha1.MigrationInterrupted:
		return recorded.Mattermost
	case recorded.Phase == v1alpha1.MigrationPreparing && s.madeFrom() && !installation.Acts(s.Mattermost):
		return s.Mattermost.UID
	default:
		return ""
	}
}

// course goes by the phase on record. A phase is on record before what it allows is done:
// in the pass that puts it there, nothing is done for the ClusterInstallation.
func (s Snapshot) course() course {
	ci, recorded := s.ClusterInstallation, s.recorded()
	c := course{Phase: recorded.Phase, Mattermost: recorded.Mattermost, Turn: recorded.Turn, Lossy: recorded.Lossy, Diverged: recorded.Diverged, Message: recorded.Status, Error: recorded.Error}
	handedOver := c.Phase == v1alpha1.MigrationHandingOver || c.Phase == v1alpha1.MigrationAwaitingFinalization
	if ci.DeletionTimestamp != nil {
		c.Stands = handedOver
		return c
	}
	c.Message, c.Error, c.Diverged = "", "", nil
	if s.superseded() {
		return s.supersede(c)
	}
	switch {
	case handedOver:
		s.handOver(&c)
	case c.Phase == v1alpha1.MigrationReverting:
		s.takeBack(&c)
	case c.Phase == v1alpha1.MigrationInterrupted && ci.Spec.Migrate:
		c.Message = "The Mattermost was deleted before the end, and the ClusterInstallation is carried out again. Set spec.migrate to false, and then to true to begin anew."
	case c.Phase == v1alpha1.MigrationInterrupted:
		c.revert(s.Mattermost)
	case !ci.Spec.Migrate:
		s.unasked(&c)
	case c.Phase == v1alpha1.MigrationPreparing:
		s.prepare(&c)
	default:
		s.begin(&c)
	}
	return c
}

// superseded reports whether another ClusterInstallation of this name became a Mattermost.
func (s Snapshot) superseded() bool {
	if s.Mattermost == nil || s.Mattermost.DeletionTimestamp != nil || s.madeFrom() || installation.MigratedFrom(s.Mattermost) == "" {
		return false
	}
	recorded := s.recorded()
	return recorded.Phase != v1alpha1.MigrationReverting || recorded.Mattermost != s.Mattermost.UID
}

func (s Snapshot) supersede(c course) course {
	c.Mattermost, c.Lossy = s.Mattermost.UID, nil
	if s.ClusterInstallation.Annotations[v1alpha1.RevertAnnotation] == "true" {
		c.revert(s.Mattermost)
		return c
	}
	c.Phase, c.Stands, c.Superseded = "", true, true
	c.Message = fmt.Sprintf("Mattermost/%s was made from a ClusterInstallation of this name and has its place, so that this one is not carried out: delete it, and whatever makes it. "+
		"To go back to it instead, annotate it with %s=true.", s.Mattermost.Name, v1alpha1.RevertAnnotation)
	return c
}

// unasked is the course when spec.migrate is false, and nothing was handed over.
func (s Snapshot) unasked(c *course) {
	switch {
	case s.madeFrom():
		c.Mattermost = s.Mattermost.UID
		c.revert(s.Mattermost)
	case c.Phase == v1alpha1.MigrationReverted:
		c.Message = "The migration was reverted: the ClusterInstallation has its objects back, and the Mattermost is gone."
	default:
		*c = course{}
	}
}

// next begins another turn, which comes after all that either of the two knows of.
func (c *course) next(mm *v1beta1.Mattermost) {
	if mm != nil && mm.Status.MigratedFrom != nil {
		c.Turn = max(c.Turn, mm.Status.MigratedFrom.Turn)
	}
	c.Turn++
}

func (c *course) revert(mm *v1beta1.Mattermost) {
	c.Phase, c.Stands = v1alpha1.MigrationReverting, true
	c.next(mm)
	c.Message = "The ClusterInstallation takes its objects back."
}

// begin waits for what has to be so before anything is made.
func (s Snapshot) begin(c *course) {
	c.Mattermost = ""
	_, c.Lossy = s.successor()
	if why := s.refused(); why != "" {
		c.Phase, c.Message, c.Error = v1alpha1.MigrationRefused, unsafe+why, why
		return
	}
	if why := s.unready(); why != "" {
		c.Phase, c.Message = v1alpha1.MigrationWaiting, why
		// spec.migrate alone leaves nothing to do; whether all is well is looked at again
		// before anything is handed over.
		c.Begins = s.standsBy() == "" && s.ClusterInstallation.Status.State == v1alpha1.Stable
		return
	}
	c.Phase, c.Message = v1alpha1.MigrationPreparing, beingMade
}

// What is said for as long as it is so is one text, so that it is written once.
const (
	beingMade        = "The Mattermost is being made; nothing is handed over yet."
	beginsWhenStable = "The migration begins when the installation is stable."

	takesOver = "The Mattermost takes the objects over; the ClusterInstallation is deleted when that one has them all and is stable."
)

// prepare goes on until the Mattermost is what the ClusterInstallation says, and on record
// as one that waits for it.
func (s Snapshot) prepare(c *course) {
	wanted, lossy := s.successor()
	mm := s.Mattermost
	c.Lossy = lossy
	why := s.refused()
	switch {
	case why != "" && !s.madeFrom():
		c.Phase, c.Message, c.Error = v1alpha1.MigrationRefused, unsafe+why, why
	case why != "":
		c.Message, c.Error = unsafe+why, why
	case s.unready() != "":
		c.Message = s.unready()
	case mm == nil:
		c.Message, c.Action, c.Why = beingMade, Prepare{wanted}, beingMade
	case mm.DeletionTimestamp != nil:
		c.Message = "The Mattermost is being deleted; another one is made when it is gone."
	case !equality.Semantic.DeepEqual(mm.Spec, wanted.Spec):
		follows := mm.DeepCopy()
		follows.Spec = wanted.Spec
		c.Message, c.Action = "The Mattermost follows what was changed here; nothing is handed over yet.", Prepare{follows}
		c.Why = c.Message
	case mm.Status.MigratedFrom == nil, installation.Acts(mm):
		c.Message = beingMade
	default:
		c.Ready, c.Mattermost, c.Message = true, mm.UID, "The Mattermost is made; the objects are handed over once nothing is left to do here."
	}
}

// handOver waits until the Mattermost has everything, and is as it should be.
func (s Snapshot) handOver(c *course) {
	ci, mm := s.ClusterInstallation, s.Mattermost
	c.Stands, c.Phase = true, v1alpha1.MigrationHandingOver
	if !ci.Spec.Migrate {
		c.revert(s.Mattermost)
		return
	}
	if mm == nil || mm.DeletionTimestamp != nil || mm.UID != c.Mattermost {
		c.Phase, c.Message = v1alpha1.MigrationInterrupted, "The Mattermost was deleted before the end; the ClusterInstallation takes its objects back."
		return
	}
	left := s.controlledBy(ci.UID)
	switch {
	case !installation.Acts(mm), len(left) > 0, mm.Status.State != v1beta1.Stable, mm.Status.ObservedGeneration != mm.Generation:
		c.Message = takesOver + heirSays(mm)
		if meta.IsStatusConditionTrue(mm.Status.Conditions, v1beta1.ConditionStalled) {
			c.Error = plan.Bounded(strings.TrimSpace(heirSays(mm)), messageLimit)
		}
	case ci.Annotations[v1beta1.PausedAnnotation] == "true":
		c.Message = "The Mattermost has the objects; the ClusterInstallation is not deleted while it is paused."
	case ci.Annotations[v1alpha1.FinalizeAnnotation] == "Manual":
		c.Phase = v1alpha1.MigrationAwaitingFinalization
		c.Message = fmt.Sprintf("The Mattermost has the objects and is stable. Set the annotation %s to Now to have the ClusterInstallation deleted, or spec.migrate to false to go back.", v1alpha1.FinalizeAnnotation)
	default:
		c.Message, c.Why = takesOver, "The Mattermost has the objects and is stable."
		c.Action = Retire{
			Ref: resourceRef("ClusterInstallation", ci.Namespace, ci.Name), UID: ci.UID, ResourceVersion: ci.ResourceVersion,
			Heir: resourceRef("Mattermost", mm.Namespace, mm.Name), HeirUID: mm.UID, HeirVersion: mm.ResourceVersion,
		}
	}
	if mm.Status.Error != "" && c.Action == nil {
		c.Error = plan.Bounded("Mattermost/"+mm.Name+": "+mm.Status.Error, messageLimit)
		if len(left) > 0 {
			c.Message = fmt.Sprintf("%s Of the objects %d are left, the first is %s.", c.Message, len(left), left[0])
		}
	}
	s.compare(c)
}

// compare says what was edited in the ClusterInstallation since the Mattermost took over, and in
// what the two differ by now: which of them was edited is not known then.
func (s Snapshot) compare(c *course) {
	if edited := s.edited(); edited != "" {
		c.Message += " " + edited
	}
	if installation.Acts(s.Mattermost) {
		c.Diverged = s.diverged()
	}
}

// heirSays is what the Mattermost says of itself, if it waits for more than a moment; empty
// if not. How far the pods are, which changes all the time, is left to its own status.
func heirSays(mm *v1beta1.Mattermost) string {
	ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady)
	switch {
	case ready == nil, ready.Status == "True":
		return ""
	case ready.Reason == v1beta1.ReasonHeldForMigration, ready.Reason == v1beta1.ReasonDeploymentProgressing:
		return ""
	case ready.Reason == v1beta1.ReasonRenewing:
		return " Its pods are being replaced; the condition Ready of Mattermost/" + mm.Name + " says how far that is."
	default:
		return " Mattermost/" + mm.Name + ": " + ready.Message
	}
}

// edited says of a change to the ClusterInstallation that it has no effect any more.
func (s Snapshot) edited() string {
	if s.ClusterInstallation.Generation == s.ClusterInstallation.Status.ObservedGeneration {
		return ""
	}
	return "What is changed in the ClusterInstallation now has no effect: change the Mattermost, or set spec.migrate to false, which takes this one's spec."
}

// takeBack waits until the Mattermost is on record as one that does nothing any more.
func (s Snapshot) takeBack(c *course) {
	c.Message = "The ClusterInstallation takes its objects back."
	if mm := s.Mattermost; mm != nil && mm.UID == c.Mattermost && !installation.Stopped(mm, c.Turn) {
		c.Stands = true
		c.Message = "The Mattermost has not stopped yet; then the ClusterInstallation takes its objects back." + heirSays(mm)
	}
}

// settle ends the course, by what is left to do for the ClusterInstallation itself.
func (s Snapshot) settle(c course, left int) course {
	if c.Stands || left > 0 || s.ClusterInstallation.DeletionTimestamp != nil {
		return c
	}
	mm := s.Mattermost
	switch {
	case c.Begins:
		c.Phase, c.Message = v1alpha1.MigrationPreparing, beingMade
	case c.Ready:
		c.Phase, c.Message, c.Stands = v1alpha1.MigrationHandingOver, takesOver, true
		c.next(mm)
	case c.Phase != v1alpha1.MigrationReverting || len(s.controlledBy(c.Mattermost)) > 0:
	case mm != nil && mm.UID == c.Mattermost && mm.DeletionTimestamp == nil:
		ci := s.ClusterInstallation
		c.Why = "The ClusterInstallation has its objects back."
		c.Action = Retire{
			Ref: resourceRef("Mattermost", mm.Namespace, mm.Name), UID: mm.UID, ResourceVersion: mm.ResourceVersion,
			Heir: resourceRef("ClusterInstallation", ci.Namespace, ci.Name), HeirUID: ci.UID, HeirVersion: ci.ResourceVersion,
		}
	case mm == nil || mm.UID != c.Mattermost:
		c.Phase, c.Message = v1alpha1.MigrationReverted, "The migration was reverted: the ClusterInstallation has its objects back, and the Mattermost is gone."
	}
	return c
}

// controlledBy are the objects that one of the two resources controls.
func (s Snapshot) controlledBy(uid types.UID) []plan.Ref {
	var all []plan.Ref
	for _, live := range s.Views[0].Live {
		if uid != "" && live.Controller == uid {
			all = append(all, live.Ref)
		}
	}
	slices.SortFunc(all, func(a, b plan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// unsafe begins the status of a migration that is refused, as clients know it.
const unsafe = "Migration to Mattermost cannot be performed safely: "

// refused says why an installation cannot become a Mattermost, and what to do.
func (s Snapshot) refused() string {
	ci, mm := s.ClusterInstallation, s.Mattermost
	switch {
	case ci.Spec.BlueGreen.Enable:
		return "ClusterInstallation resource with BlueGreen enabled cannot be converted to Mattermost resource. Disable BlueGreen to enable migration."
	case ci.Spec.Canary.Enable:
		return "ClusterInstallation resource with Canary enabled cannot be converted to Mattermost resource. Disable Canary to enable migration."
	case mm != nil && !s.madeFrom():
		return "Mattermost/" + mm.Name + " exists, and was not made from this ClusterInstallation. Delete one of the two, or give one another name."
	case ci.Annotations[v1beta1.ReleasedAnnotation] == "true":
		return "The installation is handed back to the Mattermost Operator. Remove the annotation " + v1beta1.ReleasedAnnotation + " to enable migration."
	default:
		return ""
	}
}

// standsBy says what other than the installation's own state the migration waits for; empty
// for nothing.
func (s Snapshot) standsBy() string {
	ci := s.ClusterInstallation
	switch {
	case ci.Annotations[v1beta1.PausedAnnotation] == "true":
		return "The migration begins when the installation is no longer paused."
	case s.unfinished() != "":
		return "The migration begins when MattermostRestoreDB/" + s.unfinished() + " is over; its condition Ready says what it waits for."
	case ci.Status.Restore != nil:
		return "The migration begins when MattermostRestoreDB/" + ci.Status.Restore.Name + " is over."
	default:
		return ""
	}
}

// unready says what the migration waits for; empty for nothing.
func (s Snapshot) unready() string {
	ci := s.ClusterInstallation
	if why := s.standsBy(); why != "" {
		return why
	}
	if ci.Status.State == v1alpha1.Stable && ci.Status.ObservedGeneration == ci.Generation {
		return ""
	}
	message := beginsWhenStable
	if ready := meta.FindStatusCondition(ci.Status.Conditions, v1beta1.ConditionReady); ready != nil && ready.Status != "True" {
		message += " " + ready.Message
	}
	return plan.Bounded(message, messageLimit)
}

func resourceRef(kind, namespace, name string) plan.Ref {
	group := v1beta1.GroupVersion.Group
	if kind == "ClusterInstallation" {
		group = v1alpha1.GroupVersion.Group
	}
	return plan.Ref{Group: group, Kind: kind, Namespace: namespace, Name: name}
}
