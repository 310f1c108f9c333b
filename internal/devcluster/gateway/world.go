package gateway

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// world is what a plan is made of. None of it is changed.
type world struct {
	services   []*corev1.Service
	slices     []*discoveryv1.EndpointSlice
	ingresses  []*networkingv1.Ingress
	namespaces []*corev1.Namespace
	// secrets are those of the type kubernetes.io/tls.
	secrets []*corev1.Secret
	// configMaps have nothing but what authorities sign with.
	configMaps []*corev1.ConfigMap
	classes    []*gatewayv1.GatewayClass
	gateways   []*gatewayv1.Gateway
	routes     []*gatewayv1.HTTPRoute
	grants     []*gatewayv1.ReferenceGrant
}

// index finds things of a world.
type index struct {
	services   map[types.NamespacedName]*corev1.Service
	slices     map[types.NamespacedName][]*discoveryv1.EndpointSlice
	namespaces map[string]*corev1.Namespace
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	grants     map[string][]*gatewayv1.ReferenceGrant
	// made are the endpoints that were asked for, by Service and port.
	made map[portName]*endpoints
}

type portName struct {
	types.NamespacedName
	port string
}

func (w world) index() *index {
	x := &index{
		services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		namespaces: map[string]*corev1.Namespace{}, secrets: map[types.NamespacedName]*corev1.Secret{},
		configMaps: map[types.NamespacedName]*corev1.ConfigMap{}, grants: map[string][]*gatewayv1.ReferenceGrant{}, made: map[portName]*endpoints{},
	}
	for _, s := range w.services {
		x.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	for _, s := range w.slices {
		of := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		x.slices[of] = append(x.slices[of], s)
	}
	for _, n := range w.namespaces {
		x.namespaces[n.Name] = n
	}
	for _, s := range w.secrets {
		x.secrets[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	for _, c := range w.configMaps {
		x.configMaps[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}] = c
	}
	for _, g := range w.grants {
		x.grants[g.Namespace] = append(x.grants[g.Namespace], g)
	}
	return x
}

// reference is one end of a reference between namespaces.
type reference struct {
	group     gatewayv1.Group
	kind      gatewayv1.Kind
	namespace string
}

// permitted says whether a reference may be made: within a namespace always, into another
// one if that has granted it.
func (x *index) permitted(from, to reference, name string) bool {
	if from.namespace == to.namespace {
		return true
	}
	for _, g := range x.grants[to.namespace] {
		given := slices.ContainsFunc(g.Spec.From, func(f gatewayv1.ReferenceGrantFrom) bool {
			return f.Group == from.group && f.Kind == from.kind && string(f.Namespace) == from.namespace
		})
		reached := slices.ContainsFunc(g.Spec.To, func(t gatewayv1.ReferenceGrantTo) bool {
			return t.Group == to.group && t.Kind == to.kind && (t.Name == nil || string(*t.Name) == name)
		})
		if given && reached {
			return true
		}
	}
	return false
}

// servicePort finds a port of a Service by its number or its name.
func (x *index) servicePort(name types.NamespacedName, port string) *corev1.ServicePort {
	service := x.services[name]
	if service == nil {
		return nil
	}
	for i, p := range service.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == port || p.Name == port {
			return &service.Spec.Ports[i]
		}
	}
	return nil
}

// endpoints returns those of a Service's port; they are none if there is no such port.
func (x *index) endpoints(name types.NamespacedName, port string) *endpoints {
	key := portName{name, port}
	if e := x.made[key]; e != nil {
		return e
	}
	e := &endpoints{}
	x.made[key] = e
	if p := x.servicePort(name, port); p != nil {
		e.addresses, e.h2c = x.addresses(name, p.Name), isH2C(p.AppProtocol)
	}
	return e
}

// isH2C: see https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol.
func isH2C(protocol *string) bool {
	return protocol != nil && (*protocol == "kubernetes.io/h2c" || *protocol == "grpc")
}

// addresses are those of the ready endpoints; if there are none, those that still
// serve while they terminate, as kube-proxy has it.
// See https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions.
func (x *index) addresses(of types.NamespacedName, port string) []string {
	var ready, ending []string
	for _, slice := range x.slices[of] {
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
