package nodes

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/clusterapi/clusterapitest"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/test/windlasstest"
)

// TestClusterAPI rotates a MachineDeployment with the providers and the permissions that the
// controller ships with. Until Cluster API is installed, group and run say that it is not.
func TestClusterAPI(t *testing.T) { //nolint:paralleltest // See start.
	c := windlasstest.Client(t)
	s := &suite{Client: c, t: t, group: "deployment", ns: clustertest.Namespace(t)}
	control(t, nil)
	group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: s.group}, Spec: v1alpha1.NodeGroupSpec{
		Provider: v1alpha1.Provider{ClusterAPI: &v1alpha1.MachineDeployment{Namespace: s.ns, Name: "apps"}},
	}}
	if err := c.Create(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	s.missing(group)

	machines := s.clusterAPI()
	s.waitFor("the machines to be nodes", func() bool {
		var list corev1.NodeList
		return s.List(t.Context(), &list, client.MatchingLabels{simulated.GroupLabel: s.group}) == nil && len(list.Items) == 3
	})
	s.deploy("web", 3, unavailable(1))
	if err := machines.Change(t.Context(), "apps", "apps-2", "ami-2"); err != nil {
		t.Fatal(err)
	}
	r := s.begin("run", nil)
	s.until(r, "the run to end", is(v1alpha1.Succeeded))
	s.replaced(r, machines)
}

// missing checks what is said of a cluster that has no Cluster API.
func (s *suite) missing(group *v1alpha1.NodeGroup) {
	s.t.Helper()
	const says = "there is no Cluster API in the cluster"
	s.waitFor("the group to miss Cluster API", func() bool {
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(group), group); err != nil {
			return false
		}
		ready := meta.FindStatusCondition(group.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == v1alpha1.ReasonProviderProblem && strings.Contains(ready.Message, says)
	})
	r := s.begin("early", nil)
	s.until(r, "the run to miss Cluster API", func(r *v1alpha1.NodeRotation) bool {
		return slices.ContainsFunc(r.Status.Waits, func(w v1alpha1.Wait) bool {
			return w.Reason == v1alpha1.ReasonProviderProblem && strings.Contains(w.Message, says)
		})
	})
	s.edit(r, func(spec *v1alpha1.NodeRotationSpec) { spec.End = v1alpha1.EndAbort })
	s.until(r, "the run to end", is(v1alpha1.Aborted))
}

// clusterAPI installs Cluster API, and makes a MachineDeployment of three machines as the
// guide wants it.
func (s *suite) clusterAPI() *clusterapitest.Controllers {
	s.t.Helper()
	if err := clusterapitest.Install(clustertest.Shared()); err != nil {
		s.t.Fatal(err)
	}
	machines := &clusterapitest.Controllers{Client: s.Client, Namespace: s.ns, NodeLabels: map[string]string{
		simulated.GroupLabel: s.group, "windlass.dev/node": "simulated", corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	if err := machines.CreateGroup(ctx, "apps", 3, "3"); err != nil {
		s.t.Fatal(err)
	}
	if err := machines.Edit(ctx, "apps", map[string]any{"type": "OnDelete"}, "spec", "rollout", "strategy"); err != nil {
		s.t.Fatal(err)
	}
	go func() { ended <- machines.Run(ctx, 50*time.Millisecond) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the stand-in for Cluster API ended: %v", err)
		}
		if err := machines.Remove(context.WithoutCancel(ctx), clustertest.Shared()); err != nil {
			s.t.Errorf("remove Cluster API: %v", err)
		}
	})
	return machines
}

// replaced checks that every machine is another one, and that the run has left nothing behind.
func (s *suite) replaced(r *v1alpha1.NodeRotation, machines *clusterapitest.Controllers) {
	s.t.Helper()
	ctx := s.t.Context()
	var records v1alpha1.NodeReplacementList
	if err := s.List(ctx, &records, client.MatchingLabels{v1alpha1.RotationLabel: r.Name}); err != nil {
		s.t.Fatal(err)
	}
	done := 0
	for i := range records.Items {
		if status := records.Items[i].Status; status.Phase == v1alpha1.Replaced && status.DrainedAt != nil && len(status.Forced) == 0 {
			done++
		}
	}
	if done != 3 || len(records.Items) != 3 {
		s.t.Errorf("%d machines were replaced: %+v", done, records.Items)
	}
	// Cluster API takes a moment after the run has ended the last one.
	var all []*unstructured.Unstructured
	s.waitFor("three machines to be left", func() bool {
		var err error
		all, err = machines.List(ctx, "Machine")
		return err == nil && len(all) == 3
	})
	for _, m := range all {
		from, _, _ := unstructured.NestedString(m.Object, "spec", "infrastructureRef", "name")
		if from != "apps-2" || len(m.GetAnnotations()) > 0 {
			s.t.Errorf("machine %s is left of template %s, with %v", m.GetName(), from, m.GetAnnotations())
		}
	}
	md, err := machines.Get(ctx, "MachineDeployment", "apps")
	if err != nil {
		s.t.Fatal(err)
	}
	size, _, _ := unstructured.NestedInt64(md.Object, "spec", "replicas")
	for key := range md.GetAnnotations() {
		if !strings.HasPrefix(key, "cluster.x-k8s.io/cluster-api-autoscaler-") {
			s.t.Errorf("the MachineDeployment is left with annotation %s", key)
		}
	}
	if size != 3 || md.GetAnnotations()["cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"] != "3" {
		s.t.Errorf("the MachineDeployment is left with %d machines and %v", size, md.GetAnnotations())
	}
}
