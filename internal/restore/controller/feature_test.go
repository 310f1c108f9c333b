package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/restore"
)

func volume(policy corev1.PersistentVolumeReclaimPolicy) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	v.Spec.PersistentVolumeReclaimPolicy, v.Spec.ClaimRef = policy, &corev1.ObjectReference{UID: "claim"}
	return v
}

// TestKeepVolume changes only the volume of the very claim.
func TestKeepVolume(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		volume *corev1.PersistentVolume
		action restore.KeepVolume
		want   corev1.PersistentVolumeReclaimPolicy
		fails  bool
	}{
		"deleted so far":       {volume(corev1.PersistentVolumeReclaimDelete), restore.KeepVolume{Volume: "pv", Claim: "claim"}, corev1.PersistentVolumeReclaimRetain, false},
		"kept already":         {volume(corev1.PersistentVolumeReclaimRetain), restore.KeepVolume{Volume: "pv", Claim: "claim"}, corev1.PersistentVolumeReclaimRetain, false},
		"of another claim":     {volume(corev1.PersistentVolumeReclaimDelete), restore.KeepVolume{Volume: "pv", Claim: "another"}, corev1.PersistentVolumeReclaimDelete, true},
		"there is none so far": {volume(corev1.PersistentVolumeReclaimDelete), restore.KeepVolume{Volume: "absent", Claim: "claim"}, corev1.PersistentVolumeReclaimDelete, true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			cluster := fake.NewClientBuilder().WithObjects(c.volume).Build()
			if err := keep(t.Context(), cluster, c.action); (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			var got corev1.PersistentVolume
			if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(c.volume), &got); err != nil || got.Spec.PersistentVolumeReclaimPolicy != c.want {
				t.Errorf("policy %s, %v", got.Spec.PersistentVolumeReclaimPolicy, err)
			}
		})
	}
}

// TestWriteCredentials writes once, and no other key.
func TestWriteCredentials(t *testing.T) {
	t.Parallel()
	target := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "target"}, Data: map[string][]byte{"ROOT_PASSWORD": []byte("r"), "PASSWORD": []byte("old"), "USER": []byte("mmuser")}}
	source := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "source"}, Data: map[string][]byte{"PASSWORD": []byte("new"), "USER": []byte("mmuser"), "DATABASE": []byte("d")}}
	cluster := fake.NewClientBuilder().WithObjects(target, source).Build()
	r := &v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: v1alpha1.MattermostRestoreDBSpec{MattermostDBSecret: "source"}}
	version := ""
	for range 2 {
		if err := writeCredentials(t.Context(), cluster, r, restore.WriteCredentials{Secret: "target", From: "source"}); err != nil {
			t.Fatal(err)
		}
		var got corev1.Secret
		if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(target), &got); err != nil {
			t.Fatal(err)
		}
		if string(got.Data["PASSWORD"]) != "new" || string(got.Data["ROOT_PASSWORD"]) != "r" || string(got.Data["DATABASE"]) != "d" || len(got.Data) != 4 {
			t.Errorf("keys %d", len(got.Data))
		}
		if version != "" && version != got.ResourceVersion {
			t.Error("it was written twice")
		}
		version = got.ResourceVersion
	}
	if err := writeCredentials(t.Context(), cluster, r, restore.WriteCredentials{Secret: "absent", From: "source"}); err == nil {
		t.Error("a Secret was made up")
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	stalled := &v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "one"}}
	stalled.Status.Phase = v1alpha1.RestoreWaiting
	stalled.Status.Conditions = []metav1.Condition{
		{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonConfirmationNeeded},
		{Type: v1beta1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConfirmationNeeded, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))},
	}
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(stalled).Build()
	const want = `
# HELP windlass_restores MattermostRestoreDBs by their phase, and the reason of their condition Ready. Each replica of Windlass counts all.
# TYPE windlass_restores gauge
windlass_restores{phase="Waiting",reason="ConfirmationNeeded"} 1
# HELP windlass_restore_condition_oldest_seconds How long the condition has been True on the MattermostRestoreDB on which it has been so the longest, of those that are not over.
# TYPE windlass_restore_condition_oldest_seconds gauge
windlass_restore_condition_oldest_seconds{condition="Reconciling"} 0
windlass_restore_condition_oldest_seconds{condition="Stalled"} 60
`
	tell := func(list *v1alpha1.MattermostRestoreDBList, tell kit.Tell) { count(list, now, tell) }
	if err := testutil.CollectAndCompare(kit.Gauges(t.Context(), cache, tell, restoresDesc, oldestDesc), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// TestObservePods: of the installation, also of sets that its spec no longer has, and a Job that
// migrates its database; not those that have ended, nor what is of others.
func TestObservePods(t *testing.T) {
	t.Parallel()
	pod := func(name, set string, phase corev1.PodPhase) *corev1.Pod {
		labels := map[string]string{"app": "mattermost", "v1alpha1.mattermost.com/installation": set, "v1alpha1.mattermost.com/resource": set}
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels}, Status: corev1.PodStatus{Phase: phase}}
	}
	job := func(name string, owner types.UID, conditions ...batchv1.JobCondition) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, OwnerReferences: []metav1.OwnerReference{{Kind: "ClusterInstallation", UID: owner, Controller: new(true)}}},
			Status:     batchv1.JobStatus{Conditions: conditions},
		}
	}
	other := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.ClusterInstallation{ObjectMeta: other("chat")},
		&v1alpha1.ClusterInstallation{ObjectMeta: other("chat-canary")}, pod("canary-of-that-name", "chat-canary", corev1.PodRunning),
		&v1beta1.Mattermost{ObjectMeta: other("chat-blue")}, pod("blue-of-that-name", "chat-blue", corev1.PodRunning),
		pod("own", "chat", corev1.PodRunning), pod("ended", "chat", corev1.PodSucceeded), pod("green", "chat-green", corev1.PodRunning), pod("others", "other", corev1.PodRunning),
		job("migrates", "uid"), job("of-others", "other"), job("done", "uid", batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}),
	).Build()
	s := restore.Snapshot{
		Restore:      &v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}},
		Installation: &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "uid"}},
	}
	if err := (&feature{live: cluster, cache: cluster}).observePods(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Job/migrates", "green", "own"}; !slices.Equal(s.Pods, want) {
		t.Errorf("pods %v, want %v", s.Pods, want)
	}
}
