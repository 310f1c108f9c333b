// Package nodes tests what becomes of a run and its nodes on the real API server: how runs
// end, what they wait for and say, and that nothing of them is left. The machines are
// simulated ones.
package nodes

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

const deadline = 3 * time.Minute

func TestMain(m *testing.M) {
	windlasstest.Main(m, prepare, func(o *devcluster.Options) { o.Nodes = 1 })
}

// prepare has the pods of these tests go to the machines of their group only.
func prepare(ctx context.Context, rest *rest.Config) error {
	c, err := windlasstest.NewClient(rest)
	if err != nil {
		return err
	}
	return c.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}}, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`)))
}

// suite is one group of machines, and what runs on it.
type suite struct {
	client.Client
	t        *testing.T
	group    string
	ns       string
	machines *simulated.Provider
	size     int
}

var number int

// start runs the controller until the test is over, and makes a group. The tests of this
// package run one after the other, since there is one controller at a time.
func start(t *testing.T, size int) *suite {
	t.Helper()
	c := windlasstest.Client(t)
	number++
	s := &suite{Client: c, t: t, group: fmt.Sprintf("group-%d", number), ns: clustertest.Namespace(t), machines: &simulated.Provider{Client: c, Namespace: install.Namespace}, size: size}
	s.run()
	if err := s.machines.Create(t.Context(), s.group, int32(size), "4", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: s.group}, Spec: v1alpha1.NodeGroupSpec{Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: s.group}}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s
}

func (s *suite) run() {
	s.t.Helper()
	control(s.t, func(v1alpha1.Provider) (cloud.Provider, error) { return s.machines, nil })
}

// control runs the controller until the test is over. Its providers are those that it ships
// with if there are none.
func control(t *testing.T, providers cloud.Providers) {
	t.Helper()
	cfg := config.Default()
	cfg.Installations.Disabled, cfg.Fleet.Disabled, cfg.Leases.Disabled = true, true, true
	windlasstest.Run(t, cfg, clustertest.Config(t, install.Identity), manager.Hooks{Providers: providers})
}

// remove takes the group and its machines away, before the controller ends.
func (s *suite) remove() {
	ctx := context.WithoutCancel(s.t.Context())
	for _, object := range []client.Object{&v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: s.group}}} {
		if err := s.Delete(ctx, object); err != nil {
			s.t.Logf("remove: %v", err)
		}
	}
	if err := s.DeleteAllOf(ctx, &corev1.Node{}, client.MatchingLabels{simulated.GroupLabel: s.group}); err != nil {
		s.t.Logf("remove: %v", err)
	}
}

func (s *suite) waitFor(awaited string, done func() bool) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(s.t.Context(), 50*time.Millisecond, deadline, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", awaited, err)
	}
}

// deploy makes a workload on the group's machines, and a budget for it, if there is one.
func (s *suite) deploy(name string, replicas int32, budget *policyv1.PodDisruptionBudgetSpec) {
	s.t.Helper()
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: s.pod()},
	}}
	if err := s.Create(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
	if budget != nil {
		budget.Selector = d.Spec.Selector
		if err := s.Create(s.t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}, Spec: *budget}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.waitFor("the workload to be available", func() bool {
		return s.Get(s.t.Context(), client.ObjectKeyFromObject(d), d) == nil && d.Status.AvailableReplicas == replicas
	})
}

func (s *suite) pod() corev1.PodSpec {
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)), NodeSelector: map[string]string{simulated.GroupLabel: s.group},
		Containers: []corev1.Container{{Name: "main", Image: "web:1"}},
	}
}

// outdate makes the machines outdated.
func (s *suite) outdate(version int) {
	s.t.Helper()
	if err := s.machines.Apply(s.t.Context(), s.group, version); err != nil {
		s.t.Fatal(err)
	}
}

// begin makes a run over the group.
func (s *suite) begin(name string, change func(*v1alpha1.NodeRotationSpec)) *v1alpha1.NodeRotation {
	s.t.Helper()
	r := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + s.group}, Spec: v1alpha1.NodeRotationSpec{
		Groups: []string{s.group}, Strategy: &v1alpha1.Strategy{MinReadySeconds: new(int32(0))},
	}}
	if change != nil {
		change(&r.Spec)
	}
	if err := s.Create(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// until waits for something of a run.
func (s *suite) until(r *v1alpha1.NodeRotation, awaited string, done func(*v1alpha1.NodeRotation) bool) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(s.t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		return s.Get(ctx, client.ObjectKeyFromObject(r), r) == nil && done(r), nil
	})
	if err != nil {
		s.t.Fatalf("waiting for %s: %v: %s %q, waits: %+v", awaited, err, r.Status.Phase, r.Status.OutcomeMessage, r.Status.Waits)
	}
}

func is(phase v1alpha1.Phase) func(*v1alpha1.NodeRotation) bool {
	return func(r *v1alpha1.NodeRotation) bool { return r.Status.Phase == phase }
}

func waits(reason string) func(*v1alpha1.NodeRotation) bool {
	return func(r *v1alpha1.NodeRotation) bool {
		return slices.ContainsFunc(r.Status.Waits, func(w v1alpha1.Wait) bool { return w.Reason == reason })
	}
}

func (s *suite) edit(r *v1alpha1.NodeRotation, change func(*v1alpha1.NodeRotationSpec)) {
	s.t.Helper()
	before := r.DeepCopy()
	change(&r.Spec)
	if err := s.Patch(s.t.Context(), r, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
}

// clean says what is left of a run: nothing may be, and every node is of the version, if
// it is not 0: a run that is ended leaves the emptiest nodes out, old or new.
func (s *suite) clean(version int) {
	s.t.Helper()
	ref := v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: s.group}}
	g, err := s.machines.Describe(s.t.Context(), ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if g.Size != int32(s.size) || g.Max != int32(s.size) || g.Run != "" || len(g.Machines) != s.size {
		s.t.Errorf("the group is left with size %d, max %d, %d machines and the mark of run %q", g.Size, g.Max, len(g.Machines), g.Run)
	}
	want := fmt.Sprintf("%s:%d", s.group, version)
	for i := range g.Machines {
		m := &g.Machines[i]
		var n corev1.Node
		if err := s.Get(s.t.Context(), client.ObjectKey{Name: m.Node}, &n); err != nil {
			s.t.Fatal(err)
		}
		tainted := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.OutdatedTaint })
		if version > 0 && m.Template != want || m.Protected || n.Spec.Unschedulable || tainted || n.Annotations["cluster-autoscaler.kubernetes.io/scale-down-disabled"] != "" || n.Labels[corev1.LabelNodeExcludeBalancers] != "" {
			s.t.Errorf("node %s is left of %s (want %s), protected %t, cordoned %t, tainted %t, %v", n.Name, m.Template, want, m.Protected, n.Spec.Unschedulable, tainted, n.Annotations)
		}
	}
}
