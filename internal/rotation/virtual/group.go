package virtual

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/rotation"
)

var (
	errBudget = errors.New("it would violate the pod's disruption budget")
	errCrash  = errors.New("crashed")
)

// Group is a group of machines at the cloud's.
type Group struct {
	Name           string
	Size, Max, Min int32
	// Version of the template, whose image is image-VERSION.
	Version int
	Zones   []string
	// CPU of each machine, in thousandths.
	CPU       int64
	Suspended []string
	Run       string
	// Broken machines never become nodes.
	Broken bool
	// Capacity is how many machines there can be; 0 for any number.
	Capacity int
	// Balanced groups have their machines in load balancers.
	Balanced bool
	// Evens says that a machine is ended, with no drain, where another zone has two fewer,
	// unless that is suspended.
	Evens bool
	// Lacks is a zone where no machine can be had until then; empty for none.
	Lacks      string
	LacksUntil time.Time

	machines map[string]*cloud.Machine
	lacking  time.Time // when a launch last failed
	// diverted says that a machine which was to even the zones out was launched elsewhere.
	diverted bool
	seen     *rotation.Cloud
	seenAt   time.Time
	// before is what the group was like, and what of that others changed.
	size, max int32
	suspended []string
}

// AddGroup makes a group of Ready nodes that run the first version of its template.
func (w *World) AddGroup(g Group, role v1alpha1.Role) *Group {
	g.machines, g.Version = map[string]*cloud.Machine{}, max(g.Version, 1)
	if len(g.Zones) == 0 {
		g.Zones = []string{"a"}
	}
	g.size, g.max, g.suspended = g.Size, g.Max, slices.Clone(g.Suspended)
	w.Fleet[g.Name] = &g
	w.Groups[g.Name] = &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: g.Name, UID: types.UID("uid-" + g.Name)}, Spec: v1alpha1.NodeGroupSpec{Role: role, Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: g.Name}}}}
	for range g.Size {
		m := w.launch(&g)
		m.LaunchedAt = w.Now.Add(-time.Hour)
		w.up(&g, m)
	}
	return &g
}

func (w *World) launch(g *Group) *cloud.Machine {
	zone := w.zone(g)
	m := &cloud.Machine{ID: w.id("m-"), Zone: zone, State: cloud.Launching, Template: template(g, g.Version), Image: image(g.Version), LaunchedAt: w.Now}
	m.ProviderID = "sim:///" + zone + "/" + m.ID
	g.machines[m.ID] = m
	return m
}

// zone is where a machine is launched: where there are the fewest, of those that have room.
func (w *World) zone(g *Group) string {
	zones := g.zones()
	order := slices.SortedStableFunc(slices.Values(g.Zones), func(a, b string) int { return zones[a] - zones[b] })
	if len(order) == 1 || order[0] != g.Lacks || !w.Now.Before(g.LacksUntil) {
		return order[0]
	}
	g.lacking = w.Now
	if rec := recordOf(w.Run, g.Name); rec != nil && rec.Rebalance != nil {
		g.diverted = true
	}
	return order[1]
}

// zones counts the machines of each zone that are not being ended.
func (g *Group) zones() map[string]int {
	zones := map[string]int{}
	for _, zone := range g.Zones {
		zones[zone] = 0
	}
	for _, m := range g.machines {
		if m.State != cloud.Ending {
			zones[m.Zone]++
		}
	}
	return zones
}

func template(g *Group, version int) string { return g.Name + ":" + strconv.Itoa(version) }
func image(version int) string              { return "image-" + strconv.Itoa(version) }

// up makes a machine a Ready node.
func (w *World) up(g *Group, m *cloud.Machine) {
	if m.State != cloud.Launching {
		return
	}
	m.State, m.Registered = cloud.Running, g.Balanced
	if g.Broken && m.Template != template(g, 1) {
		return
	}
	w.join(g, m)
}

// join makes the Node of a machine, or makes it again.
func (w *World) join(g *Group, m *cloud.Machine) {
	if m.State != cloud.Running || w.nodes["node-"+m.ID] != nil {
		return
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + m.ID, UID: types.UID(w.id("uid-" + m.ID + "-")), CreationTimestamp: metav1.NewTime(w.Now), Labels: map[string]string{corev1.LabelTopologyZone: m.Zone, corev1.LabelHostname: "node-" + m.ID}},
		Spec: corev1.NodeSpec{ProviderID: m.ProviderID},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(g.CPU, resource.DecimalSI), corev1.ResourcePods: resource.MustParse("110")},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.Now)}}}}
	w.nodes[n.Name] = n
	w.free[n.Name] = &[3]int64{g.CPU, 0, 110}
	w.Cluster.SetNode(n)
	w.schedule()
}

// fill launches what the group lacks.
func (w *World) fill(g *Group) {
	for g.live() < int(g.Size) {
		if g.Capacity > 0 && g.live() >= g.Capacity {
			g.lacking = w.Now
			return
		}
		m := w.launch(g)
		w.after(w.vary(w.Boot, w.Jitter+w.BootSpread), func() { w.up(g, m) })
	}
}

// live is how many machines there are that are not being ended.
func (g *Group) live() (n int) {
	for _, m := range g.machines {
		if m.State != cloud.Ending {
			n++
		}
	}
	return n
}

// view is what the controller sees of a group: what is, or what it saw before.
func (w *World) view(g *Group) rotation.Cloud {
	kept := w.Stale != nil && w.Stale() || w.Now.Before(g.seenAt.Add(w.Describe))
	if g.seen == nil || !kept {
		g.seen, g.seenAt = new(g.describe()), w.Now
	}
	return *g.seen
}

// rebalance is the process by which the zones of a group are evened out.
const rebalance = "Rebalance"

// describe is what the controller sees of a group.
func (g *Group) describe() rotation.Cloud {
	c := rotation.Cloud{Capabilities: cloud.Capabilities{Surge: true, ApplyImages: true, TemplateVersions: true, RollBack: true, Deregister: true, ControlPlane: true}}
	c.ID, c.Size, c.Min, c.Max, c.Run = g.Name, g.Size, g.Min, g.Max, g.Run
	c.Revision = cloud.Revision{Template: template(g, g.Version), Images: []string{image(g.Version)}}
	c.Suspended, c.Suspendable = slices.Clone(g.Suspended), []string{rebalance}
	if g.Evens && !slices.Contains(g.suspended, rebalance) {
		c.Zones = slices.Clone(g.Zones)
	}
	if !g.lacking.IsZero() {
		c.Problems = []cloud.Problem{{Reason: cloud.ReasonCapacity, Message: "there is no capacity", At: g.lacking}}
	}
	for _, id := range slices.Sorted(maps.Keys(g.machines)) {
		c.Machines = append(c.Machines, *g.machines[id])
	}
	return c
}

func (w *World) prepare(g *Group, guard cloud.Guard, target cloud.Target) error {
	g.Run = guard.Run
	for _, one := range guard.Suspend {
		if !slices.Contains(g.Suspended, one) {
			g.Suspended = append(g.Suspended, one)
		}
	}
	return g.apply(target)
}

func (g *Group) apply(target cloud.Target) error {
	var err error
	switch {
	case target.TemplateVersion != "":
		g.Version, err = strconv.Atoi(target.TemplateVersion)
	case target.Template != "":
		_, version, _ := strings.Cut(target.Template, ":")
		g.Version, err = strconv.Atoi(version)
	case len(target.Images) > 0:
		g.Version, err = strconv.Atoi(strings.TrimPrefix(target.Images[0], "image-"))
	}
	return err
}

// endMachine ends a machine, and watches over that nothing runs on it.
func (w *World) endMachine(g *Group, id string, size int32) error {
	m := g.machines[id]
	if m == nil || m.State == cloud.Ending {
		return nil
	}
	if size != g.Size && size != g.Size-1 {
		return fmt.Errorf("end %s: the group wants %d machines, not %d or %d", id, g.Size, size, size+1)
	}
	w.watchEnd(g, m)
	g.Size = size
	w.Emptied = w.Now
	w.ending(g, m)
	return nil
}

// ending is what happens to a machine that is told to end.
func (w *World) ending(g *Group, m *cloud.Machine) {
	m.State = cloud.Ending
	w.after(30*time.Second, func() {
		delete(g.machines, m.ID)
		w.removeNode("node-" + m.ID)
	})
	w.fill(g)
}

func (w *World) removeNode(name string) {
	if w.nodes[name] == nil {
		return
	}
	delete(w.nodes, name)
	delete(w.free, name)
	w.Cluster.DeleteNode(name)
	for _, p := range w.Cluster.PodsOn(name) {
		if p.PrePull {
			w.removePull(p.UID)
		} else {
			w.removePod(w.pods[p.UID])
		}
	}
}

func (w *World) restore(g *Group, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	if g.Run == "" {
		return nil
	}
	if settings.Size < g.Size && g.live() > int(settings.Size) {
		w.violate("group %s is restored to %d machines and has %d", g.Name, settings.Size, g.live())
	}
	w.watchZones(g)
	g.Run = ""
	g.Suspended = slices.DeleteFunc(g.Suspended, func(one string) bool { return slices.Contains(guard.Suspend, one) })
	if g.Max = settings.Max; g.Max < g.Size {
		w.violate("group %s is restored to a maximum of %d and wants %d", g.Name, g.Max, g.Size)
	}
	for _, m := range g.machines {
		m.Protected = false
	}
	return g.apply(former)
}
