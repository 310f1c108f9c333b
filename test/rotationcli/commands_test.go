package rotationcli

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/simulated"
)

func TestWithoutController(t *testing.T) {
	c := installed(t)
	if err := c.DeleteAllOf(t.Context(), &v1alpha1.NodeGroup{}); err != nil {
		t.Fatal(err)
	}
	want(t, 1, []string{"there are no NodeGroups", "kind: NodeGroup"}, "plan")
	grouped(t, c, "nobody", 1)
	want(t, 1, []string{"no controller has looked at", "windlass run"}, "plan", "nobody")
	want(t, 1, []string{"begins as soon as one does", "kubectl delete noderotation"}, "start", "nobody", "--name", "nobody")
	var runs v1alpha1.NodeRotationList
	if err := c.List(t.Context(), &runs); err != nil {
		t.Fatal(err)
	}
	for i := range runs.Items {
		if runs.Items[i].Spec.DryRun {
			t.Errorf("%s was not removed", runs.Items[i].Name)
		}
	}
	if err := c.Delete(t.Context(), &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}); err != nil {
		t.Fatal(err)
	}
	want(t, 1, []string{"there is no NodeRotation missing"}, "status", "missing")
	want(t, 2, []string{"at most one NAME"}, "status", "a", "b")
}

func TestPlanStartStatus(t *testing.T) {
	c := controlled(t)
	grouped(t, c, "web", 2)
	out := want(t, 0, nil, "plan", "web", "-o", "json")
	var plan struct {
		Outdated int
		Nodes    []v1alpha1.PlannedNode
		Blockers []v1alpha1.Wait
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		t.Fatal(err)
	}
	if plan.Outdated != 2 || len(plan.Nodes) != 2 || len(plan.Blockers) != 0 || plan.Nodes[0].Reason == "" {
		t.Errorf("the plan is %+v", plan)
	}
	if n := outdated(t, c, "web"); n != 2 {
		t.Errorf("a plan changed nodes: %d are outdated", n)
	}
	want(t, 1, []string{"no NodeGroup of this name", "web", "taken back"}, "start", "wbe", "--name", "typo")
	if err := c.Get(t.Context(), types.NamespacedName{Name: "typo"}, &v1alpha1.NodeRotation{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the run that could not begin: %v", err)
	}
	want(t, 0, []string{"NodeRotation/web Succeeded", "0 outdated"}, "start", "web", "--name", "web", "--max-surge", "2", "--wait")
	if n := outdated(t, c, "web"); n != 0 {
		t.Errorf("%d nodes are outdated still", n)
	}
	want(t, 0, []string{"NodeRotation web: Succeeded", "2 Replaced"}, "status", "web")
	want(t, 0, []string{"Nothing to do"}, "plan", "web")
	want(t, 1, []string{"is over (Succeeded)"}, "pause", "web")
}

// TestPauseAndAbort: a paused run takes no node, and one that is aborted gives back the
// node that a budget keeps.
func TestPauseAndAbort(t *testing.T) {
	c := controlled(t)
	grouped(t, c, "held", 2)
	budget := hold(t, c, "held")
	held := "PodDisruptionBudget/" + budget.Namespace + "/held"
	want(t, 3, []string{"Blockers", "DisruptionBudgetNever", held}, "plan", "held")
	want(t, 3, []string{"Blockers"}, "start", "held", "--dry-run")
	want(t, 0, []string{"windlass rotate watch held"}, "start", "held", "--name", "held", "--max-surge", "1")
	eventually(t, c, "held", func(run *v1alpha1.NodeRotation) bool { return run.Status.Open > 0 && len(run.Status.Waits) > 0 })
	want(t, 0, nil, "pause", "held")
	eventually(t, c, "held", func(run *v1alpha1.NodeRotation) bool {
		return metav1.ConditionTrue == conditionOf(run, v1alpha1.ConditionPaused) && metav1.ConditionTrue == conditionOf(run, v1alpha1.ConditionBlocked)
	})
	want(t, 3, []string{"Needs you: DisruptionBudgetNever", held, "Paused: go on with windlass rotate resume held", "Draining"}, "status")
	want(t, 0, []string{"goes on"}, "resume", "held")
	want(t, 0, []string{"given back"}, "abort", "held")
	want(t, 1, []string{"NodeRotation/held Aborted", "ended as Aborted"}, "watch", "held")
	want(t, 3, []string{"Aborted"}, "status", "held", "-o", "yaml")
	if n := outdated(t, c, "held"); n != 2 {
		t.Errorf("%d of 2 nodes are as they were", n)
	}
	var nodes corev1.NodeList
	if err := c.List(t.Context(), &nodes, client.MatchingLabels{simulated.GroupLabel: "held"}); err != nil {
		t.Fatal(err)
	}
	for i := range nodes.Items {
		if nodes.Items[i].Spec.Unschedulable {
			t.Errorf("node %s is cordoned still", nodes.Items[i].Name)
		}
	}
}

// TestRollBack: what was replaced is replaced by what it was before.
func TestRollBack(t *testing.T) {
	c := controlled(t)
	grouped(t, c, "back", 2)
	want(t, 0, nil, "start", "back", "--name", "back", "--template-version", "3", "--canary", "1", "--canary-bake", "1h")
	eventually(t, c, "back", func(run *v1alpha1.NodeRotation) bool { return run.Status.Phase == v1alpha1.Baking })
	want(t, 0, []string{"back"}, "rollback", "back")
	want(t, 1, []string{"NodeRotation/back RolledBack"}, "watch", "back")
	want(t, 1, []string{"is over (RolledBack)"}, "abort", "back")
}

func conditionOf(run *v1alpha1.NodeRotation, kind string) metav1.ConditionStatus {
	for _, c := range run.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return metav1.ConditionUnknown
}
