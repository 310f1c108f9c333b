// Package simulated is a provider whose machines are Node objects and nothing else, kept
// alive by whoever simulates nodes in the cluster, such as the development cluster. It is
// for trying rotations out: a group is a ConfigMap, and can be changed by hand.
package simulated

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// What names things.
const (
	// GroupLabel is on the nodes of a group, and names it.
	GroupLabel = "simulated.windlass.dev/group"
	// simulatedLabel is that by which the development cluster knows its simulated nodes.
	simulatedLabel, simulatedValue = "windlass.dev/node", "simulated"
	templateAnnotation             = "simulated.windlass.dev/template"
	protectedAnnotation            = "simulated.windlass.dev/protected"
	// configMapPrefix is before a group's name in that of its ConfigMap.
	configMapPrefix = "machines-"
)

// Keys of a group's ConfigMap.
const (
	keySize, keyMax, keyTemplate = "size", "max", "template"
	keyRun, keyZones             = "run", "zones"
	keyCPU, keyMemory, keyPods   = "cpu", "memory", "pods"
)

// Provider keeps simulated groups.
type Provider struct {
	// Client writes, and reads past any cache.
	Client client.Client
	// Namespace of the groups' ConfigMaps.
	Namespace string

	// filling keeps two who look at a group from both making the machine that it lacks.
	filling sync.Mutex
}

// Capabilities are all but load balancers.
func (p *Provider) Capabilities() cloud.Capabilities {
	return cloud.Capabilities{Surge: true, TemplateVersions: true, RollBack: true, ControlPlane: true}
}

// Create makes a group of so many machines, each of so much CPU, in the zones.
func (p *Provider) Create(ctx context.Context, name string, size int32, cpu string, zones ...string) error {
	group := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: configMapPrefix + name}, Data: map[string]string{
		keySize: "0", keyMax: strconv.Itoa(int(size)), keyTemplate: "1", keyZones: strings.Join(zones, ","), keyCPU: cpu,
	}}
	if err := p.Client.Create(ctx, group); err != nil {
		return fmt.Errorf("make simulated group %s: %w", name, err)
	}
	return p.Resize(ctx, refTo(name), size)
}

func refTo(name string) v1alpha1.Provider {
	return v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: name}}
}

// Apply makes a version of the template, an image as it were, that of new machines.
func (p *Provider) Apply(ctx context.Context, name string, version int) error {
	return p.edit(ctx, refTo(name), func(data map[string]string) { data[keyTemplate] = strconv.Itoa(version) })
}

func (p *Provider) group(ctx context.Context, ref v1alpha1.Provider) (*corev1.ConfigMap, error) {
	if ref.Simulated == nil {
		return nil, fmt.Errorf("%w: it keeps simulated groups only", cloud.ErrUnsupported)
	}
	var group corev1.ConfigMap
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: configMapPrefix + ref.Simulated.Name}, &group)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("simulated group %s: %w: there is no ConfigMap %s/%s%s", ref.Simulated.Name, cloud.ErrNotFound, p.Namespace, configMapPrefix, ref.Simulated.Name)
	}
	return &group, err
}

func (p *Provider) edit(ctx context.Context, ref v1alpha1.Provider, change func(map[string]string)) error {
	group, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	was := maps.Clone(group.Data)
	if change(group.Data); maps.Equal(was, group.Data) {
		return nil
	}
	return p.Client.Update(ctx, group)
}

func number(data map[string]string, key string) int32 {
	n, err := strconv.ParseInt(data[key], 10, 32)
	if err != nil {
		return 0 // What somebody wrote by hand.
	}
	return int32(n)
}

// Describe reads the ConfigMap and the nodes of a group. Nobody else keeps the group at
// its size, so it makes those that lack.
func (p *Provider) Describe(ctx context.Context, ref v1alpha1.Provider) (cloud.Group, error) {
	if err := p.fill(ctx, ref); err != nil {
		return cloud.Group{}, err
	}
	group, err := p.group(ctx, ref)
	if err != nil {
		return cloud.Group{}, err
	}
	name := ref.Simulated.Name
	g := cloud.Group{ID: "simulated/" + name, Size: number(group.Data, keySize), Max: number(group.Data, keyMax), Run: group.Data[keyRun],
		Revision: cloud.Revision{Template: template(name, group.Data[keyTemplate]), Images: []string{image(group.Data[keyTemplate])}}}
	nodes, err := p.nodes(ctx, name)
	for i := range nodes {
		n := &nodes[i]
		m := cloud.Machine{ID: n.Name, ProviderID: n.Spec.ProviderID, Node: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], State: cloud.Running,
			Template: template(name, n.Annotations[templateAnnotation]), Image: image(n.Annotations[templateAnnotation]), Protected: n.Annotations[protectedAnnotation] != "", LaunchedAt: n.CreationTimestamp.Time}
		if n.DeletionTimestamp != nil {
			m.State = cloud.Ending
		}
		g.Machines = append(g.Machines, m)
	}
	return g, err
}

func template(name, version string) string { return name + ":" + version }
func image(version string) string          { return "simulated-image-" + version }

// nodes are those of a group, sorted by name.
func (p *Provider) nodes(ctx context.Context, name string) ([]corev1.Node, error) {
	var list corev1.NodeList
	if err := p.Client.List(ctx, &list, client.MatchingLabels{GroupLabel: name}); err != nil {
		return nil, fmt.Errorf("list the nodes of simulated group %s: %w", name, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// Prepare marks the group, and sets its template.
func (p *Provider) Prepare(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, target cloud.Target) error {
	version, err := versionOf(target)
	if err != nil {
		return err
	}
	return p.edit(ctx, ref, func(data map[string]string) {
		data[keyRun] = guard.Run
		if version != "" {
			data[keyTemplate] = version
		}
	})
}

func versionOf(target cloud.Target) (string, error) {
	if len(target.Images) > 0 {
		return "", fmt.Errorf("%w: simulated groups have template versions, and no images of their own", cloud.ErrUnsupported)
	}
	version := target.TemplateVersion
	if target.Template != "" {
		_, version, _ = strings.Cut(target.Template, ":")
	}
	if version == "" {
		return "", nil
	}
	if _, err := strconv.Atoi(version); err != nil {
		return "", fmt.Errorf("%w: template version %q is no number", cloud.ErrInvalid, version)
	}
	return version, nil
}

// Resize makes machines until the group has its size.
func (p *Provider) Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error {
	group, err := p.Describe(ctx, ref)
	if err != nil {
		return err
	}
	if err := shrinks(&group, size); err != nil {
		return err
	}
	err = p.edit(ctx, ref, func(data map[string]string) {
		data[keySize] = strconv.Itoa(int(size))
		data[keyMax] = strconv.Itoa(int(max(size, number(data, keyMax))))
	})
	if err != nil {
		return err
	}
	return p.fill(ctx, ref)
}

// shrinks is cloud.Shrinks of a group.
func shrinks(g *cloud.Group, size int32) error {
	live := 0
	for i := range g.Machines {
		if g.Machines[i].State != cloud.Ending {
			live++
		}
	}
	return cloud.Shrinks(g.ID, g.Size, size, live)
}

// fill makes the machines that the group lacks.
func (p *Provider) fill(ctx context.Context, ref v1alpha1.Provider) error {
	p.filling.Lock()
	defer p.filling.Unlock()
	group, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	nodes, err := p.nodes(ctx, ref.Simulated.Name)
	if err != nil {
		return err
	}
	live := 0
	zones := map[string]int{}
	for i := range nodes {
		if nodes[i].DeletionTimestamp == nil {
			live++
			zones[nodes[i].Labels[corev1.LabelTopologyZone]]++
		}
	}
	for ; live < int(number(group.Data, keySize)); live++ {
		all := strings.Split(group.Data[keyZones], ",")
		zone := slices.MinFunc(all, func(a, b string) int { return zones[a] - zones[b] })
		zones[zone]++
		if err := p.launch(ctx, ref.Simulated.Name, group.Data, zone); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) launch(ctx context.Context, group string, data map[string]string, zone string) error {
	name := group + "-" + rand.String(6)
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			GroupLabel: group, simulatedLabel: simulatedValue, corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}, Annotations: map[string]string{templateAnnotation: data[keyTemplate]}},
		Spec: corev1.NodeSpec{ProviderID: "simulated:///" + zone + "/" + name},
	}
	if zone != "" {
		n.Labels[corev1.LabelTopologyZone] = zone
	}
	room := corev1.ResourceList{}
	for key, resourceName := range map[string]corev1.ResourceName{keyCPU: corev1.ResourceCPU, keyMemory: corev1.ResourceMemory, keyPods: corev1.ResourcePods} {
		text := data[key]
		if text == "" {
			text = map[string]string{keyCPU: "4", keyMemory: "16Gi", keyPods: "110"}[key]
		}
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return fmt.Errorf("%w: %s of simulated group %s is %q", cloud.ErrInvalid, key, group, text)
		}
		room[resourceName] = quantity
	}
	if err := p.Client.Create(ctx, n); err != nil {
		return fmt.Errorf("make node %s: %w", name, err)
	}
	// As a patch: whoever simulates the node is writing its status too.
	before := n.DeepCopy()
	n.Status.Capacity, n.Status.Allocatable = room, room
	return p.Client.Status().Patch(ctx, n, client.MergeFrom(before))
}

// Protect does what it says; nobody but the rotation ends simulated machines anyway.
func (p *Provider) Protect(ctx context.Context, ref v1alpha1.Provider, machines []string) error {
	return p.protect(ctx, machines, "true")
}

func (p *Provider) protect(ctx context.Context, machines []string, value string) error {
	quoted := strconv.Quote(value)
	if value == "" {
		quoted = "null"
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, protectedAnnotation, quoted)
	for _, name := range machines {
		err := p.Client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, client.RawPatch(types.MergePatchType, patch))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("protect %s: %w", name, err)
		}
	}
	return nil
}

// Deregister has nothing to do.
func (p *Provider) Deregister(context.Context, v1alpha1.Provider, string) (bool, error) {
	return true, nil
}

// End deletes a machine's node, and makes another if the group's size stays.
func (p *Provider) End(ctx context.Context, ref v1alpha1.Provider, machine string, size int32) error {
	group, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	var n corev1.Node
	err = p.Client.Get(ctx, types.NamespacedName{Name: machine}, &n)
	if apierrors.IsNotFound(err) || err == nil && n.Labels[GroupLabel] != ref.Simulated.Name {
		return nil
	}
	if err != nil {
		return err
	}
	if err := cloud.Ends(ref.Simulated.Name, number(group.Data, keySize), size); err != nil {
		return err
	}
	// The size first: if it is not written nothing is ended, and if nothing is ended after
	// it the call is repeated.
	if err := p.edit(ctx, ref, func(data map[string]string) { data[keySize] = strconv.Itoa(int(size)) }); err != nil {
		return err
	}
	if err := p.Client.Delete(ctx, &n, client.Preconditions{UID: &n.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete node %s: %w", machine, err)
	}
	return p.fill(ctx, ref)
}

// restoreTimeout bounds what Restore does to all nodes.
const restoreTimeout = time.Minute

// Restore gives the group its limits, and takes all marks off.
func (p *Provider) Restore(ctx context.Context, ref v1alpha1.Provider, _ cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	version, err := versionOf(former)
	if err != nil {
		return err
	}
	described, err := p.Describe(ctx, ref)
	if err != nil {
		return err
	}
	if err := shrinks(&described, settings.Size); err != nil {
		return err
	}
	var protected []string
	for i := range described.Machines {
		if described.Machines[i].Protected {
			protected = append(protected, described.Machines[i].ID)
		}
	}
	if err := p.protect(ctx, protected, ""); err != nil {
		return err
	}
	return p.edit(ctx, ref, func(data map[string]string) {
		delete(data, keyRun)
		data[keyMax] = strconv.Itoa(int(settings.Max))
		if version != "" {
			data[keyTemplate] = version
		}
	})
}
