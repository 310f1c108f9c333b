package gateway

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func unmarshal(text string, into any) error { return yaml.UnmarshalStrict([]byte(text), into) }

// certificate is a Secret with one for every host.
func certificate(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com", "*.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}), "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}}
}

// to is what sends everything to a server.
func to(s *httptest.Server) *action {
	return &action{backends: []backend{{weight: 1, endpoints: &endpoints{addresses: []string{s.Listener.Addr().String()}}}}}
}

func backendServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// TestRetries: what could not be sent at all goes to another endpoint; what was sent
// does not.
func TestRetries(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	good := backendServer(t, func(http.ResponseWriter, *http.Request) {})
	breaks := backendServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	address := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	for _, c := range []struct {
		addresses []string
		ok        bool
	}{
		{[]string{address(gone), address(good)}, true},
		{[]string{address(gone)}, false},
		{[]string{address(breaks), address(good)}, false},
	} {
		ctx := context.WithValue(t.Context(), exchangeKey{}, &exchange{addresses: c.addresses})
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&retrying{plain: &http.Transport{DisableKeepAlives: true}}).RoundTrip(r)
		if err == nil {
			_ = response.Body.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%v: %v", c.addresses, err)
		}
	}
}

// TestSentOnce: what was sent over a kept connection that ends is not sent to another
// endpoint when the first one is gone for the transport too, which sends it again by itself.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	dying, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dying.Close() })
	go func() {
		c, err := dying.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		requests := bufio.NewReader(c)
		if _, err := http.ReadRequest(requests); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = http.ReadRequest(requests)
		_ = dying.Close() // Killed while it works on the second one.
	}()
	var others atomic.Int32
	other := backendServer(t, func(http.ResponseWriter, *http.Request) { others.Add(1) })
	e := &exchange{addresses: []string{dying.Addr().String(), other.Listener.Addr().String()}}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for _, ok := range []bool{true, false} {
		r, err := http.NewRequestWithContext(context.WithValue(t.Context(), exchangeKey{}, e), http.MethodGet, "http://any/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&retrying{plain: transport}).RoundTrip(r)
		if err == nil {
			_ = response.Body.Close()
		}
		if (err == nil) != ok {
			t.Errorf("the error is %v, want one: %t", err, !ok)
		}
	}
	if n := others.Load(); n != 0 {
		t.Errorf("the other endpoint got %d requests", n)
	}
}

// TestFilters: what the backend sees of a request, and the client of the answer.
func TestFilters(t *testing.T) {
	t.Parallel()
	server := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("From-Backend", "secret")
		fmt.Fprintf(w, "%s %s set=%s add=%v gone=%s backend=%s proto=%s", r.Host, r.RequestURI, r.Header.Get("Set"), r.Header["Add"], r.Header.Get("Gone"), r.Header.Get("Of-Backend"), r.Header.Get("X-Forwarded-Proto"))
	})
	a := to(server)
	a.filters = filters{
		request:  headers{set: []header{{"Set", "new"}, {"X-Forwarded-Proto", "https"}}, add: []header{{"Add", "two"}}, remove: []string{"Gone"}},
		response: headers{set: []header{{"From-Rule", "yes"}}, remove: []string{"From-Backend"}},
	}
	a.backends[0].filters.request.set = []header{{"Of-Backend", "yes"}}
	a.rewrite = &rewrite{host: "inside.example.com", path: &replacement{value: "/new", prefix: true}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://outside.example.com/old/%2Fx?q=a;b", nil)
	// What a client calls a matter of its connection does not go on, but a rule sets it.
	r.Header = http.Header{"Set": {"old"}, "Add": {"one"}, "Gone": {"here"}, "Connection": {"Set, Of-Backend"}}
	w := httptest.NewRecorder()
	newProxy().serve(w, r, &rule{path: path{value: "/old"}, action: a}, 80)
	want := "inside.example.com /new/%2Fx?q=a;b set=new add=[one two] gone= backend=yes proto=https"
	if got := w.Body.String(); got != want {
		t.Errorf("the backend sees %s, want %s", got, want)
	}
	if h := w.Header(); h.Get("From-Rule") != "yes" || h.Get("From-Backend") != "" {
		t.Errorf("the client sees %v", h)
	}
}

// TestAnswers are those that the gateway gives by itself.
func TestAnswers(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	slow := backendServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	timed := func(a *action, change func(*action)) *action {
		change(a)
		return a
	}
	for name, c := range map[string]struct {
		action *action
		want   int
	}{
		"no backend":             {&action{}, http.StatusInternalServerError},
		"one that leads nowhere": {&action{backends: []backend{{weight: 1}}}, http.StatusInternalServerError},
		"no endpoint":            {&action{backends: []backend{{weight: 1, endpoints: &endpoints{}}}}, http.StatusServiceUnavailable},
		"nobody there":           {to(gone), http.StatusBadGateway},
		"timeout":                {timed(to(slow), func(a *action) { a.timeout = 20 * time.Millisecond }), http.StatusGatewayTimeout},
		"the backend's timeout":  {timed(to(slow), func(a *action) { a.timeout, a.backendTimeout = time.Hour, 20*time.Millisecond }), http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			newProxy().serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.com/", nil), &rule{action: c.action}, 80)
			if w.Code != c.want {
				t.Errorf("%d, want %d", w.Code, c.want)
			}
		})
	}
}

// TestNamedUpgrade: who only names a protocol has a timeout.
func TestNamedUpgrade(t *testing.T) {
	t.Parallel()
	a := to(backendServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	a.timeout = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://a.com/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"keep-alive"}}
	newProxy().serve(httptest.NewRecorder(), r, &rule{action: a}, 80)
	if err := ctx.Err(); err != nil {
		t.Error("it waits for ever")
	}
}

// TestRedirects: where clients are sent.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to      redirect
		request string
		port    int
		want    string
	}{
		"scheme":          {redirect{scheme: "https"}, "http://a.com:8080/x?q=1", 8080, "https://a.com/x?q=1"},
		"port of scheme":  {redirect{scheme: "https", port: "443"}, "http://a.com/x", 80, "https://a.com/x"},
		"host":            {redirect{host: "b.com"}, "http://a.com/x", 80, "http://b.com/x"},
		"listener's port": {redirect{host: "b.com"}, "http://a.com/x", 8080, "http://b.com:8080/x"},
		"host's port":     {redirect{path: &replacement{value: "/y"}}, "http://a.com:1234/x", 0, "http://a.com:1234/y"},
		"port":            {redirect{port: "8443"}, "http://a.com/x", 80, "http://a.com:8443/x"},
		"whole path":      {redirect{path: &replacement{value: "/y"}}, "http://a.com/p/x", 80, "http://a.com/y"},
		"prefix":          {redirect{path: &replacement{value: "/y/", prefix: true}}, "http://a.com/p/x", 80, "http://a.com/y/x"},
		"prefix away":     {redirect{path: &replacement{value: "/", prefix: true}}, "http://a.com/p", 80, "http://a.com/"},
		"escaped":         {redirect{scheme: "https"}, "http://a.com/p%2Fx", 80, "https://a.com/p%2Fx"},
		"escaped rest":    {redirect{path: &replacement{value: "/y", prefix: true}}, "http://a.com/p/x%2Fz", 80, "http://a.com/y/x%2Fz"},
		"IPv6":            {redirect{port: "81"}, "http://[::1]:80/x", 80, "http://[::1]:81/x"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.request, nil)
		if got := c.to.target(r, "/p", c.port); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestMirror: another backend gets a copy with the same body, and nobody its answer.
func TestMirror(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	other := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		bodies <- r.Method + " " + r.URL.Path + " " + string(body) + ", to " + r.Header.Get("Set") + r.Header.Get("Of-Backend")
	})
	server := backendServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	a := to(server)
	a.mirrors = []mirror{{endpoints: &endpoints{addresses: []string{other.Listener.Addr().String()}}, numerator: 1, denominator: 1}, {numerator: 1, denominator: 1}}
	a.filters.request.set, a.backends[0].filters.request.set = []header{{"Set", "both"}}, []header{{"Of-Backend", " one only"}}
	w := httptest.NewRecorder()
	p := newProxy()
	p.serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "http://a.com/x", strings.NewReader("what was sent")), &rule{action: a}, 80)
	if w.Code != http.StatusOK || w.Body.String() != "what was sent" {
		t.Errorf("the client got %d %q", w.Code, w.Body.String())
	}
	if diff := cmp.Diff("PUT /x what was sent, to both", <-bodies); diff != "" {
		t.Error(diff)
	}
	p.mirroring.Wait()
	never := mirror{endpoints: &endpoints{}, numerator: 0, denominator: 100}
	if never.chosen() {
		t.Error("none of a hundred was chosen")
	}
}

// TestMirrorBreaksOff: an answer that nobody wants may break off. The server that the
// gateway is makes ReverseProxy tell that by a panic.
func TestMirrorBreaksOff(t *testing.T) {
	t.Parallel()
	other := backendServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "not all of it")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	a := to(backendServer(t, func(http.ResponseWriter, *http.Request) {}))
	a.mirrors = []mirror{{endpoints: &endpoints{addresses: []string{other.Listener.Addr().String()}}, numerator: 1, denominator: 1}}
	p := newProxy()
	front := backendServer(t, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, &rule{action: a}, 80) })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	p.mirroring.Wait()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the client got %d", response.StatusCode)
	}
}

// TestCORS: a browser is told what its page may do.
func TestCORS(t *testing.T) {
	t.Parallel()
	named := &cors{origins: []string{"https://a.com", "https://*.b.com"}, methods: []string{"GET", "PUT"}, allowed: []string{"X-One"}, exposed: []string{"X-Two"}, credentials: true, maxAge: 60}
	open := &cors{origins: []string{"*"}, methods: []string{"*"}, allowed: []string{"*"}}
	for name, c := range map[string]struct {
		cors   *cors
		origin string
		want   map[string]string
	}{
		"named":          {named, "https://a.com", map[string]string{"Allow-Origin": "https://a.com", "Allow-Methods": "GET, PUT", "Allow-Headers": "X-One", "Expose-Headers": "X-Two", "Allow-Credentials": "true", "Max-Age": "60"}},
		"wildcard":       {named, "https://x.y.b.com", map[string]string{"Allow-Origin": "https://x.y.b.com", "Allow-Methods": "GET, PUT", "Allow-Headers": "X-One", "Expose-Headers": "X-Two", "Allow-Credentials": "true", "Max-Age": "60"}},
		"not the host":   {named, "https://b.com", map[string]string{}},
		"not the scheme": {named, "http://a.com", map[string]string{}},
		"anything":       {open, "https://c.com", map[string]string{"Allow-Origin": "*", "Allow-Methods": "PATCH", "Allow-Headers": "x-three"}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, "http://a.com/", nil)
		r.Header = http.Header{"Origin": {c.origin}, "Access-Control-Request-Method": {"PATCH"}, "Access-Control-Request-Headers": {"x-three"}}
		w := httptest.NewRecorder()
		newProxy().serve(w, r, &rule{action: &action{cors: c.cors}}, 80)
		got := map[string]string{}
		for header, values := range w.Header() {
			if short, ok := strings.CutPrefix(header, "Access-Control-"); ok {
				got[short] = values[0]
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || w.Code != http.StatusNoContent {
			t.Errorf("%s: %d %s", name, w.Code, diff)
		}
	}
}
