package controller

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// phaseChanged tells where the run is now.
func phaseChanged(run *v1alpha1.NodeRotation) kit.Event {
	phase := run.Status.Phase
	message := run.Status.OutcomeMessage
	if message == "" {
		message = fmt.Sprintf("%d nodes outdated, %d replaced", run.Status.Outdated, run.Status.Replaced)
	}
	return kit.Event{Warning: phase == v1alpha1.Failed || phase == v1alpha1.RollingBack || phase == v1alpha1.Aborting, Reason: string(phase), Action: "Rotate", Message: message}
}

// watched are the reasons for which somebody may want to act: they are told where people
// look, on the run and on what is waited for.
var watched = []string{v1alpha1.ReasonBudgetNever, v1alpha1.ReasonTwoBudgets, v1alpha1.ReasonBarePod, v1alpha1.ReasonLocalVolume, v1alpha1.ReasonUnhealthyPod, v1alpha1.ReasonStuckTerminating, v1alpha1.ReasonNoCapacity, v1alpha1.ReasonProviderProblem, v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonUnsupported, v1alpha1.ReasonGateFailed}

func waitsBegun(before, after *v1alpha1.NodeRotation) []kit.Event {
	var events []kit.Event
	for _, w := range after.Status.Waits {
		known := slices.ContainsFunc(before.Status.Waits, func(was v1alpha1.Wait) bool {
			return was.Subject == w.Subject && was.Reason == w.Reason && was.For == w.For
		})
		if known || !slices.Contains(watched, w.Reason) {
			continue
		}
		message := w.Subject + ": " + w.Message
		if w.For != "" {
			message = w.Subject + " waits for " + w.For + ": " + w.Message
		}
		events = append(events, kit.Event{Warning: true, Reason: w.Reason, Action: "Rotate", Message: message})
		if about := objectOf(w.For); about != nil {
			events = append(events, kit.Event{Warning: true, Reason: w.Reason, Action: "Rotate", Message: message, About: about})
		}
	}
	return events
}

// objectOf is the object that a wait names as Kind/namespace/name; nil if it is no kind of
// which events are read.
func objectOf(name string) runtime.Object {
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return nil
	}
	meta := metav1.ObjectMeta{Namespace: parts[1], Name: parts[2]}
	switch parts[0] {
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: parts[0]}, ObjectMeta: meta}
	case "Pod":
		return &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: parts[0]}, ObjectMeta: meta}
	default:
		return nil
	}
}

// stepDone tells, on the node, what was done with it.
func stepDone(step plan.Step) *kit.Event {
	node := func(name string) runtime.Object {
		// Events about nodes are found by a UID that is the name, as the kubelet writes them.
		return &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	switch a := step.Action.(type) {
	case rotation.Mark:
		if a.Cordon == nil {
			return nil
		}
		if *a.Cordon {
			return &kit.Event{Reason: "NodeCordoned", Action: "Cordon", Message: step.Why, About: node(a.Node)}
		}
		return &kit.Event{Reason: "NodeUncordoned", Action: "Uncordon", Message: step.Why, About: node(a.Node)}
	case rotation.Evict:
		if !a.Force {
			return nil
		}
		return &kit.Event{Warning: true, Reason: "PodForced", Action: "Delete", Message: "Pod " + a.Namespace + "/" + a.Name + " was deleted past its budget: " + step.Why, About: node(a.Node)}
	case rotation.End:
		return &kit.Event{Reason: "MachineEnded", Action: "End", Message: fmt.Sprintf("machine %s of NodeGroup %s is ended: %s", a.Machine, a.Group, step.Why)}
	default:
		return nil
	}
}
