package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// endpoint is an address in a state.
func endpoint(address string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}

func service(name string, list ...discoveryv1.Endpoint) (*corev1.Service, *discoveryv1.EndpointSlice) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	e := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}, Endpoints: list,
	}
	return s, e
}

// read reads an object, with a UID for its name.
func read[T metav1.Object](t *testing.T, object T, text string) T {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
		t.Fatal(err)
	}
	object.SetUID(types.UID(object.GetNamespace() + "/" + object.GetName()))
	return object
}

func gatewayOf(t *testing.T, text string) *gatewayv1.Gateway {
	t.Helper()
	return read(t, &gatewayv1.Gateway{}, text)
}

func routeOf(t *testing.T, text string) *gatewayv1.HTTPRoute {
	t.Helper()
	return read(t, &gatewayv1.HTTPRoute{}, text)
}

func given(t *testing.T) world {
	t.Helper()
	w := world{
		classes:  []*gatewayv1.GatewayClass{{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: ControllerName}}},
		gateways: []*gatewayv1.Gateway{gatewayOf(t, `{metadata: {namespace: ns, name: g}, spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}}`)},
	}
	for name, list := range map[string][]discoveryv1.Endpoint{
		"a": {endpoint("10.1.0.1", true, true, false), endpoint("10.1.0.2", false, false, false), endpoint("10.1.0.3", false, true, true)},
		"b": {endpoint("10.1.0.4", false, true, true), endpoint("10.1.0.5", false, false, true)},
		"c": nil,
	} {
		s, e := service(name, list...)
		w.services, w.slices = append(w.services, s), append(w.slices, e)
	}
	w.ingresses = []*networkingv1.Ingress{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "i"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: "ingress.example.com", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Path: "/", Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Name: "http"}}}},
			{Path: "/c", Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "c", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
		}}},
	}}}}}
	w.routes = []*gatewayv1.HTTPRoute{routeOf(t, `
metadata: {namespace: ns, name: r}
spec:
  parentRefs: [{name: g}]
  hostnames: [route.example.com, "*.wild.example.com"]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /deep/er}
    - path: {type: Exact, value: /exact}
    - headers: [{name: X-Canary, value: "yes"}]
    - queryParams: [{name: canary, value: "yes"}]
    - path: {type: RegularExpression, value: "/v[0-9]+/.*"}
    - {method: DELETE}
    backendRefs: [{name: a, port: 80}]
  - backendRefs: [{name: b, port: 80, weight: 3}, {name: a, port: 80, weight: 0}]
    timeouts: {request: 2s}
  - matches: [{path: {value: /nowhere}}]
    backendRefs: [{name: missing, port: 80}]
`)}
	return w
}

// TestRouting: which endpoints a request reaches, by its host, path, query, method and headers.
func TestRouting(t *testing.T) {
	t.Parallel()
	made := given(t).plan(101, nil).shared
	for target, want := range map[string]string{
		"http://ingress.example.com/":                    "127.1.0.1:8080",
		"http://INGRESS.example.com:8080/x":              "127.1.0.1:8080",
		"http://ingress.example.com/c":                   "none",
		"http://ingress.example.com/c/d":                 "none",
		"http://ingress.example.com/cc":                  "127.1.0.1:8080", // No whole segment.
		"http://route.example.com/":                      "127.1.0.4:8080", // It terminates, and there is no other.
		"http://route.example.com/deep":                  "127.1.0.4:8080",
		"http://route.example.com/deep/er/more":          "127.1.0.1:8080",
		"http://route.example.com/exact":                 "127.1.0.1:8080",
		"http://route.example.com/exact/not":             "127.1.0.4:8080",
		"http://route.example.com/?canary=yes":           "127.1.0.1:8080",
		"http://route.example.com/?canary=no":            "127.1.0.4:8080",
		"http://route.example.com/?canary=no&canary=yes": "127.1.0.4:8080", // The first one counts.
		"http://route.example.com/v12/x":                 "127.1.0.1:8080",
		"http://route.example.com/u/v12/x":               "127.1.0.4:8080", // It has to match as a whole.
		"http://route.example.com/nowhere":               "error",
		"http://one.wild.example.com/":                   "127.1.0.4:8080",
		"http://one.more.wild.example.com/":              "127.1.0.4:8080",
		"http://wild.example.com/":                       "no route",
		"http://a.ns.svc/":                               "127.1.0.1:8080",
		"http://example.org/":                            "no route",
		"http://[::1]:80/":                               "no route",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if got := reached(made, r); got != want {
			t.Errorf("%s reaches %s, want %s", target, got, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://route.example.com/", nil)
	r.Header.Set("X-Canary", "yes")
	if got := reached(made, r); got != "127.1.0.1:8080" {
		t.Errorf("with the header it reaches %s", got)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "http://route.example.com/", nil)
	if got := reached(made, r); got != "127.1.0.1:8080" {
		t.Errorf("with the method it reaches %s", got)
	}
}

func reached(t *table, r *http.Request) string {
	u := t.find(hostOf(r.Host), r)
	if u == nil {
		return "no route"
	}
	b := u.action.pick()
	if b == nil || b.endpoints == nil {
		return "error"
	}
	addresses := b.endpoints.order()
	if len(addresses) == 0 {
		return "none"
	}
	return addresses[0]
}

// TestPrecedence: of the rules that match, the Gateway API says which one is used.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	named := func(name string, r rule) rule {
		r.action = &action{rewrite: &rewrite{host: name}}
		if r.path.value == "" {
			r.path.value = "/"
		}
		return r
	}
	made := compile([]rule{
		named("all", rule{}),
		named("wild", rule{host: "*.example.com"}),
		named("wilder", rule{host: "*.com", path: path{value: "/only/here"}}),
		named("host", rule{host: "a.example.com", path: path{value: "/x"}}),
		named("longer", rule{host: "a.example.com", path: path{value: "/x/y"}}),
		named("exact", rule{host: "a.example.com", path: path{value: "/x/y", exact: true}}),
		named("second", rule{host: "a.example.com", path: path{value: "/x/y", exact: true}}),
		named("method", rule{host: "a.example.com", path: path{value: "/x"}, method: http.MethodGet}),
		named("header", rule{host: "a.example.com", path: path{value: "/x"}, headers: []condition{{name: "H", value: "v"}}}),
	})
	got := map[string]string{}
	want := map[string]string{
		"http://a.example.com/x":         "method", // Before a header.
		"http://a.example.com/x/y":       "exact",  // Before the second one of its kind.
		"http://a.example.com/x/y/z":     "longer", // Before the method on a shorter path.
		"http://a.example.com/":          "wild",   // The host's own rules do not match.
		"http://a.example.com/only/here": "wild",
		"http://b.example.com/x":         "wild",
		"http://example.com/only/here":   "wilder",
		"http://example.com/":            "all",
		"http://example.org/":            "all",
	}
	for target := range want {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		r.Header.Set("H", "v")
		got[target] = made.find(hostOf(r.Host), r).action.rewrite.host
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestIntersection: a route is served under the names that it shares with a listener.
func TestIntersection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""}, {"", "a.com", "a.com"}, {"a.com", "a.com", "a.com"}, {"a.com", "b.com", "-"},
		{"*.a.com", "x.a.com", "x.a.com"}, {"*.a.com", "x.y.a.com", "x.y.a.com"}, {"*.a.com", "a.com", "-"},
		{"*.a.com", "*.b.a.com", "*.b.a.com"}, {"*.a.com", "*.a.com", "*.a.com"}, {"*.a.com", "*.b.com", "-"}, {"*.a.com", "xa.com", "-"},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			got, ok := intersection(pair[0], pair[1])
			if !ok {
				got = "-"
			}
			if got != c.want {
				t.Errorf("%q and %q share %q, want %q", pair[0], pair[1], got, c.want)
			}
		}
	}
}

// FuzzHosts: the name that is found for a host is the most specific of those that match.
func FuzzHosts(f *testing.F) {
	f.Add("a.b.c *.b.c *.c", "a.b.c")
	f.Add("*.b.c *.c", "b.c")
	f.Add("* .", "..")
	f.Fuzz(func(t *testing.T, list, host string) {
		var h hosts[string]
		names := strings.Fields(list)
		for _, name := range names {
			if strings.HasPrefix(name, "*") && !strings.HasPrefix(name, "*.") || name == "*." {
				return // The API server refuses it.
			}
			h.set(name, name)
		}
		want := ""
		for _, name := range names {
			switch exact := name == host && !strings.HasPrefix(host, "*"); {
			case exact:
				want = name
			case want != host && matches(name, host) && len(name) > len(want):
				want = name
			}
		}
		if strings.HasPrefix(host, "*") {
			return // No request has such a host.
		}
		if got, _ := h.find(host); got != want {
			t.Errorf("for %q of %q: %q, want %q", host, names, got, want)
		}
	})
}

// TestWeights: shares are as the weights, within three standard deviations.
func TestWeights(t *testing.T) {
	t.Parallel()
	one, other := &endpoints{addresses: []string{"one"}}, &endpoints{addresses: []string{"other"}}
	a := action{backends: []backend{{weight: 1, endpoints: one}, {weight: 3, endpoints: other}, {weight: 0}}}
	const n = 10_000
	count := 0
	for range n {
		if a.pick().endpoints == one {
			count++
		}
	}
	if count < n/4-130 || count > n/4+130 { // The square root of n·¼·¾ is 43.
		t.Errorf("%d of %d went where a quarter should go", count, n)
	}
	if none := (&action{backends: []backend{{weight: 0}}}).pick(); none != nil {
		t.Errorf("a backend without weight was picked: %+v", none)
	}
}

// TestTurns: the first request after each plan reaches any of the endpoints, so that many
// plans favour none.
func TestTurns(t *testing.T) {
	t.Parallel()
	w := given(t)
	s, e := service("d", endpoint("10.1.0.1", true, true, false), endpoint("10.1.0.2", true, true, false), endpoint("10.1.0.3", true, true, false))
	w.services, w.slices = append(w.services, s), append(w.slices, e)
	first := map[string]bool{}
	for range 200 { // One of three is missed once in 10^35 times.
		u := w.plan(101, nil).shared.find("d.ns.svc", httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://d.ns.svc/", nil))
		order := u.action.backends[0].endpoints.order()
		if len(order) != 3 {
			t.Fatalf("the endpoints are %v", order)
		}
		first[order[0]] = true
	}
	if diff := cmp.Diff(map[string]bool{"127.1.0.1:8080": true, "127.1.0.2:8080": true, "127.1.0.3:8080": true}, first); diff != "" {
		t.Error(diff)
	}
}
