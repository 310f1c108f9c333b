package drain_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/internal/drain"
)

// node is a Ready one with room for two CPUs.
func node(name, zone string, edits ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone, corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourcePods: resource.MustParse("10"), "example.com/gpu": resource.MustParse("1")}}}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

func tainted(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "team", Value: "data", Effect: effect}}
	}
}

func requests(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{name: resource.MustParse(amount)}}}}
	}
}

func tolerates(value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "team", Value: value}}
	}
}

func inZone(zone string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}}}}}}
	}
}

func apart(key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}}}
	}
}

func spread(key string, when corev1.UnsatisfiableConstraintAction) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	}
}

func on(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = name } }

func both(a, b func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) { a(p); b(p) }
}

func TestRoom(t *testing.T) {
	t.Parallel()
	two := []*corev1.Node{node("a", "1"), node("b", "2")}
	for name, c := range map[string]struct {
		nodes []*corev1.Node
		// there run on the targets, and move have to leave node n.
		there, move []*corev1.Pod
		edit        func(*drain.Cluster)
		// lack is part of why not all fit; empty if they do.
		lack string
	}{
		"enough":                           {nodes: two, move: []*corev1.Pod{pod("p", requests("cpu", "2")), pod("q", requests("cpu", "2"))}},
		"not enough CPU":                   {nodes: two, move: []*corev1.Pod{pod("p", requests("cpu", "2")), pod("q", requests("cpu", "1500m")), pod("r", requests("cpu", "600m"))}, lack: "Pod shop/r finds no node: not enough cpu"},
		"others take some":                 {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"), requests("cpu", "1"))}, move: []*corev1.Pod{pod("p", requests("cpu", "1500m"))}, lack: "not enough cpu"},
		"those that have ended take none":  {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"), requests("cpu", "1"), finished)}, move: []*corev1.Pod{pod("p", requests("cpu", "1500m"))}},
		"those that are going take it yet": {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"), requests("cpu", "1"), leaving(0))}, move: []*corev1.Pod{pod("p", requests("cpu", "1500m"))}, lack: "not enough cpu"},
		"an extended resource":             {nodes: two[:1], move: []*corev1.Pod{pod("p", requests("example.com/gpu", "2"))}, lack: "not enough example.com/gpu"},
		"a taint":                          {nodes: []*corev1.Node{node("a", "1", tainted(corev1.TaintEffectNoSchedule))}, move: []*corev1.Pod{pod("p")}, lack: "no node accepts it"},
		"a taint that is tolerated":        {nodes: []*corev1.Node{node("a", "1", tainted(corev1.TaintEffectNoSchedule))}, move: []*corev1.Pod{pod("p", tolerates("data"))}},
		"a taint of another value":         {nodes: []*corev1.Node{node("a", "1", tainted(corev1.TaintEffectNoExecute))}, move: []*corev1.Pod{pod("p", tolerates("web"))}, lack: "no node accepts it"},
		"a taint that only prefers others": {nodes: []*corev1.Node{node("a", "1", tainted(corev1.TaintEffectPreferNoSchedule))}, move: []*corev1.Pod{pod("p")}},
		"a node affinity":                  {nodes: two, move: []*corev1.Pod{pod("p", inZone("2"))}},
		"a node affinity to what is not":   {nodes: two, move: []*corev1.Pod{pod("p", inZone("3"))}, lack: "no node accepts it"},
		"a volume in a zone": {nodes: two, move: []*corev1.Pod{pod("p", claims("data"))},
			edit: func(c *drain.Cluster) { c.SetVolume("shop", "data", drain.Volume{Name: "v", Zones: []string{"2"}}) }},
		"a volume in a zone without nodes": {nodes: two, move: []*corev1.Pod{pod("p", claims("data"))}, lack: "its volumes are in [3]",
			edit: func(c *drain.Cluster) { c.SetVolume("shop", "data", drain.Volume{Name: "v", Zones: []string{"3"}}) }},
		"a volume in a zone that is full": {nodes: two, there: []*corev1.Pod{pod("x", on("b"), requests("cpu", "2"))}, move: []*corev1.Pod{pod("p", both(claims("data"), requests("cpu", "1")))}, lack: "not enough cpu",
			edit: func(c *drain.Cluster) { c.SetVolume("shop", "data", drain.Volume{Name: "v", Zones: []string{"2"}}) }},
		"a volume on a node":            {nodes: two, move: []*corev1.Pod{pod("p", claims("data"))}, edit: local, lack: "its volumes are on [n]"},
		"apart from those on the node":  {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"), apart(corev1.LabelHostname))}, move: []*corev1.Pod{pod("p", apart(corev1.LabelHostname))}, lack: "it stays apart"},
		"apart from each other":         {nodes: two, move: []*corev1.Pod{pod("p", apart(corev1.LabelHostname)), pod("q", apart(corev1.LabelHostname)), pod("r", apart(corev1.LabelHostname))}, lack: "Pod shop/r"},
		"apart in zones":                {nodes: append(two, node("c", "2")), move: []*corev1.Pod{pod("p", apart(corev1.LabelTopologyZone)), pod("q", apart(corev1.LabelTopologyZone)), pod("r", apart(corev1.LabelTopologyZone))}, lack: "Pod shop/r"},
		"spread over zones":             {nodes: two, there: []*corev1.Pod{pod("x", on("b"), requests("cpu", "2"), owned("Job")), pod("y", on("a"), spread(corev1.LabelTopologyZone, corev1.DoNotSchedule))}, move: []*corev1.Pod{pod("p", both(requests("cpu", "1"), spread(corev1.LabelTopologyZone, corev1.DoNotSchedule)))}, lack: "finds no node"},
		"spread over zones, if it can":  {nodes: two, there: []*corev1.Pod{pod("x", on("b"), requests("cpu", "2")), pod("y", on("a"))}, move: []*corev1.Pod{pod("p", both(requests("cpu", "1"), spread(corev1.LabelTopologyZone, corev1.ScheduleAnyway)))}},
		"spread over nodes":             {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"))}, move: []*corev1.Pod{pod("p", spread(corev1.LabelHostname, corev1.DoNotSchedule))}, lack: "it stays apart"},
		"no nodes":                      {move: []*corev1.Pod{pod("p")}, lack: "none is there to take it"},
		"a pod that wants nothing fits": {nodes: two[:1], there: []*corev1.Pod{pod("x", on("a"), requests("cpu", "2"))}, move: []*corev1.Pod{pod("p")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := drain.NewCluster()
			for _, n := range c.nodes {
				cluster.SetNode(n)
			}
			targets := append([]*drain.Node(nil), cluster.Nodes()...)
			cluster.SetNode(node("n", "1"))
			for _, p := range append(c.there, c.move...) {
				cluster.SetPod(p)
			}
			if c.edit != nil {
				c.edit(cluster)
			}
			room := cluster.Room(targets, []*drain.Node{cluster.Node("n")})
			lack := room.Place(cluster.PodsOn("n"))
			switch {
			case c.lack == "" && lack != nil:
				t.Errorf("want all to fit, got %s", lack)
			case c.lack != "" && lack == nil:
				t.Errorf("want a lack of %q, got none", c.lack)
			case c.lack != "" && !strings.Contains(lack.String(), c.lack):
				t.Errorf("want a lack of %q, got %s", c.lack, lack)
			}
			if lack == nil {
				return
			}
			// A set that does not fit takes nothing.
			if again := room.Place(cluster.PodsOn("n")); again == nil || again.String() != lack.String() {
				t.Errorf("want %s once more, got %v", lack, again)
			}
		})
	}
}

// What is placed never is more than a node has room for, and what does not fit takes no room.
func TestRoomIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cluster := drain.NewCluster()
		nodes := rapid.IntRange(1, 4).Draw(t, "nodes")
		for i := range nodes {
			cluster.SetNode(node(string(rune('a'+i)), string(rune('1'+i%2))))
		}
		room := cluster.Room(append([]*drain.Node(nil), cluster.Nodes()...), nil)
		total := 0
		for i := range rapid.IntRange(1, 12).Draw(t, "sets") {
			var set []*drain.Pod
			sum := 0
			for j := range rapid.IntRange(1, 4).Draw(t, "pods") {
				cpu := rapid.IntRange(1, 8).Draw(t, "cpu")
				p := pod("p"+string(rune('a'+i))+string(rune('a'+j)), on(""), requests("cpu", resource.NewMilliQuantity(int64(cpu*250), resource.DecimalSI).String()))
				cluster.SetPod(p)
				set = append(set, cluster.Pod(p.UID))
				sum += cpu
			}
			if room.Place(set) == nil {
				total += sum
			}
		}
		if total > nodes*8 {
			t.Fatalf("%d quarters of a CPU are placed on %d nodes of 8", total, nodes)
		}
	})
}
