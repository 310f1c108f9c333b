package gateway

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// world is what a table is made of.
type world struct {
	services  []*corev1.Service
	slices    []*discoveryv1.EndpointSlice
	ingresses []*networkingv1.Ingress
	routes    []*unstructured.Unstructured
}

// build makes the table: all HTTPRoutes and Ingresses, and each Service by the host
// NAME.NAMESPACE.svc.
func (w world) build() *table {
	b := &builder{world: w, made: map[string]*endpoints{}}
	for _, route := range w.routes {
		b.route(route)
	}
	for _, ingress := range w.ingresses {
		b.ingress(ingress)
	}
	for _, s := range w.services {
		if len(s.Spec.Ports) > 0 {
			port := strconv.Itoa(int(s.Spec.Ports[0].Port))
			b.rules = append(b.rules, rule{
				host: s.Name + "." + s.Namespace + ".svc", path: "/",
				backends: []backend{{weight: 1, endpoints: b.endpoints(s.Namespace, s.Name, port)}},
			})
		}
	}
	return sorted(b.rules)
}

type builder struct {
	world
	rules []rule
	made  map[string]*endpoints
}

// endpoints returns those of a Service's port, by its number or its name.
func (b *builder) endpoints(namespace, service, port string) *endpoints {
	key := namespace + "/" + service + ":" + port
	if e := b.made[key]; e != nil {
		return e
	}
	e := &endpoints{}
	b.made[key] = e
	i := slices.IndexFunc(b.services, func(s *corev1.Service) bool { return s.Namespace == namespace && s.Name == service })
	if i < 0 {
		return e
	}
	for _, p := range b.services[i].Spec.Ports {
		if strconv.Itoa(int(p.Port)) == port || p.Name == port {
			e.addresses = b.addresses(b.services[i], p.Name)
			return e
		}
	}
	return e
}

// addresses are those of the ready endpoints; if there are none, those that still
// serve while they terminate, as kube-proxy has it.
// See https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions.
func (b *builder) addresses(s *corev1.Service, port string) []string {
	var ready, ending []string
	for _, slice := range b.slices {
		if slice.Namespace != s.Namespace || slice.Labels[discoveryv1.LabelServiceName] != s.Name {
			continue
		}
		number := portOf(slice, port)
		if number == 0 {
			continue
		}
		for _, e := range slice.Endpoints {
			for _, address := range e.Addresses {
				local := net.JoinHostPort(onLoopback(address), strconv.Itoa(number))
				switch {
				case e.Conditions.Ready == nil || *e.Conditions.Ready:
					ready = append(ready, local)
				case is(e.Conditions.Serving) && is(e.Conditions.Terminating):
					ending = append(ending, local)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

func is(b *bool) bool { return b != nil && *b }

func portOf(slice *discoveryv1.EndpointSlice, name string) int {
	for _, p := range slice.Ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return int(*p.Port)
		}
	}
	return 0
}

// onLoopback is where the address of a pod on a process node is served.
func onLoopback(address string) string {
	if rest, ok := strings.CutPrefix(address, "10."); ok {
		return "127." + rest
	}
	return address
}

func (b *builder) ingress(in *networkingv1.Ingress) {
	to := func(s *networkingv1.IngressServiceBackend) []backend {
		if s == nil {
			return nil
		}
		port := s.Port.Name
		if port == "" {
			port = strconv.Itoa(int(s.Port.Number))
		}
		return []backend{{weight: 1, endpoints: b.endpoints(in.Namespace, s.Name, port)}}
	}
	for _, r := range in.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			exact := p.PathType != nil && *p.PathType == networkingv1.PathTypeExact
			b.rules = append(b.rules, rule{host: strings.ToLower(r.Host), path: p.Path, exact: exact, backends: to(p.Backend.Service)})
		}
	}
	if d := in.Spec.DefaultBackend; d != nil {
		b.rules = append(b.rules, rule{path: "/", backends: to(d.Service)})
	}
}

// route reads an HTTPRoute, whose types are not among our dependencies.
func (b *builder) route(route *unstructured.Unstructured) {
	hosts, _, _ := unstructured.NestedStringSlice(route.Object, "spec", "hostnames")
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	for _, item := range rules {
		spec, _ := item.(map[string]any)
		made := rule{path: "/"}
		b.filters(&made, spec)
		if text, _, _ := unstructured.NestedString(spec, "timeouts", "request"); text != "" {
			made.timeout, _ = time.ParseDuration(text) // The API server has checked it.
		}
		for _, ref := range maps(spec, "backendRefs") {
			made.backends = append(made.backends, b.backend(route.GetNamespace(), ref))
		}
		matches := maps(spec, "matches")
		if len(matches) == 0 {
			matches = []map[string]any{{}}
		}
		for _, match := range matches {
			for _, host := range hosts {
				b.rules = append(b.rules, matching(made, strings.ToLower(host), match))
			}
		}
	}
}

// matching is a rule with the conditions of one match.
func matching(made rule, host string, match map[string]any) rule {
	made.host = host
	if value, _, _ := unstructured.NestedString(match, "path", "value"); value != "" {
		made.path = value
	}
	kind, _, _ := unstructured.NestedString(match, "path", "type")
	made.exact = kind == "Exact"
	made.method, _, _ = unstructured.NestedString(match, "method")
	made.headers = map[string]string{}
	for _, h := range maps(match, "headers") {
		made.headers[text(h, "name")] = text(h, "value")
	}
	return made
}

func (b *builder) backend(namespace string, ref map[string]any) backend {
	weight := 1
	if w, ok := number(ref, "weight"); ok {
		weight = w
	}
	if other := text(ref, "namespace"); other != "" {
		namespace = other
	}
	port, _ := number(ref, "port")
	return backend{weight: weight, endpoints: b.endpoints(namespace, text(ref, "name"), strconv.Itoa(port))}
}

func (b *builder) filters(made *rule, spec map[string]any) {
	for _, f := range maps(spec, "filters") {
		switch text(f, "type") {
		case "RequestHeaderModifier":
			modifier, _ := f["requestHeaderModifier"].(map[string]any)
			made.set, made.add = named(modifier, "set"), named(modifier, "add")
			made.remove, _, _ = unstructured.NestedStringSlice(modifier, "remove")
		case "RequestRedirect":
			to, _ := f["requestRedirect"].(map[string]any)
			made.redirect = &redirect{scheme: text(to, "scheme"), host: text(to, "hostname"), status: 302}
			if status, ok := number(to, "statusCode"); ok {
				made.redirect.status = status
			}
			if port, ok := number(to, "port"); ok {
				made.redirect.port = fmt.Sprint(port)
			}
		}
	}
}

func named(m map[string]any, field string) map[string]string {
	all := map[string]string{}
	for _, h := range maps(m, field) {
		all[text(h, "name")] = text(h, "value")
	}
	return all
}

func maps(m map[string]any, field string) []map[string]any {
	list, _ := m[field].([]any)
	var all []map[string]any
	for _, item := range list {
		if one, ok := item.(map[string]any); ok {
			all = append(all, one)
		}
	}
	return all
}

func text(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

func number(m map[string]any, field string) (int, bool) {
	switch n := m[field].(type) {
	case int64:
		return int(n), true
	case float64:
		return int(n), true
	default:
		return 0, false
	}
}
