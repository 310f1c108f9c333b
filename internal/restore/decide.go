package restore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
)

// unservedRetry is how soon to look again for a kind that is new to the cluster, of which
// no event tells.
const unservedRetry = time.Minute

// podsRetry is how soon to look again for pods that were told to end, which are not watched.
const podsRetry = 2 * time.Second

// Decide says what to do next about one restore, and why not more. What is done follows
// from the phase on record only: a pass that goes on to the next one does nothing else.
func Decide(s Snapshot, now time.Time) plan.Plan {
	c := assess(s, now)
	p := plan.Plan{Steps: c.steps, Status: c}
	switch {
	case Ended(s.Restore):
	case !s.Served:
		p.Wake = unservedRetry
	case len(s.Pods) > 0:
		p.Wake = podsRetry
	}
	p.Why = []plan.Note{{Subject: "MattermostRestoreDB/" + s.Restore.Name, Reason: c.said.Reason, Message: c.said.Message}}
	return p
}

// course is what one pass makes of a restore, and leaves for its report.
type course struct {
	s   Snapshot
	now metav1.Time
	// next is the status to be on record after the pass.
	next  v1alpha1.MattermostRestoreDBStatus
	steps []plan.Step
	said  condition.Summary
	// warnings are what of the spec is carried out otherwise than its author may think.
	warnings []warning
}

type warning struct{ reason, message string }

func assess(s Snapshot, now time.Time) *course {
	r := s.Restore
	c := &course{s: s, now: metav1.NewTime(now.Truncate(time.Second)), next: *r.Status.DeepCopy()}
	kept := slices.Contains(r.Finalizers, v1alpha1.RestoreFinalizer)
	switch {
	case Ended(r):
		c.over(kept)
	case r.DeletionTimestamp != nil && !c.irrevocable():
		c.callOff(kept)
	case clusterinstallation.RestoreBegun(r):
		c.goOn()
	default:
		c.wait(kept)
	}
	if r.Spec.MattermostDBPassword != "" {
		c.warn(v1alpha1.ReasonPlainTextPassword, "spec.mattermostDBPassword is readable by whoever may read this object: use spec.mattermostDBSecret.")
	}
	return c
}

func (c *course) do(action plan.Action, why string) {
	c.steps = append(c.steps, plan.Step{Action: action, Why: why})
}

func (c *course) warn(reason, message string) {
	c.warnings = append(c.warnings, warning{reason, message})
}

// waits says what goes on by itself, and stalls what a person has to do something about.
func (c *course) waits(reason, message string) {
	c.said = condition.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message, Moving: true}
}

func (c *course) stalls(reason, message string) {
	c.said = condition.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message, Stalled: true}
}

// irrevocable says that the old data may be gone, so that what was begun has to be ended.
func (c *course) irrevocable() bool {
	if !clusterinstallation.RestoreBegun(c.s.Restore) {
		return false
	}
	switch c.s.Restore.Status.Phase {
	case v1alpha1.RestoreDeletingVolumes, v1alpha1.RestoreStartingDatabase, v1alpha1.RestoreSettlingDatabase:
		return true
	default:
		return false
	}
}

// callOff lets the installation go on, also when somebody else keeps the object.
func (c *course) callOff(kept bool) {
	c.waits(v1alpha1.ReasonRestoring, "It is deleted, and does nothing any more.")
	c.next.Phase, c.next.Run, c.next.State = v1alpha1.RestoreWaiting, nil, ""
	if kept {
		c.do(finalizer(c.s.Restore, false), "no data was touched")
	}
}

// over is a restore that has ended. It never begins again.
func (c *course) over(kept bool) {
	r := c.s.Restore
	if kept {
		c.do(finalizer(r, false), "it is over")
	}
	if r.Status.Phase == v1alpha1.RestoreAbandoned {
		c.stalls(v1alpha1.ReasonRestoreAbandoned, "The ClusterInstallation was deleted in the middle of the restore, which is over. Its database may be empty, or stopped: look at it before one of that name is made.")
	} else {
		c.next.Phase = v1alpha1.RestoreFinished
		c.said = condition.Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonRestored, Message: "The database has the data of the backup. The object may be deleted."}
	}
	if run := r.Status.Run; run != nil && (run.UID != r.UID || run.Generation != r.Generation) {
		c.warn(v1alpha1.ReasonRunsOnce, "The spec was changed, or the object copied, after the restore began. It does not run again: make another one, of another name.")
	}
}

// wait is a restore of which nothing was begun. It tells what would be done.
func (c *course) wait(kept bool) {
	r := c.s.Restore
	c.next.Phase, c.next.Run, c.next.State, c.next.OriginalDBReplicas = v1alpha1.RestoreWaiting, nil, "", 0
	c.next.Volumes, c.next.Confirmation = nil, ""
	if c.s.Installation != nil {
		if my, ok := MySQL(c.s.Installation, c.s.Secrets); ok {
			c.next.Volumes = c.s.volumes(my)
			c.next.Confirmation = confirmation(c.s.Installation, c.next.Volumes)
		}
	}
	if refused := c.s.refused(); refused != nil {
		if refused.Failed {
			c.next.State = v1alpha1.Failed
		}
		if refused.Passes {
			c.waits(refused.Reason, refused.Message)
		} else {
			c.stalls(refused.Reason, refused.Message)
		}
		return
	}
	choice := c.word()
	switch {
	case choice == "":
		return // It was said why.
	case !kept:
		c.waits(v1alpha1.ReasonRestoring, "The restore begins.")
		c.do(finalizer(r, true), "what is begun has to be ended")
	default:
		c.begin(choice)
	}
}

// word reads what the annotation says; empty if not that the restore may begin.
func (c *course) word() v1alpha1.ReplacedData {
	r := c.s.Restore
	said := r.Annotations[v1alpha1.ReplaceDataAnnotation]
	choice, about, _ := strings.Cut(said, "-")
	known := choice == string(v1alpha1.RetainReplacedData) || choice == string(v1alpha1.DeleteReplacedData)
	ask := fmt.Sprintf("%s To begin: kubectl -n %s annotate --overwrite mattermostrestoredb %s %s=%s-%s keeps the volumes, and %s-%s deletes them.",
		c.effect(), r.Namespace, r.Name, v1alpha1.ReplaceDataAnnotation,
		v1alpha1.RetainReplacedData, c.next.Confirmation, v1alpha1.DeleteReplacedData, c.next.Confirmation)
	switch {
	case said == "DryRun":
		c.waits(v1alpha1.ReasonDryRun, ask)
		c.said.Moving = false
	case said == "":
		c.stalls(v1alpha1.ReasonConfirmationNeeded, ask)
	case !known || about != c.next.Confirmation:
		c.stalls(v1alpha1.ReasonConfirmationOutdated, fmt.Sprintf("The annotation says %q, which is not about what there is now. %s", said, ask))
	default:
		return v1alpha1.ReplacedData(choice)
	}
	return ""
}

// effect is what a restore would do.
func (c *course) effect() string {
	var claims []string
	for _, v := range c.next.Volumes {
		claims = append(claims, fmt.Sprintf("%s (%s)", v.Claim, v.Size))
	}
	if len(claims) == 0 {
		claims = []string{"none"}
	}
	return fmt.Sprintf("Mattermost would stop, the database of ClusterInstallation/%s would be replaced by the backup, and these claims be deleted: %s.", c.s.Installation.Name, strings.Join(claims, ", "))
}

// begin puts on record what is to be destroyed, before anything is done.
func (c *course) begin(choice v1alpha1.ReplacedData) {
	r, ci := c.s.Restore, c.s.Installation
	my, _ := MySQL(ci, c.s.Secrets)
	c.next.State, c.next.OriginalDBReplicas, c.next.Phase = v1alpha1.Restoring, my.Replicas, v1alpha1.RestoreStoppingMattermost
	if choice == v1alpha1.RetainReplacedData {
		c.next.Phase = v1alpha1.RestoreKeepingVolumes
	}
	c.next.Run = &v1alpha1.RestoreRun{
		UID: r.UID, Generation: r.Generation, Installation: ci.Name, InstallationUID: ci.UID, ReplacedData: choice,
		InitBucketURL: r.Spec.InitBucketURL, RestoreSecret: r.Spec.RestoreSecret, Started: c.now,
	}
	c.waits(v1alpha1.ReasonRestoring, "The restore begins.")
}

// end goes to a last phase.
func (c *course) end(phase v1alpha1.RestorePhase, state v1alpha1.RestoreState) {
	c.next.Phase, c.next.State, c.next.Run.Ended = phase, state, &c.now
}

// goOn is a restore that is under way.
func (c *course) goOn() {
	r, ci := c.s.Restore, c.s.Installation
	if ci == nil || ci.UID != r.Status.Run.InstallationUID || ci.DeletionTimestamp != nil {
		c.end(v1alpha1.RestoreAbandoned, v1alpha1.Failed)
		c.stalls(v1alpha1.ReasonRestoreAbandoned, "The ClusterInstallation is deleted.")
		return
	}
	if _, ok := MySQL(ci, c.s.Secrets); !ok {
		c.stalls(v1alpha1.ReasonDatabaseNotManaged, fmt.Sprintf("The database of ClusterInstallation/%s is none that the MySQL operator runs any more, in the middle of the restore: set its spec.database back.", ci.Name))
		return
	}
	c.follow()
	switch r.Status.Phase {
	case v1alpha1.RestoreKeepingVolumes:
		c.keepVolumes()
	case v1alpha1.RestoreStoppingMattermost:
		c.stopMattermost()
	case v1alpha1.RestoreStoppingDatabase:
		c.stopDatabase()
	case v1alpha1.RestoreDeletingVolumes:
		c.deleteVolumes()
	case v1alpha1.RestoreStartingDatabase:
		c.startDatabase()
	case v1alpha1.RestoreSettlingDatabase:
		c.settleDatabase()
	default:
		c.startMattermost()
	}
	if r.DeletionTimestamp != nil {
		c.said.Message += " It is deleted when that is over: the old data is gone."
	}
}

// follow takes over a corrected backup for as long as the database has not started from
// another one. Everything else is as it was when it was confirmed.
func (c *course) follow() {
	r := c.s.Restore
	if r.Generation == r.Status.Run.Generation {
		return
	}
	switch r.Status.Phase {
	case v1alpha1.RestoreSettlingDatabase, v1alpha1.RestoreStartingMattermost:
		c.warn(v1alpha1.ReasonRunsOnce, "The spec was changed after the database was restored, which has no effect: make another MattermostRestoreDB.")
		return
	default:
	}
	why := invalid(r)
	if refused := c.s.checkSecrets(r.Spec.RestoreSecret); why == "" && refused != nil {
		why = refused.Message
	}
	if why != "" {
		c.warn(v1alpha1.ReasonRunsOnce, "The changed spec is not followed: "+why)
		return
	}
	c.next.Run.InitBucketURL, c.next.Run.RestoreSecret = r.Spec.InitBucketURL, r.Spec.RestoreSecret
	if r.Spec.MattermostClusterName == r.Status.Run.Installation {
		c.next.Run.Generation = r.Generation
	} else {
		c.warn(v1alpha1.ReasonRunsOnce, fmt.Sprintf("The restore was begun for ClusterInstallation/%s and goes on for it: make another MattermostRestoreDB for %s.", r.Status.Run.Installation, r.Spec.MattermostClusterName))
	}
}

// installationSays is what keeps an installation from being carried out, for a message.
func (c *course) installationSays() string {
	ready := meta.FindStatusCondition(c.s.Installation.Status.Conditions, v1beta1.ConditionReady)
	if ready == nil || ready.Reason == v1beta1.ReasonDatabaseRestoring {
		return ""
	}
	return " It says: " + ready.Message
}

func (c *course) mysql() installation.ManagedMySQL {
	my, _ := MySQL(c.s.Installation, c.s.Secrets)
	return my
}
