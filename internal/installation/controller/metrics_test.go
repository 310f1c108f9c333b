package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
)

// fleet is a cache with these installations.
type fleet struct {
	client.Reader
	items []v1beta1.Mattermost
}

func (f fleet) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1beta1.MattermostList).Items = f.items
	return nil
}

func TestInstallationsAreCounted(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	one := func(state v1beta1.RunningState, reason, condition string, since time.Duration) v1beta1.Mattermost {
		mm := v1beta1.Mattermost{}
		mm.Status.State = state
		mm.Status.Conditions = []metav1.Condition{
			{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason},
			{Type: condition, Status: metav1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-since))},
		}
		return mm
	}
	s := states{run: t.Context(), clock: testclock.NewFakePassiveClock(now), cache: fleet{items: []v1beta1.Mattermost{
		one(v1beta1.Stable, "Stable", v1beta1.ConditionDatabaseReady, time.Hour),
		one(v1beta1.Stable, "Stable", v1beta1.ConditionDatabaseReady, time.Hour),
		one(v1beta1.Reconciling, "SecretNotFound", v1beta1.ConditionStalled, time.Minute),
		one(v1beta1.Reconciling, "SecretNotFound", v1beta1.ConditionStalled, 2*time.Minute),
	}}}
	const want = `
# HELP windlass_installation_condition_oldest_seconds How long the condition has been True on the installation on which it has been so the longest.
# TYPE windlass_installation_condition_oldest_seconds gauge
windlass_installation_condition_oldest_seconds{condition="Reconciling"} 0
windlass_installation_condition_oldest_seconds{condition="Stalled"} 120
# HELP windlass_installations Installations by their state, and the reason of their condition Ready. Each replica of Windlass counts all.
# TYPE windlass_installations gauge
windlass_installations{reason="SecretNotFound",state="reconciling"} 2
windlass_installations{reason="Stable",state="stable"} 2
`
	if err := testutil.CollectAndCompare(s, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
