package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
)

var (
	installationsDesc = prometheus.NewDesc("windlass_installations",
		"Installations by their state, and the reason of their condition Ready. Each replica of Windlass counts all.",
		[]string{"state", "reason"}, nil)
	clusterInstallationsDesc = prometheus.NewDesc("windlass_clusterinstallations",
		"ClusterInstallations by their state, and the reason of their condition Ready. Each replica of Windlass counts all.",
		[]string{"state", "reason"}, nil)
	oldestClusterInstallationDesc = prometheus.NewDesc("windlass_clusterinstallation_condition_oldest_seconds",
		"How long the condition has been True on the ClusterInstallation on which it has been so the longest.",
		[]string{"condition"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_installation_condition_oldest_seconds",
		"How long the condition has been True on the installation on which it has been so the longest.",
		[]string{"condition"}, nil)
)

// count counts the installations.
func count(list *v1beta1.MattermostList, now time.Time, tell kit.Tell) {
	t := newTally()
	for i := range list.Items {
		t.add(string(list.Items[i].Status.State), list.Items[i].Status.Conditions, now)
	}
	t.tell(installationsDesc, oldestDesc, tell)
}

// countClusterInstallations counts those of the older API.
func countClusterInstallations(list *v1alpha1.ClusterInstallationList, now time.Time, tell kit.Tell) {
	t := newTally()
	for i := range list.Items {
		t.add(string(list.Items[i].Status.State), list.Items[i].Status.Conditions, now)
	}
	t.tell(clusterInstallationsDesc, oldestClusterInstallationDesc, tell)
}

// tally is how many there are, by state and reason.
type tally struct {
	counts map[[2]string]int
	oldest kit.Oldest
}

func newTally() tally {
	return tally{counts: map[[2]string]int{}, oldest: kit.NewOldest(v1beta1.ConditionReconciling, v1beta1.ConditionStalled)}
}

func (t tally) add(state string, conditions []metav1.Condition, now time.Time) {
	key := [2]string{state, ""}
	if ready := meta.FindStatusCondition(conditions, v1beta1.ConditionReady); ready != nil {
		key[1] = ready.Reason
	}
	t.counts[key]++
	t.oldest.Add(conditions, now)
}

func (t tally) tell(counted, oldest *prometheus.Desc, tell kit.Tell) {
	for key, n := range t.counts {
		tell(counted, float64(n), key[0], key[1])
	}
	t.oldest.Tell(oldest, tell)
}
