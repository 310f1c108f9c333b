package service

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// route is where the connections to a Service's port go.
type route struct {
	name      string
	endpoints []netip.AddrPort
	// affinity is how long a client keeps its endpoint; 0 is not at all.
	affinity time.Duration
}

// routes returns what is to be served, by where. A Service without endpoints is not
// served: connections to it are refused, as kube-proxy refuses them.
func routes(services []*corev1.Service, all []*discoveryv1.EndpointSlice, octet int) map[netip.AddrPort]route {
	of := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range all {
		key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		of[key] = append(of[key], s)
	}
	made := map[netip.AddrPort]route{}
	for _, s := range services {
		address, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil {
			continue // It is headless, or has none.
		}
		local, ok := Local(address, octet)
		if !ok {
			continue
		}
		for _, port := range s.Spec.Ports {
			one := route{name: s.Namespace + "/" + s.Name, endpoints: endpoints(of[s.Namespace+"/"+s.Name], port, octet), affinity: affinity(s)}
			if port.Protocol == corev1.ProtocolTCP && len(one.endpoints) > 0 {
				made[netip.AddrPortFrom(local, uint16(allowed(port.Port)))] = one
			}
		}
	}
	return made
}

func affinity(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// endpoints are the ready ones behind a port; if there are none, those that serve while
// they terminate. Only pods on process nodes count: the upper half of the addresses.
// See https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-to-terminating-endpoints.
func endpoints(all []*discoveryv1.EndpointSlice, port corev1.ServicePort, octet int) []netip.AddrPort {
	ready, ending := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for _, s := range all {
		i := slices.IndexFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
			return p.Port != nil && value(p.Name) == port.Name && (p.Protocol == nil || *p.Protocol == port.Protocol)
		})
		if i < 0 {
			continue
		}
		for _, e := range s.Endpoints {
			switch at, c := addresses(e, *s.Ports[i].Port, octet), e.Conditions; {
			case c.Ready == nil || *c.Ready:
				maps.Copy(ready, at)
			case value(c.Serving) && value(c.Terminating):
				maps.Copy(ending, at)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	return slices.SortedFunc(maps.Keys(ready), func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
}

// addresses are where an endpoint is reached, if it is on a process node.
func addresses(e discoveryv1.Endpoint, port int32, octet int) map[netip.AddrPort]bool {
	all := map[netip.AddrPort]bool{}
	for _, text := range e.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if local, ok := Local(address, octet); ok && local.As4()[2] >= firstOfPods {
			all[netip.AddrPortFrom(local, uint16(port))] = true
		}
	}
	return all
}

// firstOfPods is the third octet of the first pod on a process node.
const firstOfPods = 128

func value[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}
