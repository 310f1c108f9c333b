package drain

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Shape is what pods that are alike need of a node. There are few in a cluster, however
// many pods it has.
type Shape struct {
	Requests Resources
	// perNode and perZone are how many pods of one owner there may be at most; 0 for any.
	perNode, perZone int
	// skew is by how much the zones may differ in pods of one owner; 0 for any.
	skew int

	template *corev1.Pod
	key      string
	pods     int // how many have it
	// eligible remembers which nodes accept such pods, apart from their room.
	eligible map[string]bool
}

// placement is what tells shapes apart.
type placement struct {
	Requests    Resources
	Selector    map[string]string
	Affinity    *corev1.Affinity
	Tolerations []corev1.Toleration
	Spread      []corev1.TopologySpreadConstraint
	Owner       Owner
}

// shapeOf finds or makes the shape of a pod. What binds pods to each other makes a shape
// of its own for each owner.
func (c *Cluster) shapeOf(pod *corev1.Pod, owner Owner) *Shape {
	key := placement{Requests: requestsOf(pod), Selector: pod.Spec.NodeSelector, Affinity: pod.Spec.Affinity, Tolerations: pod.Spec.Tolerations, Spread: pod.Spec.TopologySpreadConstraints}
	s := &Shape{Requests: key.Requests, eligible: map[string]bool{}, template: &corev1.Pod{Spec: corev1.PodSpec{
		NodeSelector: pod.Spec.NodeSelector, Affinity: pod.Spec.Affinity, Tolerations: pod.Spec.Tolerations,
	}}}
	s.apart(pod)
	s.spread(pod)
	if s.spreads() {
		key.Owner = owner
	}
	text, err := json.Marshal(key)
	if err != nil {
		return s // A pod of its own; quantities and labels always can be written.
	}
	if known := c.shapes[string(text)]; known != nil {
		return known
	}
	s.key = string(text)
	c.shapes[s.key] = s
	return s
}

// spreads says whether pods of one owner have to do with where others are.
func (s *Shape) spreads() bool { return s.perNode > 0 || s.perZone > 0 || s.skew > 0 }

// apart reads required anti-affinity to pods like itself.
func (s *Shape) apart(pod *corev1.Pod) {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return
	}
	for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if !selects(term.LabelSelector, pod.Labels) {
			continue
		}
		switch term.TopologyKey {
		case corev1.LabelHostname:
			s.perNode = 1
		case corev1.LabelTopologyZone:
			s.perZone = 1
		}
	}
}

// spread reads required topology spread of pods like itself.
func (s *Shape) spread(pod *corev1.Pod) {
	for _, constraint := range pod.Spec.TopologySpreadConstraints {
		if constraint.WhenUnsatisfiable != corev1.DoNotSchedule || !selects(constraint.LabelSelector, pod.Labels) {
			continue
		}
		switch constraint.TopologyKey {
		case corev1.LabelHostname:
			// Some node has none of them, or will have: the emptiest counts.
			if s.perNode == 0 || int(constraint.MaxSkew) < s.perNode {
				s.perNode = int(constraint.MaxSkew)
			}
		case corev1.LabelTopologyZone:
			s.skew = int(constraint.MaxSkew)
		}
	}
}

func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(of))
}

// accepts says whether a node takes such pods, apart from its room.
func (s *Shape) accepts(n *Node) bool {
	if known, ok := s.eligible[n.Name]; ok {
		return known
	}
	ok := !slices.ContainsFunc(n.object.Spec.Taints, func(t corev1.Taint) bool { return keepsOut(&t) && !tolerated(&t, s.template.Spec.Tolerations) })
	if ok {
		matches, err := nodeaffinity.GetRequiredNodeAffinity(s.template).Match(n.object)
		ok = matches && err == nil
	}
	s.eligible[n.Name] = ok
	return ok
}

// keepsOut selects the taints that keep pods out, apart from that of a cordon, which is
// looked at for itself.
func keepsOut(t *corev1.Taint) bool {
	return t.Effect != corev1.TaintEffectPreferNoSchedule && t.Key != corev1.TaintNodeUnschedulable
}

// tolerated says whether pods with the tolerations may be put on a node with the taint.
// Kubernetes' own function wants a logger, which a decision has not.
func tolerated(t *corev1.Taint, by []corev1.Toleration) bool {
	return slices.ContainsFunc(by, func(one corev1.Toleration) bool {
		switch {
		case one.Effect != "" && one.Effect != t.Effect, one.Key != "" && one.Key != t.Key:
			return false
		case one.Operator == corev1.TolerationOpExists:
			return true
		default:
			return one.Key != "" && (one.Operator == "" || one.Operator == corev1.TolerationOpEqual) && one.Value == t.Value
		}
	})
}

// zonesOf are the zones in which a pod's volumes are, and the nodes; nil for any.
func (c *Cluster) zonesOf(p *Pod) (zones, nodes []string) {
	for _, claim := range p.claims {
		v := c.volumes[p.Namespace+"/"+claim]
		zones, nodes = narrow(zones, v.Zones), narrow(nodes, v.Nodes)
	}
	return zones, nodes
}

func narrow(a, b []string) []string {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	return slices.DeleteFunc(slices.Clone(a), func(one string) bool { return !slices.Contains(b, one) })
}
