package karpenter

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// claim is what is read of a NodeClaim.
type claim struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Resources struct {
			Requests corev1.ResourceList `json:"requests"`
		} `json:"resources"`
	} `json:"spec"`
	Status struct {
		NodeName    string              `json:"nodeName"`
		ProviderID  string              `json:"providerID"`
		ImageID     string              `json:"imageID"`
		Capacity    corev1.ResourceList `json:"capacity"`
		Allocatable corev1.ResourceList `json:"allocatable"`
		Conditions  []metav1.Condition  `json:"conditions"`
	} `json:"status"`
}

// Conditions of NodeClaims, as Karpenter's pkg/apis/v1/nodeclaim_status.go has them.
const (
	launched         = "Launched"
	registered       = "Registered"
	drifted          = "Drifted"
	disruptionReason = "DisruptionReason"
)

func (g *group) readClaims(ctx context.Context) error {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(version.WithKind("NodeClaimList"))
	if err := g.client.List(ctx, all, client.MatchingLabels{poolLabel: g.Name}); err != nil {
		return objects.Explain("list the NodeClaims of NodePool "+g.Name, err)
	}
	g.claims = make([]claim, len(all.Items))
	for i := range all.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all.Items[i].Object, &g.claims[i]); err != nil {
			return fmt.Errorf("NodeClaim %s: %w: %w", all.Items[i].GetName(), cloud.ErrInvalid, err)
		}
	}
	return nil
}

// claim finds a NodeClaim of the group; nil if there is none of the name.
func (g *group) claim(name string) *claim {
	for i := range g.claims {
		if g.claims[i].Name == name {
			return &g.claims[i]
		}
	}
	return nil
}

// live says that a NodeClaim is there, and is not being ended. It may be nil.
func (c *claim) live() bool { return c != nil && c.DeletionTimestamp == nil }

// running says that a NodeClaim has become a node.
func (c *claim) running() bool {
	return c != nil && c.Status.NodeName != "" && meta.IsStatusConditionTrue(c.Status.Conditions, registered)
}

// lives counts the machines that are not being ended.
func (g *group) lives() (n int) {
	for i := range g.claims {
		if g.claims[i].live() {
			n++
		}
	}
	return n
}

func (g *group) describe(c *claim) cloud.Machine {
	m := cloud.Machine{
		ID: c.Name, ProviderID: c.Status.ProviderID, Node: c.Status.NodeName, Zone: c.Labels[corev1.LabelTopologyZone],
		State: cloud.Launching, Architecture: c.Labels[corev1.LabelArchStable], Spot: c.Labels[capacityLabel] == "spot",
		Interrupted: meta.IsStatusConditionTrue(c.Status.Conditions, disruptionReason), LaunchedAt: c.CreationTimestamp.Time,
	}
	m.Template, m.Image = g.madeFrom(c)
	switch {
	case !c.live():
		m.State = cloud.Ending
	case c.running():
		m.State = cloud.Running
	}
	return m
}

// madeFrom is the template and the image of a machine, in terms of revision. One that is not
// launched yet gets what new ones get then. One that has drifted in another way than they
// show, such as by its subnet, is made from no template that is in force.
func (g *group) madeFrom(c *claim) (template, image string) {
	template, images := g.base(c.Annotations), g.images()
	image = template
	if len(images) > 0 {
		image = cmp.Or(c.Status.ImageID, images[0])
		template += "-" + image
	}
	d := condition(c.Status.Conditions, drifted)
	if d != nil && d.Status == metav1.ConditionTrue && !g.shows(c, d.Reason) && g.revision().Made(template) {
		template += "+" + d.Reason
	}
	return template, image
}

// shows says whether hashes and images tell by themselves of a reason of drift: of those of
// Karpenter (pkg/controllers/nodeclaim/disruption/drift.go) and of its AWS provider
// (pkg/cloudprovider/drift.go). The condition is not asked then, since Karpenter may be some
// minutes late with it.
func (g *group) shows(c *claim, reason string) bool {
	switch reason {
	case "NodePoolDrifted":
		return c.Annotations[hashKey] != "" && c.Annotations[versionKey] == g.Annotations[versionKey]
	case "NodeClassDrift":
		return g.class != nil
	case "AMIDrift":
		return c.Status.ImageID != "" && len(g.images()) > 0
	default:
		return false
	}
}

// problems are why machines are not there yet, and why none come.
func (g *group) problems() []cloud.Problem {
	var all []cloud.Problem
	if ready := condition(g.Status.Conditions, "Ready"); ready != nil && ready.Status == metav1.ConditionFalse {
		all = append(all, cloud.Problem{Reason: cloud.ReasonTemplate, Message: fmt.Sprintf("NodePool %s is not ready: %s", g.Name, ready.Message), At: ready.LastTransitionTime.Time})
	}
	for i := range g.claims {
		c := &g.claims[i]
		if d := condition(c.Status.Conditions, launched); c.live() && d != nil && d.Status != metav1.ConditionTrue && d.Message != "" {
			all = append(all, cloud.Problem{Reason: cloud.ReasonOther, Zone: c.Labels[corev1.LabelTopologyZone], Message: fmt.Sprintf("NodeClaim %s: %s", c.Name, d.Message), At: d.LastTransitionTime.Time})
		}
	}
	for i := range g.asked {
		if a := &g.asked[i]; a.Failed > 0 {
			all = append(all, cloud.Problem{Reason: cloud.ReasonCapacity, Zone: a.Like.Zone, At: a.At.Time,
				Message: fmt.Sprintf("Karpenter gave up NodeClaim %s %d times before it was a node, as it does when there is no capacity: see its events", a.Name, a.Failed)})
		}
	}
	return all
}
