package service

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// dialPatience is how long an endpoint may take to accept.
const dialPatience = 10 * time.Second

// front accepts the connections to one port of a Service.
type front struct {
	listener net.Listener

	mu   sync.Mutex
	to   route
	kept map[netip.Addr]session
}

// session is a client's endpoint, and since when it has used it last.
type session struct {
	endpoint netip.AddrPort
	last     time.Time
}

// listen accepts connections until ctx ends or it is closed.
func listen(ctx context.Context, at netip.AddrPort, to route, running *sync.WaitGroup) (*front, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	f := &front{listener: listener, to: to, kept: map[netip.Addr]session{}}
	running.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // It is closed.
			}
			running.Go(func() { f.connect(ctx, connection) })
		}
	})
	return f, nil
}

// close refuses new connections. Those that there are go on, as through kube-proxy.
func (f *front) close() { f.listener.Close() }

func (f *front) direct(to route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
}

// connect joins a client to an endpoint. It is not tried again: nobody knows what a
// client has to say.
func (f *front) connect(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	dialing, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	endpoint, err := (&net.Dialer{}).DialContext(dialing, "tcp", f.pick(client.RemoteAddr(), time.Now()).String())
	if err != nil {
		reset(client)
		return
	}
	defer func() { _ = endpoint.Close() }()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = endpoint.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { carry(endpoint, client) })
	carry(client, endpoint)
	both.Wait()
}

// pick chooses an endpoint by chance, as kube-proxy does, or the one that the client had.
func (f *front) pick(client net.Addr, now time.Time) netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	chosen := f.to.endpoints[rand.IntN(len(f.to.endpoints))]
	from, err := netip.ParseAddrPort(client.String())
	if f.to.affinity == 0 || err != nil {
		return chosen
	}
	if s, ok := f.kept[from.Addr()]; ok && now.Sub(s.last) < f.to.affinity && slices.Contains(f.to.endpoints, s.endpoint) {
		chosen = s.endpoint
	}
	f.kept[from.Addr()] = session{chosen, now}
	return chosen
}

// carry copies until one side has no more to say, and lets the other one know.
func carry(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// reset ends a connection in a way that is no proper end.
func reset(c net.Conn) {
	if connection, ok := c.(*net.TCPConn); ok {
		_ = connection.SetLinger(0)
	}
	_ = c.Close()
}
