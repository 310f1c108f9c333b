// Package conformance runs the Gateway API's conformance suite against the gateway of a
// development cluster. It is a module of its own, so that what the suite needs never reaches
// the requirements of Windlass.
package conformance

import (
	"flag"
	"fmt"
	"net"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
)

var version = flag.String("implementation-version", "development", "the version of Windlass in the report")

func TestMain(m *testing.M) {
	clustertest.Main(m, nil, func(o *devcluster.Options) { o.Nodes, o.ProcessNodes = 0, 3 })
}

// TestGatewayHTTP runs the profile GATEWAY-HTTP with all features that the GatewayClass
// says it supports, and without leaving out a test. The suite's own flags work too:
// -report-output writes its report, -run-test runs one test.
func TestGatewayHTTP(t *testing.T) {
	t.Setenv("KUBECONFIG", clustertest.Kubeconfig())
	o := conformance.DefaultOptions(t)
	o.GatewayClassName = devcluster.GatewayClass
	o.ConformanceProfiles = []suite.ConformanceProfileName{suite.GatewayHTTPConformanceProfileName}
	o.Implementation = confv1.Implementation{
		Organization: "windlass", Project: "windlass", URL: "https://windlass.dev", Version: *version, Contact: []string{"https://windlass.dev"},
	}
	kind := gatewayv1.IPAddressType
	o.UsableNetworkAddresses = []gatewayv1.GatewaySpecAddress{{Type: &kind, Value: free(t)}}
	// This address is for documentation only: nobody can listen on it.
	o.UnusableNetworkAddresses = []gatewayv1.GatewaySpecAddress{{Type: &kind, Value: "192.0.2.1"}}
	conformance.RunConformanceWithOptions(t, o)
}

// free is an address that the cluster has for Gateways and that no Gateway has yet: the last
// one of the range in which a Gateway is given the first one.
func free(t *testing.T) string {
	t.Helper()
	client, err := gatewayclient.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	probe := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"},
		Spec:       gatewayv1.GatewaySpec{GatewayClassName: devcluster.GatewayClass, Listeners: []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}},
	}
	gateways := client.GatewayV1().Gateways(probe.Namespace)
	if _, err := gateways.Create(t.Context(), probe, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	watch, err := gateways.Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: new(int64(60))})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		g, ok := event.Object.(*gatewayv1.Gateway)
		if !ok || len(g.Status.Addresses) == 0 {
			continue
		}
		given := net.ParseIP(g.Status.Addresses[0].Value).To4()
		if err := gateways.Delete(t.Context(), probe.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d.%d.%d.254", given[0], given[1], given[2])
	}
	t.Fatal("the Gateway got no address")
	return ""
}
