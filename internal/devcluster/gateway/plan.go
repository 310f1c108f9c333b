package gateway

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ControllerName is what a GatewayClass names whose Gateways are served.
const ControllerName gatewayv1.GatewayController = "windlass.dev/gateway"

// plan is what is to be served, and what is to be said of the objects that ask for it. It
// is not changed once it is made.
type plan struct {
	// shared is served at the gateway's own address: all routes, Ingresses and Services.
	shared *table
	// ports are served at the Gateways' addresses.
	ports    map[netip.AddrPort]*port
	classes  []*gatewayv1.GatewayClass
	gateways []*gatewayState
	routes   []routeState
}

// port is where the listeners of a Gateway with one port are served.
type port struct {
	// number is the one that the listeners have.
	number    int
	secure    bool
	listeners hosts[*served]
}

// served is what one listener serves.
type served struct {
	table        *table
	certificates []tls.Certificate
	clients      *clients
}

// routeState is what each parent of a route makes of it.
type routeState struct {
	route   *gatewayv1.HTTPRoute
	parents []parentState
}

type parentState struct {
	ref                 gatewayv1.ParentReference
	accepted, resolving verdict
}

// plan makes the plan. held are the addresses that the Gateways have.
func (w world) plan(octet int, held map[types.UID][]netip.Addr) *plan {
	x, p := w.index(), &plan{ports: map[netip.AddrPort]*port{}}
	for _, c := range w.classes {
		if c.Spec.ControllerName == ControllerName {
			p.classes = append(p.classes, c)
		}
	}
	var ours []*gatewayv1.Gateway
	for _, g := range byAge(w.gateways) {
		if slices.ContainsFunc(p.classes, func(c *gatewayv1.GatewayClass) bool { return c.Name == string(g.Spec.GatewayClassName) }) {
			ours = append(ours, g)
		}
	}
	addresses := assign(ours, octet, held)
	of := map[types.NamespacedName]*gatewayState{}
	for _, g := range ours {
		state := x.gateway(g, addresses[g.UID])
		p.gateways = append(p.gateways, state)
		of[types.NamespacedName{Namespace: g.Namespace, Name: g.Name}] = state
	}
	var shared []rule
	for _, route := range byAge(w.routes) {
		state, rules := x.attach(route, of)
		p.routes = append(p.routes, state)
		shared = append(shared, rules...)
	}
	for _, g := range p.gateways {
		g.serve(p.ports)
	}
	p.shared = compile(slices.Concat(shared, x.ingressRules(w.ingresses), x.serviceRules(w)))
	return p
}

// byAge sorts objects as the Gateway API resolves conflicts: the oldest first, then by name.
func byAge[T metav1.Object](list []T) []T {
	return slices.SortedFunc(slices.Values(list), func(a, b T) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// attach attaches a route to the Gateways that it names, and returns its rules. Those that
// are not there, or are others', say nothing.
func (x *index) attach(route *gatewayv1.HTTPRoute, gateways map[types.NamespacedName]*gatewayState) (routeState, []rule) {
	state, read := routeState{route: route}, x.read(route)
	var all []string
	for _, ref := range route.Spec.ParentRefs {
		of := types.NamespacedName{Namespace: route.Namespace, Name: string(ref.Name)}
		if ref.Namespace != nil {
			of.Namespace = string(*ref.Namespace)
		}
		if ref.Group != nil && *ref.Group != gatewayv1.GroupName || ref.Kind != nil && *ref.Kind != "Gateway" || gateways[of] == nil {
			continue
		}
		accepted := read.supported
		if accepted.ok {
			var names []string
			if names, accepted = gateways[of].attach(x, route, ref, read.rules); accepted.ok {
				all = append(all, names...)
			}
		}
		state.parents = append(state.parents, parentState{ref: ref, accepted: accepted, resolving: read.resolve})
	}
	slices.Sort(all)
	return state, under(slices.Compact(all), read.rules)
}

// under returns rules for certain hosts.
func under(names []string, rules []rule) (made []rule) {
	for _, name := range names {
		for _, r := range rules {
			r.host = name
			made = append(made, r)
		}
	}
	return made
}

func (x *index) ingressRules(ingresses []*networkingv1.Ingress) (rules []rule) {
	for _, in := range byAge(ingresses) {
		to := func(s *networkingv1.IngressServiceBackend) *action {
			if s == nil {
				return &action{}
			}
			port := s.Port.Name
			if port == "" {
				port = strconv.Itoa(int(s.Port.Number))
			}
			return &action{backends: []backend{{weight: 1, endpoints: x.endpoints(types.NamespacedName{Namespace: in.Namespace, Name: s.Name}, port)}}}
		}
		for _, r := range in.Spec.Rules {
			if r.HTTP == nil {
				continue
			}
			for _, p := range r.HTTP.Paths {
				exact := p.PathType != nil && *p.PathType == networkingv1.PathTypeExact
				rules = append(rules, rule{host: strings.ToLower(r.Host), path: path{value: p.Path, exact: exact}, action: to(p.Backend.Service)})
			}
		}
		if d := in.Spec.DefaultBackend; d != nil {
			rules = append(rules, rule{path: path{value: "/"}, action: to(d.Service)})
		}
	}
	return rules
}

// serviceRules are those of each Service by the host NAME.NAMESPACE.svc.
func (x *index) serviceRules(w world) (rules []rule) {
	for _, s := range w.services {
		if len(s.Spec.Ports) > 0 {
			to := x.endpoints(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, strconv.Itoa(int(s.Spec.Ports[0].Port)))
			rules = append(rules, rule{host: s.Name + "." + s.Namespace + ".svc", path: path{value: "/"}, action: &action{backends: []backend{{weight: 1, endpoints: to}}}})
		}
	}
	return rules
}
