package clusterapitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// finalizer is Cluster API's own on Machines.
	finalizer = "machine.cluster.x-k8s.io"
	hooks     = "pre-drain.delete.hook.machine.cluster.x-k8s.io"
	disabled  = "cluster.x-k8s.io/disable-machine-create"
	// setLabel ties a Machine to its MachineSet, as a hash does in Cluster API.
	setLabel    = "test/set"
	serialLabel = "test/serial"
)

// Controllers do what those of Cluster API v1.14 do for the MachineDeployments, MachineSets
// and Machines of one namespace, when they are told to: core/reconcilers is what they follow.
type Controllers struct {
	Client    client.Client
	Namespace string
	// NodeLabels are those of the Nodes that Machines become; without any, there are none.
	NodeLabels map[string]string
}

// Settle goes on until there is nothing left to do.
func (c *Controllers) Settle(ctx context.Context) error {
	for range 100 {
		changed, err := c.step(ctx)
		if err != nil || !changed {
			return err
		}
	}
	return errors.New("the controllers never come to rest")
}

// Run goes on until ctx ends. Somebody else may write what it writes.
func (c *Controllers) Run(ctx context.Context, every time.Duration) error {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if _, err := c.step(ctx); err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			return err
		}
	}
}

// pass is one look at everything, and what was written after it.
type pass struct {
	*Controllers
	deployments, sets, machines []*unstructured.Unstructured
	changed                     bool
}

func (c *Controllers) step(ctx context.Context) (changed bool, err error) {
	p := &pass{Controllers: c}
	for kind, into := range map[string]*[]*unstructured.Unstructured{"MachineDeployment": &p.deployments, "MachineSet": &p.sets, "Machine": &p.machines} {
		if *into, err = c.List(ctx, kind); err != nil {
			return false, err
		}
	}
	for _, do := range []struct {
		all []*unstructured.Unstructured
		to  func(context.Context, *unstructured.Unstructured) error
	}{{p.deployments, p.deployment}, {p.sets, p.set}, {p.machines, p.machine}} {
		for _, u := range do.all {
			if err := do.to(ctx, u); err != nil {
				return false, err
			}
		}
	}
	return p.changed, nil
}

// write notes that there was something to do.
func (p *pass) write(err error) error {
	p.changed = true
	return client.IgnoreNotFound(err)
}

func of(all []*unstructured.Unstructured, label, value string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(all), func(u *unstructured.Unstructured) bool { return u.GetLabels()[label] != value })
}

// deployment has one MachineSet for its template, and keeps the sum of all at its size. When
// it gets smaller, its oldest MachineSet does; an old one makes no machines under OnDelete.
func (p *pass) deployment(ctx context.Context, md *unstructured.Unstructured) error {
	if _, paused := annotation(md, "cluster.x-k8s.io/paused"); paused {
		return nil
	}
	old := of(p.sets, deploymentLabel, md.GetName())
	template, _, _ := unstructured.NestedMap(md.Object, "spec", "template", "spec")
	at := slices.IndexFunc(old, func(s *unstructured.Unstructured) bool {
		has, _, _ := unstructured.NestedMap(s.Object, "spec", "template", "spec")
		return apiequality.Semantic.DeepEqual(has, template)
	})
	if at < 0 {
		return p.makeSet(ctx, md, len(old))
	}
	newest := old[at]
	old = slices.Delete(old, at, at+1)
	strategy, _, _ := unstructured.NestedString(md.Object, "spec", "rollout", "strategy", "type")
	size, fresh, others := number(md, "spec", "replicas"), number(newest, "spec", "replicas"), int64(0)
	for _, s := range old {
		others += number(s, "spec", "replicas")
	}
	next := fresh
	switch {
	case strategy != "OnDelete" || fresh > size:
		next = size
	case fresh+others < size:
		next = size - others
	}
	if err := p.scale(ctx, newest, next, false); err != nil {
		return err
	}
	return p.shrink(ctx, old, others+next-size, strategy == "OnDelete")
}

// shrink takes what is in excess from old sets: first what somebody has deleted already.
func (p *pass) shrink(ctx context.Context, old []*unstructured.Unstructured, excess int64, onDelete bool) error {
	want := map[string]int64{}
	for _, s := range old {
		spec, has := number(s, "spec", "replicas"), max(number(s, "status", "replicas"), 0)
		want[s.GetName()] = min(spec, has)
		excess -= spec - want[s.GetName()]
	}
	for _, s := range old {
		less := max(min(excess, want[s.GetName()]), 0)
		excess -= less
		if err := p.scale(ctx, s, want[s.GetName()]-less, onDelete); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) makeSet(ctx context.Context, md *unstructured.Unstructured, n int) error {
	ms := Object("MachineSet", p.Namespace, fmt.Sprintf("%s-%d", md.GetName(), n))
	ms.SetLabels(map[string]string{deploymentLabel: md.GetName(), setLabel: ms.GetName(), serialLabel: fmt.Sprint(n)})
	own(ms, md)
	spec, _, _ := unstructured.NestedMap(md.Object, "spec", "template", "spec")
	labels := map[string]any{setLabel: ms.GetName()}
	put(ms, map[string]any{
		"clusterName": "dev", "replicas": int64(0), "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec},
	}, "spec")
	return p.write(p.Client.Create(ctx, ms))
}

func own(u, owner *unstructured.Unstructured) {
	u.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GroupVersionKind())})
}

func (p *pass) scale(ctx context.Context, ms *unstructured.Unstructured, n int64, disable bool) error {
	value := fmt.Sprint(disable)
	if is, _ := annotation(ms, disabled); number(ms, "spec", "replicas") == n && is == value {
		return nil
	}
	put(ms, n, "spec", "replicas")
	put(ms, value, "metadata", "annotations", disabled)
	return p.write(p.Client.Update(ctx, ms))
}

// set counts machines that are being deleted too, and takes those first, then those that are
// marked, and then the oldest.
func (p *pass) set(ctx context.Context, ms *unstructured.Unstructured) error {
	machines := of(p.machines, setLabel, ms.GetName())
	if has := int64(len(machines)); number(ms, "status", "replicas") != has {
		put(ms, map[string]any{"replicas": has}, "status")
		if err := p.write(p.Client.Status().Update(ctx, ms)); err != nil {
			return err
		}
	}
	stopped, _ := annotation(ms, disabled)
	want := int(number(ms, "spec", "replicas"))
	for n := len(machines); n < want && stopped != "true"; n++ {
		if err := p.launch(ctx, ms); err != nil {
			return err
		}
	}
	slices.SortStableFunc(machines, func(a, b *unstructured.Unstructured) int { return priority(b) - priority(a) })
	for n := range len(machines) - want {
		if machines[n].GetDeletionTimestamp() == nil {
			if err := p.write(p.Client.Delete(ctx, machines[n])); err != nil {
				return err
			}
		}
	}
	return nil
}

func priority(m *unstructured.Unstructured) int {
	if m.GetDeletionTimestamp() != nil {
		return 2
	}
	if _, ok := annotation(m, "cluster.x-k8s.io/delete-machine"); ok {
		return 1
	}
	return 0
}

func (p *pass) launch(ctx context.Context, ms *unstructured.Unstructured) error {
	m := Object("Machine", p.Namespace, ms.GetName()+"-"+rand.String(5))
	m.SetLabels(map[string]string{deploymentLabel: ms.GetLabels()[deploymentLabel], setLabel: ms.GetName()})
	m.SetFinalizers([]string{finalizer})
	own(m, ms)
	spec, _, _ := unstructured.NestedMap(ms.Object, "spec", "template", "spec")
	put(m, spec, "spec")
	put(m, "zone-a", "spec", "failureDomain")
	// Its infrastructure says so a little later, in life.
	put(m, providerID(m), "spec", "providerID")
	return p.write(p.Client.Create(ctx, m))
}

// machine becomes a node, or goes once no hook holds it.
func (p *pass) machine(ctx context.Context, m *unstructured.Unstructured) error {
	if m.GetDeletionTimestamp() != nil {
		return p.end(ctx, m)
	}
	if _, ok, _ := unstructured.NestedMap(m.Object, "status", "nodeRef"); ok {
		return nil
	}
	if err := p.makeNode(ctx, m); err != nil {
		return err
	}
	info := map[string]any{}
	for _, key := range []string{"bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID"} {
		info[key] = "some"
	}
	info["architecture"] = "amd64"
	put(m, map[string]any{"nodeRef": map[string]any{"name": nodeOf(m)}, "nodeInfo": info, "phase": "Running"}, "status")
	return p.write(p.Client.Status().Update(ctx, m))
}

func (p *pass) end(ctx context.Context, m *unstructured.Unstructured) error {
	for key := range m.GetAnnotations() {
		if strings.HasPrefix(key, hooks) {
			return nil
		}
	}
	if p.NodeLabels != nil {
		err := p.Client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeOf(m)}})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	m.SetFinalizers(nil)
	return p.write(p.Client.Update(ctx, m))
}

func nodeOf(m *unstructured.Unstructured) string { return "node-" + m.GetName() }

func providerID(m *unstructured.Unstructured) string { return "test:///" + m.GetName() }

func (p *pass) makeNode(ctx context.Context, m *unstructured.Unstructured) error {
	if p.NodeLabels == nil {
		return nil
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeOf(m), Labels: p.NodeLabels}, Spec: corev1.NodeSpec{ProviderID: providerID(m)}}
	if err := p.Client.Create(ctx, n); err != nil {
		return client.IgnoreAlreadyExists(err)
	}
	before := n.DeepCopy()
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n.Status.Capacity, n.Status.Allocatable = room, room
	return p.Client.Status().Patch(ctx, n, client.MergeFrom(before))
}
