// Package gateway routes requests to pods on process nodes: by HTTPRoutes of the
// Gateway API, by Ingresses, and to Services by the host NAME.NAMESPACE.svc. What
// changes in the cluster takes effect after a delay, as it does with real gateways.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Options are what a gateway needs.
type Options struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Listen is the address, host:port; port 0 takes a free one.
	Listen string
	// Delay is how long a change takes to take effect.
	Delay time.Duration
}

// gather is how long changes are gathered before a table is made of them.
const gather = 20 * time.Millisecond

var httpRoutes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// Gateway serves until it is stopped.
type Gateway struct {
	options  Options
	listener net.Listener
	server   *http.Server
	cancel   context.CancelFunc
	running  sync.WaitGroup
	table    atomic.Pointer[table]
	dirty    chan struct{}
	read     func() (world, error)
}

// Start starts a gateway and returns when it knows the cluster.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &Gateway{options: o, listener: listener, cancel: cancel, dirty: make(chan struct{}, 1)}
	g.table.Store(&table{})
	if err := g.watch(ctx, running); err != nil {
		cancel()
		return nil, errors.Join(err, listener.Close())
	}
	g.server = &http.Server{Handler: g.handler(), ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	g.server.Protocols.SetHTTP1(true)
	g.server.Protocols.SetUnencryptedHTTP2(true)
	g.running.Go(func() { g.follow(running) })
	g.running.Go(func() { _ = g.server.Serve(listener) }) // It ends by Stop.
	return g, nil
}

// Address is where the gateway listens.
func (g *Gateway) Address() string { return g.listener.Addr().String() }

// Stop ends the gateway and breaks off what is under way.
func (g *Gateway) Stop() {
	g.cancel()
	_ = g.server.Close() // The listener is ours alone.
	g.running.Wait()
}

// watch fills the caches, makes the first table, and has others made of changes.
func (g *Gateway) watch(starting, running context.Context) error {
	factory := informers.NewSharedInformerFactory(g.options.Client, 0)
	services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	ingresses := factory.Networking().V1().Ingresses()
	routes := dynamicinformer.NewDynamicSharedInformerFactory(g.options.Dynamic, 0).ForResource(httpRoutes)
	informersOf := []cache.SharedIndexInformer{services.Informer(), slices.Informer(), ingresses.Informer(), routes.Informer()}
	changed := func(any) {
		select {
		case g.dirty <- struct{}{}:
		default:
		}
	}
	var synced []cache.InformerSynced
	for _, informer := range informersOf {
		registered, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
		})
		if err != nil {
			return err
		}
		synced = append(synced, registered.HasSynced)
		g.running.Go(func() { informer.RunWithContext(running) })
	}
	g.read = func() (w world, err error) {
		all := labels.Everything()
		var problems [4]error
		w.services, problems[0] = services.Lister().List(all)
		w.slices, problems[1] = slices.Lister().List(all)
		w.ingresses, problems[2] = ingresses.Lister().List(all)
		objects, err := routes.Lister().List(all)
		for _, o := range objects {
			if route, ok := o.(*unstructured.Unstructured); ok {
				w.routes = append(w.routes, route)
			}
		}
		problems[3] = err
		return w, errors.Join(problems[:]...)
	}
	if !cache.WaitForCacheSync(starting.Done(), synced...) {
		return fmt.Errorf("wait for the cluster's routes: %w", starting.Err())
	}
	w, err := g.read()
	if err == nil {
		g.table.Store(w.build())
	}
	return err
}

// follow makes a table of each change at once, and uses it after the delay.
func (g *Gateway) follow(ctx context.Context) {
	var later sync.WaitGroup
	defer later.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.dirty:
		}
		if !wait(ctx, gather) {
			return
		}
		w, err := g.read()
		if err != nil {
			continue // The caches are ours, and do not fail once they are filled.
		}
		made := w.build()
		later.Go(func() {
			if wait(ctx, g.options.Delay) {
				g.table.Store(made)
			}
		})
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

// attempt is what a request is to try, kept in its context.
type attempt struct{ addresses []string }

type attemptKey struct{}

func (g *Gateway) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			r.Out.URL.Scheme = "http"
		},
		Transport:  &retrying{base: &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: 30 * time.Second, DisableCompression: true}},
		BufferPool: &buffers{},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			status := http.StatusBadGateway
			if errors.Is(err, context.DeadlineExceeded) {
				status = http.StatusGatewayTimeout
			}
			w.Header().Set("X-Windlass-Gateway", err.Error())
			w.WriteHeader(status)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := g.table.Load().find(r)
		if u == nil {
			http.Error(w, "no route matches", http.StatusNotFound)
			return
		}
		if u.redirect != nil {
			http.Redirect(w, r, u.redirect.target(r), u.redirect.status)
			return
		}
		var addresses []string
		if b := u.pick(); b != nil {
			addresses = b.endpoints.order()
		}
		if len(addresses) == 0 {
			http.Error(w, "no endpoint is ready", http.StatusServiceUnavailable)
			return
		}
		ctx := context.WithValue(r.Context(), attemptKey{}, attempt{addresses})
		if u.timeout > 0 && r.Header.Get("Upgrade") == "" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, u.timeout)
			defer cancel()
		}
		r = r.WithContext(ctx)
		u.change(r.Header)
		proxy.ServeHTTP(w, r)
	})
}

func (u *rule) change(h http.Header) {
	for _, name := range u.remove {
		h.Del(name)
	}
	for name, value := range u.set {
		h.Set(name, value)
	}
	for name, value := range u.add {
		h.Add(name, value)
	}
}

func (t *redirect) target(r *http.Request) string {
	to := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	if t.scheme != "" {
		to.Scheme = t.scheme
	}
	if t.host != "" {
		to.Host = t.host
	}
	if t.port != "" {
		to.Host = net.JoinHostPort(to.Hostname(), t.port)
	}
	return to.String()
}

// retrying sends a request to the next endpoint when no connection to one can be had:
// then nothing of the request was sent. All other failures are the client's to hear.
type retrying struct{ base http.RoundTripper }

func (t *retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	try, ok := r.Context().Value(attemptKey{}).(attempt)
	if !ok {
		return nil, errors.New("no endpoint was chosen")
	}
	var err error
	for _, address := range try.addresses {
		out := r.Clone(r.Context())
		out.URL.Host = address
		if r.Body != nil {
			out.Body = io.NopCloser(r.Body) // The transport closes it, although nothing was read.
		}
		var response *http.Response
		if response, err = t.base.RoundTrip(out); err == nil {
			return response, nil
		}
		var failed *net.OpError
		if !errors.As(err, &failed) || failed.Op != "dial" {
			return nil, err
		}
	}
	return nil, err
}

// buffers are shared between requests.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
