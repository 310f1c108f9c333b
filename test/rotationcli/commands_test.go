package rotationcli

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
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

func conditionOf(run *v1alpha1.NodeRotation, kind string) metav1.ConditionStatus {
	for _, c := range run.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return metav1.ConditionUnknown
}
