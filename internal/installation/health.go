package installation

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// revisionAnnotation ties a ReplicaSet to the revision of its Deployment.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// noEndpoint is what an installation without a route says of its address.
const noEndpoint = "not available"

// health is how far the pods and the route are.
type health struct {
	// Wanted is how many pods there should be, Updated how many of the newest
	// revision are available, and Replicas how many there are in all.
	Wanted, Updated, Replicas int32
	// Observed says that Kubernetes has seen the newest Deployment.
	Observed bool
	Endpoint string
	// Routed is false while there should be a route and is none.
	Routed bool
	// Stuck is what Kubernetes says of a roll-out that makes no progress.
	Stuck string
}

// assessHealth reads the snapshot; applied is what this pass has written since.
func assessHealth(s Snapshot, mm *v1beta1.Mattermost, wanted []*unstructured.Unstructured, applied map[plan.Ref]string) health {
	h := health{Wanted: replicas(mm), Endpoint: noEndpoint, Routed: true}
	ingress := plan.RefOf(ingressKind, mm.Namespace, mm.Name)
	if intent := find(wanted, ingress); intent != nil {
		live, exists := s.live(ingress)
		_, written := applied[ingress]
		h.Routed = written || exists && live.Controller == mm.UID && !live.Deleting
		if h.Routed {
			h.Endpoint = cmp.Or(firstHost(intent), noEndpoint)
		}
	}
	if s.Deployment != nil {
		h.rollOut(s)
	}
	return h
}

// rollOut reads how far the pods are.
func (h *health) rollOut(s Snapshot) {
	d := s.Deployment
	if s.Autoscaled && h.Wanted != 0 && d.Spec.Replicas != nil {
		h.Wanted = *d.Spec.Replicas
	}
	h.Replicas = d.Status.Replicas
	for i := range s.ReplicaSets {
		rs := &s.ReplicaSets[i]
		if rs.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation] && rs.Status.ObservedGeneration > 0 {
			// The Deployment's status is of one moment and the ReplicaSet's of
			// another: in the middle of a roll-out the two together can look as
			// if it were over. So only what both count is counted.
			h.Updated = min(rs.Status.AvailableReplicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas)
			h.Observed = d.Status.ObservedGeneration == d.Generation
		}
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			h.Stuck = fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
}

// Usable says that at least one pod of the newest revision serves.
func (h health) Usable() bool { return h.Observed && h.Routed && (h.Updated > 0 || h.Wanted == 0) }

// Settled says that all is as wanted.
func (h health) Settled() bool {
	return h.Usable() && h.Updated == h.Wanted && h.Replicas == h.Wanted
}

func firstHost(ingress *unstructured.Unstructured) string {
	rules, _, _ := unstructured.NestedSlice(ingress.Object, "spec", "rules")
	if len(rules) == 0 {
		return ""
	}
	rule, _ := rules[0].(map[string]any)
	host, _ := rule["host"].(string)
	return host
}
