package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/aws/nodes"
)

//go:embed shop.yaml
var shopManifests []byte

const (
	// shop is the namespace, the group of machines and the NodeGroup.
	shop = "shop"
	// machines is how many the group has.
	machines = 4
)

// Machines makes what a cloud keeps.
type Machines interface {
	// NewImage makes a machine image.
	NewImage(name string) (id string, err error)
	// MakeGroup makes a group of machines of an image, which become nodes after a while.
	MakeGroup(name, image string, size int) error
}

// replaceMachines shows a rotation: its plan, what stands in its way, and the run itself,
// under traffic.
func (d *Demo) replaceMachines(ctx context.Context) error {
	if err := d.openShop(ctx); err != nil {
		return err
	}
	former, err := d.shopNodes(ctx)
	if err != nil {
		return err
	}
	image, err := d.Machines.NewImage("nodes-2")
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  a new machine image appears: %s; a dry run says what a rotation would do\n", image)
	if err := d.planned(ctx, image); err != nil {
		return err
	}
	if now, err := d.shopNodes(ctx); err != nil || !equality.Semantic.DeepEqual(specs(now), specs(former)) {
		return errors.Join(errors.New("a plan has changed nodes"), err)
	}
	run := rotation("second-image", image)
	var seconds float64
	var forTill int
	forShop, err := d.underTraffic(ctx, shopping, func(ctx context.Context) (err error) {
		forTill, err = d.underTraffic(ctx, paying, func(ctx context.Context) error {
			began := d.Clock.Now()
			err := d.rotated(ctx, run)
			seconds = d.Clock.Since(began).Seconds()
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := d.replaced(ctx, run, image, former); err != nil {
		return err
	}
	d.verified("%d nodes were replaced in %.0f s; of %d requests 0 were lost", run.Status.Replaced, seconds, forShop+forTill)
	return nil
}

// openShop makes the group, and the shop on its machines.
func (d *Demo) openShop(ctx context.Context) error {
	image, err := d.Machines.NewImage("nodes-1")
	if err != nil {
		return err
	}
	if err := d.Machines.MakeGroup(shop, image, machines); err != nil {
		return err
	}
	group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: shop}, Spec: v1alpha1.NodeGroupSpec{
		Provider: v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: shop, Region: devcluster.CloudRegion}},
	}}
	if err := d.Client.Create(ctx, group); err != nil {
		return err
	}
	// The pods are made when all nodes are there, so that they are spread over all.
	err = d.until(ctx, func(ctx context.Context) (string, error) {
		all, err := d.shopNodes(ctx)
		if len(all) < machines {
			return "the machines to become nodes", err
		}
		return "", err
	})
	if err != nil {
		return err
	}
	if err := d.apply(ctx, shopManifests); err != nil {
		return err
	}
	err = d.until(ctx, func(ctx context.Context) (string, error) {
		for _, name := range []string{"web", "till"} {
			var deployment appsv1.Deployment
			if err := d.Client.Get(ctx, types.NamespacedName{Namespace: shop, Name: name}, &deployment); err != nil {
				return "", err
			}
			if deployment.Status.AvailableReplicas != *deployment.Spec.Replicas {
				return "the pods of " + name, nil
			}
		}
		var pod corev1.Pod
		err := d.Client.Get(ctx, debugPod, &pod)
		if pod.Status.Phase != corev1.PodRunning {
			return "the pod debug", err
		}
		return "", err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  a group of %d machines of the fake AWS, nodes now, runs a shop: 6 pods of web, and 1 of till that may never be missing\n", machines)
	return nil
}

// debugPod is in the way of a rotation.
var debugPod = types.NamespacedName{Namespace: shop, Name: "debug"}

// shopNodes are the Ready nodes of the group by name.
func (d *Demo) shopNodes(ctx context.Context) (map[string]corev1.Node, error) {
	var list corev1.NodeList
	if err := d.Client.List(ctx, &list, client.HasLabels{nodes.ImageLabel}); err != nil {
		return nil, err
	}
	all := map[string]corev1.Node{}
	for _, n := range list.Items {
		if slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			all[n.Name] = n
		}
	}
	return all, nil
}

// specs are what a run changes of nodes.
func specs(of map[string]corev1.Node) map[string]corev1.NodeSpec {
	all := map[string]corev1.NodeSpec{}
	for name, n := range of {
		all[name] = n.Spec
	}
	return all
}

// rotation is a run that brings the shop's machines to an image, all at a time as far as budgets let them.
func rotation(name, image string) *v1alpha1.NodeRotation {
	return &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeRotationSpec{
		Groups: []string{shop}, Target: &v1alpha1.Target{Images: []string{image}},
		Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromString("100%")), MinReadySeconds: new(int32(1))},
	}}
}

// planned shows a plan, does what it asks for, and checks that the next one asks for nothing.
func (d *Demo) planned(ctx context.Context, image string) error {
	run, err := d.dryRun(ctx, "dry-run", image)
	if err != nil {
		return err
	}
	if err := d.showPlan(run); err != nil {
		return err
	}
	plan := run.Status.Plan
	if len(plan.Nodes) != machines || len(plan.Blockers) != 1 {
		return fmt.Errorf("the plan has %d nodes and %d blockers; want %d and 1", len(plan.Nodes), len(plan.Blockers), machines)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: debugPod.Namespace, Name: debugPod.Name}}
	if err := d.Client.Delete(ctx, pod); err != nil {
		return err
	}
	err = d.until(ctx, func(ctx context.Context) (string, error) {
		err := d.Client.Get(ctx, debugPod, pod)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "the pod debug to end", err
	})
	if err != nil {
		return err
	}
	if run, err = d.dryRun(ctx, "dry-run-again", image); err != nil {
		return err
	}
	plan = run.Status.Plan
	if len(plan.Nodes) != machines || len(plan.Blockers) > 0 {
		return fmt.Errorf("the plan has %d nodes and %d blockers; want %d and none", len(plan.Nodes), len(plan.Blockers), machines)
	}
	d.verified("the plan named every node and what is in the way; once the pod debug is deleted, nothing is")
	return nil
}

// dryRun makes a dry run and returns it when it has its plan.
func (d *Demo) dryRun(ctx context.Context, name, image string) (*v1alpha1.NodeRotation, error) {
	run := rotation(name, image)
	run.Spec.DryRun = true
	if err := d.Client.Create(ctx, run); err != nil {
		return nil, err
	}
	return run, d.until(ctx, func(ctx context.Context) (string, error) {
		err := d.Client.Get(ctx, client.ObjectKeyFromObject(run), run)
		if run.Status.Phase != v1alpha1.Planned {
			return "the plan", err
		}
		return "", err
	})
}

// showPlan prints what a dry run found.
func (d *Demo) showPlan(run *v1alpha1.NodeRotation) error {
	w := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    NODE\tOUTDATED BECAUSE")
	for _, n := range run.Status.Plan.Nodes {
		fmt.Fprintf(w, "    %s\t%s\n", short(n.Name), n.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, b := range run.Status.Plan.Blockers {
		fmt.Fprintf(d.Out, "    in the way: %s: %s on %s: %s\n", b.Reason, b.For, short(b.Subject), b.Message)
	}
	if e := run.Status.Estimate; e != nil {
		fmt.Fprintf(d.Out, "    estimate, with machines that boot as slowly as in life: %d s\n", e.Seconds)
	}
	return nil
}

// short leaves out the domain of a node's name.
func short(name string) string {
	host, _, _ := strings.Cut(name, ".")
	return host
}

// rotated makes a run, shows how it goes on, and returns when it has succeeded.
func (d *Demo) rotated(ctx context.Context, run *v1alpha1.NodeRotation) error {
	if err := d.Client.Create(ctx, run); err != nil {
		return err
	}
	began, last := d.Clock.Now(), ""
	err := d.until(ctx, func(ctx context.Context) (string, error) {
		var list v1alpha1.NodeReplacementList
		err := errors.Join(d.Client.Get(ctx, client.ObjectKeyFromObject(run), run), d.Client.List(ctx, &list, client.MatchingLabels{v1alpha1.RotationLabel: run.Name}))
		if err != nil {
			return "the run to be read", err
		}
		if text := progress(run, list.Items); text != last {
			last = text
			fmt.Fprintf(d.Out, "  %5.1fs  %s\n", d.Clock.Since(began).Seconds(), text)
		}
		if run.Status.FinishedAt == nil {
			return "the end of the run", nil
		}
		return "", nil
	})
	if err == nil && run.Status.Phase != v1alpha1.Succeeded {
		err = fmt.Errorf("the run ended as %s: %s", run.Status.Phase, run.Status.OutcomeMessage)
	}
	return err
}

// progress is how many nodes are where, and what waits for what. It leaves out waits that
// change all the time.
func progress(run *v1alpha1.NodeRotation, records []v1alpha1.NodeReplacement) string {
	count := map[v1alpha1.ReplacementPhase]int{}
	for i := range records {
		count[records[i].Status.Phase]++
	}
	var parts []string
	for _, phase := range []v1alpha1.ReplacementPhase{v1alpha1.Draining, v1alpha1.Drained, v1alpha1.Terminating} {
		if count[phase] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[phase], strings.ToLower(string(phase))))
		}
	}
	text := fmt.Sprintf("%d of %d nodes replaced", run.Status.Replaced, machines)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	for _, w := range run.Status.Waits {
		if w.Reason != v1alpha1.ReasonTerminating {
			return text + "; " + strings.TrimSpace(fmt.Sprintf("%s waits: %s %s", short(w.Subject), w.Reason, w.For))
		}
	}
	return text
}

// replaced checks what a run has left.
func (d *Demo) replaced(ctx context.Context, run *v1alpha1.NodeRotation, image string, former map[string]corev1.Node) error {
	now, err := d.shopNodes(ctx)
	if err != nil {
		return err
	}
	for name, n := range now {
		if _, old := former[name]; old || n.Labels[nodes.ImageLabel] != image {
			return fmt.Errorf("node %s runs image %s", name, n.Labels[nodes.ImageLabel])
		}
	}
	if len(now) != machines || run.Status.Replaced != machines {
		return fmt.Errorf("the group has %d nodes, and the run says that it replaced %d; want %d", len(now), run.Status.Replaced, machines)
	}
	var records v1alpha1.NodeReplacementList
	if err := d.Client.List(ctx, &records, client.MatchingLabels{v1alpha1.RotationLabel: run.Name}); err != nil {
		return err
	}
	surged := slices.ContainsFunc(records.Items, func(r v1alpha1.NodeReplacement) bool {
		return slices.ContainsFunc(r.Status.Surges, func(s v1alpha1.WorkloadSurge) bool { return s.Name == "till" && s.Before == 1 && s.Restored })
	})
	var till appsv1.Deployment
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: shop, Name: "till"}, &till); err != nil {
		return err
	}
	if *till.Spec.Replicas != 1 || !surged {
		return fmt.Errorf("till was given a second pod for its move: %v; now it has %d", surged, *till.Spec.Replicas)
	}
	d.verified("till had a second pod while its only one moved, and has one again")
	return nil
}
