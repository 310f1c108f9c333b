package clusterinstallation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// onMySQL is an installation with a managed database of two replicas.
func onMySQL() *v1alpha1.ClusterInstallation {
	return &v1alpha1.ClusterInstallation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "installation", Generation: 1},
		Spec: v1alpha1.ClusterInstallationSpec{
			Version: "10.5.2", IngressName: "chat.example.com", Database: v1alpha1.Database{Replicas: 2},
			Minio: v1alpha1.Minio{ExternalURL: "s3.example.com", Secret: "fs"},
		},
	}
}

func restoreIn(uid types.UID, phase v1alpha1.RestorePhase) v1alpha1.MattermostRestoreDB {
	r := v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(uid), UID: uid}}
	r.Status = v1alpha1.MattermostRestoreDBStatus{Phase: phase, Run: &v1alpha1.RestoreRun{
		UID: uid, Installation: "chat", InstallationUID: "installation", InitBucketURL: "s3://backups/monday", RestoreSecret: "backup",
	}}
	return r
}

// standing is what an installation is like under a restore.
type standing struct {
	// Pods and Database are replicas; Backup is where the database starts from.
	Pods, Database int64
	Backup, Secret string
	// Restore is the one on record.
	Restore string
}

// play carries out the installation under restores, until nothing is left to do.
func (c *cluster) play(restores ...v1alpha1.MattermostRestoreDB) (standing, *v1alpha1.ClusterInstallation) {
	for range 10 {
		s := c.snapshot()
		s.Restores = restores
		p := Decide(s, somewhen)
		outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
		for _, step := range p.Steps {
			c.do(step, &outcome)
		}
		c.ci = Report(s, p, outcome, somewhen)
		c.rollOut()
	}
	var got standing
	for ref, object := range c.objects {
		switch ref.Kind {
		case "Deployment":
			got.Pods, _, _ = unstructured.NestedInt64(object.Object, "spec", "replicas")
		case "MysqlCluster":
			got.Database, _, _ = unstructured.NestedInt64(object.Object, "spec", "replicas")
			got.Backup, _, _ = unstructured.NestedString(object.Object, "spec", "initBucketURL")
			got.Secret, _, _ = unstructured.NestedString(object.Object, "spec", "initBucketSecretName")
		}
	}
	if c.ci.Status.Restore != nil {
		got.Restore = string(c.ci.Status.Restore.UID)
	}
	return got, c.ci
}

// TestStandsStill: what runs in each phase of a restore, and that the spec stays.
func TestStandsStill(t *testing.T) {
	t.Parallel()
	asSpec := standing{Pods: 2, Database: 2}
	for phase, want := range map[v1alpha1.RestorePhase]standing{
		v1alpha1.RestoreWaiting:            asSpec,
		v1alpha1.RestoreKeepingVolumes:     asSpec,
		v1alpha1.RestoreStoppingMattermost: {Database: 2, Restore: "one"},
		v1alpha1.RestoreStoppingDatabase:   {Backup: "s3://backups/monday", Secret: "backup", Restore: "one"},
		v1alpha1.RestoreDeletingVolumes:    {Backup: "s3://backups/monday", Secret: "backup", Restore: "one"},
		v1alpha1.RestoreStartingDatabase:   {Database: 2, Backup: "s3://backups/monday", Secret: "backup", Restore: "one"},
		v1alpha1.RestoreSettlingDatabase:   {Database: 2, Restore: "one"},
		v1alpha1.RestoreStartingMattermost: asSpec,
		v1alpha1.RestoreFinished:           asSpec,
		v1alpha1.RestoreAbandoned:          asSpec,
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			c := newCluster(onMySQL())
			c.play()
			before := c.ci.Spec.DeepCopy()
			got, ci := c.play(restoreIn("one", phase))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, &ci.Spec); diff != "" {
				t.Errorf("the spec was changed:\n%s", diff)
			}
			ready := meta.FindStatusCondition(ci.Status.Conditions, v1beta1.ConditionReady)
			if stands := ready.Reason == v1beta1.ReasonDatabaseRestoring && ci.Status.State == v1alpha1.Reconciling; stands != (want.Restore != "") {
				t.Errorf("state %s, %+v", ci.Status.State, ready)
			}
		})
	}
}

// TestOneRestoreAtATime: the one that is on record stays so, whatever comes; else the oldest
// is taken. One of another installation, or a copy, is none.
func TestOneRestoreAtATime(t *testing.T) {
	t.Parallel()
	c := newCluster(onMySQL())
	c.play()
	one, two := restoreIn("one", v1alpha1.RestoreStoppingMattermost), restoreIn("two", v1alpha1.RestoreStoppingDatabase)
	one.CreationTimestamp = metav1.NewTime(somewhen)
	if got, _ := c.play(two, one); got.Restore != "two" || got.Database != 0 {
		t.Errorf("the older one is not taken: %+v", got)
	}
	one.CreationTimestamp = metav1.Time{}
	two.CreationTimestamp = metav1.NewTime(somewhen)
	if got, _ := c.play(one, two); got.Restore != "two" {
		t.Errorf("it was left for an older one: %+v", got)
	}
	copied, others := restoreIn("copy", v1alpha1.RestoreStoppingDatabase), restoreIn("others", v1alpha1.RestoreStoppingDatabase)
	copied.Status.Run.UID, others.Status.Run.InstallationUID = "two", "another"
	if got, _ := c.play(copied, others); got.Restore != "" || got.Pods != 2 {
		t.Errorf("nobody asks, and it stands still: %+v", got)
	}
}

// TestNoUpgradeWhileRestoring: another version that is asked for comes when pods run again,
// with its Job.
func TestNoUpgradeWhileRestoring(t *testing.T) {
	t.Parallel()
	c := newCluster(onMySQL())
	c.play()
	one := restoreIn("one", v1alpha1.RestoreStartingDatabase)
	c.ci.Spec.Version = "10.6.0"
	c.ci.Generation++
	jobs := func() (n int) {
		for ref := range c.objects {
			if ref.Kind == "Job" {
				n++
			}
		}
		return n
	}
	if c.play(one); c.rolledOut["chat"] != "mattermost/mattermost-enterprise-edition:10.5.2" || jobs() != 0 {
		t.Errorf("image %s, %d Jobs", c.rolledOut["chat"], jobs())
	}
	one.Status.Phase = v1alpha1.RestoreStartingMattermost
	if c.play(one); !strings.HasSuffix(c.rolledOut["chat"], ":10.6.0") || len(c.jobsDone) != 1 {
		t.Errorf("image %s, Jobs %v", c.rolledOut["chat"], c.jobsDone)
	}
}
