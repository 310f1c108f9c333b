package restore

import (
	"fmt"
	"strings"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

// keepVolumes comes before anything stops: the MySQL operator itself deletes claims of
// replicas when there are to be none, and what cannot be kept is known while all runs.
func (c *course) keepVolumes() {
	for i := range c.next.Volumes {
		v := &c.next.Volumes[i]
		if claim := c.s.claim(*v); claim != nil && v.Volume == "" {
			v.Volume = claim.Spec.VolumeName // It was not bound yet.
		}
		if v.Volume != "" && !v.Kept && c.s.claim(*v) != nil {
			c.do(KeepVolume{Volume: v.Volume, Claim: v.UID}, "its data is to be kept")
		}
	}
	c.waits(v1alpha1.ReasonRestoring, "The volumes with the old data are kept from being deleted with their claims.")
	if len(c.steps) == 0 {
		c.next.Phase = v1alpha1.RestoreStoppingMattermost
	}
}

func (c *course) stopMattermost() {
	ci := c.s.Installation
	if other := ci.Status.Restore; other != nil && other.UID != c.s.Restore.UID {
		// It was begun at the same time, and nothing is stopped for this one. What it
		// was confirmed for will be gone.
		c.wait(true)
		return
	}
	c.waits(v1alpha1.ReasonRestoring, "The pods of Mattermost have to go."+c.s.podsSay()+c.installationSays())
	if c.s.acknowledged() && c.s.podsGone() {
		c.next.Phase = v1alpha1.RestoreStoppingDatabase
	}
}

// stands says that nothing of the installation runs, and that it does so for this restore.
func (c *course) stands() bool {
	return c.s.acknowledged() && c.s.podsGone() && c.s.databaseGone()
}

func (c *course) stopDatabase() {
	c.waits(v1alpha1.ReasonRestoring, fmt.Sprintf("The pods of StatefulSet/%s, which is the database, have to go.", c.mysql().StatefulSet)+c.s.podsSay()+c.installationSays())
	if c.stands() {
		c.next.Phase = v1alpha1.RestoreDeletingVolumes
	}
}

// deleteVolumes is where data is destroyed: that nothing runs, and that the backup can be
// read, is looked at in the same pass.
func (c *course) deleteVolumes() {
	run := c.s.Restore.Status.Run
	refused := c.s.checkSecrets(run.RestoreSecret)
	switch {
	case refused != nil:
		c.stalls(refused.Reason, refused.Message)
		return
	case !c.stands():
		c.waits(v1alpha1.ReasonRestoring, "The claims with the old data are deleted when no pod of the installation and its database runs."+c.s.podsSay()+c.installationSays())
		return
	}
	left := c.deleteRecorded()
	if others := c.s.unrecorded(); len(left) == 0 && len(others) > 0 {
		c.stalls(v1alpha1.ReasonUnrecordedVolume, fmt.Sprintf("These claims were made since the restore began, and are not deleted by it: %s. The database would run with what they hold, and not with the backup: delete them if nothing in them is needed.", strings.Join(others, ", ")))
		return
	}
	c.waits(v1alpha1.ReasonRestoring, "The claims with the old data have to go: "+strings.Join(left, ", ")+".")
	if len(left) > 0 {
		return
	}
	if wantsCredentials(c.s.Restore.Spec) && !run.CredentialsWritten {
		c.waits(v1alpha1.ReasonRestoring, "The credentials of the backup are written to the Secret of the database.")
		c.do(WriteCredentials{Secret: c.mysql().Secret, From: c.s.Restore.Spec.MattermostDBSecret}, "they come with the backup")
		return
	}
	c.waits(v1alpha1.ReasonRestoring, "The claims with the old data are gone.")
	c.next.Phase = v1alpha1.RestoreStartingDatabase
}

// deleteRecorded deletes those claims that are on record, and names what is left of them.
// What has the name of one and another UID is not among them.
func (c *course) deleteRecorded() []string {
	var left []string
	for i := range c.next.Volumes {
		v := &c.next.Volumes[i]
		claim := c.s.claim(*v)
		if claim == nil {
			continue
		}
		left = append(left, v.Claim)
		if c.s.Restore.Status.Run.ReplacedData == v1alpha1.RetainReplacedData && claim.Spec.VolumeName != "" && (!v.Kept || v.Volume != claim.Spec.VolumeName) {
			v.Volume = claim.Spec.VolumeName
			c.do(KeepVolume{Volume: v.Volume, Claim: v.UID}, "its data is to be kept")
			continue
		}
		if claim.DeletionTimestamp == nil {
			c.do(plan.Delete{Ref: plan.RefOf(claimKind, claim.Namespace, claim.Name), UID: v.UID}, "its data is replaced by the backup")
		}
	}
	return left
}

func (c *course) startDatabase() {
	my, run := c.mysql(), c.s.Restore.Status.Run
	said := fmt.Sprintf("The database starts from the backup: look at the pods of StatefulSet/%s, and at the logs of their init container, if that takes long.", my.StatefulSet)
	if refused := c.s.checkSecrets(run.RestoreSecret); refused != nil {
		said = refused.Message
	}
	c.waits(v1alpha1.ReasonRestoring, said)
	if c.s.acknowledged() && c.s.startsFrom() == run.InitBucketURL && c.s.databaseRuns(max(1, my.Replicas)) {
		c.next.Phase = v1alpha1.RestoreSettlingDatabase
	}
}

// settleDatabase has the database run as it did before, so that it needs neither the backup
// nor its Secret any more. Mattermost comes after, as it may have to migrate the data.
func (c *course) settleDatabase() {
	my, run := c.mysql(), c.s.Restore.Status.Run
	c.waits(v1alpha1.ReasonRestoring, "The database has the data of the backup, and restarts without its address.")
	same := my.InitBucketURL == run.InitBucketURL
	if c.s.acknowledged() && c.s.startsFrom() == my.InitBucketURL && (same || c.s.forgotten(run.InitBucketURL)) && c.s.databaseRuns(my.Replicas) {
		c.next.Phase = v1alpha1.RestoreStartingMattermost
	}
}

func (c *course) startMattermost() {
	ci := c.s.Installation
	c.waits(v1alpha1.ReasonRestoring, "The database is restored, and Mattermost starts."+c.installationSays())
	if !c.s.acknowledged() && ci.Status.State == v1alpha1.Stable && ci.Status.ObservedGeneration == ci.Generation {
		c.end(v1alpha1.RestoreFinished, v1alpha1.Finished)
	}
}
