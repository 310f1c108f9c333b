package installations

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/test/windlasstest"
)

// namespace makes a namespace for the test, and checks every status that any
// installation in it ever has.
func namespace(t testing.TB) string {
	t.Helper()
	name := clustertest.Namespace(t)
	c, err := client.NewWithWatch(clustertest.Shared(), client.Options{Scheme: windlasstest.Client(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []client.ObjectList{&v1beta1.MattermostList{}, &v1alpha1.ClusterInstallationList{}} {
		// From the first one, even if it is made before the watch is served.
		all, err := c.Watch(t.Context(), list, client.InNamespace(name), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for event := range all.ResultChan() {
				switch resource := event.Object.(type) {
				case *v1beta1.Mattermost:
					checkStatus(t, resource, mattermostKind, resource.Status)
				case *v1alpha1.ClusterInstallation:
					checkStatus(t, resource, clusterInstallationKind, clusterinstallation.StatusOf(resource.Status))
				}
			}
		}()
		t.Cleanup(func() { all.Stop(); <-done })
	}
	return name
}

var (
	mattermostKind          = v1beta1.GroupVersion.WithKind("Mattermost")
	clusterInstallationKind = v1alpha1.GroupVersion.WithKind("ClusterInstallation")
)

// checkStatus checks a status that was stored, final or not, against what tools
// that read kstatus rely on.
func checkStatus(t testing.TB, resource client.Object, kind schema.GroupVersionKind, now v1beta1.MattermostStatus) {
	t.Helper()
	if len(now.Conditions) == 0 {
		return // Not looked at yet.
	}
	is := func(kind string) bool { return meta.IsStatusConditionTrue(now.Conditions, kind) }
	ready := meta.FindStatusCondition(now.Conditions, v1beta1.ConditionReady)
	if ready == nil {
		t.Errorf("there are conditions but not Ready: %v", now.Conditions)
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
	for _, c := range now.Conditions {
		if c.Reason == "" || c.Message == "" {
			t.Errorf("%s has no reason or no message", c.Type)
		}
		if c.ObservedGeneration > resource.GetGeneration() {
			t.Errorf("%s observed generation %d of %d", c.Type, c.ObservedGeneration, resource.GetGeneration())
		}
	}
	if (now.State == v1beta1.Stable) != is(v1beta1.ConditionReady) {
		t.Errorf("state is %s and Ready is %s", now.State, ready.Status)
	}
	if got, want := computed(t, resource, kind), expected(resource, now, is); got != want {
		t.Errorf("kstatus reads %s, want %s, from %+v", got, want, now)
	}
}

func computed(t testing.TB, resource client.Object, kind schema.GroupVersionKind) status.Status {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(resource)
	if err != nil {
		t.Error(err)
		return ""
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(kind)
	result, err := status.Compute(object)
	if err != nil {
		t.Error(err)
		return ""
	}
	return result.Status
}

func expected(resource client.Object, now v1beta1.MattermostStatus, is func(string) bool) status.Status {
	switch {
	case resource.GetDeletionTimestamp() != nil:
		return status.TerminatingStatus
	case now.ObservedGeneration != resource.GetGeneration():
		return status.InProgressStatus
	case is(v1beta1.ConditionStalled):
		return status.FailedStatus
	case is(v1beta1.ConditionReady):
		return status.CurrentStatus
	default:
		return status.InProgressStatus
	}
}
