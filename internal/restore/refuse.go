package restore

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
)

// refusal is why a restore is not begun. Nothing was touched.
type refusal struct {
	Reason, Message string
	// Failed says that the Mattermost Operator's clients are to be told that it failed: a
	// person has to change something about the spec or the installation.
	Failed bool
	// Passes says that waiting may help.
	Passes bool
}

// refused goes from what is wrong with the spec by itself to what passes; nil for nothing.
// The explicit word comes last, so that whoever is asked for it is not refused after.
func (s Snapshot) refused() *refusal {
	if why := invalid(s.Restore); why != "" {
		return &refusal{Reason: v1alpha1.ReasonInvalidRestore, Message: why, Failed: true}
	}
	for _, check := range []func() *refusal{s.checkInstallation, s.checkDatabase, s.checkOthers} {
		if r := check(); r != nil {
			return r
		}
	}
	return s.checkSecrets(s.Restore.Spec.RestoreSecret)
}

// invalid says what is wrong with the spec by itself; empty for nothing.
func invalid(r *v1alpha1.MattermostRestoreDB) string {
	spec := r.Spec
	scheme, path, isURL := strings.Cut(spec.InitBucketURL, "://")
	switch {
	case spec.MattermostClusterName == "":
		return "spec.mattermostClusterName: set it to the name of the ClusterInstallation."
	case spec.InitBucketURL == "":
		return "spec.initBucketURL: set it to the backup, such as s3://bucket/backup.xbackup.gz; without it the database would start empty."
	case !isURL || scheme == "" || path == "":
		return "spec.initBucketURL: it is no URL: use one such as s3://bucket/backup.xbackup.gz."
	case spec.RestoreSecret == "":
		return "spec.restoreSecret: set it to the Secret with which the backup is read; without it the database would start empty."
	case spec.MattermostDBSecret != "" && givesCredentials(spec):
		return "spec.mattermostDBSecret: it takes the place of mattermostDBUser, mattermostDBPassword and mattermostDBName: remove those."
	default:
		return ""
	}
}

// givesCredentials reports whether the spec itself has any of them.
func givesCredentials(spec v1alpha1.MattermostRestoreDBSpec) bool {
	return spec.MattermostDBUser != "" || spec.MattermostDBPassword != "" || spec.MattermostDBName != ""
}

// wantsCredentials reports whether those of the backup are to be written.
func wantsCredentials(spec v1alpha1.MattermostRestoreDBSpec) bool {
	return spec.MattermostDBSecret != "" || givesCredentials(spec)
}

func (s Snapshot) checkInstallation() *refusal {
	ci, name := s.Installation, s.Restore.Spec.MattermostClusterName
	switch {
	case ci == nil && s.Mattermost:
		return &refusal{Reason: v1alpha1.ReasonInstallationMigrated, Failed: true, Message: fmt.Sprintf("%s is a Mattermost, of which the database is not restored this way: restore it with the tools of the database.", name)}
	case ci == nil:
		return &refusal{Reason: v1alpha1.ReasonInstallationNotFound, Failed: true, Message: fmt.Sprintf("There is no ClusterInstallation %s in this namespace: make it, or correct spec.mattermostClusterName.", name)}
	case s.Mattermost || ci.Spec.Migrate:
		return &refusal{Reason: v1alpha1.ReasonInstallationMigrating, Passes: true, Message: fmt.Sprintf("ClusterInstallation/%s becomes a Mattermost, or comes back from one: set its spec.migrate to false, and it goes on once there is no Mattermost of that name.", name)}
	}
	if why := standsInTheWay(ci); why != "" {
		return &refusal{Reason: v1alpha1.ReasonInstallationNotReady, Passes: true, Message: fmt.Sprintf("ClusterInstallation/%s %s", name, why)}
	}
	return nil
}

// standsInTheWay says why an installation cannot be stopped now; empty if it can.
func standsInTheWay(ci *v1alpha1.ClusterInstallation) string {
	ready := meta.FindStatusCondition(ci.Status.Conditions, v1beta1.ConditionReady)
	reason := ""
	if ready != nil {
		reason = ready.Reason
	}
	switch {
	case ci.DeletionTimestamp != nil:
		return "is being deleted."
	case ci.Annotations[v1beta1.PausedAnnotation] == "true":
		return "is paused, so that its pods would not go: remove its annotation " + v1beta1.PausedAnnotation + "."
	case ci.Annotations[v1beta1.ReleasedAnnotation] == "true":
		return "is handed back to the Mattermost Operator: remove its annotation " + v1beta1.ReleasedAnnotation + " to have it taken over again."
	case reason == v1beta1.ReasonUpdateJobRunning, reason == v1beta1.ReasonPreUpgradeRunning,
		// Ready leaves out the canary.
		ci.Spec.Canary.Enable && meta.IsStatusConditionPresentAndEqual(ci.Status.Conditions, v1beta1.ConditionUpdateJobSucceeded, metav1.ConditionUnknown):
		return "is being upgraded, and a Job has the database: it goes on when that is over."
	case ci.Status.Error != "" && !slices.Contains(harmless, reason):
		return "cannot be carried out as it is, so that its pods would not go: " + ci.Status.Error
	default:
		return ""
	}
}

// harmless are reasons for which an installation with an error can be stopped all the same.
// A restore may be the way out of some of them.
var harmless = []string{
	v1beta1.ReasonApplyFailed, v1beta1.ReasonRolledBack, v1beta1.ReasonUpdateJobFailed,
	v1beta1.ReasonPreUpgradeFailed, v1beta1.ReasonPreUpgradeNotFound, v1beta1.ReasonDeploymentUnavailable,
}

func (s Snapshot) checkDatabase() *refusal {
	my, ok := MySQL(s.Installation, s.Secrets)
	switch {
	case !ok:
		return &refusal{Reason: v1alpha1.ReasonDatabaseNotManaged, Failed: true, Message: fmt.Sprintf("The database of ClusterInstallation/%s is none that the MySQL operator runs: restore it with the tools of the database.", s.Installation.Name)}
	case my.Replicas < 1:
		return &refusal{Reason: v1alpha1.ReasonDatabaseStopped, Failed: true, Message: fmt.Sprintf("ClusterInstallation/%s says that its database has no replicas, perhaps because a restore by the Mattermost Operator was not finished: set its spec.database.replicas to the number that is wanted.", s.Installation.Name)}
	case !s.Served:
		return &refusal{Reason: v1alpha1.ReasonDatabaseNotFound, Passes: true, Message: "This cluster does not know the kind MysqlCluster: install the MySQL operator of Presslabs."}
	case s.Cluster == nil || s.StatefulSet == nil:
		return &refusal{Reason: v1alpha1.ReasonDatabaseNotFound, Passes: true, Message: fmt.Sprintf("There is no StatefulSet %s, which the MySQL operator makes of MysqlCluster/%s: look at both.", my.StatefulSet, my.Cluster)}
	default:
		return nil
	}
}

// checkSecrets looks at those that the restore reads, and at the one that it writes.
func (s Snapshot) checkSecrets(restoreSecret string) *refusal {
	spec, keys := s.Restore.Spec, installation.MySQLKeys
	absent := func(format string, args ...any) *refusal {
		return &refusal{Reason: v1alpha1.ReasonRestoreSecretNotFound, Passes: true, Message: fmt.Sprintf(format, args...)}
	}
	if _, exists := s.Secrets[restoreSecret]; !exists {
		return absent("spec.restoreSecret: there is no Secret %q: make it, with what the MySQL operator needs to read the backup.", restoreSecret)
	}
	if !wantsCredentials(spec) {
		return nil
	}
	if my, _ := MySQL(s.Installation, s.Secrets); !my.Generated {
		return &refusal{Reason: v1alpha1.ReasonCredentialsNotOurs, Failed: true, Message: fmt.Sprintf("The Secret %q of the database is yours, and not written to: put the backup's user, password and name there, and remove them from this spec.", my.Secret)}
	} else if _, exists := s.Secrets[my.Secret]; !exists {
		return absent("There is no Secret %q, which opens the database: restore it.", my.Secret)
	}
	for _, key := range []string{keys.User, keys.Password, keys.Database} {
		if name := spec.MattermostDBSecret; name != "" && !s.Secrets[name].HasValue(key) {
			return absent("spec.mattermostDBSecret: a Secret %q with the key %s is needed.", name, key)
		}
	}
	return nil
}

// checkOthers: one after the other.
func (s Snapshot) checkOthers() *refusal {
	for i := range s.Others {
		other := &s.Others[i]
		if clusterinstallation.RestoreBegun(other) && !Ended(other) && other.Status.Run.InstallationUID == s.Installation.UID {
			return &refusal{Reason: v1alpha1.ReasonAnotherRestore, Passes: true, Message: fmt.Sprintf("MattermostRestoreDB/%s restores the database of ClusterInstallation/%s: this one can begin when that is over.", other.Name, s.Installation.Name)}
		}
	}
	return nil
}
