package installation

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// external is an installation without problems.
func external() Snapshot {
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "uid"}}
	mm.Spec = v1beta1.MattermostSpec{
		Version: "10.6.0", Ingress: &v1beta1.Ingress{Enabled: true, Host: "h"},
		Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
		FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "u", Bucket: "b", Secret: "fs"}},
	}
	mm.Status.Shape = v1beta1.ShapeStandard
	return Snapshot{Mattermost: mm, Secrets: map[string]Secret{"db": {Keys: []string{keyConnection}}, "fs": {Keys: []string{keyAccess, keySecret}}}}
}

func actions(p plan.Plan) []string {
	var all []string
	for _, step := range p.Steps {
		all = append(all, step.Action.String())
	}
	return all
}

// TestMigrationIsLeftToEnd: once the database is being migrated, no backup is taken
// any more and no Job is removed, whatever becomes of the backup's Job or template.
func TestMigrationIsLeftToEnd(t *testing.T) {
	t.Parallel()
	s := external()
	s.Mattermost.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
	s.Deployment = &appsv1.Deployment{}
	s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: "old:1"}}
	mm := Default(s.Mattermost)
	r, err := Render(mm, s.Secrets, RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	migrate, err := UpdateJob(mm, find(r.Objects, s.ref(deploymentKind, "chat")))
	if err != nil {
		t.Fatal(err)
	}
	job := func(name, app string) batchv1.Job {
		return batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{appLabel: app, installationLabel: "chat"}}}
	}
	backup := &batchv1.CronJob{}
	backup.Spec.JobTemplate.Spec.TTLSecondsAfterFinished = new(int32(0))
	for title, world := range map[string]struct {
		template *batchv1.CronJob
		jobs     []batchv1.Job
	}{
		"the template is gone":        {nil, []batchv1.Job{job(migrate.GetName(), updateJobLabel), job("chat-pre-upgrade-1", preUpgradeLabel)}},
		"the template was changed":    {backup, []batchv1.Job{job(migrate.GetName(), updateJobLabel), job("chat-pre-upgrade-1", preUpgradeLabel)}},
		"the backup's Job was tidied": {backup, []batchv1.Job{job(migrate.GetName(), updateJobLabel)}},
	} {
		s.PreUpgrade, s.Jobs = world.template, world.jobs
		for _, action := range actions(Decide(s, somewhen)) {
			if strings.Contains(action, "Job/") {
				t.Errorf("%s: %s", title, action)
			}
		}
	}
	made, err := preUpgradeJob(mm, backup, "new:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, has, _ := unstructured.NestedInt64(made.Object, "spec", "ttlSecondsAfterFinished"); has {
		t.Error("the backup's Job may be tidied away before it was seen to succeed")
	}
}

// TestLostCredentials: a database whose Secret is gone gets no new one.
func TestLostCredentials(t *testing.T) {
	t.Parallel()
	s := external()
	s.Mattermost.Spec.Database = v1beta1.Database{}
	if all := actions(Decide(s, somewhen)); !slices.Contains(all, "generate Secret/chat-mysql-root-password") {
		t.Fatalf("a new installation gets no Secret: %v", all)
	}
	cluster := &unstructured.Unstructured{}
	cluster.SetGroupVersionKind(mysqlClusterKind)
	cluster.SetLabels(map[string]string{resourceLabel: "chat"})
	s.Companions = map[plan.Ref]*unstructured.Unstructured{s.ref(mysqlClusterKind.GroupKind(), mysqlName("chat")): cluster}
	p := Decide(s, somewhen)
	if all := actions(p); slices.Contains(all, "generate Secret/chat-mysql-root-password") {
		t.Errorf("the Secret of a database that exists is made anew: %v", all)
	}
	status := Report(s, p, plan.Outcome{}, somewhen).Status
	if !strings.Contains(status.Error, "chat-mysql-root-password") {
		t.Errorf("the status does not name it: %s", status.Error)
	}
}

// TestDataIsLetGoInSpiteOfProblems: what the Mattermost Operator owns with the
// installation is not deleted with it, also if nothing else can be done.
func TestDataIsLetGoInSpiteOfProblems(t *testing.T) {
	t.Parallel()
	s := external()
	s.Mattermost.Spec.LicenseSecret = "nowhere"
	former := []metav1.ManagedFieldsEntry{{Manager: Former, Operation: metav1.ManagedFieldsOperationUpdate}}
	s.Live = []inventory.Live{{Ref: s.ref(claimKind, "chat"), UID: "claim", Controller: "uid", Managed: former}}
	p := Decide(s, somewhen)
	if all := actions(p); !slices.Contains(all, "disown PersistentVolumeClaim/chat") {
		t.Errorf("the claim would be deleted with the installation: %v", all)
	}
	s.Mattermost.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
	if all := actions(Decide(s, somewhen)); slices.Contains(all, "disown PersistentVolumeClaim/chat") {
		t.Errorf("it is let go against the data policy: %v", all)
	}
}

// TestConflictsAreLookedAtAgain: nothing tells of a foreign object that goes.
func TestConflictsAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := external()
	s.Live = []inventory.Live{{Ref: s.ref(serviceKind, "chat"), UID: "x", Controller: "somebody"}}
	if p := Decide(s, somewhen); p.Wake == 0 || p.Wake > companionRetry {
		t.Errorf("woken after %s", p.Wake)
	}
}

// TestAutoscaledWakes: an autoscaler rests while there are no pods, so that who wants some
// again says how many; after that the number is the autoscaler's.
func TestAutoscaledWakes(t *testing.T) {
	t.Parallel()
	for live, want := range map[int32]bool{0: true, 5: false} {
		s := external()
		s.Mattermost.Spec.Replicas, s.Autoscaled = new(int32(2)), true
		s.Deployment = &appsv1.Deployment{}
		s.Deployment.Spec.Replicas = &live
		s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: image(Default(s.Mattermost))}}
		says := false
		for _, step := range Decide(s, time.Time{}).Steps {
			apply, ok := step.Action.(plan.Apply)
			if !ok || plan.RefTo(apply.Object) != s.ref(deploymentKind, "chat") || apply.Manager != "" {
				continue
			}
			n, _, _ := unstructured.NestedInt64(apply.Object.Object, "spec", "replicas")
			says = n == 2
		}
		if says != want {
			t.Errorf("with %d pods the replicas are applied: %v", live, says)
		}
	}
}
