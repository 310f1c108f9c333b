// Package agent runs pods as processes of this machine, as a kubelet runs them in
// containers: what a rolling update, a probe, a preStop hook or a grace period does to
// requests can be measured with it, and not only inferred. One agent has any number of
// nodes, which may come and go while it runs. A pod's address 10.a.b.c is served at 127.a.b.c.
package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// Options are what an agent needs. All but Log and BackOff are required.
type Options struct {
	Config *rest.Config
	// Nodes are those that there are from the start.
	Nodes []Node
	// Octet is the second one of all pods' addresses.
	Octet  int
	Images Images
	// Dir is a folder of the agent's own.
	Dir string
	// Serving is how the nodes' kubelets serve logs and streams on the loopback
	// interface. It has to let nobody in but the API server.
	Serving *tls.Config
	// ServiceAt is where programs reach a Service's port.
	ServiceAt func(namespace, name, clusterIP string, port int32) (host string, at int32)
	// Hosts is a file with the names that programs in a namespace can use, like /etc/hosts.
	Hosts func(namespace string) (path string, err error)
	// Log is told of what goes wrong; nil for nobody.
	Log io.Writer
	// BackOff is the first delay before a restart; 0 is the kubelet's 10 s.
	BackOff time.Duration
}

// Agent runs until it is stopped.
type Agent struct {
	options Options
	client  kubernetes.Interface
	version string
	spawner *spawner
	events  record.EventBroadcaster
	// transport is what the nodes' clients share.
	transport http.RoundTripper

	// life ends when the agent is to stop.
	life    context.Context //nolint:containedctx // Nodes that are switched on later live as long.
	cancel  context.CancelFunc
	running sync.WaitGroup
	// store has all pods, whether their nodes see them or not.
	store    cache.Store
	services corelisters.ServiceLister

	// changing is held while a node is added or removed.
	changing sync.Mutex

	mu    sync.Mutex
	nodes map[string]*node
	// pods are those on the nodes, and gone tells each that its object is.
	pods map[types.UID]*pod
	gone map[types.UID]chan struct{}
	// taken are the addresses in use, by their number.
	taken map[int]bool
	next  int
	// pulled are the images that a node has.
	pulled map[string]bool
}

// Start registers the nodes and runs what is bound to them, until Stop.
func Start(ctx context.Context, o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.BackOff == 0 {
		o.BackOff = 10 * time.Second
	}
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return nil, err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	// It lives until it is stopped, not until the start is over.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &Agent{
		options: o, client: client, version: version.GitVersion, spawner: newSpawner(), life: life, cancel: cancel,
		pods: map[types.UID]*pod{}, gone: map[types.UID]chan struct{}{}, taken: map[int]bool{}, pulled: map[string]bool{}, nodes: map[string]*node{},
	}
	a.events = record.NewBroadcaster(record.WithContext(life))
	a.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	if err := a.start(ctx); err != nil {
		a.Stop()
		return nil, err
	}
	return a, nil
}

func (a *Agent) start(ctx context.Context) error {
	var err error
	if a.transport, err = rest.TransportFor(a.options.Config); err != nil {
		return err
	}
	if err := a.watch(a.life); err != nil { //nolint:contextcheck // It goes on after the start.
		return err
	}
	if err := a.sweep(); err != nil {
		return fmt.Errorf("remove what pods left: %w", err)
	}
	for _, described := range a.options.Nodes {
		if err := a.Add(ctx, described); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends everything that runs, as a machine does that is switched off.
func (a *Agent) Stop() {
	a.cancel()
	a.changing.Lock() // Who was adding a node has given up.
	defer a.changing.Unlock()
	a.running.Wait()
	for _, n := range a.nodes {
		n.powerOff()
	}
	a.events.Shutdown()
}

// hasImage says whether a node has an image. From now on it has.
func (a *Agent) hasImage(node, image string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	have := a.pulled[node+" "+image]
	a.pulled[node+" "+image] = true
	return have
}

// errorLog is log for what logs by itself.
func (a *Agent) errorLog() *log.Logger { return log.New(a.options.Log, "", log.LstdFlags) }

func (a *Agent) log(format string, args ...any) {
	fmt.Fprintf(a.options.Log, time.Now().Format(time.RFC3339)+" "+format+"\n", args...)
}
