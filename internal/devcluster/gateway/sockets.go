package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sockets are where Gateways listen. One goroutine at a time opens and closes them.
type sockets struct {
	proxy   *proxy
	open    map[netip.AddrPort]*socket
	closing sync.WaitGroup
}

// socket serves one port of one Gateway. A request costs no lock: what is served is
// exchanged as a whole.
type socket struct {
	proxy    *proxy
	secure   bool
	listener net.Listener
	server   *http.Server
	ended    chan struct{}
	port     atomic.Pointer[port]
	// breakOff ends what was upgraded: the server does not know such connections any more.
	breakOff context.CancelFunc
}

// opening is what became of a port: where it is served, or why it is not.
type opening struct {
	port int
	err  error
}

// serve brings the sockets to what is to be served.
func (s *sockets) serve(ctx context.Context, ports map[netip.AddrPort]*port) map[netip.AddrPort]opening {
	for at, one := range s.open {
		if wanted := ports[at]; wanted == nil || wanted.secure != one.secure {
			s.close(ctx, one)
			delete(s.open, at)
		}
	}
	result := map[netip.AddrPort]opening{}
	for at, wanted := range ports {
		one := s.open[at]
		if one == nil {
			var err error
			if one, err = openSocket(ctx, at, wanted.secure, s.proxy); err != nil {
				result[at] = opening{err: err}
				continue
			}
			s.open[at] = one
		}
		one.port.Store(wanted)
		result[at] = opening{port: one.listener.Addr().(*net.TCPAddr).Port}
	}
	return result
}

// grace is how long requests may take that are under way when their listener goes.
const grace = 10 * time.Second

// close stops listening at once, so that the port can be taken again, and lets end what is
// under way. What was upgraded has no end of its own to wait for.
func (s *sockets) close(ctx context.Context, one *socket) {
	_ = one.listener.Close() // The listener is ours alone.
	s.closing.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if one.server.Shutdown(ctx) != nil {
			_ = one.server.Close()
		}
		one.breakOff()
		<-one.ended
	})
}

// stop breaks off what is under way.
func (s *sockets) stop() {
	for _, one := range s.open {
		_ = one.server.Close() // As above.
		one.breakOff()
		<-one.ended
	}
	s.closing.Wait()
}

func openSocket(ctx context.Context, at netip.AddrPort, secure bool, p *proxy) (*socket, error) {
	listener, err := listen(ctx, at)
	if err != nil {
		return nil, err
	}
	one := &socket{proxy: p, secure: secure, listener: listener, ended: make(chan struct{})}
	one.server, one.breakOff = newServer(ctx, one)
	go func() {
		defer close(one.ended)
		if secure {
			one.server.Protocols.SetHTTP2(true)
			one.server.TLSConfig = &tls.Config{GetConfigForClient: one.config, MinVersion: tls.VersionTLS12}
			_ = one.server.ServeTLS(listener, "", "") // It ends by close or stop.
		} else {
			_ = one.server.Serve(listener) // As above.
		}
	}()
	return one, nil
}

// newServer returns a server, and what ends the contexts of its requests, which ctx does not.
func newServer(ctx context.Context, h http.Handler) (*http.Server, context.CancelFunc) {
	requests, breakOff := context.WithCancel(context.WithoutCancel(ctx))
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols),
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s, breakOff
}

// unprivileged is added to a port that only root may listen on: 80 becomes 8080, and 443
// 8443.
const unprivileged = 8000

// listen listens on a Gateway's address. Who may not listen on a low port gets another one,
// which the listener's status says.
func listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", at.String())
	if errors.Is(err, syscall.EACCES) && at.Port() < 1024 {
		for _, other := range []uint16{at.Port() + unprivileged, 0} {
			if listener, err = config.Listen(ctx, "tcp4", netip.AddrPortFrom(at.Addr(), other).String()); err == nil {
				return listener, nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return listener, nil
}

// config has the certificates of the listener that a client's server name means.
func (s *socket) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	p := s.port.Load()
	if p == nil {
		return nil, errors.New("nothing is served yet")
	}
	l, ok := p.listeners.find(hostOf(hello.ServerName))
	if !ok {
		return nil, fmt.Errorf("no listener is for %q", hello.ServerName)
	}
	made := &tls.Config{Certificates: l.certificates, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	l.clients.apply(made)
	return made, nil
}

func (s *socket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := s.port.Load()
	if p == nil {
		http.Error(w, "nothing is served yet", http.StatusNotFound)
		return
	}
	host := hostOf(r.Host)
	l, ok := p.listeners.find(host)
	if r.TLS != nil && r.TLS.ServerName != "" {
		// A connection is for one listener: its certificate may not be another's.
		if meant, _ := p.listeners.find(hostOf(r.TLS.ServerName)); meant != l {
			http.Error(w, "the connection is for another host", http.StatusMisdirectedRequest)
			return
		}
	}
	var u *rule
	if ok {
		u = l.table.find(host, r)
	}
	if u == nil {
		http.Error(w, "no route matches", http.StatusNotFound)
		return
	}
	s.proxy.serve(w, r, u, s.listener.Addr().(*net.TCPAddr).Port)
}
