package service

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	type endpoint struct {
		address                     string
		ready, serving, terminating bool
	}
	for title, one := range map[string]struct {
		clusterIP string
		endpoints []endpoint
		want      map[string][]string
	}{
		"ready ones":                      {"10.96.3.4", []endpoint{{"10.101.128.7", true, true, false}, {"10.101.128.8", false, false, false}}, map[string][]string{"127.101.195.4:8000": {"127.101.128.7:8080"}}},
		"none that ends, if one is ready": {"10.96.3.4", []endpoint{{"10.101.128.7", true, true, false}, {"10.101.128.8", false, true, true}}, map[string][]string{"127.101.195.4:8000": {"127.101.128.7:8080"}}},
		"those that end, if none is":      {"10.96.3.4", []endpoint{{"10.101.128.8", false, true, true}, {"10.101.128.9", false, false, true}}, map[string][]string{"127.101.195.4:8000": {"127.101.128.8:8080"}}},
		"nothing behind it":               {"10.96.3.4", nil, map[string][]string{}},
		"simulated pods only":             {"10.96.3.4", []endpoint{{"10.101.0.7", true, true, false}}, map[string][]string{}},
		"another cluster's":               {"10.96.3.4", []endpoint{{"10.102.128.7", true, true, false}}, map[string][]string{}},
		"headless":                        {corev1.ClusterIPNone, []endpoint{{"10.101.128.7", true, true, false}}, map[string][]string{}},
		"out of the range":                {"10.100.3.4", []endpoint{{"10.101.128.7", true, true, false}}, map[string][]string{}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			meta := metav1.ObjectMeta{Namespace: "a", Name: "s"}
			s := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: one.clusterIP, Ports: []corev1.ServicePort{
				{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8000}, {Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53},
			}}}
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
				Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("dns"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(53))}},
			}
			for _, e := range one.endpoints {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{e.address}, Conditions: discoveryv1.EndpointConditions{Ready: &e.ready, Serving: &e.serving, Terminating: &e.terminating}})
			}
			got := map[string][]string{}
			for at, to := range routes([]*corev1.Service{s}, []*discoveryv1.EndpointSlice{slice}, 101) {
				for _, e := range to.endpoints {
					got[at.String()] = append(got[at.String()], e.String())
				}
			}
			if diff := cmp.Diff(one.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity
func TestAffinity(t *testing.T) {
	t.Parallel()
	endpoints := []netip.AddrPort{netip.MustParseAddrPort("127.101.128.1:80"), netip.MustParseAddrPort("127.101.128.2:80")}
	f := &front{to: route{endpoints: endpoints, affinity: time.Minute}, kept: map[netip.Addr]session{}}
	client, now := &address{"127.0.0.1:1"}, time.Now()
	first := f.pick(client, now)
	for range 50 {
		now = now.Add(50 * time.Second)
		if got := f.pick(client, now); got != first {
			t.Fatalf("it goes to %s after %s", got, first)
		}
	}
	seen := map[netip.AddrPort]bool{}
	for range 200 {
		now = now.Add(2 * time.Minute)
		seen[f.pick(client, now)] = true
	}
	if len(seen) != 2 {
		t.Errorf("after its time it still goes to %v", seen)
	}
	kept := f.pick(client, now)
	f.to.endpoints = []netip.AddrPort{endpoints[0]}
	if got := f.pick(client, now); got != endpoints[0] {
		t.Errorf("it goes to %s, which is gone (it was %s)", got, kept)
	}
}

type address struct{ text string }

func (address) Network() string  { return "tcp" }
func (a address) String() string { return a.text }
