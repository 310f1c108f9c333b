package karpentertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Settle goes on until there is nothing left to do for a pool but to disrupt.
func (k *Karpenter) Settle(t testing.TB, pool string) {
	t.Helper()
	at := &look{np: k.Get(t, "NodePool", pool), class: k.Get(t, "EC2NodeClass", pool)}
	for range 20 {
		k.changed = false
		for _, nc := range k.list(t, "NodeClaim", pool) {
			k.claim(t, at, &nc)
		}
		if !k.changed {
			return
		}
	}
	t.Fatal("Karpenter never comes to rest")
}

// look is a pool as it was looked at.
type look struct{ np, class *unstructured.Unstructured }

// write takes a conflict for something that there is still to do.
func (k *Karpenter) write(t testing.TB, err error) {
	t.Helper()
	if !apierrors.IsConflict(err) {
		must(t, client.IgnoreNotFound(err))
	}
	k.changed = true
}

// claim follows pkg/controllers/nodeclaim/lifecycle: it launches, and then registers, or
// ends what is deleted.
func (k *Karpenter) claim(t testing.TB, at *look, nc *unstructured.Unstructured) {
	t.Helper()
	switch {
	case nc.GetDeletionTimestamp() != nil:
		k.finalize(t, nc)
	case is(nc, "Registered"):
		k.drift(t, at, nc)
	case is(nc, "Launched"):
		k.register(t, nc)
	case k.Full:
		k.write(t, k.Client.Delete(t.Context(), nc))
	default:
		k.launch(t, at.class, nc)
	}
}

func is(u *unstructured.Unstructured, kind string) bool {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(all, func(c any) bool {
		return c.(map[string]any)["type"] == kind && c.(map[string]any)["status"] == "True"
	})
}

func conditions(u *unstructured.Unstructured) []any {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return all
}

// machineTypes of the cloud, the cheapest first, by their CPUs.
var machineTypes = []int64{2, 4, 8}

// only are the values that requirements leave for a label; all if they ask for none.
func only(nc *unstructured.Unstructured, key string, all ...string) []string {
	requirements, _, _ := unstructured.NestedSlice(nc.Object, "spec", "requirements")
	for _, one := range requirements {
		r := one.(map[string]any)
		if r["key"] == key && r["operator"] == "In" {
			all = slices.DeleteFunc(slices.Clone(all), func(v string) bool { return !slices.Contains(r["values"].([]any), any(v)) })
		}
	}
	return all
}

// launch takes the cheapest type that has what is requested. An instance has 7 % less for
// pods than it has.
func (k *Karpenter) launch(t testing.TB, class, nc *unstructured.Unstructured) {
	t.Helper()
	cpu, _, _ := unstructured.NestedString(nc.Object, "spec", "resources", "requests", "cpu")
	wanted := resource.MustParse("0")
	if cpu != "" {
		wanted = resource.MustParse(cpu)
	}
	n := slices.IndexFunc(machineTypes, func(cpus int64) bool { return wanted.MilliValue() <= cpus*930 })
	zones := only(nc, corev1.LabelTopologyZone, "zone-a", "zone-b", "zone-c")
	if n < 0 || len(zones) == 0 {
		t.Fatalf("nothing fits NodeClaim %s", nc.GetName())
	}
	k.nodes++
	labels := nc.GetLabels()
	labels[corev1.LabelTopologyZone] = zones[k.nodes%len(zones)]
	labels[corev1.LabelArchStable] = only(nc, corev1.LabelArchStable, "amd64")[0]
	labels["karpenter.sh/capacity-type"] = "on-demand"
	labels[corev1.LabelInstanceTypeStable] = fmt.Sprintf("m.%d", machineTypes[n])
	nc.SetLabels(labels)
	nc.SetFinalizers([]string{finalizer})
	annotate(nc, map[string]string{classHash: class.GetAnnotations()[classHash], classHash + "-version": class.GetAnnotations()[classHash+"-version"]})
	k.write(t, k.Client.Update(t.Context(), nc))
	amis, _, _ := unstructured.NestedSlice(class.Object, "status", "amis")
	Set(t, nc, map[string]any{
		"providerID": "test:///" + labels[corev1.LabelTopologyZone] + "/" + nc.GetName(), "imageID": amis[0].(map[string]any)["id"],
		"capacity":    map[string]any{"cpu": fmt.Sprint(machineTypes[n]), "memory": fmt.Sprintf("%dGi", machineTypes[n]*4)},
		"allocatable": map[string]any{"cpu": fmt.Sprintf("%dm", machineTypes[n]*930), "memory": fmt.Sprintf("%dMi", machineTypes[n]*4*952)},
		"conditions":  []any{holds(nc, "Launched", "Launched")},
	}, "status")
	k.write(t, k.Client.Status().Update(t.Context(), nc))
}

// register gives a node what its NodeClaim has, once.
func (k *Karpenter) register(t testing.TB, nc *unstructured.Unstructured) {
	t.Helper()
	provider, _, _ := unstructured.NestedString(nc.Object, "status", "providerID")
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: nc.GetName(), Labels: nc.GetLabels(), Annotations: nc.GetAnnotations(), Finalizers: []string{finalizer},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "karpenter.sh/v1", Kind: "NodeClaim", Name: nc.GetName(), UID: nc.GetUID(), BlockOwnerDeletion: new(true)}},
		},
		Spec: corev1.NodeSpec{ProviderID: provider},
	}
	k.write(t, k.Client.Create(t.Context(), node))
	was := node.DeepCopy()
	for name, room := range map[string]*corev1.ResourceList{"capacity": &node.Status.Capacity, "allocatable": &node.Status.Allocatable} {
		all, _, _ := unstructured.NestedStringMap(nc.Object, "status", name)
		*room = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
		for key, value := range all {
			(*room)[corev1.ResourceName(key)] = resource.MustParse(value)
		}
	}
	k.write(t, k.Client.Status().Patch(t.Context(), node, client.MergeFrom(was)))
	Set(t, nc, nc.GetName(), "status", "nodeName")
	Set(t, nc, append(conditions(nc), holds(nc, "Registered", "Registered"), holds(nc, "Initialized", "Initialized")), "status", "conditions")
	k.write(t, k.Client.Status().Update(t.Context(), nc))
}

// finalize deletes the node, whose own finalizer is taken off when it is drained, as it is
// without pods; and then lets the NodeClaim go.
func (k *Karpenter) finalize(t testing.TB, nc *unstructured.Unstructured) {
	t.Helper()
	none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if is(nc, "Registered") {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nc.GetName()}}
		k.write(t, k.Client.Delete(t.Context(), node))
		k.write(t, k.Client.Patch(t.Context(), node, none))
	}
	k.write(t, k.Client.Patch(t.Context(), nc, none))
}

// drift follows pkg/controllers/nodeclaim/disruption/drift.go and the AWS provider's.
func (k *Karpenter) drift(t testing.TB, at *look, nc *unstructured.Unstructured) {
	t.Helper()
	np, class := at.np, at.class
	image, _, _ := unstructured.NestedString(nc.Object, "status", "imageID")
	amis, _, _ := unstructured.NestedSlice(class.Object, "status", "amis")
	has := nc.GetAnnotations()
	reason := ""
	switch {
	case np.GetAnnotations()[hashVersion] == has[hashVersion] && np.GetAnnotations()[hashKey] != has[hashKey]:
		reason = "NodePoolDrifted"
	case class.GetAnnotations()[classHash] != has[classHash]:
		reason = "NodeClassDrift"
	case !slices.ContainsFunc(amis, func(a any) bool { return a.(map[string]any)["id"] == image }):
		reason = "AMIDrift"
	}
	if is(nc, "Drifted") == (reason != "") {
		return
	}
	all := slices.DeleteFunc(conditions(nc), func(c any) bool { return c.(map[string]any)["type"] == "Drifted" })
	if reason != "" {
		all = append(all, holds(nc, "Drifted", reason))
	}
	Set(t, nc, all, "status", "conditions")
	k.write(t, k.Client.Status().Update(t.Context(), nc))
}

// Disrupt does what pkg/controllers/disruption does to a pool whose nodes all are empty: one
// reason after the other, it ends as many machines as budgets let it. It says how many.
func (k *Karpenter) Disrupt(t testing.TB, pool string) (ended int) {
	t.Helper()
	protected := map[string]bool{}
	for _, n := range k.list(t, "Node", pool) {
		protected[n.GetName()] = n.GetAnnotations()[DoNotDisrupt] == "true"
	}
	for _, reason := range []string{"Drifted", "Empty"} {
		for _, nc := range k.list(t, "NodeClaim", pool) {
			candidate := nc.GetDeletionTimestamp() == nil && is(&nc, "Initialized") && (reason == "Empty" || is(&nc, "Drifted"))
			if !candidate || protected[nc.GetName()] || !k.allowed(t, pool, reason) {
				continue
			}
			k.write(t, k.Client.Delete(t.Context(), &nc))
			ended++
		}
	}
	return ended
}

// allowed follows GetAllowedDisruptionsByReason of pkg/apis/v1/nodepool.go: the strictest
// budget counts. A share of nodes is taken for all of them.
func (k *Karpenter) allowed(t testing.TB, pool, reason string) bool {
	t.Helper()
	budgets, _, _ := unstructured.NestedSlice(k.Get(t, "NodePool", pool).Object, "spec", "disruption", "budgets")
	return !slices.ContainsFunc(budgets, func(one any) bool {
		b := one.(map[string]any)
		reasons, limited := b["reasons"].([]any)
		return (!limited || slices.Contains(reasons, any(reason))) && strings.TrimSuffix(b["nodes"].(string), "%") == "0"
	})
}

// Provision makes a NodeClaim for pods that are pending, of so many CPUs.
func (k *Karpenter) Provision(t testing.TB, pool, cpu string) string {
	t.Helper()
	np := k.Get(t, "NodePool", pool)
	nc := Object("NodeClaim", "")
	nc.SetGenerateName(pool + "-")
	labels, _, _ := unstructured.NestedStringMap(np.Object, "spec", "template", "metadata", "labels")
	labels[PoolLabel], labels["example.com/tier"] = pool, "silver"
	nc.SetLabels(labels)
	nc.SetAnnotations(map[string]string{hashKey: np.GetAnnotations()[hashKey], hashVersion: np.GetAnnotations()[hashVersion]})
	spec, _, _ := unstructured.NestedMap(np.Object, "spec", "template", "spec")
	spec["resources"] = map[string]any{"requests": map[string]any{"cpu": cpu}}
	Set(t, nc, spec, "spec")
	nc.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "karpenter.sh/v1", Kind: "NodePool", Name: pool, UID: np.GetUID(), BlockOwnerDeletion: new(true)}})
	must(t, k.Client.Create(t.Context(), nc))
	return nc.GetName()
}

// SetSize provisions machines, or ends some, as somebody does who wants so many: those first
// that may be disrupted.
func (k *Karpenter) SetSize(t testing.TB, pool string, size int) {
	t.Helper()
	live := slices.DeleteFunc(k.Claims(t, pool), func(nc unstructured.Unstructured) bool { return nc.GetDeletionTimestamp() != nil })
	for n := len(live); n < size; n++ {
		k.Provision(t, pool, "3")
	}
	protected := map[string]bool{}
	for _, n := range k.list(t, "Node", pool) {
		protected[n.GetName()] = n.GetAnnotations()[DoNotDisrupt] == "true"
	}
	slices.SortStableFunc(live, func(a, b unstructured.Unstructured) int {
		if protected[a.GetName()] == protected[b.GetName()] {
			return 0
		}
		if protected[a.GetName()] {
			return 1
		}
		return -1
	})
	for n := range len(live) - size {
		must(t, k.Client.Delete(t.Context(), &live[n]))
	}
}
