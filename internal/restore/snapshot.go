// Package restore decides about restores of databases from a backup. It goes by phases, of
// which each is on record before what it allows is done, and owns nothing but the record:
// that the installation stands still is carried out by package clusterinstallation, which
// reads it. What it destroys, it destroys by the UIDs that are on record. It is pure: it
// reads no cluster, clock or file, and changes none of its arguments.
package restore

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
)

// Manager is the field manager of restores.
const Manager = "windlass-restores"

var claimKind = schema.GroupKind{Kind: "PersistentVolumeClaim"}

// Snapshot is everything that a decision about one restore may look at.
type Snapshot struct {
	// Restore is the resource as it is stored.
	Restore *v1alpha1.MattermostRestoreDB
	// Installation is the one of the name that Target returns; nil when there is none.
	Installation *v1alpha1.ClusterInstallation
	// Mattermost says that there is one of that name.
	Mattermost bool
	// Deployments are those that the installation controls.
	Deployments []appsv1.Deployment
	// Pods names those of the installation that have not ended, also ones that were told to,
	// or whose Deployment is gone: past any cache, and after the Deployments, if Destroys.
	Pods []string
	// Served says that the cluster knows databases of the MySQL operator.
	Served bool
	// Cluster is the MysqlCluster, and StatefulSet is what its operator made of it; nil
	// when there is none.
	Cluster     *unstructured.Unstructured
	StatefulSet *appsv1.StatefulSet
	// Claims are those of the replicas of the database.
	Claims []corev1.PersistentVolumeClaim
	// Secrets are facts about those of References that exist, by name.
	Secrets map[string]installation.Secret
	// Others are the other restores of the namespace.
	Others []v1alpha1.MattermostRestoreDB
}

// Ended reports whether a restore does nothing any more. One that the Mattermost Operator
// finished has as little left to do as one of ours, and so has a copy of either.
func Ended(r *v1alpha1.MattermostRestoreDB) bool {
	switch r.Status.Phase {
	case v1alpha1.RestoreFinished, v1alpha1.RestoreAbandoned:
		return true
	case "":
		return r.Status.State == v1alpha1.Finished
	default:
		return false
	}
}

// Destroys reports whether the restore is in a phase that destroys data, or leads there.
func Destroys(r *v1alpha1.MattermostRestoreDB) bool {
	switch r.Status.Phase {
	case v1alpha1.RestoreStoppingMattermost, v1alpha1.RestoreStoppingDatabase, v1alpha1.RestoreDeletingVolumes:
		return true
	default:
		return false
	}
}

// Sets names the sets of pods that an installation has, or had until its spec was changed.
func Sets(ci *v1alpha1.ClusterInstallation) []string {
	names := append(clusterinstallation.DefaultSets(ci), ci.Name, ci.Spec.BlueGreen.Blue.Name, ci.Spec.BlueGreen.Green.Name, ci.Spec.Canary.Deployment.Name)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// Target names the installation that a restore is about.
func Target(r *v1alpha1.MattermostRestoreDB) string {
	if clusterinstallation.RestoreBegun(r) {
		return r.Status.Run.Installation
	}
	return r.Spec.MattermostClusterName
}

// References names the Secrets that a decision looks at; the installation may be nil.
func References(r *v1alpha1.MattermostRestoreDB, ci *v1alpha1.ClusterInstallation) []string {
	names := []string{r.Spec.RestoreSecret, r.Spec.MattermostDBSecret}
	if run := r.Status.Run; run != nil {
		names = append(names, run.RestoreSecret)
	}
	if ci != nil {
		names = append(names, clusterinstallation.References(ci)...)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// MySQL is the database of an installation; ok is false if it is none that the MySQL
// operator runs.
func MySQL(ci *v1alpha1.ClusterInstallation, secrets map[string]installation.Secret) (my installation.ManagedMySQL, ok bool) {
	return installation.MySQLOf(clusterinstallation.Views(ci, secrets)[0].Mattermost)
}

// IsClaimOf reports whether a claim is that of a replica of the database.
func IsClaimOf(my installation.ManagedMySQL, claim string) bool {
	_, is := ordinal(my, claim)
	return is
}

func ordinal(my installation.ManagedMySQL, claim string) (n int, is bool) {
	text, is := strings.CutPrefix(claim, my.ClaimPrefix)
	n, err := strconv.Atoi(text)
	return n, is && err == nil && n >= 0 && strconv.Itoa(n) == text
}

// volumes are the claims as they are put on record, in the order of the replicas.
func (s Snapshot) volumes(my installation.ManagedMySQL) []v1alpha1.RestoreVolume {
	var all []v1alpha1.RestoreVolume
	for i := range s.Claims {
		claim := &s.Claims[i]
		size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if has, ok := claim.Status.Capacity[corev1.ResourceStorage]; ok {
			size = has
		}
		all = append(all, v1alpha1.RestoreVolume{Claim: claim.Name, UID: claim.UID, Volume: claim.Spec.VolumeName, Size: size.String()})
	}
	slices.SortFunc(all, func(a, b v1alpha1.RestoreVolume) int {
		first, _ := ordinal(my, a.Claim)
		second, _ := ordinal(my, b.Claim)
		return cmp.Compare(first, second)
	})
	return all
}

// confirmation stands for an installation and its claims: who says it has seen what would
// be destroyed, and when that is gone it means nothing any more.
func confirmation(ci *v1alpha1.ClusterInstallation, volumes []v1alpha1.RestoreVolume) string {
	hash := sha256.New()
	hash.Write([]byte(ci.UID))
	for _, uid := range recorded(volumes) {
		hash.Write([]byte("\x00" + uid))
	}
	return hex.EncodeToString(hash.Sum(nil)[:4])
}

func recorded(volumes []v1alpha1.RestoreVolume) []types.UID {
	var all []types.UID
	for _, v := range volumes {
		all = append(all, v.UID)
	}
	slices.Sort(all)
	return all
}

// claim finds one on record; nil when it is gone, whatever has its name now.
func (s Snapshot) claim(v v1alpha1.RestoreVolume) *corev1.PersistentVolumeClaim {
	i := slices.IndexFunc(s.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == v.Claim && c.UID == v.UID })
	if i < 0 {
		return nil
	}
	return &s.Claims[i]
}

// unrecorded names the claims that are not on record.
func (s Snapshot) unrecorded() []string {
	var all []string
	for i := range s.Claims {
		if !slices.ContainsFunc(s.Restore.Status.Volumes, func(v v1alpha1.RestoreVolume) bool { return v.UID == s.Claims[i].UID }) {
			all = append(all, s.Claims[i].Name)
		}
	}
	slices.Sort(all)
	return all
}

// acknowledged says that the installation stands still for this restore, and for no other.
func (s Snapshot) acknowledged() bool {
	known := s.Installation.Status.Restore
	return known != nil && known.UID == s.Restore.UID
}

// podsGone says that no Deployment of the installation has or wants pods, and none is left.
// The count of a Deployment leaves out pods that were told to end, which may still write:
// for as long as it takes them, or for ever on a node that does not answer.
func (s Snapshot) podsGone() bool {
	for i := range s.Deployments {
		d := &s.Deployments[i]
		if d.Spec.Replicas == nil || *d.Spec.Replicas != 0 || d.Status.Replicas != 0 || d.Status.ObservedGeneration != d.Generation {
			return false
		}
	}
	return len(s.Pods) == 0
}

// podsSay names the pods that are left, for a message.
func (s Snapshot) podsSay() string {
	const most = 5
	switch n := len(s.Pods); {
	case n == 0:
		return ""
	case n > most:
		return fmt.Sprintf(" Left are %s and %d more.", strings.Join(s.Pods[:most], ", "), n-most)
	default:
		return " Left are " + strings.Join(s.Pods, ", ") + "."
	}
}

// replicas is how many the MysqlCluster asks for; less than 0 when it does not say.
func (s Snapshot) replicas() int64 {
	if s.Cluster == nil {
		return -1
	}
	n, ok, err := unstructured.NestedInt64(s.Cluster.Object, "spec", "replicas")
	if !ok || err != nil {
		return -1
	}
	return n
}

// startsFrom is the backup from which the MysqlCluster starts.
func (s Snapshot) startsFrom() string {
	if s.Cluster == nil {
		return ""
	}
	url, _, _ := unstructured.NestedString(s.Cluster.Object, "spec", "initBucketURL")
	return url
}

// databaseGone says that no pod of the database is left or comes, and that the next one
// starts from the backup. A pod that ends counts as one that is there.
func (s Snapshot) databaseGone() bool {
	set := s.StatefulSet
	return s.replicas() == 0 && s.startsFrom() == s.Restore.Status.Run.InitBucketURL &&
		set != nil && set.Spec.Replicas != nil && *set.Spec.Replicas == 0 && set.Status.Replicas == 0 && set.Status.ObservedGeneration == set.Generation
}

// databaseRuns says that all replicas are as the MysqlCluster wants them.
func (s Snapshot) databaseRuns(replicas int32) bool {
	set := s.StatefulSet
	if replicas < 1 || set == nil || set.Spec.Replicas == nil || *set.Spec.Replicas != replicas || s.replicas() != int64(replicas) {
		return false
	}
	st := set.Status
	ready, _ := installation.MySQLReady(s.Cluster)
	return ready && st.ObservedGeneration == set.Generation && st.Replicas == replicas && st.ReadyReplicas == replicas && st.UpdatedReplicas == replicas
}

// forgotten says that no pod of the database is made with the backup any more.
func (s Snapshot) forgotten(url string) bool {
	if s.StatefulSet == nil {
		return false
	}
	spec := s.StatefulSet.Spec.Template.Spec
	return !slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Value == url })
	})
}
