package controller

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit"
)

// announce tells when an installation has become as wanted, and when it needs a
// person. Progress in between is in the status, where it can be watched.
func announce(before, after []metav1.Condition) []kit.Event {
	var events []kit.Event
	for _, kind := range []string{v1beta1.ConditionReady, v1beta1.ConditionReleased, v1beta1.ConditionMigrated} {
		if c := became(before, after, kind); c != nil {
			events = append(events, becameSo(c))
		}
	}
	if c := became(before, after, v1beta1.ConditionStalled); c != nil {
		events = append(events, stalled(c))
	}
	if c := became(before, after, v1beta1.ConditionSpecWarnings); c != nil {
		events = append(events, stalled(c))
	}
	return events
}

// proceeded tells of each phase of a migration.
func proceeded(before *v1alpha1.MigrationStatus, after v1alpha1.ClusterInstallationStatus) []kit.Event {
	now := after.Migration
	if now == nil || before != nil && before.Phase == now.Phase {
		return nil
	}
	c := meta.FindStatusCondition(after.Conditions, v1beta1.ConditionMigrated)
	if c == nil {
		return nil
	}
	if now.Phase == v1alpha1.MigrationRefused || now.Phase == v1alpha1.MigrationInterrupted {
		return []kit.Event{stalled(c)}
	}
	return []kit.Event{becameSo(c)}
}

// became returns the condition if it is True now and was not, or was so for
// another reason.
func became(before, after []metav1.Condition, kind string) *metav1.Condition {
	now := meta.FindStatusCondition(after, kind)
	if now == nil || now.Status != metav1.ConditionTrue {
		return nil
	}
	was := meta.FindStatusCondition(before, kind)
	if was != nil && was.Status == metav1.ConditionTrue && was.Reason == now.Reason {
		return nil
	}
	return now
}

func becameSo(c *metav1.Condition) kit.Event {
	return kit.Event{Reason: c.Reason, Action: "Reconcile", Message: c.Message}
}

func stalled(c *metav1.Condition) kit.Event {
	return kit.Event{Warning: true, Reason: c.Reason, Action: "Reconcile", Message: c.Message}
}
