package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
)

var (
	installationsDesc = prometheus.NewDesc("windlass_installations",
		"Installations by their state, and the reason of their condition Ready. Each replica of Windlass counts all.",
		[]string{"state", "reason"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_installation_condition_oldest_seconds",
		"How long the condition has been True on the installation on which it has been so the longest.",
		[]string{"condition"}, nil)
)

// count counts the installations.
func count(list *v1beta1.MattermostList, now time.Time, tell kit.Tell) {
	counts := map[[2]string]int{}
	oldest := kit.NewOldest(v1beta1.ConditionReconciling, v1beta1.ConditionStalled)
	for i := range list.Items {
		status := &list.Items[i].Status
		key := [2]string{string(status.State), ""}
		if ready := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady); ready != nil {
			key[1] = ready.Reason
		}
		counts[key]++
		oldest.Add(status.Conditions, now)
	}
	for key, n := range counts {
		tell(installationsDesc, float64(n), key[0], key[1])
	}
	oldest.Tell(oldestDesc, tell)
}
