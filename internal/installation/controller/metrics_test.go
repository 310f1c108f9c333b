package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
)

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
	list := &v1beta1.MattermostList{Items: []v1beta1.Mattermost{
		one(v1beta1.Stable, "Stable", v1beta1.ConditionDatabaseReady, time.Hour),
		one(v1beta1.Stable, "Stable", v1beta1.ConditionDatabaseReady, time.Hour),
		one(v1beta1.Reconciling, "SecretNotFound", v1beta1.ConditionStalled, time.Minute),
		one(v1beta1.Reconciling, "SecretNotFound", v1beta1.ConditionStalled, 2*time.Minute),
	}}
	told := prometheus.CollectorFunc(func(metrics chan<- prometheus.Metric) { count(list, now, kit.TellTo(metrics)) })
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
	if err := testutil.CollectAndCompare(told, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
