package karpenter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// Names of Karpenter's own, as its pkg/apis/v1/labels.go has them.
const (
	poolLabel     = "karpenter.sh/nodepool"
	capacityLabel = "karpenter.sh/capacity-type"
	doNotDisrupt  = "karpenter.sh/do-not-disrupt"
	hashKey       = "karpenter.sh/nodepool-hash"
	versionKey    = "karpenter.sh/nodepool-hash-version"
	// classHashSuffix ends the keys under which clouds note the hash of their NodeClass on it
	// and on NodeClaims, such as karpenter.k8s.aws/ec2nodeclass-hash.
	classHashSuffix = "nodeclass-hash"
	versionSuffix   = "-version"
	// nodesLimit is the limit of a NodePool that counts machines.
	nodesLimit = "nodes"
)

// askedAnnotation has what the group is owed.
const askedAnnotation = "windlass.dev/nodeclaims"

// version is Karpenter's stable one.
var version = schema.GroupVersion{Group: "karpenter.sh", Version: "v1"}

// group is a NodePool as it was read, with its NodeClass and its NodeClaims.
type group struct {
	client client.Client
	object *unstructured.Unstructured
	pool
	// class is nil if there is none, or if it may not be read.
	class  *unstructured.Unstructured
	claims []claim
	asked  []asked
}

// pool is what is read of a NodePool.
type pool struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Template struct {
			Metadata struct {
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
			Spec struct {
				Requirements []requirement `json:"requirements"`
				NodeClassRef classRef      `json:"nodeClassRef"`
			} `json:"spec"`
		} `json:"template"`
		Disruption struct {
			Budgets []budget `json:"budgets"`
		} `json:"disruption"`
		Limits   corev1.ResourceList `json:"limits"`
		Replicas *int64              `json:"replicas"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

type classRef struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

// budget is one of a NodePool's disruption budgets.
type budget struct {
	Nodes    string   `json:"nodes"`
	Reasons  []string `json:"reasons"`
	Schedule string   `json:"schedule"`
}

// suspendable are the reasons for which Karpenter ends machines by choice.
var suspendable = []string{"Drifted", "Empty", "Underutilized"}

func (p *Provider) read(ctx context.Context, ref v1alpha1.Provider) (*group, error) {
	if ref.Karpenter == nil {
		return nil, fmt.Errorf("the group is not of Karpenter: %w", cloud.ErrUnsupported)
	}
	g := &group{client: p.Client, object: &unstructured.Unstructured{}}
	g.object.SetGroupVersionKind(version.WithKind("NodePool"))
	if err := p.Client.Get(ctx, types.NamespacedName{Name: ref.Karpenter.Name}, g.object); err != nil {
		if meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("find NodePools: Karpenter is not installed in this cluster, or one older than its v1: %w: %w", cloud.ErrUnsupported, err)
		}
		return nil, objects.Explain("read NodePool "+ref.Karpenter.Name, err)
	}
	if err := g.parse(); err != nil {
		return nil, err
	}
	if g.Spec.Replicas != nil {
		return nil, fmt.Errorf("NodePool %s is static (it has spec.replicas): Karpenter chooses which of its machines end when it gets smaller, so its order cannot be kept: %w", g.Name, cloud.ErrUnsupported)
	}
	if err := g.readClass(ctx); err != nil {
		return nil, err
	}
	return g, g.readClaims(ctx)
}

// parse takes in what the object says.
func (g *group) parse() error {
	g.pool, g.asked = pool{}, nil
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(g.object.Object, &g.pool); err != nil {
		return fmt.Errorf("NodePool %s: %w: %w", g.object.GetName(), cloud.ErrInvalid, err)
	}
	if text := g.Annotations[askedAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &g.asked); err != nil {
			return fmt.Errorf("annotation %s of NodePool %s is not ours: remove it: %w: %w", askedAnnotation, g.Name, cloud.ErrInvalid, err)
		}
	}
	return nil
}

func (g *group) readClass(ctx context.Context) error {
	ref := g.Spec.Template.Spec.NodeClassRef
	mapping, err := g.client.RESTMapper().RESTMapping(schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return objects.Explain("find kind "+ref.Kind, err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(mapping.GroupVersionKind)
	err = g.client.Get(ctx, types.NamespacedName{Name: ref.Name}, u)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	g.class = u
	return objects.Explain(fmt.Sprintf("read %s %s", ref.Kind, ref.Name), err)
}

// looked is ErrConflict as long as Karpenter has still to look at what somebody changed:
// until then nobody can tell what new machines are going to be made from.
func (g *group) looked() error {
	if g.Annotations[hashKey] == "" {
		return fmt.Errorf("NodePool %s is new, and Karpenter has not looked at it yet: %w", g.Name, cloud.ErrConflict)
	}
	if g.class == nil {
		return nil
	}
	ready := condition(g.classConditions(), "Ready")
	if ready != nil && ready.ObservedGeneration != 0 && ready.ObservedGeneration < g.class.GetGeneration() {
		return fmt.Errorf("%s %s has changed, and Karpenter has not looked at it yet: %w", g.class.GetKind(), g.class.GetName(), cloud.ErrConflict)
	}
	return nil
}

func (g *group) classConditions() []metav1.Condition {
	var status struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(g.class.Object, &status); err != nil {
		return nil // A cloud with conditions of its own.
	}
	return status.Status.Conditions
}

func condition(all []metav1.Condition, kind string) *metav1.Condition {
	return meta.FindStatusCondition(all, kind)
}

// nodes are the annotations of the group's nodes, by name.
func (g *group) nodes(ctx context.Context) (map[string]map[string]string, error) {
	all := &metav1.PartialObjectMetadataList{}
	all.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	err := g.client.List(ctx, all, client.MatchingLabels{poolLabel: g.Name})
	byName := map[string]map[string]string{}
	for i := range all.Items {
		byName[all.Items[i].Name] = all.Items[i].Annotations
	}
	return byName, objects.Explain("list the nodes of NodePool "+g.Name, err)
}

// limit is how many machines the group may have; without one, any number.
func (g *group) limit() int32 {
	if q, ok := g.Spec.Limits[nodesLimit]; ok {
		return int32(min(q.Value(), math.MaxInt32))
	}
	return math.MaxInt32
}

// setLimit changes the limit, where there is one.
func (g *group) setLimit(most int32) {
	if _, ok := g.Spec.Limits[nodesLimit]; ok && most != g.limit() {
		objects.Put(g.object, strconv.Itoa(int(most)), "spec", "limits", nodesLimit)
	}
}

// suspended are the reasons that a budget which is always in force allows no machine.
func (g *group) suspended() []string {
	var all []string
	for _, reason := range suspendable {
		if slices.ContainsFunc(g.Spec.Disruption.Budgets, func(b budget) bool {
			return b.never() && (len(b.Reasons) == 0 || slices.Contains(b.Reasons, reason))
		}) {
			all = append(all, reason)
		}
	}
	return all
}

func (b budget) never() bool { return b.Schedule == "" && (b.Nodes == "0" || b.Nodes == "0%") }

// hold adds a budget of no machines for the reasons to all others, or takes it away. They
// stay as they are, and as somebody may change them meanwhile.
func (g *group) hold(reasons []string, on bool) {
	if len(reasons) == 0 {
		return
	}
	n := slices.IndexFunc(g.Spec.Disruption.Budgets, func(b budget) bool { return b.never() && slices.Equal(b.Reasons, reasons) })
	if on == (n >= 0) {
		return
	}
	budgets, _, _ := unstructured.NestedSlice(g.object.Object, "spec", "disruption", "budgets")
	if on {
		all := make([]any, 0, len(reasons))
		for _, reason := range reasons {
			all = append(all, reason)
		}
		budgets = append(budgets, map[string]any{"nodes": "0", "reasons": all})
	} else {
		budgets = slices.Delete(budgets, n, n+1)
	}
	objects.Put(g.object, budgets, "spec", "disruption", "budgets")
}

// edit writes what change makes of the NodePool, unless somebody else has written since it
// was read.
func (g *group) edit(ctx context.Context, change func()) error {
	text, err := g.askedText()
	if err != nil {
		return err
	}
	err = objects.Edit(ctx, g.client, g.object, func() {
		change()
		objects.Annotate(g.object, askedAnnotation, text)
	})
	if err != nil {
		return err
	}
	return g.parse()
}

// mark reads the group's mark; nil for none.
func (g *group) mark() *objects.Mark { return objects.ReadMark(g.Annotations) }

// imageFields are where NodeClasses of Karpenter's clouds list the images that they have
// found: those of AWS and Azure.
var imageFields = []string{"amis", "images"}

// images are those that new machines may run, sorted; none if the NodeClass lists none.
func (g *group) images() []string {
	if g.class == nil {
		return nil
	}
	var ids []string
	for _, field := range imageFields {
		all, _, _ := unstructured.NestedSlice(g.class.Object, "status", field)
		for _, one := range all {
			if image, ok := one.(map[string]any); ok {
				if id, ok := image["id"].(string); ok {
					ids = append(ids, id)
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// revision is what new machines are made from. Where images are not known, the hashes stand
// for them.
func (g *group) revision() cloud.Revision {
	base := g.base(g.Annotations)
	images := g.images()
	if len(images) == 0 {
		return cloud.Revision{Template: base, Images: []string{base}}
	}
	templates := make([]string, 0, len(images))
	for _, image := range images {
		templates = append(templates, base+"-"+image)
	}
	return cloud.Revision{Template: strings.Join(templates, ","), Images: images}
}

// base names the hashes of the NodePool and of its NodeClass as annotations have them. One
// that is missing, or counted in another way, is as good as the same: so Karpenter has it
// (pkg/controllers/nodeclaim/disruption/drift.go: areStaticFieldsDrifted).
func (g *group) base(annotations map[string]string) string {
	hash := func(key, version string, now map[string]string) string {
		if annotations[key] == "" || annotations[version] != now[version] {
			return now[key]
		}
		return annotations[key]
	}
	base := g.Name + ":" + hash(hashKey, versionKey, g.Annotations)
	if g.class == nil {
		return base
	}
	now := g.class.GetAnnotations()
	for key := range now {
		if strings.HasSuffix(key, classHashSuffix) {
			return base + "-" + hash(key, key+versionSuffix, now)
		}
	}
	return base
}
