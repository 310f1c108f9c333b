package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// BenchmarkFind looks for the rule of one host among a thousand.
func BenchmarkFind(b *testing.B) {
	var rules []rule
	for i := range 1000 {
		for _, p := range []string{"/", "/api", "/static"} {
			rules = append(rules, rule{host: fmt.Sprintf("host-%d.example.com", i), path: path{value: p}, action: &action{}})
		}
	}
	t := compile(rules)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://host-999.example.com/", nil)
	for b.Loop() {
		if t.find(hostOf(r.Host), r) == nil {
			b.Fatal("no rule matches")
		}
	}
}

// BenchmarkPlan makes a plan of a thousand Services with a route each.
func BenchmarkPlan(b *testing.B) {
	w := world{
		classes:  []*gatewayv1.GatewayClass{{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: ControllerName}}},
		gateways: []*gatewayv1.Gateway{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g"}, Spec: gatewayv1.GatewaySpec{GatewayClassName: "ours", Listeners: []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}}}},
	}
	for i := range 1000 {
		name := fmt.Sprintf("s-%d", i)
		s, e := service(name, endpoint("10.101.128.1", true, true, false), endpoint("10.101.128.2", true, true, false))
		w.services, w.slices = append(w.services, s), append(w.slices, e)
		ref := gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name), Port: new(gatewayv1.PortNumber(80))}}}
		w.routes = append(w.routes, &gatewayv1.HTTPRoute{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
			Spec: gatewayv1.HTTPRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "g"}}},
				Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(name + ".example.com")}, Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{ref}}},
			},
		})
	}
	for b.Loop() {
		if p := w.plan(101, nil); len(p.ports) != 1 {
			b.Fatal("the Gateway is not served")
		}
	}
}

// BenchmarkProxy compares the gateway's way of a request with that of a bare reverse proxy.
func BenchmarkProxy(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	ours, u := newProxy(), &rule{action: &action{backends: []backend{{weight: 1, endpoints: &endpoints{addresses: []string{address}}}}}}
	bare := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", address },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true},
	}
	for name, handler := range map[string]http.HandlerFunc{
		"bare":    bare.ServeHTTP,
		"gateway": func(w http.ResponseWriter, r *http.Request) { ours.serve(w, r, u, 80) },
	} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					w := httptest.NewRecorder()
					handler(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://a.com/", nil))
					if w.Code != http.StatusOK {
						b.Errorf("%d", w.Code)
					}
				}
			})
		})
	}
}
