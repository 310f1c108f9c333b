package installations

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/devcluster/clustertest"
)

// namespace makes a namespace for the test, and checks every status that any
// Mattermost in it ever has.
func namespace(t testing.TB) string {
	t.Helper()
	name := clustertest.Namespace(t)
	c, err := client.NewWithWatch(clustertest.Shared(), client.Options{Scheme: admin(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	// From the first one, even if it is made before the watch is served.
	all, err := c.Watch(t.Context(), &v1beta1.MattermostList{}, client.InNamespace(name), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range all.ResultChan() {
			if mm, ok := event.Object.(*v1beta1.Mattermost); ok {
				checkStatus(t, mm)
			}
		}
	}()
	t.Cleanup(func() { all.Stop(); <-done })
	return name
}

// checkStatus checks a status that was stored, final or not, against what tools
// that read kstatus rely on.
func checkStatus(t testing.TB, mm *v1beta1.Mattermost) {
	t.Helper()
	if len(mm.Status.Conditions) == 0 {
		return // Not looked at yet.
	}
	is := func(kind string) bool { return meta.IsStatusConditionTrue(mm.Status.Conditions, kind) }
	ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady)
	if ready == nil {
		t.Errorf("there are conditions but not Ready: %v", mm.Status.Conditions)
		return
	}
	if is(v1beta1.ConditionReconciling) && is(v1beta1.ConditionStalled) {
		t.Errorf("Reconciling and Stalled are both True")
	}
	if (is(v1beta1.ConditionReconciling) || is(v1beta1.ConditionStalled)) && is(v1beta1.ConditionReady) {
		t.Errorf("Ready is True beside Reconciling or Stalled")
	}
	if ready.Status == metav1.ConditionFalse && !is(v1beta1.ConditionReconciling) && !is(v1beta1.ConditionStalled) {
		t.Errorf("Ready is False and neither Reconciling nor Stalled says why")
	}
	for _, c := range mm.Status.Conditions {
		if c.Reason == "" || c.Message == "" {
			t.Errorf("%s has no reason or no message", c.Type)
		}
		if c.ObservedGeneration > mm.Generation {
			t.Errorf("%s observed generation %d of %d", c.Type, c.ObservedGeneration, mm.Generation)
		}
	}
	if (mm.Status.State == v1beta1.Stable) != is(v1beta1.ConditionReady) {
		t.Errorf("state is %s and Ready is %s", mm.Status.State, ready.Status)
	}
	if got, want := computed(t, mm), expected(mm, is); got != want {
		t.Errorf("kstatus reads %s, want %s, from %+v", got, want, mm.Status)
	}
}

func computed(t testing.TB, mm *v1beta1.Mattermost) status.Status {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(mm)
	if err != nil {
		t.Error(err)
		return ""
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Mattermost"))
	result, err := status.Compute(object)
	if err != nil {
		t.Error(err)
		return ""
	}
	return result.Status
}

func expected(mm *v1beta1.Mattermost, is func(string) bool) status.Status {
	switch {
	case mm.DeletionTimestamp != nil:
		return status.TerminatingStatus
	case mm.Status.ObservedGeneration != mm.Generation:
		return status.InProgressStatus
	case is(v1beta1.ConditionStalled):
		return status.FailedStatus
	case is(v1beta1.ConditionReady):
		return status.CurrentStatus
	default:
		return status.InProgressStatus
	}
}
