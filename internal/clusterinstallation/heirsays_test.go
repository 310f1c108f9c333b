package clusterinstallation

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// TestHandOverSaysWhatHoldsItUp: what the Mattermost waits for is said where people look, and
// is an error if somebody has to do something; how far pods are is not, as it changes.
func TestHandOverSaysWhatHoldsItUp(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason         string
		stalled        bool
		message, error string // Parts of them; empty for none.
	}{
		"paused":                      {v1beta1.ReasonPaused, true, "Mattermost/chat: It waits.", "Mattermost/chat: It waits."},
		"pods that do not start":      {v1beta1.ReasonDeploymentUnavailable, true, "Mattermost/chat: It waits.", "Mattermost/chat: It waits."},
		"a load balancer":             {v1beta1.ReasonLoadBalancerPending, false, "Mattermost/chat: It waits.", ""},
		"pods that are replaced":      {v1beta1.ReasonRenewing, false, "pods are being replaced", ""},
		"pods that start":             {v1beta1.ReasonDeploymentProgressing, false, "", ""},
		"the ClusterInstallation yet": {v1beta1.ReasonHeldForMigration, false, "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ci := onMySQL()
			ci.Spec.Migrate, ci.Status.ObservedGeneration = true, ci.Generation
			mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "heir", Annotations: map[string]string{v1beta1.MigratedFromAnnotation: string(ci.UID)}}}
			mm.Status.State = v1beta1.Reconciling
			mm.Status.MigratedFrom = &v1beta1.MigratedFrom{UID: ci.UID}
			mm.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.reason, Message: "It waits."}}
			if c.stalled {
				mm.Status.Conditions = append(mm.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionStalled, Status: metav1.ConditionTrue, Reason: c.reason, Message: "It waits."})
			}
			s := Snapshot{ClusterInstallation: ci, Mattermost: mm, Views: []installation.Snapshot{{}}}
			got := course{Phase: v1alpha1.MigrationHandingOver, Mattermost: mm.UID}
			s.handOver(&got)
			if c.error != got.Error {
				t.Errorf("error %q, want %q", got.Error, c.error)
			}
			if c.message == "" && got.Message != takesOver || !strings.Contains(got.Message, c.message) || !strings.HasPrefix(got.Message, takesOver) {
				t.Errorf("message %q", got.Message)
			}
		})
	}
}

// TestDiverged: that the ClusterInstallation was edited as well does not hide that the Mattermost
// was; and once the two are the same nothing is left of it.
func TestDiverged(t *testing.T) {
	t.Parallel()
	ci := onMySQL()
	ci.Spec.Migrate, ci.Generation, ci.Status.ObservedGeneration = true, 2, 1
	s := Snapshot{ClusterInstallation: ci, Views: []installation.Snapshot{{}}}
	mm, _ := s.successor()
	version := mm.Spec.Version
	mm.UID, mm.Spec.Version = "heir", "10.6.0"
	mm.Status.MigratedFrom = &v1beta1.MigratedFrom{UID: ci.UID}
	s.Mattermost = mm
	c := course{Phase: v1alpha1.MigrationAwaitingFinalization, Mattermost: mm.UID}
	if s.handOver(&c); !slices.Equal(c.Diverged, []string{"spec.version"}) {
		t.Errorf("edited since it was made: %v", c.Diverged)
	}
	ci.Status.Migration = &v1alpha1.MigrationStatus{Diverged: c.Diverged}
	mm.Spec.Version = version
	c = course{Phase: v1alpha1.MigrationAwaitingFinalization, Mattermost: mm.UID}
	if s.handOver(&c); len(c.Diverged) > 0 {
		t.Errorf("edited back: %v", c.Diverged)
	}
}
