package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// freePort is one that is free now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// at serves the only port of a plan somewhere else.
func at(p *plan, where netip.AddrPort) map[netip.AddrPort]*port {
	for _, one := range p.ports {
		return map[netip.AddrPort]*port{where: one}
	}
	return nil
}

// visit asks for a host over a connection for another one, and returns the status and what
// the server says.
func visit(t *testing.T, where netip.AddrPort, serverName, host string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{ServerName: serverName, InsecureSkipVerify: true}}).DialContext(ctx, network, where.String())
		},
		DisableKeepAlives: true,
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header.Get("Location")
}

// TestListeners: each listener of a port serves its own routes only, and a connection for
// one does not serve another's.
func TestListeners(t *testing.T) {
	t.Parallel()
	w := given(t)
	w.secrets = []*corev1.Secret{certificate(t, "ns", "good")}
	w.gateways = []*gatewayv1.Gateway{gatewayOf(t, `
metadata: {namespace: ns, name: g}
spec:
  gatewayClassName: ours
  listeners:
  - {name: any, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}
  - {name: wild, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: good}]}}
  - {name: a, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: good}]}}
`)}
	w.routes = nil
	for _, listener := range []string{"any", "wild", "a"} {
		w.routes = append(w.routes, routeOf(t, `{metadata: {namespace: ns, name: `+listener+`}, spec: {parentRefs: [{name: g, sectionName: `+listener+`}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: http, hostname: `+listener+`}}]}]}}`))
	}
	p := w.plan(101, nil)
	if len(p.ports) != 1 {
		t.Fatalf("%d ports", len(p.ports))
	}
	where := freePort(t)
	s := &sockets{proxy: newProxy(), open: map[netip.AddrPort]*socket{}}
	t.Cleanup(s.stop)
	if o := s.serve(t.Context(), at(p, where))[where]; o.err != nil || o.port != int(where.Port()) {
		t.Fatalf("%+v", o)
	}
	for _, c := range []struct {
		serverName, host, want string
		status                 int
	}{
		{"a.example.com", "a.example.com", "http://a/", http.StatusFound},
		{"b.example.com", "c.example.com", "http://wild/", http.StatusFound},
		{"example.org", "example.net", "http://any/", http.StatusFound},
		{"", "a.example.com", "http://a/", http.StatusFound}, // No name, no promise.
		{"b.example.com", "a.example.com", "", http.StatusMisdirectedRequest},
		{"example.org", "b.example.com", "", http.StatusMisdirectedRequest},
	} {
		if status, got := visit(t, where, c.serverName, c.host); status != c.status || got != c.want {
			t.Errorf("%q over a connection for %q: %d %s, want %d %s", c.host, c.serverName, status, got, c.status, c.want)
		}
	}
	s.serve(t.Context(), nil)
	if status, _ := visit(t, where, "a.example.com", "a.example.com"); status != 0 {
		t.Errorf("what is served no more answers %d", status)
	}
}

// TestPortTaken: a port that somebody else has is told, and taken when it is free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	where := netip.MustParseAddrPort(other.Addr().String())
	s := &sockets{proxy: newProxy(), open: map[netip.AddrPort]*socket{}}
	t.Cleanup(s.stop)
	ports := at(given(t).plan(101, nil), where)
	if o := s.serve(t.Context(), ports)[where]; o.err == nil {
		t.Error("it listens where somebody else does")
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if o := s.serve(t.Context(), ports)[where]; o.err != nil {
		t.Error(o.err)
	}
}

// TestLowPort: who may not listen on a low port gets another one, and is told.
func TestLowPort(t *testing.T) {
	t.Parallel()
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.2:81"); !errors.Is(err, syscall.EACCES) {
		if err == nil {
			_ = l.Close()
		}
		t.Skipf("this user may listen on low ports: %v", err)
	}
	low := netip.MustParseAddrPort("127.0.0.2:81")
	s := &sockets{proxy: newProxy(), open: map[netip.AddrPort]*socket{}}
	t.Cleanup(s.stop)
	w := given(t)
	w.gateways[0].Spec.Addresses, w.gateways[0].Spec.Listeners[0].Port = nil, 81
	p := w.plan(101, nil)
	o := s.serve(t.Context(), at(p, low))[low]
	if o.err != nil || o.port == 81 {
		t.Fatalf("%+v", o)
	}
	opened := map[netip.AddrPort]opening{netip.AddrPortFrom(p.gateways[0].addresses.list[0], 81): o}
	for _, c := range p.gateways[0].status(opened, metav1.Now()).Listeners[0].Conditions {
		if c.Type == "Programmed" && (c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, fmt.Sprintf(":%d,", o.port))) {
			t.Errorf("%+v", c)
		}
	}
}

// TestUpgraded: a connection that was upgraded ends with its listener, and with the gateway.
func TestUpgraded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sockets){
		"the listener goes": func(s *sockets) { s.serve(t.Context(), nil) },
		"the gateway stops": (*sockets).stop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := given(t).plan(101, nil)
			for _, one := range p.ports {
				one.listeners = hosts[*served]{}
				one.listeners.set("", &served{table: compile([]rule{{path: path{value: "/"}, action: to(backendServer(t, echo))}})})
			}
			where := freePort(t)
			s := &sockets{proxy: newProxy(), open: map[netip.AddrPort]*socket{}}
			t.Cleanup(s.stop)
			if o := s.serve(t.Context(), at(p, where))[where]; o.err != nil {
				t.Fatal(o.err)
			}
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", where.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			answers := bufio.NewReader(c)
			response, err := http.ReadResponse(answers, nil)
			if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%+v, %v", response, err)
			}
			_ = response.Body.Close()
			fmt.Fprintln(c, "ping")
			if line, err := answers.ReadString('\n'); line != "ping\n" {
				t.Fatalf("%q, %v", line, err)
			}
			end(s)
			if _, err := answers.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it goes on: %v", err)
			}
		})
	}
}

// echo upgrades a connection and says what it hears.
func echo(w http.ResponseWriter, _ *http.Request) {
	c, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	_, _ = io.Copy(c, both)
}
