package gateway

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayState is a Gateway with what becomes of it.
type gatewayState struct {
	gateway   *gatewayv1.Gateway
	addresses addressed
	listeners []*listenerState
}

// listenerState is a listener with what becomes of it.
type listenerState struct {
	spec         gatewayv1.Listener
	kinds        []gatewayv1.RouteGroupKind
	certificates []tls.Certificate
	// clients is what clients have to show; nil for nothing.
	clients *clients
	// accepted: its protocol is known. single: no other listener is in its way. resolved:
	// its references lead somewhere.
	accepted, single, resolved verdict
	// attached are the routes, and rules what they ask for.
	attached map[types.UID]bool
	rules    []rule
}

// valid says that routes can attach to it.
func (l *listenerState) valid() bool { return l.accepted.ok && l.single.ok }

// servable says that it can be served: with TLS there has to be a certificate.
func (l *listenerState) servable() bool {
	return l.valid() && len(l.kinds) > 0 && (l.spec.Protocol == gatewayv1.HTTPProtocolType || len(l.certificates) > 0)
}

func (l *listenerState) host() string { return strings.ToLower(string(deref(l.spec.Hostname))) }

// gateway looks at a Gateway by itself, without its routes.
func (x *index) gateway(g *gatewayv1.Gateway, a addressed) *gatewayState {
	state := &gatewayState{gateway: g, addresses: a}
	if in := g.Spec.Infrastructure; in != nil && in.ParametersRef != nil && a.supported.ok {
		state.addresses.supported = no(gatewayv1.GatewayReasonInvalidParameters, "Parameters are not supported: remove spec.infrastructure.parametersRef.")
	}
	for _, spec := range g.Spec.Listeners {
		state.listeners = append(state.listeners, x.listener(g, spec))
	}
	for _, l := range state.listeners {
		for _, other := range state.listeners {
			l.conflict(other)
		}
	}
	return state
}

func (x *index) listener(g *gatewayv1.Gateway, spec gatewayv1.Listener) *listenerState {
	l := &listenerState{
		spec: spec, attached: map[types.UID]bool{}, kinds: []gatewayv1.RouteGroupKind{},
		accepted: yes(gatewayv1.ListenerReasonAccepted, "The listener is served."),
		single:   verdict{ok: true, reason: string(gatewayv1.ListenerReasonNoConflicts), message: "No other listener is in its way."},
		resolved: yes(gatewayv1.ListenerReasonResolvedRefs, "All references lead somewhere."),
	}
	if spec.Protocol != gatewayv1.HTTPProtocolType && spec.Protocol != gatewayv1.HTTPSProtocolType {
		l.accepted = no(gatewayv1.ListenerReasonUnsupportedProtocol, "The protocol %s is not supported: HTTP and HTTPS are.", spec.Protocol)
		return l
	}
	l.readKinds()
	if spec.Protocol == gatewayv1.HTTPSProtocolType && spec.TLS != nil {
		for _, ref := range spec.TLS.CertificateRefs {
			x.certificate(l, g.Namespace, ref)
		}
		x.validate(l, g)
	}
	return l
}

// unresolved notes the first reference that leads nowhere.
func (l *listenerState) unresolved(reason gatewayv1.ListenerConditionReason, format string, args ...any) {
	if l.resolved.ok {
		l.resolved = no(reason, format, args...)
	}
}

func (l *listenerState) readKinds() {
	ours := gatewayv1.RouteGroupKind{Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: "HTTPRoute"}
	if l.spec.AllowedRoutes == nil || len(l.spec.AllowedRoutes.Kinds) == 0 {
		l.kinds = append(l.kinds, ours)
		return
	}
	for _, kind := range l.spec.AllowedRoutes.Kinds {
		switch {
		case kind.Group != nil && *kind.Group != gatewayv1.GroupName || kind.Kind != "HTTPRoute":
			l.unresolved(gatewayv1.ListenerReasonInvalidRouteKinds, "Routes of the kind %s are not supported: HTTPRoutes are.", kind.Kind)
		case len(l.kinds) == 0:
			l.kinds = append(l.kinds, ours)
		}
	}
}

func (x *index) certificate(l *listenerState, namespace string, ref gatewayv1.SecretObjectReference) {
	name := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if deref(ref.Group) != "" || ref.Kind != nil && *ref.Kind != "Secret" {
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, "The certificate %s is no Secret.", name)
		return
	}
	if !x.permitted(reference{gatewayv1.GroupName, "Gateway", namespace}, reference{"", "Secret", name.Namespace}, name.Name) {
		l.unresolved(gatewayv1.ListenerReasonRefNotPermitted, "No ReferenceGrant in %s lets Gateways of %s use the Secret %s.", name.Namespace, namespace, name.Name)
		return
	}
	secret := x.secrets[name]
	if secret == nil {
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, "There is no Secret %s of the type %s.", name, corev1.SecretTypeTLS)
		return
	}
	made, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, "The Secret %s has no certificate with its key: %v.", name, err)
		return
	}
	l.certificates = append(l.certificates, made)
}

// conflict notes that another listener of the Gateway wants the same.
func (l *listenerState) conflict(other *listenerState) {
	if l == other || l.spec.Port != other.spec.Port || !l.accepted.ok || !other.accepted.ok || !l.single.ok {
		return
	}
	switch {
	case l.spec.Protocol != other.spec.Protocol:
		l.single = no(gatewayv1.ListenerReasonProtocolConflict, "The listener %s has another protocol on port %d.", other.spec.Name, l.spec.Port)
	case l.host() == other.host():
		l.single = no(gatewayv1.ListenerReasonHostnameConflict, "The listener %s has the same hostname on port %d.", other.spec.Name, l.spec.Port)
	}
}

// allows says whether routes of a namespace may attach.
func (l *listenerState) allows(x *index, gateway, namespace string) bool {
	from, spec := gatewayv1.NamespacesFromSame, (*gatewayv1.RouteNamespaces)(nil)
	if l.spec.AllowedRoutes != nil && l.spec.AllowedRoutes.Namespaces != nil {
		spec = l.spec.AllowedRoutes.Namespaces
		if spec.From != nil {
			from = *spec.From
		}
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return gateway == namespace
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
		ns := x.namespaces[namespace]
		return err == nil && ns != nil && selector.Matches(labels.Set(ns.Labels))
	default:
		return false
	}
}

// attach attaches a route to all listeners that it names and that take it, and returns its
// hosts there. Of the reasons against it the one is told that is nearest to success.
func (g *gatewayState) attach(x *index, route *gatewayv1.HTTPRoute, ref gatewayv1.ParentReference, rules []rule) (names []string, accepted verdict) {
	accepted = no(gatewayv1.RouteReasonNoMatchingParent, "The Gateway has no valid listener of this name and port.")
	for _, l := range g.listeners {
		if !l.named(ref) {
			continue
		}
		allowed, found := len(l.kinds) > 0 && l.allows(x, g.gateway.Namespace, route.Namespace), l.hosts(route)
		switch {
		case !l.valid():
			// Nobody is served here, but the specification wants such routes counted.
			if allowed && len(found) > 0 {
				l.attached[route.UID] = true
			}
		case !allowed:
			if accepted.reason == string(gatewayv1.RouteReasonNoMatchingParent) {
				accepted = no(gatewayv1.RouteReasonNotAllowedByListeners, "The listener %s does not allow HTTPRoutes of %s.", l.spec.Name, route.Namespace)
			}
		case len(found) == 0:
			if !accepted.ok {
				accepted = no(gatewayv1.RouteReasonNoMatchingListenerHostname, "The listener %s is for %s only.", l.spec.Name, l.host())
			}
		default:
			accepted = yes(gatewayv1.RouteReasonAccepted, "The route is served.")
			names = append(names, found...)
			if !l.attached[route.UID] {
				l.attached[route.UID] = true
				l.rules = append(l.rules, under(found, rules)...)
			}
		}
	}
	return names, accepted
}

// named says whether a route's reference means the listener.
func (l *listenerState) named(ref gatewayv1.ParentReference) bool {
	return (ref.SectionName == nil || *ref.SectionName == l.spec.Name) && (ref.Port == nil || *ref.Port == l.spec.Port)
}

// hosts are those of a route that are the listener's too.
func (l *listenerState) hosts(route *gatewayv1.HTTPRoute) (found []string) {
	own := route.Spec.Hostnames
	if len(own) == 0 {
		own = []gatewayv1.Hostname{""}
	}
	for _, h := range own {
		if name, ok := intersection(l.host(), strings.ToLower(string(h))); ok {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// serve adds the listeners to what is to be served.
func (g *gatewayState) serve(ports map[netip.AddrPort]*port) {
	if !g.addresses.supported.ok {
		return
	}
	for _, l := range g.listeners {
		if !l.servable() {
			continue
		}
		one := &served{table: compile(l.rules), certificates: l.certificates, clients: l.clients}
		for _, a := range g.addresses.list {
			at := netip.AddrPortFrom(a, uint16(l.spec.Port))
			if ports[at] == nil {
				ports[at] = &port{number: int(l.spec.Port), secure: l.spec.Protocol == gatewayv1.HTTPSProtocolType}
			}
			ports[at].listeners.set(l.host(), one)
		}
	}
}
