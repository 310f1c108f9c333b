package installation

import (
	"cmp"
	"fmt"
	"strings"

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
	// RouteSays is why an HTTPRoute is not in use yet; empty when it is.
	RouteSays string
	// JobsRun is false while there should be a job server and it is not as wanted.
	JobsRun bool
	// Stuck is what Kubernetes says of a roll-out that makes no progress.
	Stuck string
	// Unmade is why Kubernetes cannot make pods.
	Unmade string
}

// assessHealth reads the snapshot; applied is what this pass has written since.
func assessHealth(s Snapshot, mm *v1beta1.Mattermost, wanted []*unstructured.Unstructured, applied map[plan.Ref]string) health {
	h := health{Wanted: replicas(mm), Endpoint: noEndpoint, Routed: true, JobsRun: true}
	if intent := find(wanted, s.ref(deploymentKind, s.Name())); intent != nil {
		// A patch may have changed it.
		if n, ok, _ := unstructured.NestedInt64(intent.Object, "spec", "replicas"); ok {
			h.Wanted = int32(n)
		}
	}
	if s.WithoutPods {
		h.Wanted, h.Observed = 0, true
	}
	h.route(s, mm, find(wanted, s.ref(ingressKind, s.Name())), applied)
	if s.Deployment != nil {
		h.rollOut(s)
	}
	if dedicatedJobServer(mm) {
		h.jobServer(s.JobServer)
	}
	return h
}

// route reads how requests from outside reach the pods, if they shall.
func (h *health) route(s Snapshot, mm *v1beta1.Mattermost, ingress *unstructured.Unstructured, applied map[plan.Ref]string) {
	if routing(mm) == routingLoadBalancer {
		h.Endpoint = cmp.Or(balancerAddress(s.Service), noEndpoint)
		h.Routed = h.Endpoint != noEndpoint
		return
	}
	if httpRouted(mm) {
		if hosts := routeHosts(mm); len(hosts) > 0 { // None is a problem, and reported as such.
			h.Endpoint = hosts[0]
		}
		h.RouteSays = routeSays(s)
		h.Routed = h.RouteSays == ""
	}
	if ingress == nil {
		return
	}
	ref := plan.RefTo(ingress)
	live, exists := s.live(ref)
	_, written := applied[ref]
	there := written || exists && live.Controller == mm.UID && !live.Deleting
	h.Routed = h.Routed && there
	// The Mattermost Operator looks at an Ingress only if spec.ingress wants one.
	if there && ingressWanted(mm) {
		h.Endpoint = cmp.Or(firstHost(ingress), noEndpoint)
	}
}

// routeSays is what stands between an HTTPRoute and its use; empty for nothing.
func routeSays(s Snapshot) string {
	route, exists := s.Companions[s.ref(httpRouteKind.GroupKind(), s.Mattermost.Name)]
	if !exists {
		return "it is being made"
	}
	accepted, says := companionReady(route)
	if accepted {
		return ""
	}
	return cmp.Or(strings.TrimSuffix(says, "."), "nothing yet")
}

// balancerAddress is the name or address of a Service's load balancer; empty
// while it has none.
func balancerAddress(service *corev1.Service) string {
	if service == nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return ""
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address := cmp.Or(ingress.Hostname, ingress.IP); address != "" {
			return address
		}
	}
	return ""
}

// jobServer reads whether the Deployment for jobs is rolled out.
func (h *health) jobServer(d *appsv1.Deployment) {
	if d == nil {
		h.JobsRun = false
		return
	}
	status := d.Status
	h.JobsRun = status.ObservedGeneration == d.Generation && status.Replicas == jobServerReplicas &&
		status.UpdatedReplicas == jobServerReplicas && status.AvailableReplicas == jobServerReplicas
	h.stuck(d)
}

// stuck takes down what Kubernetes says of a roll-out that makes no progress, and of pods that
// it cannot make.
func (h *health) stuck(d *appsv1.Deployment) {
	h.Stuck, h.Unmade = cmp.Or(h.Stuck, noProgress(d)), cmp.Or(h.Unmade, unmade(d))
}

// unmade is why Kubernetes cannot make pods, such as for a quota; empty if it can.
func unmade(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return ""
}

// noProgress is what Kubernetes says of a roll-out that makes no progress; empty for
// one that does.
func noProgress(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return ""
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
	h.stuck(d)
}

// Usable says that at least one pod of the newest revision serves.
func (h health) Usable() bool { return h.Observed && h.Routed && (h.Updated > 0 || h.Wanted == 0) }

// PodsRun says that all pods of the newest revision are available, and no others are
// left; of none, nothing can be said.
func (h health) PodsRun() bool {
	return h.Observed && h.Wanted > 0 && h.Updated == h.Wanted && h.Replicas == h.Wanted
}

// Settled says that all is as wanted.
func (h health) Settled() bool {
	return h.Usable() && h.JobsRun && h.Updated == h.Wanted && h.Replicas == h.Wanted
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
