package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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

func given(t *testing.T) world {
	t.Helper()
	var w world
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
	route := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
metadata: {namespace: ns, name: r}
spec:
  hostnames: [route.example.com, "*.wild.example.com"]
  rules:
  - matches: [{path: {type: PathPrefix, value: /deep/er}}, {path: {type: Exact, value: /exact}}, {headers: [{name: X-Canary, value: "yes"}]}]
    backendRefs: [{name: a, port: 80}]
  - backendRefs: [{name: b, port: 80, weight: 3}, {name: a, port: 80, weight: 0}]
    timeouts: {request: 2s}
`), &route.Object); err != nil {
		t.Fatal(err)
	}
	w.routes = []*unstructured.Unstructured{route}
	return w
}

// TestRouting: which endpoints a request reaches, by its host, path and headers.
func TestRouting(t *testing.T) {
	t.Parallel()
	w := given(t)
	made := w.build()
	for target, want := range map[string]string{
		"http://ingress.example.com/":           "127.1.0.1:8080",
		"http://INGRESS.example.com:8080/x":     "127.1.0.1:8080",
		"http://ingress.example.com/c":          "none",
		"http://ingress.example.com/c/d":        "none",
		"http://ingress.example.com/cc":         "127.1.0.1:8080", // No whole segment.
		"http://route.example.com/":             "127.1.0.4:8080", // It terminates, and there is no other.
		"http://route.example.com/deep":         "127.1.0.4:8080",
		"http://route.example.com/deep/er/more": "127.1.0.1:8080",
		"http://route.example.com/exact":        "127.1.0.1:8080",
		"http://route.example.com/exact/not":    "127.1.0.4:8080",
		"http://one.wild.example.com/":          "127.1.0.4:8080",
		"http://wild.example.com/":              "no route",
		"http://a.ns.svc/":                      "127.1.0.1:8080",
		"http://example.org/":                   "no route",
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
}

func reached(t *table, r *http.Request) string {
	u := t.find(r)
	if u == nil {
		return "no route"
	}
	addresses := u.pick().endpoints.order()
	if len(addresses) == 0 {
		return "none"
	}
	return addresses[0]
}

// TestWeights: shares are as the weights, within three standard deviations.
func TestWeights(t *testing.T) {
	t.Parallel()
	one, other := &endpoints{addresses: []string{"one"}}, &endpoints{addresses: []string{"other"}}
	u := rule{backends: []backend{{weight: 1, endpoints: one}, {weight: 3, endpoints: other}, {weight: 0}}}
	const n = 10_000
	count := 0
	for range n {
		if u.pick().endpoints == one {
			count++
		}
	}
	if count < n/4-130 || count > n/4+130 { // The square root of n·¼·¾ is 43.
		t.Errorf("%d of %d went where a quarter should go", count, n)
	}
	if none := (&rule{backends: []backend{{weight: 0}}}).pick(); none != nil {
		t.Errorf("a backend without weight was picked: %+v", none)
	}
}

// TestRetries: what could not be sent at all goes to another endpoint; what was sent
// does not.
func TestRetries(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(good.Close)
	breaks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(breaks.Close)
	address := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	for _, c := range []struct {
		addresses []string
		ok        bool
	}{
		{[]string{address(gone), address(good)}, true},
		{[]string{address(gone)}, false},
		{[]string{address(breaks), address(good)}, false},
	} {
		ctx := context.WithValue(t.Context(), attemptKey{}, attempt{c.addresses})
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&retrying{base: &http.Transport{DisableKeepAlives: true}}).RoundTrip(r)
		if err == nil {
			_ = response.Body.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%v: %v", c.addresses, err)
		}
	}
}
