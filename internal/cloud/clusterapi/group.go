package clusterapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
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

// byWindlass is the value of what others may set too.
const byWindlass = "windlass"

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
		return nil, objects.Explain(fmt.Sprintf("read MachineDeployment %s/%s", namespace, name), err)
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
		return schema.GroupVersionKind{}, objects.Explain("look for Cluster API", err)
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
	return all.Items, objects.Explain(fmt.Sprintf("list the %ss of MachineDeployment %s", kind, g.name()), err)
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
	objects.Put(u, int64(n), "spec", "replicas")
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
		objects.Annotate(g.deployment, maxAnnotation, strconv.Itoa(int(most)))
	}
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
	objects.Put(g.deployment, s, g.strategyField()...)
}

// edit writes what change makes of the MachineDeployment.
func (g *group) edit(ctx context.Context, change func()) error {
	return objects.Edit(ctx, g.client, g.deployment, change)
}

// note sets annotations of machines as change says, and removes those whose value is nil.
func (g *group) note(ctx context.Context, machines []unstructured.Unstructured, change func(*unstructured.Unstructured) map[string]any) error {
	for i := range machines {
		m := &machines[i]
		annotations := change(m)
		if len(annotations) == 0 {
			continue
		}
		if err := objects.Note(ctx, g.client, m, annotations); err != nil {
			return err
		}
	}
	return nil
}

// mark is what a run has noted on its group.
type mark struct {
	objects.Mark
	// Strategy that the group had; nil for none.
	Strategy map[string]any `json:"strategy,omitempty"`
	// Templates that the group's machines were made from, to go back to: a MachineSet does
	// not outlive its machines.
	Templates map[string]template `json:"templates"`
}

// mark reads the group's mark; nil for none.
func (g *group) mark() *mark {
	held := objects.ReadMark(g.deployment.GetAnnotations())
	if held == nil {
		return nil
	}
	var m mark
	if err := json.Unmarshal([]byte(g.deployment.GetAnnotations()[objects.MarkAnnotation]), &m); err != nil {
		m = mark{} // Somebody else's hand, which knows neither.
	}
	m.Mark = *held
	return &m
}
