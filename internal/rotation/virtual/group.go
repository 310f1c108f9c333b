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

	machines map[string]*cloud.Machine
	created  map[string]bool
}

// AddGroup makes a group of Ready nodes that run the first version of its template.
func (w *World) AddGroup(g Group, role v1alpha1.Role) *Group {
	g.machines, g.Version = map[string]*cloud.Machine{}, max(g.Version, 1)
	if len(g.Zones) == 0 {
		g.Zones = []string{"a"}
	}
	w.Fleet[g.Name] = &g
	w.Groups[g.Name] = &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: g.Name, UID: types.UID("uid-" + g.Name)}, Spec: v1alpha1.NodeGroupSpec{Role: role, Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: g.Name}}}}
	for range g.Size {
		w.up(&g, w.launch(&g))
	}
	return &g
}

func (w *World) launch(g *Group) *cloud.Machine {
	zones := map[string]int{}
	for _, m := range g.machines {
		zones[m.Zone]++
	}
	zone := slices.MinFunc(g.Zones, func(a, b string) int { return zones[a] - zones[b] })
	m := &cloud.Machine{ID: w.id("m-"), Zone: zone, State: cloud.Launching, Template: template(g, g.Version), Image: image(g.Version), LaunchedAt: w.Now}
	m.ProviderID = "sim:///" + zone + "/" + m.ID
	g.machines[m.ID] = m
	return m
}

func template(g *Group, version int) string { return g.Name + ":" + strconv.Itoa(version) }
func image(version int) string              { return "image-" + strconv.Itoa(version) }

// up makes a machine a Ready node.
func (w *World) up(g *Group, m *cloud.Machine) {
	if m.State != cloud.Launching {
		return
	}
	m.State = cloud.Running
	if g.Broken && m.Template != template(g, 1) {
		return
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + m.ID, UID: types.UID("uid-" + m.ID), CreationTimestamp: metav1.NewTime(w.Now), Labels: map[string]string{corev1.LabelTopologyZone: m.Zone, corev1.LabelHostname: "node-" + m.ID}},
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
	live := 0
	for _, m := range g.machines {
		if m.State != cloud.Ending {
			live++
		}
	}
	for ; live < int(g.Size); live++ {
		m := w.launch(g)
		w.after(w.Boot, func() { w.up(g, m) })
	}
}

// describe is what the controller sees of a group.
func (g *Group) describe() rotation.Cloud {
	c := rotation.Cloud{Capabilities: cloud.Capabilities{Surge: true, ApplyImages: true, TemplateVersions: true, RollBack: true, ControlPlane: true}}
	c.ID, c.Size, c.Min, c.Max, c.Run = g.Name, g.Size, g.Min, g.Max, g.Run
	c.Revision = cloud.Revision{Template: template(g, g.Version), Images: []string{image(g.Version)}}
	c.Suspended, c.Suspendable = slices.Clone(g.Suspended), []string{"Rebalance"}
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
	name := "node-" + id
	for _, p := range w.pods {
		if p.Spec.NodeName == name && p.DeletionTimestamp == nil {
			w.violate("machine %s is ended with Pod %s on it", id, p.Name)
		}
	}
	if phase := w.Run.Status.Phase; (phase == v1alpha1.Rotating || phase == v1alpha1.Baking) && m.Template == template(g, g.Version) {
		w.violate("machine %s is ended although it is not outdated", id)
	}
	g.Size = size
	m.State = cloud.Ending
	w.after(30*time.Second, func() {
		delete(g.machines, id)
		w.removeNode(name)
	})
	w.fill(g)
	return nil
}

func (w *World) removeNode(name string) {
	if w.nodes[name] == nil {
		return
	}
	for _, p := range w.pods {
		if p.Spec.NodeName == name {
			w.removePod(p)
		}
	}
	delete(w.nodes, name)
	delete(w.free, name)
	w.Cluster.DeleteNode(name)
}

func (w *World) restore(g *Group, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	g.Run = ""
	g.Suspended = slices.DeleteFunc(g.Suspended, func(one string) bool { return slices.Contains(guard.Suspend, one) })
	g.Max = settings.Max
	for _, m := range g.machines {
		m.Protected = false
	}
	return g.apply(former)
}
