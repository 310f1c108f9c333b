// Package gateway routes requests to pods on process nodes: by HTTPRoutes of the
// Gateway API, by Ingresses, and to Services by the host NAME.NAMESPACE.svc. What
// changes in the cluster takes effect after a delay, as it does with real gateways, and
// the status of GatewayClasses, Gateways and HTTPRoutes says what is served.
//
// One goroutine makes a plan of each change, a second one puts plans into effect, a third
// one reports them. Requests read what is in effect without a lock.
package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
)

// Options are what a gateway needs.
type Options struct {
	Client    kubernetes.Interface
	Resources gatewayclient.Interface
	// Listen is the gateway's own address, host:port; port 0 takes a free one.
	Listen string
	// Octet is the cluster's: Gateways have the addresses 127.100.OCTET.*.
	Octet int
	// Delay is how long a change takes to take effect.
	Delay time.Duration
}

// gather is how long changes are gathered at least before a plan is made of them. If plans
// take long, as with thousands of Services, it is as many times as long as the last one
// took as share says, so that making them never takes more than that share of a processor.
// The report of a plan comes on top of it.
const (
	gather = 20 * time.Millisecond
	share  = 10
)

// again is how long it takes until something that went wrong is tried again.
const again = 2 * time.Second

// Gateway serves until it is stopped.
type Gateway struct {
	options  Options
	listener net.Listener
	server   *http.Server
	breakOff context.CancelFunc
	cancel   context.CancelFunc
	running  sync.WaitGroup
	proxy    *proxy
	sockets  *sockets
	shared   atomic.Pointer[table]
	dirty    chan struct{}
	read     func() (world, error)
	// held are the addresses of the Gateways; it belongs to who makes plans.
	held map[types.UID][]netip.Addr
	// ready are plans in the order in which they take effect.
	ready chan due
	// effect is the latest plan in effect, and reports says that there is a new one.
	effect  atomic.Pointer[effect]
	reports chan struct{}
	// old are the versions of objects, by UID, that are known not to be the latest.
	old sync.Map
}

// due is a plan with the time at which it takes effect.
type due struct {
	plan *plan
	at   time.Time
}

// effect is a plan that is in effect.
type effect struct {
	plan   *plan
	opened map[netip.AddrPort]opening
}

// Start starts a gateway and returns when it knows the cluster. The Gateway API's
// definitions have to be there: see Definitions.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := newProxy()
	g := &Gateway{
		options: o, listener: listener, cancel: cancel, proxy: p, sockets: &sockets{proxy: p, open: map[netip.AddrPort]*socket{}},
		dirty: make(chan struct{}, 1), ready: make(chan due, 64), reports: make(chan struct{}, 1),
	}
	if err := g.watch(ctx, running); err != nil {
		cancel()
		g.running.Wait()
		return nil, errors.Join(err, listener.Close())
	}
	w, err := g.read()
	if err != nil {
		cancel()
		g.running.Wait()
		return nil, errors.Join(err, listener.Close())
	}
	g.use(running, g.plan(w))
	g.server, g.breakOff = newServer(ctx, g)
	g.running.Go(func() { g.follow(running) })
	g.running.Go(func() { g.apply(running) })
	g.running.Go(func() { g.report(running) })
	g.running.Go(func() { _ = g.server.Serve(listener) }) // It ends by Stop.
	return g, nil
}

// Address is where the gateway itself listens.
func (g *Gateway) Address() string { return g.listener.Addr().String() }

// Stop ends the gateway and breaks off what is under way.
func (g *Gateway) Stop() {
	g.cancel()
	_ = g.server.Close() // The listener is ours alone.
	g.breakOff()
	g.running.Wait()
	g.sockets.stop()
	g.proxy.mirroring.Wait()
}

// ServeHTTP serves the gateway's own address: all routes, whatever their Gateways.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u := g.shared.Load().find(hostOf(r.Host), r)
	if u == nil {
		http.Error(w, "no route matches", http.StatusNotFound)
		return
	}
	g.proxy.serve(w, r, u, 0)
}

// plan makes a plan in which Gateways keep their addresses.
func (g *Gateway) plan(w world) *plan {
	made := w.plan(g.options.Octet, g.held)
	g.held = map[types.UID][]netip.Addr{}
	for _, one := range made.gateways {
		g.held[one.gateway.UID] = one.addresses.list
	}
	return made
}

// follow makes a plan of each change at once.
func (g *Gateway) follow(ctx context.Context) {
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.dirty:
		}
		if !wait(ctx, max(gather, share*took)) {
			return
		}
		w, err := g.read()
		if err != nil {
			continue // The caches are ours, and do not fail once they are filled.
		}
		start := time.Now()
		next := due{g.plan(w), start.Add(g.options.Delay)}
		took = time.Since(start)
		select {
		case <-ctx.Done():
			return
		case g.ready <- next:
		}
	}
}

// apply puts plans into effect when their time has come.
func (g *Gateway) apply(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-g.ready:
			if !wait(ctx, time.Until(next.at)) {
				return
			}
			g.use(ctx, next.plan)
		}
	}
}

// use puts a plan into effect.
func (g *Gateway) use(ctx context.Context, p *plan) {
	g.shared.Store(p.shared)
	opened := g.sockets.serve(ctx, p.ports)
	for _, o := range opened {
		if o.err != nil {
			time.AfterFunc(again, g.changed)
			break
		}
	}
	g.effect.Store(&effect{p, opened})
	signal(g.reports)
}

// changed asks for a new plan.
func (g *Gateway) changed() { signal(g.dirty) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
