package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// watch sees all pods, and what they mount, from now on. It returns when it knows what
// there is.
func (a *Agent) watch(ctx context.Context) error {
	core := informers.NewSharedInformerFactory(a.client, 0).Core().V1()
	pods := core.Pods().Informer()
	a.store, a.services = pods.GetStore(), core.Services().Lister()
	var synced []cache.InformerSynced
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		pods: {
			AddFunc: a.see, UpdateFunc: func(_, o any) { a.see(o) }, DeleteFunc: a.forget, //nolint:contextcheck // Pods live as long as their node.
		},
		core.Nodes().Informer():             {AddFunc: a.direct, UpdateFunc: func(_, o any) { a.direct(o) }},
		core.ConfigMaps().Informer():        {AddFunc: a.republish, UpdateFunc: func(_, o any) { a.republish(o) }},
		core.Secrets().Informer():           {AddFunc: a.republish, UpdateFunc: func(_, o any) { a.republish(o) }},
		core.Services().Informer():          {},
		core.PersistentVolumes().Informer(): {DeleteFunc: a.reclaim},
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
		synced = append(synced, informer.HasSynced)
		a.running.Go(func() { informer.RunWithContext(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("watch pods: %w", ctx.Err())
	}
	return nil
}

// see takes up a pod that is bound to a node of ours, or tells it of a change. What a
// node that has no connection does not see, it sees when it has one again.
func (a *Agent) see(object any) {
	o, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.nodes[o.Spec.NodeName]
	if n == nil || n.state != Running {
		return
	}
	if p := a.pods[o.UID]; p != nil {
		p.update(o)
		return
	}
	if done := o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed; done && o.DeletionTimestamp == nil {
		return // It ran before.
	}
	if current, ok := a.stored(o); !ok || current.UID != o.UID {
		return // It is old news of one that is gone.
	}
	a.take(n, o)
}

// stored returns what is known now of a pod.
func (a *Agent) stored(o *corev1.Pod) (current *corev1.Pod, ok bool) {
	object, found, err := a.store.Get(o)
	if err != nil || !found {
		return nil, false
	}
	current, ok = object.(*corev1.Pod)
	return current, ok
}

// take begins a pod's life; the caller holds the lock.
func (a *Agent) take(n *node, o *corev1.Pod) {
	number := a.address()
	ip := fmt.Sprintf("%d.%d.%d", a.options.Octet, number/256, number%256)
	p := newPod(n, o, "10."+ip, "127."+ip)
	gone := make(chan struct{})
	a.pods[o.UID], a.gone[o.UID] = p, gone
	life := n.life
	n.running.Go(func() {
		p.live(life, gone)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.taken, number) // The pod is known until its object is gone, or a late event would begin it anew.
	})
}

// address returns the number of a free address; the caller holds the lock.
func (a *Agent) address() int {
	// The lower half is the simulated nodes', the last quarter the Services'.
	const first, last = 128 * 256, 191*256 + 250
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

// forget tells a pod that its object is gone, if its node can hear that.
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
	if n := a.nodes[o.Spec.NodeName]; n != nil && n.state == Partitioned {
		return
	}
	a.drop(o)
}

// drop is forget for who holds the lock.
func (a *Agent) drop(o *corev1.Pod) {
	delete(a.pods, o.UID)
	if gone := a.gone[o.UID]; gone != nil {
		close(gone)
		delete(a.gone, o.UID)
	}
}

// catchUp has a node see what has changed while it could not.
func (a *Agent) catchUp(n *node) {
	a.mu.Lock()
	for _, p := range a.pods {
		o := p.object()
		if p.node != n {
			continue
		}
		if current, ok := a.stored(o); !ok || current.UID != o.UID {
			a.drop(o)
		}
		notify(p.stale)
		p.changed()
	}
	a.mu.Unlock()
	for _, object := range a.store.List() {
		if o, ok := object.(*corev1.Pod); ok && o.Spec.NodeName == n.Name {
			a.see(o)
		}
	}
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
		if p.node.state == Running && p.mounts(o) {
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

// sweep removes the folders of pods that are gone since the agent's last run.
func (a *Agent) sweep() error {
	known := map[string]bool{}
	for _, object := range a.store.List() {
		if o, ok := object.(*corev1.Pod); ok {
			known[string(o.UID)] = true
		}
	}
	entries, err := os.ReadDir(a.podsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if !known[entry.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(a.podsDir(), entry.Name())))
		}
	}
	return err
}

func (a *Agent) podsDir() string { return filepath.Join(a.options.Dir, "pods") }
