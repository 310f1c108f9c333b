// Package drain decides which pods may leave a node, in which order, and why not. It
// holds what it needs of a cluster in an index that is kept up to date change by change,
// so that a decision over thousands of nodes costs no more than the few that are open.
// It evicts nothing itself.
package drain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
)

// Cluster is the index: nodes, pods, budgets and workloads, and how they hang together.
// Its methods that begin with Set or Delete change it; nothing else does. It is not safe
// for use by several goroutines while one changes it.
type Cluster struct {
	nodes       map[string]*Node
	ordered     []*Node // by name
	pods        map[types.UID]*Pod
	places      map[string]*place             // by the node's name
	byOwner     map[string]*owned             // by the owner as text
	budgets     map[string]map[string]*Budget // by namespace and name
	inNamespace map[string]map[types.UID]*Pod // by namespace
	workloads   map[Owner]*Workload
	attached    map[string]map[string]string // node to VolumeAttachment to volume
	volumes     map[string]Volume            // PersistentVolume by its claim, "namespace/name"
	scalers     map[Owner]Autoscaler
	shapes      map[string]*Shape
	images      map[string][]string
	machines    map[string]*Node          // by the machine's own id
	provided    map[string]*Node          // by their provider id
	departures  map[types.UID]*Departures // by run
	budgetSlots slots
	nodeSlots   slots
	layout      uint64 // see Layout
}

// NewCluster returns an empty index.
func NewCluster() *Cluster {
	return &Cluster{
		nodes: map[string]*Node{}, pods: map[types.UID]*Pod{}, places: map[string]*place{}, byOwner: map[string]*owned{}, inNamespace: map[string]map[types.UID]*Pod{},
		budgets: map[string]map[string]*Budget{}, workloads: map[Owner]*Workload{}, attached: map[string]map[string]string{},
		volumes: map[string]Volume{}, scalers: map[Owner]Autoscaler{}, shapes: map[string]*Shape{}, images: map[string][]string{}, machines: map[string]*Node{}, provided: map[string]*Node{}, departures: map[types.UID]*Departures{},
	}
}

// Node is what is known of a node.
type Node struct {
	Name       string
	UID        types.UID
	ProviderID string
	Zone       string
	Labels     labels.Set
	// Cordoned says that no new pods are put on it.
	Cordoned bool
	// Excluded says that load balancers of the cluster leave it out.
	Excluded bool
	Taints   []corev1.Taint
	// ReadySince is when it became Ready, zero while it is not, and UnreadySince when it
	// ceased to be, or never was.
	ReadySince, UnreadySince time.Time
	CreatedAt                time.Time
	// ScaleDownDisabled says that the cluster autoscaler leaves it alone.
	ScaleDownDisabled bool
	Capacity          Resources
	// Outdated says that it has the taint of nodes that have to go.
	Outdated bool
	// Slot is a small number that no other node of the cluster has, for tables.
	Slot int

	object *corev1.Node // what the shapes of pods are matched with
	place  *place
}

// place is where pods are, of a node or of one that is not known yet.
type place struct {
	node *Node     // nil if it is not known
	pods []*Pod    // by namespace and name
	used Resources // what they take of it
	load *Load     // what of them has to leave it; nil if that has to be found out
}

// placeOf returns the place of a name, and makes it if need be.
func (c *Cluster) placeOf(node string) *place {
	p := c.places[node]
	if p == nil {
		p = &place{}
		c.places[node] = p
	}
	return p
}

// podsOn are the pods of a node, which are not to be changed.
func (c *Cluster) podsOn(node string) []*Pod {
	if p := c.places[node]; p != nil {
		return p.pods
	}
	return nil
}

// tidy forgets a place that is none: names of nodes are never used again.
func (c *Cluster) tidy(node string) {
	if p := c.places[node]; p != nil && p.node == nil && len(p.pods) == 0 {
		delete(c.places, node)
	}
}

// slots are small numbers that are given out, and back.
type slots struct {
	n    int
	free []int
}

func (s *slots) take() int {
	if last := len(s.free) - 1; last >= 0 {
		slot := s.free[last]
		s.free = s.free[:last]
		return slot
	}
	s.n++
	return s.n - 1
}

func (s *slots) give(slot int) { s.free = append(s.free, slot) }

// Ready says whether pods can run on the node.
func (n *Node) Ready() bool { return !n.ReadySince.IsZero() }

// SetNode takes in a node as it is now.
func (c *Cluster) SetNode(node *corev1.Node) {
	n := &Node{
		Name: node.Name, UID: node.UID, ProviderID: node.Spec.ProviderID, Zone: node.Labels[corev1.LabelTopologyZone], Labels: node.Labels,
		Cordoned: node.Spec.Unschedulable, Taints: node.Spec.Taints, CreatedAt: node.CreationTimestamp.Time, Capacity: resourcesOf(node.Status.Allocatable),
		ScaleDownDisabled: node.Annotations[ScaleDownDisabled] == "true",
		object:            node,
	}
	_, n.Excluded = node.Labels[corev1.LabelNodeExcludeBalancers]
	n.Outdated = slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.OutdatedTaint })
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		since := condition.LastTransitionTime.Time
		if since.IsZero() {
			since = n.CreatedAt
		}
		if condition.Status == corev1.ConditionTrue {
			n.ReadySince = since
		} else {
			n.UnreadySince = since
		}
	}
	was := c.nodes[node.Name]
	if was == nil || was.UID != n.UID || matchesOtherwise(was.object, node) {
		for _, shape := range c.shapes {
			delete(shape.eligible, node.Name)
		}
	}
	if was != nil && was.UID == n.UID && was.ProviderID == n.ProviderID {
		n.Slot, n.place = was.Slot, was.place
		*was = *n // Who knows it knows it by its address.
		return
	}
	if was != nil {
		c.remove(was)
	}
	c.layout++
	n.Slot, n.place = c.nodeSlots.take(), c.placeOf(n.Name)
	n.place.node = n
	c.nodes[node.Name] = n
	c.ordered = insert(c.ordered, n, compareNodes)
	if n.ProviderID != "" {
		c.machines[machineOf(n.ProviderID)], c.provided[n.ProviderID] = n, n
	}
}

// remove takes a node out of all orders.
func (c *Cluster) remove(n *Node) {
	c.layout++
	c.nodeSlots.give(n.Slot)
	n.place.node, n.place.load = nil, nil
	c.forgetMachine(n)
	c.ordered = remove(c.ordered, n, compareNodes)
	delete(c.nodes, n.Name)
}

// Layout changes whenever a node comes or goes: until then a Node that was found once is what
// would be found again.
func (c *Cluster) Layout() uint64 { return c.layout }

// NodeSlots is by how much all nodes' slots are less.
func (c *Cluster) NodeSlots() int { return c.nodeSlots.n }

// machineOf is the last part of a provider id, which is the machine's own, as in
// aws:///eu-central-1a/i-0123.
func machineOf(providerID string) string {
	return providerID[strings.LastIndexByte(providerID, '/')+1:]
}

// NodeOf returns the node of a machine, by the last part of its provider id; nil if there is none.
func (c *Cluster) NodeOf(machine string) *Node { return c.machines[machine] }

// NodeWith returns the node with a provider id; nil if there is none.
func (c *Cluster) NodeWith(providerID string) *Node { return c.provided[providerID] }

// ScaleDownDisabled is the annotation that keeps the cluster autoscaler from a node.
const ScaleDownDisabled = "cluster-autoscaler.kubernetes.io/scale-down-disabled"

// matchesOtherwise says whether pods may fit a node otherwise than before, apart from its room.
func matchesOtherwise(was, is *corev1.Node) bool {
	return !maps.Equal(was.Labels, is.Labels) || !slices.EqualFunc(was.Spec.Taints, is.Spec.Taints, func(a, b corev1.Taint) bool {
		return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
	})
}

// DeleteNode forgets a node. Its pods stay until they are deleted themselves.
func (c *Cluster) DeleteNode(name string) {
	n := c.nodes[name]
	if n == nil {
		return
	}
	c.remove(n)
	c.tidy(name)
	for _, shape := range c.shapes {
		delete(shape.eligible, name)
	}
}

func (c *Cluster) forgetMachine(n *Node) {
	if c.provided[n.ProviderID] == n {
		delete(c.provided, n.ProviderID)
	}
	if n.ProviderID != "" && c.machines[machineOf(n.ProviderID)] == n {
		delete(c.machines, machineOf(n.ProviderID))
	}
}

func compareNodes(a, b *Node) int { return strings.Compare(a.Name, b.Name) }

// insert puts one into a sorted list, and remove takes it out.
func insert[T any](all []T, one T, compare func(a, b T) int) []T {
	i, _ := slices.BinarySearchFunc(all, one, compare)
	return slices.Insert(all, i, one)
}

func remove[T any](all []T, one T, compare func(a, b T) int) []T {
	if i, found := slices.BinarySearchFunc(all, one, compare); found {
		return slices.Delete(all, i, i+1)
	}
	return all
}

// Node returns a node by its name; nil if there is none.
func (c *Cluster) Node(name string) *Node { return c.nodes[name] }

// Nodes returns all nodes, sorted by name. They are not to be changed.
func (c *Cluster) Nodes() []*Node { return c.ordered }

// PodsOn returns the pods of a node, sorted by namespace and name.
func (c *Cluster) PodsOn(node string) []*Pod { return slices.Clone(c.podsOn(node)) }

// Count is how many pods a node has.
func (c *Cluster) Count(node string) int { return len(c.podsOn(node)) }

func comparePods(a, b *Pod) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(string(a.UID), string(b.UID)))
}

// Pod returns a pod by its UID; nil if there is none.
func (c *Cluster) Pod(uid types.UID) *Pod { return c.pods[uid] }

// Workload is who makes pods again.
type Workload struct {
	Owner Owner
	// Desired is how many pods there should be.
	Desired int32
	// Parent controls the workload, as a Deployment does its ReplicaSets.
	Parent Owner
}

// SetWorkload takes in how many pods a workload wants, and who controls it.
func (c *Cluster) SetWorkload(w Workload) {
	c.workloads[w.Owner] = &w
	c.of(w.Owner).workload = &w
}

// DeleteWorkload forgets it.
func (c *Cluster) DeleteWorkload(owner Owner) {
	delete(c.workloads, owner)
	c.of(owner).workload = nil
}

// Parent returns who controls a workload, or itself.
func (c *Cluster) Parent(owner Owner) Owner {
	if w := c.workloads[owner]; w != nil && w.Parent != (Owner{}) {
		return w.Parent
	}
	return owner
}

// Workload returns what is known of a workload.
func (c *Cluster) Workload(owner Owner) (w Workload, ok bool) {
	if known := c.workloads[owner]; known != nil {
		return *known, true
	}
	return Workload{}, false
}

// Autoscaler is a HorizontalPodAutoscaler.
type Autoscaler struct {
	Name string
	Min  int32
}

// SetAutoscaler takes in who scales a workload.
func (c *Cluster) SetAutoscaler(target Owner, a Autoscaler) { c.scalers[target] = a }

// DeleteAutoscaler forgets it.
func (c *Cluster) DeleteAutoscaler(target Owner) { delete(c.scalers, target) }

// Autoscaler returns who scales a workload.
func (c *Cluster) Autoscaler(target Owner) (a Autoscaler, ok bool) {
	a, ok = c.scalers[target]
	return a, ok
}

// AutoscalerNamed returns an autoscaler by its own name.
func (c *Cluster) AutoscalerNamed(namespace, name string) (a Autoscaler, ok bool) {
	for target, a := range c.scalers {
		if target.Namespace == namespace && a.Name == name {
			return a, true
		}
	}
	return Autoscaler{}, false
}

// HasAttached says whether a node has volumes attached.
func (c *Cluster) HasAttached(node string) bool { return len(c.attached[node]) > 0 }

// SetAttachment takes in that a volume is attached to a node.
func (c *Cluster) SetAttachment(name, node, volume string) {
	if c.attached[node] == nil {
		c.attached[node] = map[string]string{}
	}
	c.attached[node][name] = volume
}

// DeleteAttachment forgets it.
func (c *Cluster) DeleteAttachment(name, node string) {
	if delete(c.attached[node], name); len(c.attached[node]) == 0 {
		delete(c.attached, node)
	}
}

// Attached returns the volumes that are attached to a node, sorted.
func (c *Cluster) Attached(node string) []string {
	return slices.Sorted(maps.Values(c.attached[node]))
}

// Volume is a PersistentVolume, as far as it binds pods to places.
type Volume struct {
	Name string
	// Zones it is in; any without one.
	Zones []string
	// Nodes it is on; any without one. Such a volume does not leave its node.
	Nodes []string
}

// SetVolume takes in the volume of a claim.
func (c *Cluster) SetVolume(namespace, claim string, v Volume) { c.volumes[namespace+"/"+claim] = v }

// DeleteVolume forgets it.
func (c *Cluster) DeleteVolume(namespace, claim string) { delete(c.volumes, namespace+"/"+claim) }
