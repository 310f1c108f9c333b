package clusterapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Names of Cluster API's own, as its api/core has them.
const (
	apiGroup         = "cluster.x-k8s.io"
	deploymentLabel  = "cluster.x-k8s.io/deployment-name"
	topologyLabel    = "topology.cluster.x-k8s.io/owned"
	pausedAnnotation = "cluster.x-k8s.io/paused"
	// deleteAnnotation makes a machine go first when its set gets smaller.
	deleteAnnotation = "cluster.x-k8s.io/delete-machine"
	// hookAnnotation keeps a machine that is being deleted from being drained and ended.
	hookAnnotation = "pre-drain.delete.hook.machine.cluster.x-k8s.io/windlass"
	// The limits of the cluster autoscaler; a MachineDeployment has none of its own.
	minAnnotation = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size"
	maxAnnotation = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
)

// Names of ours.
const (
	markAnnotation      = "windlass.dev/run"
	protectedAnnotation = "windlass.dev/protected"
	// byWindlass is the value of what others may set too.
	byWindlass = "windlass"
)

// versions of Cluster API that are understood, the best first.
var versions = []string{"v1beta2", "v1beta1"}

// group is a MachineDeployment as it was read.
type group struct {
	client     client.Client
	version    string
	deployment *unstructured.Unstructured
}

func find(ctx context.Context, c client.Client, namespace, name string) (*group, error) {
	kind, err := serves(c)
	if err != nil {
		return nil, err
	}
	g := &group{client: c, version: kind.Version}
	g.deployment = &unstructured.Unstructured{}
	g.deployment.SetGroupVersionKind(kind)
	if err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, g.deployment); err != nil {
		return nil, explain(fmt.Sprintf("read MachineDeployment %s/%s", namespace, name), err)
	}
	if _, ok := g.deployment.GetLabels()[topologyLabel]; ok {
		return nil, fmt.Errorf("MachineDeployment %s is kept by the topology of its Cluster, which would undo what a rotation does to it: %w", g.name(), cloud.ErrUnsupported)
	}
	return g, nil
}

// serves says as what the cluster serves MachineDeployments. All versions are asked for:
// asked for some, the mapper fails if one of them is missing.
func serves(c client.Client) (schema.GroupVersionKind, error) {
	mappings, err := c.RESTMapper().RESTMappings(schema.GroupKind{Group: apiGroup, Kind: "MachineDeployment"})
	if meta.IsNoMatchError(err) {
		return schema.GroupVersionKind{}, fmt.Errorf("there is no Cluster API in the cluster, which has no kind MachineDeployment of %s: %w", apiGroup, cloud.ErrUnsupported)
	}
	if err != nil {
		return schema.GroupVersionKind{}, explain("look for Cluster API", err)
	}
	for _, version := range versions {
		for _, m := range mappings {
			if m.GroupVersionKind.Version == version {
				return m.GroupVersionKind, nil
			}
		}
	}
	return schema.GroupVersionKind{}, fmt.Errorf("the Cluster API of the cluster serves none of the versions %s: %w", strings.Join(versions, ", "), cloud.ErrUnsupported)
}

func (g *group) name() string { return g.deployment.GetNamespace() + "/" + g.deployment.GetName() }

// where tells clusters apart.
func (g *group) where(ref v1alpha1.Provider) string {
	if s := ref.ClusterAPI.Kubeconfig; s != nil {
		return s.Namespace + "/" + s.Name
	}
	return "here"
}

func (g *group) list(ctx context.Context, kind string) ([]unstructured.Unstructured, error) {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(schema.GroupVersionKind{Group: apiGroup, Version: g.version, Kind: kind + "List"})
	err := g.client.List(ctx, all, client.InNamespace(g.deployment.GetNamespace()), client.MatchingLabels{deploymentLabel: g.deployment.GetName()})
	return all.Items, explain(fmt.Sprintf("list the %ss of MachineDeployment %s", kind, g.name()), err)
}

func (g *group) machines(ctx context.Context) ([]unstructured.Unstructured, error) {
	return g.list(ctx, "Machine")
}

// sets are the MachineSets of the group, by name.
func (g *group) sets(ctx context.Context) (map[string]*unstructured.Unstructured, error) {
	all, err := g.list(ctx, "MachineSet")
	byName := map[string]*unstructured.Unstructured{}
	for i := range all {
		byName[all[i].GetName()] = &all[i]
	}
	return byName, err
}

func (g *group) size() int32 { return replicas(g.deployment) }

// replicas is 1 without one, as Cluster API has it.
func replicas(u *unstructured.Unstructured) int32 {
	n, ok, err := unstructured.NestedInt64(u.Object, "spec", "replicas")
	if err != nil || !ok {
		return 1
	}
	return int32(n)
}

func setReplicas(u *unstructured.Unstructured, n int32) {
	put(u, int64(n), "spec", "replicas")
}

// put sets a field below those that are objects, which spec and metadata are by schema.
func put(u *unstructured.Unstructured, value any, fields ...string) {
	if err := unstructured.SetNestedField(u.Object, value, fields...); err != nil {
		panic(err) // A schema of Cluster API's that is none.
	}
}

// limits are the autoscaler's; without one, the size is all that the group may have.
func (g *group) limits() (least, most int32) {
	size := g.size()
	return number(g.deployment, minAnnotation, 0), number(g.deployment, maxAnnotation, size)
}

func number(u *unstructured.Unstructured, annotation string, without int32) int32 {
	n, err := strconv.ParseInt(u.GetAnnotations()[annotation], 10, 32)
	if err != nil {
		return without
	}
	return int32(n)
}

// limit sets the autoscaler's upper limit, where there is one.
func (g *group) limit(most int32) {
	if _, ok := g.deployment.GetAnnotations()[maxAnnotation]; ok {
		annotate(g.deployment, maxAnnotation, strconv.Itoa(int(most)))
	}
}

// annotate sets an annotation, or removes it if the value is empty.
func annotate(u *unstructured.Unstructured, key, value string) {
	all := u.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	if value == "" {
		delete(all, key)
	} else {
		all[key] = value
	}
	u.SetAnnotations(all)
}

// strategyField is where a version keeps the strategy.
func (g *group) strategyField() []string {
	if g.version == "v1beta1" {
		return []string{"spec", "strategy"}
	}
	return []string{"spec", "rollout", "strategy"}
}

func (g *group) strategy() map[string]any {
	s, _, _ := unstructured.NestedMap(g.deployment.Object, g.strategyField()...)
	return s
}

func (g *group) onDelete() bool { return g.strategy()["type"] == "OnDelete" }

func (g *group) setStrategy(s map[string]any) {
	if s == nil {
		unstructured.RemoveNestedField(g.deployment.Object, g.strategyField()...)
		return
	}
	put(g.deployment, s, g.strategyField()...)
}

// edit writes what change makes of the MachineDeployment, unless somebody else has written
// since it was read.
func (g *group) edit(ctx context.Context, change func()) error {
	was := g.deployment.DeepCopy()
	if change(); equality.Semantic.DeepEqual(was.Object, g.deployment.Object) {
		return nil
	}
	return explain("change MachineDeployment "+g.name(), g.client.Update(ctx, g.deployment))
}

// note sets annotations of a machine, and removes those whose value is nil.
func (g *group) note(ctx context.Context, m *unstructured.Unstructured, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	err = g.client.Patch(ctx, m, client.RawPatch(types.MergePatchType, patch))
	return explain("annotate Machine "+m.GetName(), client.IgnoreNotFound(err))
}

// mark is what a run has noted on its group.
type mark struct {
	Run     string   `json:"run"`
	Suspend []string `json:"suspend,omitempty"`
	Size    int32    `json:"size"`
	Max     int32    `json:"max"`
	// Strategy that the group had; nil for none.
	Strategy map[string]any `json:"strategy,omitempty"`
	// Templates that the group's machines were made from, to go back to: a MachineSet does
	// not outlive its machines.
	Templates map[string]template `json:"templates"`
}

// mark reads the group's mark; nil for none.
func (g *group) mark() *mark {
	text := g.deployment.GetAnnotations()[markAnnotation]
	if text == "" {
		return nil
	}
	var m mark
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return &mark{Run: text} // Somebody else's hand: held by whatever that is.
	}
	return &m
}

func (m *mark) guard() *cloud.Guard {
	return &cloud.Guard{Run: m.Run, Suspend: m.Suspend, Settings: cloud.Settings{Size: m.Size, Max: m.Max}}
}
