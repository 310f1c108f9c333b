package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
)

var (
	installationsDesc = prometheus.NewDesc("windlass_installations",
		"Installations by their state, and the reason of their condition Ready. Each replica of Windlass counts all.",
		[]string{"state", "reason"}, nil)
	oldestDesc = prometheus.NewDesc("windlass_installation_condition_oldest_seconds",
		"How long the condition has been True on the installation on which it has been so the longest.",
		[]string{"condition"}, nil)
)

// states counts the installations when it is asked, from the cache.
type states struct {
	run   context.Context //nolint:containedctx // A scrape comes with none; what it reads ends with the run.
	cache client.Reader
	clock clock.PassiveClock
}

// collectTimeout bounds a scrape: reading the cache takes milliseconds.
const collectTimeout = 5 * time.Second

func (states) Describe(descs chan<- *prometheus.Desc) {
	descs <- installationsDesc
	descs <- oldestDesc
}

func (s states) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(s.run, collectTimeout)
	defer cancel()
	var list v1beta1.MattermostList
	if err := s.cache.List(ctx, &list); err != nil {
		return // The cache is not filled yet.
	}
	counts := map[[2]string]int{}
	oldest := map[string]time.Duration{v1beta1.ConditionReconciling: 0, v1beta1.ConditionStalled: 0}
	for i := range list.Items {
		status := &list.Items[i].Status
		key := [2]string{string(status.State), ""}
		if ready := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady); ready != nil {
			key[1] = ready.Reason
		}
		counts[key]++
		for condition, age := range oldest {
			if c := meta.FindStatusCondition(status.Conditions, condition); c != nil && c.Status == metav1.ConditionTrue {
				oldest[condition] = max(age, s.clock.Since(c.LastTransitionTime.Time))
			}
		}
	}
	for key, n := range counts {
		metrics <- prometheus.MustNewConstMetric(installationsDesc, prometheus.GaugeValue, float64(n), key[0], key[1])
	}
	for condition, age := range oldest {
		metrics <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age.Seconds(), condition)
	}
}
