package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/karpenter/karpentertest"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/test/windlasstest"
)

// TestKarpenter rotates a NodePool with the providers and the permissions that the
// controller ships with. Until Karpenter is installed, the group says that it is not.
func TestKarpenter(t *testing.T) { //nolint:paralleltest // See start.
	c := windlasstest.Client(t)
	const pool = "rotated"
	number++
	s := &suite{Client: c, t: t, group: fmt.Sprintf("group-%d", number), ns: clustertest.Namespace(t)}
	control(t, nil)
	group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: s.group}, Spec: v1alpha1.NodeGroupSpec{
		Provider: v1alpha1.Provider{Karpenter: &v1alpha1.KarpenterNodePool{Name: pool}},
	}}
	if err := c.Create(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	s.waitFor("the group to miss Karpenter", func() bool {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(group), group); err != nil {
			return false
		}
		ready := meta.FindStatusCondition(group.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonProviderProblem && strings.Contains(ready.Message, "Karpenter is not installed")
	})

	if err := karpentertest.Install(clustertest.Shared()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := karpentertest.Uninstall(context.WithoutCancel(t.Context()), clustertest.Shared()); err != nil {
			t.Error(err)
		}
	})
	if manifests := windlasstest.Paste(t, windlasstest.Page(t, "guides/node-rotation-karpenter.md"), nil); len(manifests) != 3 {
		t.Errorf("the guide has %d manifests", len(manifests))
	}
	k := &karpentertest.Karpenter{Client: c, NodeLabels: map[string]string{simulated.GroupLabel: s.group, "windlass.dev/node": "simulated", corev1.LabelOSStable: "linux"}}
	k.Make(t, pool, map[string]any{"nodes": "3", "cpu": "16"})
	k.SetSize(t, pool, 3)
	k.Settle(t, pool)
	s.deploy("web", 3, unavailable(1))
	old := names(k.Claims(t, pool))
	k.Edit(t, "EC2NodeClass", pool, []any{map[string]any{"id": "ami-2"}}, "spec", "amiSelectorTerms")

	most := 0
	r := s.begin("run", nil)
	s.until(r, "the run to end", func(r *v1alpha1.NodeRotation) bool {
		k.Settle(t, pool)
		most = max(most, len(k.Claims(t, pool)))
		return r.Status.Phase == v1alpha1.Succeeded
	})
	if most < 4 || most > 5 { // One is made, and then one deleted.
		t.Errorf("there were up to %d machines", most)
	}
	s.drained(r, 3)
	k.Settle(t, pool)
	left := k.Claims(t, pool)
	for _, nc := range left {
		if image, _, _ := unstructured.NestedString(nc.Object, "status", "imageID"); image != "ami-2" || slices.Contains(old, nc.GetName()) {
			t.Errorf("machine %s is left with %s", nc.GetName(), image)
		}
		if annotations := k.Get(t, "Node", nc.GetName()).GetAnnotations(); annotations[karpentertest.DoNotDisrupt] != "" {
			t.Errorf("node %s is left protected", nc.GetName())
		}
	}
	np := k.Get(t, "NodePool", pool)
	budgets, _, _ := unstructured.NestedSlice(np.Object, "spec", "disruption", "budgets")
	limit, _, _ := unstructured.NestedString(np.Object, "spec", "limits", "nodes")
	if len(left) != 3 || len(budgets) != 1 || limit != "3" || np.GetAnnotations()["windlass.dev/run"] != "" {
		t.Errorf("%d machines are left, of %v with the limit %s and %v", len(left), budgets, limit, np.GetAnnotations())
	}
}

func names(all []unstructured.Unstructured) (list []string) {
	for i := range all {
		list = append(list, all[i].GetName())
	}
	return list
}

// drained checks that so many machines were replaced, all of them empty and none by force.
func (s *suite) drained(r *v1alpha1.NodeRotation, want int) {
	s.t.Helper()
	var records v1alpha1.NodeReplacementList
	if err := s.List(s.t.Context(), &records, client.MatchingLabels{v1alpha1.RotationLabel: r.Name}); err != nil {
		s.t.Fatal(err)
	}
	for i := range records.Items {
		if status := records.Items[i].Status; status.Phase != v1alpha1.Replaced || status.DrainedAt == nil || len(status.Forced) > 0 {
			s.t.Errorf("a machine was not replaced: %+v", status)
		}
	}
	if len(records.Items) != want {
		s.t.Errorf("%d machines were replaced, want %d", len(records.Items), want)
	}
}
