package installation

import (
	"cmp"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
)

// defaultRouteTimeout is long, because websockets are requests too.
const defaultRouteTimeout = "3600s"

// gatewayDuration is the format of GEP-2257.
var gatewayDuration = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func routeEnabled(mm *v1beta1.Mattermost) bool {
	return mm.Spec.HTTPRoute != nil && mm.Spec.HTTPRoute.Enabled
}

// httpRouted says that there is to be an HTTPRoute. A load balancer of its own
// goes before it.
func httpRouted(mm *v1beta1.Mattermost) bool {
	return routeEnabled(mm) && !mm.Spec.UseServiceLoadBalancer
}

// routeHosts are the hosts of the HTTPRoute, each once.
func routeHosts(mm *v1beta1.Mattermost) []string {
	if mm.Spec.HTTPRoute == nil {
		return nil
	}
	return hostNames(append([]v1beta1.IngressHost{{HostName: mm.Spec.HTTPRoute.Host}}, mm.Spec.HTTPRoute.Hosts...))
}

// httpRoute sends everything for the hosts to the Service; nil when there is to be
// none.
func httpRoute(mm *v1beta1.Mattermost) *unstructured.Unstructured {
	if !httpRouted(mm) || mm.Spec.HTTPRoute.GatewayRef == nil { // Refused before.
		return nil
	}
	spec := mm.Spec.HTTPRoute
	var hosts []any
	for _, host := range routeHosts(mm) {
		hosts = append(hosts, host)
	}
	parent := map[string]any{
		"group": cmp.Or(spec.GatewayRef.Group, httpRouteKind.Group), "kind": "Gateway",
		"name": spec.GatewayRef.Name, "namespace": cmp.Or(spec.GatewayRef.Namespace, mm.Namespace),
	}
	set(parent, "sectionName", spec.GatewayRef.SectionName)
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"hostnames":  hosts,
		"parentRefs": []any{parent},
		"rules": []any{map[string]any{
			"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
			"backendRefs": []any{map[string]any{"group": "", "kind": "Service", "name": mm.Name, "port": int64(appPort), "weight": int64(100)}},
			"timeouts": map[string]any{
				"request":        cmp.Or(spec.RequestTimeout, defaultRouteTimeout),
				"backendRequest": cmp.Or(spec.BackendRequestTimeout, defaultRouteTimeout),
			},
		}},
	}}}
	object.SetGroupVersionKind(httpRouteKind)
	object.SetNamespace(mm.Namespace)
	object.SetName(mm.Name)
	object.SetLabels(labels(mm))
	object.SetAnnotations(allowed(spec.Annotations))
	setOwner(mm, object)
	return object
}

// validateRoute returns what is wrong with spec.httpRoute by itself.
func validateRoute(mm *v1beta1.Mattermost) []Problem {
	if !httpRouted(mm) {
		return nil
	}
	var problems []Problem
	invalid := func(field, message string) {
		problems = append(problems, Problem{Path: "spec.httpRoute." + field, Reason: v1beta1.ReasonInvalidSpec, Message: message})
	}
	if len(routeHosts(mm)) == 0 {
		invalid("host", "An HTTPRoute needs a host: set it, or set spec.httpRoute.enabled to false.")
	}
	if mm.Spec.HTTPRoute.GatewayRef == nil || mm.Spec.HTTPRoute.GatewayRef.Name == "" {
		invalid("gatewayRef", "An HTTPRoute needs a Gateway: name one that the cluster's administrator has set up.")
	}
	for field, value := range map[string]string{"requestTimeout": mm.Spec.HTTPRoute.RequestTimeout, "backendRequestTimeout": mm.Spec.HTTPRoute.BackendRequestTimeout} {
		if value != "" && !gatewayDuration.MatchString(value) {
			invalid(field, fmt.Sprintf("%q is not a duration of the Gateway API: use one such as 3600s or 1h30m.", value))
		}
	}
	return sorted(problems)
}
