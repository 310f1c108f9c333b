package nodes

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/install"
)

func unavailable(n int32) *policyv1.PodDisruptionBudgetSpec {
	return &policyv1.PodDisruptionBudgetSpec{MaxUnavailable: new(intstr.FromInt32(n))}
}

// TestEndsWell: a dry run says what a run would do and changes nothing; the run does it, and
// nothing is left of it; its records tell of every node.
func TestEndsWell(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 3)
	s.deploy("web", 4, unavailable(1))
	s.outdate(2)
	plan := s.begin("plan", func(spec *v1alpha1.NodeRotationSpec) { spec.DryRun = true })
	s.until(plan, "the plan", is(v1alpha1.Planned))
	if p := plan.Status.Plan; p == nil || len(p.Nodes) != 3 || len(p.Blockers) != 0 || plan.Status.Estimate == nil || !strings.Contains(p.Nodes[0].Reason, s.group+":2") {
		t.Errorf("the plan is %+v, and the estimate %+v", p, plan.Status.Estimate)
	}
	r := s.begin("run", nil)
	s.until(r, "the run to end", is(v1alpha1.Succeeded))
	s.clean(2)
	var records v1alpha1.NodeReplacementList
	if err := s.List(t.Context(), &records, client.MatchingLabels{v1alpha1.RotationLabel: r.Name}); err != nil {
		t.Fatal(err)
	}
	if len(records.Items) != 3 || slices.ContainsFunc(records.Items, func(r v1alpha1.NodeReplacement) bool {
		return r.Status.Phase != v1alpha1.Replaced || r.Status.DrainedAt == nil
	}) {
		t.Errorf("the records are %+v", records.Items)
	}
	again := s.begin("again", nil)
	s.until(again, "a run with nothing to do to end", is(v1alpha1.Succeeded))
	if again.Status.Replaced != 0 {
		t.Errorf("it replaced %d nodes that were as they should be", again.Status.Replaced)
	}
}

// TestBlocked: what keeps a node is named, with what to do; when it is done the run goes on.
func TestBlocked(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 1)
	s.deploy("web", 2, unavailable(0))
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "bare"}, Spec: s.pod()}
	if err := s.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	// On the outdated node, that is, and not on the new one.
	s.waitFor("the bare pod to have a node", func() bool {
		return s.Get(t.Context(), client.ObjectKeyFromObject(bare), bare) == nil && bare.Spec.NodeName != ""
	})
	s.outdate(2)
	r := s.begin("run", nil)
	s.until(r, "the bare pod to be named", waits(v1alpha1.ReasonBarePod))
	if err := s.Delete(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	s.until(r, "the budget to be named", waits(v1alpha1.ReasonBudgetNever))
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionBlocked); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("the conditions are %+v", r.Status.Conditions)
	}
	w := r.Status.Waits[slices.IndexFunc(r.Status.Waits, func(w v1alpha1.Wait) bool { return w.Reason == v1alpha1.ReasonBudgetNever })]
	if w.For != "PodDisruptionBudget/"+s.ns+"/web" || w.Until == nil || w.Since.IsZero() || !strings.Contains(w.Message, "let it allow one disruption") {
		t.Errorf("it waits for %+v", w)
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"maxUnavailable":1}}`))
	if err := s.Patch(t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"}}, patch); err != nil {
		t.Fatal(err)
	}
	s.until(r, "the run to end", is(v1alpha1.Succeeded))
	s.clean(2)
}

// TestPodSurge: a workload of one replica, all of which its budget wants, gets one more for
// as long as its pod moves.
func TestPodSurge(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 2)
	s.deploy("web", 1, &policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1))})
	s.outdate(2)
	s.until(s.begin("run", nil), "the run to end", is(v1alpha1.Succeeded))
	s.clean(2)
	var d appsv1.Deployment
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "web"}, &d); err != nil || *d.Spec.Replicas != 1 {
		t.Errorf("the workload is left with %d replicas: %v", *d.Spec.Replicas, err)
	}
}

// TestPrePull: new nodes pull the image of the pods before these move, with the permissions
// that the controller ships with; and nothing of that is left.
func TestPrePull(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 2)
	s.deploy("web", 3, unavailable(1))
	s.outdate(2)
	r := s.begin("run", func(spec *v1alpha1.NodeRotationSpec) { spec.Strategy.PrePull = &v1alpha1.PrePull{} })
	pulls := &corev1.PodList{}
	of := func() []corev1.Pod {
		if err := s.List(t.Context(), pulls, client.InNamespace(install.Namespace), client.MatchingLabels{v1alpha1.PrePullLabel: r.Name}); err != nil {
			t.Fatal(err)
		}
		return pulls.Items
	}
	s.waitFor("a node to pull", func() bool { return len(of()) > 0 })
	if p := pulls.Items[0].Spec; len(p.Containers) != 1 || p.Containers[0].Image != "web:1" || p.NodeName == "" {
		t.Errorf("the pod that pulls is %+v", p)
	}
	s.until(r, "the run to end", is(v1alpha1.Succeeded))
	s.clean(2)
	s.waitFor("the pods that pulled to be gone", func() bool { return len(of()) == 0 })
}

// TestPauseAndAbort: a paused run takes no further nodes; an aborted one gives back what it
// has opened, and the group its size.
func TestPauseAndAbort(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 3)
	s.deploy("web", 3, unavailable(0)) // No node ever gets empty.
	s.outdate(2)
	// Somebody else's marks on nodes stay through all of it.
	var list corev1.NodeList
	if err := s.List(t.Context(), &list, client.MatchingLabels{simulated.GroupLabel: s.group}); err != nil {
		t.Fatal(err)
	}
	theirs := corev1.Taint{Key: "example.com/theirs", Effect: corev1.TaintEffectPreferNoSchedule}
	had := map[string]bool{}
	for i := range list.Items {
		had[list.Items[i].Name] = true
		before := list.Items[i].DeepCopy()
		list.Items[i].Spec.Taints = append(list.Items[i].Spec.Taints, theirs)
		if err := s.Patch(t.Context(), &list.Items[i], client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	r := s.begin("run", nil)
	s.until(r, "a node to be open", func(r *v1alpha1.NodeRotation) bool { return r.Status.Open == 1 })
	s.edit(r, func(spec *v1alpha1.NodeRotationSpec) { spec.Paused = true })
	s.until(r, "the run to be paused", waits(v1alpha1.ReasonPaused))
	s.edit(r, func(spec *v1alpha1.NodeRotationSpec) { spec.End = v1alpha1.EndAbort })
	s.until(r, "the run to be aborted", is(v1alpha1.Aborted))
	// Whoever makes machines after it makes them as before the run: from version 2, which
	// somebody else had set.
	g, err := s.machines.Describe(t.Context(), v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: s.group}})
	if err != nil || g.Size != 3 || g.Run != "" || len(g.Machines) != 3 {
		t.Errorf("the group is left as %+v: %v", g, err)
	}
	for i := range g.Machines {
		var n corev1.Node
		if err := s.Get(t.Context(), client.ObjectKey{Name: g.Machines[i].Node}, &n); err != nil || n.Spec.Unschedulable || had[n.Name] && (len(n.Spec.Taints) != 1 || n.Spec.Taints[0] != theirs) || !had[n.Name] && len(n.Spec.Taints) > 0 {
			t.Errorf("node %s is left with %+v: %v", n.Name, n.Spec, err)
		}
	}
	err = s.Patch(t.Context(), r, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"end":null}}`)))
	if !apierrors.IsInvalid(err) {
		t.Errorf("an end is taken back: %v", err)
	}
}

// TestRollBack: nodes of the new image are replaced by ones of the former.
func TestRollBack(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 2)
	s.deploy("web", 2, unavailable(1))
	r := s.begin("run", func(spec *v1alpha1.NodeRotationSpec) {
		spec.Target = &v1alpha1.Target{TemplateVersion: "7"}
		spec.Strategy.Canary = &v1alpha1.Canary{Nodes: 1, BakeSeconds: new(int32(3600))}
	})
	s.until(r, "the canary to be baking", func(r *v1alpha1.NodeRotation) bool {
		return r.Status.Phase == v1alpha1.Baking && r.Status.Replaced == 1
	})
	s.edit(r, func(spec *v1alpha1.NodeRotationSpec) { spec.End = v1alpha1.EndRollBack })
	s.until(r, "the run to be rolled back", is(v1alpha1.RolledBack))
	s.clean(1)
}

// TestDeleted: a run that is deleted in the middle is undone first.
func TestDeleted(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 2)
	s.deploy("web", 2, unavailable(0))
	r := s.begin("run", func(spec *v1alpha1.NodeRotationSpec) { spec.Target = &v1alpha1.Target{TemplateVersion: "3"} })
	s.until(r, "a node to be open", func(r *v1alpha1.NodeRotation) bool { return r.Status.Open == 1 })
	if err := s.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the run to be gone", func() bool { return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(r), r)) })
	s.clean(0)
	s.waitFor("its records to be gone", func() bool {
		var records v1alpha1.NodeReplacementList
		return s.List(t.Context(), &records, client.MatchingLabels{v1alpha1.RotationLabel: r.Name}) == nil && len(records.Items) == 0
	})
}

// TestBadInput: a run that cannot begin says why, and what there is; and begins when it can.
func TestBadInput(t *testing.T) { //nolint:paralleltest // See start.
	s := start(t, 1)
	r := s.begin("run", func(spec *v1alpha1.NodeRotationSpec) { spec.Groups = []string{s.group, "missing"} })
	s.until(r, "the group to be missed", waits(v1alpha1.ReasonInvalidSpec))
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || !strings.Contains(c.Message, "missing") || !strings.Contains(c.Message, s.group) {
		t.Errorf("the condition is %+v", c)
	}
	busy := s.begin("second", nil)
	s.until(busy, "the group to be busy", waits(v1alpha1.ReasonGroupBusy))
	s.edit(r, func(spec *v1alpha1.NodeRotationSpec) { spec.End = v1alpha1.EndAbort })
	s.until(r, "the run to end", is(v1alpha1.Aborted))
	s.until(busy, "the second one to go on", is(v1alpha1.Succeeded))
	for title, spec := range map[string]v1alpha1.NodeRotationSpec{
		"no node could ever be replaced": {Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromInt32(0)), MaxUnavailable: new(intstr.FromInt32(0))}},
		"an empty target":                {Target: &v1alpha1.Target{}},
		"a surge that is no number":      {Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromString("many"))}},
	} {
		if err := s.Create(t.Context(), &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{GenerateName: "bad-"}, Spec: spec}); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", title, err)
		}
	}
}
