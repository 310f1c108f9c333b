// Package service makes the addresses of Services reachable for programs on process
// nodes, as kube-proxy does in containers: a connection to a Service goes to one of its
// ready endpoints. A Service's address 10.96.x.y is served at 127.a.(192+x).y, where a
// is the cluster's octet, if a pod on a process node is behind it. It serves TCP only.
package service

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Range is that of Services' addresses: as many as have a place beside the pods'.
const Range = "10.96.0.0/18"

// firstOctet is the third octet of the first address at which a Service is served.
const firstOctet = 192

// Options are what a proxy needs. All but Log are required.
type Options struct {
	Client kubernetes.Interface
	// Dir is a folder for files with names.
	Dir string
	// Octet is the second one of the addresses of the cluster's pods.
	Octet int
	// APIServer is the host and port behind default/kubernetes, whose EndpointSlice has
	// an address of the machine where nothing listens.
	APIServer string
	// Log is told of what goes wrong; nil for nobody.
	Log io.Writer
}

// Proxy serves until it is stopped.
type Proxy struct {
	options Options
	cancel  context.CancelFunc
	running sync.WaitGroup
	changed chan struct{} // Holds one: Services or endpoints have.

	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister

	// fronts are what is served, by where. Only the goroutine that builds them uses it.
	fronts map[netip.AddrPort]*front

	mu sync.Mutex
	// hosts are the namespaces whose names are in a file.
	hosts map[string]bool
}

// Start returns when it knows the Services that there are.
func Start(ctx context.Context, o Options) (*Proxy, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &Proxy{options: o, cancel: cancel, changed: make(chan struct{}, 1), fronts: map[netip.AddrPort]*front{}, hosts: map[string]bool{}}
	factory := informers.NewSharedInformerFactory(o.Client, 0)
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	p.services, p.slices = services.Lister(), endpoints.Lister()
	tell := func(any) {
		select {
		case p.changed <- struct{}{}:
		default: // It is said already.
		}
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), endpoints.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell}); err != nil {
			cancel()
			return nil, err
		}
		p.running.Go(func() { informer.RunWithContext(life) })
	}
	if !cache.WaitForCacheSync(life.Done(), services.Informer().HasSynced, endpoints.Informer().HasSynced) {
		cancel()
		return nil, fmt.Errorf("watch Services: %w", life.Err())
	}
	p.running.Go(func() { p.follow(life) })
	return p, nil
}

// Stop ends all listeners and connections.
func (p *Proxy) Stop() {
	p.cancel()
	p.running.Wait()
}

// follow keeps what is served up to date, until ctx ends.
func (p *Proxy) follow(ctx context.Context) {
	defer func() {
		for _, f := range p.fronts {
			f.close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		services, endpoints, err := p.list()
		if err != nil {
			p.log("%v", err)
			continue
		}
		p.serve(ctx, routes(services, endpoints, p.options.Octet))
		p.refreshHosts()
	}
}

func (p *Proxy) list() ([]*corev1.Service, []*discoveryv1.EndpointSlice, error) {
	services, err := p.services.List(labels.Everything())
	if err != nil {
		return nil, nil, fmt.Errorf("list Services: %w", err)
	}
	endpoints, err := p.slices.List(labels.Everything())
	if err != nil {
		return nil, nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	return services, endpoints, nil
}

// serve opens what is missing, closes what is too much, and tells the rest.
func (p *Proxy) serve(ctx context.Context, wanted map[netip.AddrPort]route) {
	for at, f := range p.fronts {
		if _, ok := wanted[at]; !ok {
			f.close()
			delete(p.fronts, at)
		}
	}
	for at, to := range wanted {
		f := p.fronts[at]
		if f == nil {
			var err error
			if f, err = listen(ctx, at, to, &p.running); err != nil {
				p.log("serve %s: %v", to.name, err)
				continue
			}
			p.fronts[at] = f
		}
		f.direct(to)
	}
}

// At is where a program reaches a Service's port.
func (p *Proxy) At(namespace, name, clusterIP string, port int32) (host string, at int32) {
	if namespace == "default" && name == "kubernetes" {
		if address, err := netip.ParseAddrPort(p.options.APIServer); err == nil {
			return address.Addr().String(), int32(address.Port())
		}
	}
	address, err := netip.ParseAddr(clusterIP)
	if err != nil {
		return clusterIP, port
	}
	local, ok := Local(address, p.options.Octet)
	if !ok {
		return clusterIP, port
	}
	return local.String(), allowed(port)
}

var serviceRange = netip.MustParsePrefix(Range)

// Local is the address on the loopback interface that stands for a Service's or a pod's.
func Local(address netip.Addr, octet int) (local netip.Addr, ok bool) {
	if !address.Is4() {
		return address, false
	}
	four := address.As4()
	switch {
	case serviceRange.Contains(address):
		return netip.AddrFrom4([4]byte{127, byte(octet), firstOctet + four[2], four[3]}), true
	case four[0] == 10 && int(four[1]) == octet:
		four[0] = 127
		return netip.AddrFrom4(four), true
	default:
		return address, false
	}
}

// raised is how much higher a port is served that this user may not listen on.
const raised = 20000

// allowed is the port at which one is served. A Service's port 80 is one that only
// privileged users may listen on, on many machines.
func allowed(port int32) int32 {
	if int(port) < firstUnprivileged() {
		return port + raised
	}
	return port
}

var firstUnprivileged = sync.OnceValue(func() int {
	if os.Geteuid() == 0 {
		return 0
	}
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return 1024
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 1024
	}
	return first
})

func (p *Proxy) log(format string, args ...any) {
	fmt.Fprintf(p.options.Log, time.Now().Format(time.RFC3339)+" "+format+"\n", args...)
}
