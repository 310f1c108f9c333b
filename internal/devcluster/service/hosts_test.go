package service

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	service := func(namespace, name, clusterIP string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: clusterIP}}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Labels: map[string]string{discoveryv1.LabelServiceName: "headless"}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.101.128.1"}, Hostname: new("pod-0")},
			{Addresses: []string{"10.101.128.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		},
	}
	services := []*corev1.Service{
		service("a", "one", "10.96.0.7"), service("b", "two", "10.96.63.9"), service("a", "headless", corev1.ClusterIPNone),
		service("a", "external", ""), service("a", "elsewhere", "10.111.0.1"),
	}
	want := []string{
		"127.101.128.1 headless.a.svc.cluster.local headless.a.svc headless.a headless",
		"127.101.128.1 pod-0.headless.a.svc.cluster.local pod-0.headless.a.svc pod-0.headless.a pod-0.headless",
		"127.101.192.7 one.a.svc.cluster.local one.a.svc one.a one",
		"127.101.255.9 two.b.svc.cluster.local two.b.svc two.b",
	}
	if diff := cmp.Diff(want, hosts(services, []*discoveryv1.EndpointSlice{slice}, "a", 101)); diff != "" {
		t.Error(diff)
	}
}
