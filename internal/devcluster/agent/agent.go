// Package agent runs pods as processes of this machine, as a kubelet runs them in
// containers: what a rolling update, a probe, a preStop hook or a grace period does to
// requests can be measured with it, and not only inferred. One agent has any number of
// nodes. A pod's address 10.a.b.c is served at 127.a.b.c.
package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"windlass.dev/internal/devcluster/pause"
)

// Options are what an agent needs. All but Log and BackOff are required.
type Options struct {
	Client kubernetes.Interface
	Nodes  []Node
	// Octet is the second one of all pods' addresses. The first address of the upper
	// half belongs to the first pod: the lower half is the simulated nodes'.
	Octet  int
	Images Images
	// Dir is a folder of the agent's own.
	Dir string
	// Serving is how the nodes' kubelets serve logs and streams on the loopback
	// interface. It has to let nobody in but the API server.
	Serving *tls.Config
	// Log is told of what goes wrong; nil for nobody.
	Log io.Writer
	// BackOff is the first delay before a restart; 0 is the kubelet's 10 s.
	BackOff time.Duration
}

// Agent runs until it is stopped.
type Agent struct {
	options Options
	version string
	spawner *spawner
	events  record.EventBroadcaster
	nodes   map[string]*node

	cancel  context.CancelFunc
	running sync.WaitGroup
	// ended is closed when the agent is to stop.
	ended <-chan struct{}

	mu sync.Mutex
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
	version, err := o.Client.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	// It lives until it is stopped, not until the start is over.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &Agent{
		options: o, version: version.GitVersion, spawner: newSpawner(), cancel: cancel, ended: running.Done(),
		pods: map[types.UID]*pod{}, gone: map[types.UID]chan struct{}{}, taken: map[int]bool{}, pulled: map[string]bool{}, nodes: map[string]*node{},
	}
	a.events = record.NewBroadcaster(record.WithContext(running))
	a.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: o.Client.CoreV1().Events("")})
	for _, described := range o.Nodes {
		n := a.newNode(described)
		a.nodes[n.Name] = n
		if err := n.start(ctx, running); err != nil {
			a.Stop()
			return nil, fmt.Errorf("start node %s: %w", n.Name, err)
		}
	}
	return a, a.watch(running)
}

// Stop ends everything that runs, as a machine does that is switched off.
func (a *Agent) Stop() {
	a.cancel()
	a.running.Wait()
	a.events.Shutdown()
}

func (a *Agent) watch(ctx context.Context) error {
	core := informers.NewSharedInformerFactory(a.options.Client, 0).Core().V1()
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		core.Pods().Informer(): {
			AddFunc:    func(o any) { a.see(ctx, o) },
			UpdateFunc: func(_, o any) { a.see(ctx, o) },
			DeleteFunc: a.forget,
		},
		core.ConfigMaps().Informer():        {AddFunc: a.republish, UpdateFunc: func(_, o any) { a.republish(o) }},
		core.Secrets().Informer():           {AddFunc: a.republish, UpdateFunc: func(_, o any) { a.republish(o) }},
		core.PersistentVolumes().Informer(): {DeleteFunc: a.reclaim},
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
		a.running.Go(func() { informer.RunWithContext(ctx) })
	}
	return nil
}

// republish tells the pods that mount a ConfigMap or a Secret that it has changed.
func (a *Agent) republish(object any) {
	o, ok := object.(metav1.Object)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if p.mounts(o) {
			notify(p.stale)
		}
	}
}

// reclaim removes what was in a volume that is gone.
func (a *Agent) reclaim(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if o, ok := object.(*corev1.PersistentVolume); ok {
		if err := os.RemoveAll(a.persistent(o.Name)); err != nil {
			a.log("remove volume %s: %v", o.Name, err)
		}
	}
}

// see takes up a pod that is bound to a node of ours, or tells it of a change.
func (a *Agent) see(ctx context.Context, object any) {
	o, ok := object.(*corev1.Pod)
	if !ok || a.nodes[o.Spec.NodeName] == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.pods[o.UID]; p != nil {
		p.update(o)
		return
	}
	if done := o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed; done && o.DeletionTimestamp == nil {
		return // It ran before this agent.
	}
	n := a.address()
	ip := fmt.Sprintf("%d.%d.%d", a.options.Octet, n/256, n%256)
	p := newPod(a.nodes[o.Spec.NodeName], o, "10."+ip, "127."+ip)
	gone := make(chan struct{})
	a.pods[o.UID], a.gone[o.UID] = p, gone
	a.running.Go(func() {
		p.live(ctx, gone)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.taken, n) // The pod is known until its object is gone, or a late event would begin it anew.
	})
}

// address returns the number of a free address; the caller holds the lock.
func (a *Agent) address() int {
	const first, last = 128 * 256, 255*256 + 250
	for {
		if a.next < first || a.next >= last {
			a.next = first
		}
		a.next++
		if n := a.next; n%256 != 0 && n%256 != 255 && !a.taken[n] {
			a.taken[n] = true
			return n
		}
	}
}

func (a *Agent) forget(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	o, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pods, o.UID)
	if gone := a.gone[o.UID]; gone != nil {
		close(gone)
		delete(a.gone, o.UID)
	}
}

// pull takes the time of an image that the node does not have yet.
func (a *Agent) pull(ctx context.Context, node, image string, takes time.Duration) {
	a.mu.Lock()
	have := a.pulled[node+" "+image]
	a.pulled[node+" "+image] = true
	a.mu.Unlock()
	if !have && takes > 0 {
		pause.For(ctx, takes)
	}
}

// errorLog is log for what logs by itself.
func (a *Agent) errorLog() *log.Logger { return log.New(a.options.Log, "", log.LstdFlags) }

func (a *Agent) log(format string, args ...any) {
	fmt.Fprintf(a.options.Log, time.Now().Format(time.RFC3339)+" "+format+"\n", args...)
}
