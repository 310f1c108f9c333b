package karpenter

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// like is what a new machine is to have in common with one that is there. Karpenter launches
// the cheapest type that is good enough for a NodeClaim: without requests, the smallest that
// there is.
type like struct {
	// Of is the machine.
	Of           string `json:"of,omitempty"`
	Zone         string `json:"zone,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	// Labels are those of the user's own that the NodePool leaves a choice of.
	Labels map[string]string `json:"labels,omitempty"`
	// Requests is how large it has to be, and Capacity how large the machine is.
	Requests corev1.ResourceList `json:"requests,omitempty"`
	Capacity corev1.ResourceList `json:"capacity,omitempty"`
}

// enough is how much, in percent, of what pods can have on a machine they must be able to
// have on one like it. Karpenter estimates memory until it has seen a type with an image, by
// 7.5 % less than it has: with less slack, a machine of the same type would be too small.
const enough = 90

func (g *group) likeness(c *claim) like {
	l := like{
		Of: c.Name, Zone: c.Labels[corev1.LabelTopologyZone], Architecture: c.Labels[corev1.LabelArchStable],
		Labels: map[string]string{}, Requests: corev1.ResourceList{}, Capacity: corev1.ResourceList{},
	}
	for _, r := range g.Spec.Template.Spec.Requirements {
		if value := c.Labels[r.Key]; value != "" && own(r.Key) {
			l.Labels[r.Key] = value
		}
	}
	sizes := g.fits(c)
	for name, q := range c.Status.Allocatable {
		switch {
		case q.IsZero():
		case name == corev1.ResourceCPU && sizes:
			l.Requests[name] = *resource.NewMilliQuantity(q.MilliValue()*enough/100, resource.DecimalSI)
		case name == corev1.ResourceMemory && sizes:
			l.Requests[name] = *resource.NewQuantity(q.Value()/100*enough, resource.BinarySI)
		case strings.Contains(string(name), "/"): // Devices, such as GPUs.
			l.Requests[name] = q
		}
	}
	if len(c.Status.Allocatable) == 0 {
		l.Requests = c.Spec.Resources.Requests // It is not launched yet.
	}
	for name := range g.Spec.Limits {
		if q, ok := c.Status.Capacity[name]; ok {
			l.Capacity[name] = q
		}
	}
	return l
}

// models are the machines that new ones should be like: the oldest first, and those of all
// that are going to be replaced. They are taken in turn; none for a group without machines.
func (g *group) models() []*claim {
	now := g.revision()
	taken := map[string]bool{}
	for i := range g.asked {
		taken[g.asked[i].Like.Of] = true
	}
	rank := func(c *claim) int {
		template, _ := g.madeFrom(c)
		switch {
		case taken[c.Name]:
			return 2
		case now.Made(template):
			return 1
		default:
			return 0
		}
	}
	var all []*claim
	for i := range g.claims {
		if c := &g.claims[i]; c.live() && len(c.Status.Allocatable) > 0 {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *claim) int {
		return cmp.Or(rank(a)-rank(b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return all
}

// requirement is one of a template's.
type requirement struct {
	Key       string   `json:"key"`
	Operator  string   `json:"operator"`
	Values    []string `json:"values,omitempty"`
	MinValues *int32   `json:"minValues,omitempty"`
}

// permits says whether a label may have a value.
func (r requirement) permits(value string) bool {
	is := slices.Contains(r.Values, value)
	switch r.Operator {
	case "In":
		return is
	case "NotIn":
		return !is
	case "DoesNotExist":
		return false
	case "Gt", "Gte", "Lt", "Lte":
		n, err := strconv.Atoi(value)
		if err != nil || len(r.Values) != 1 {
			return false
		}
		bound, err := strconv.Atoi(r.Values[0])
		above, same := strings.HasPrefix(r.Operator, "G"), strings.HasSuffix(r.Operator, "e")
		return err == nil && (above && n > bound || !above && n < bound || same && n == bound)
	default:
		return true
	}
}

// allows says whether the template leaves it open to have just this value.
func (g *group) allows(key, value string) bool {
	return value != "" && !slices.ContainsFunc(g.Spec.Template.Spec.Requirements, func(r requirement) bool {
		return r.Key == key && (r.MinValues != nil || !r.permits(value))
	})
}

// fits says whether the template still allows machines of the type of one that there is. If
// it does not, there may be none as large.
func (g *group) fits(c *claim) bool {
	return !slices.ContainsFunc(g.Spec.Template.Spec.Requirements, func(r requirement) bool {
		value, has := c.Labels[r.Key]
		return has && !own(r.Key) && r.Key != corev1.LabelTopologyZone && !r.permits(value)
	})
}

// own says whether a label is the user's own. All others are given by Karpenter and its
// cloud when they know which machine it is.
func own(key string) bool {
	domain, _, prefixed := strings.Cut(key, "/")
	if !prefixed {
		return true
	}
	for _, of := range []string{"kubernetes.io", "k8s.io", "karpenter.sh"} {
		if domain == of || strings.HasSuffix(domain, "."+of) {
			return false
		}
	}
	return !strings.HasPrefix(domain, "karpenter.")
}

// newClaim is what Karpenter would make for the NodePool, but for the pods that it would
// make it for (pkg/controllers/provisioning/scheduling/nodeclaimtemplate.go: ToNodeClaim).
func (g *group) newClaim(a *asked) *unstructured.Unstructured {
	t := &g.Spec.Template
	labels := map[string]string{}
	maps.Copy(labels, t.Metadata.Labels)
	labels[poolLabel] = g.Name
	ref := t.Spec.NodeClassRef
	labels[ref.Group+"/"+strings.ToLower(ref.Kind)] = ref.Name

	spec, _, _ := unstructured.NestedMap(g.object.Object, "spec", "template", "spec")
	requirements, _, _ := unstructured.NestedSlice(spec, "requirements")
	only := func(key, value string) {
		requirements = append(requirements, map[string]any{"key": key, "operator": "In", "values": []any{value}})
	}
	for _, r := range t.Spec.Requirements {
		if _, has := labels[r.Key]; has || !own(r.Key) {
			continue
		}
		if value := a.Like.Labels[r.Key]; g.allows(r.Key, value) {
			labels[r.Key] = value
		} else if r.Operator == "In" && len(r.Values) > 0 {
			labels[r.Key] = r.Values[0]
		}
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		only(key, labels[key])
	}
	for _, wish := range [][2]string{{corev1.LabelTopologyZone, a.Like.Zone}, {corev1.LabelArchStable, a.Like.Architecture}} {
		if _, has := labels[wish[0]]; !has && g.allows(wish[0], wish[1]) {
			only(wish[0], wish[1])
		}
	}
	spec["requirements"] = requirements
	if len(a.Like.Requests) > 0 {
		requests := map[string]any{}
		for name, q := range a.Like.Requests {
			requests[string(name)] = q.String()
		}
		spec["resources"] = map[string]any{"requests": requests}
	}

	annotations := map[string]string{}
	maps.Copy(annotations, t.Metadata.Annotations)
	for _, key := range []string{hashKey, versionKey} {
		if value := g.Annotations[key]; value != "" {
			annotations[key] = value
		}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(version.WithKind("NodeClaim"))
	u.SetName(a.Name)
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
	u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: version.String(), Kind: "NodePool", Name: g.Name, UID: g.UID, BlockOwnerDeletion: new(true)}})
	return u
}

func sortedNames(all corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(all)) }
