package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"windlass.dev/internal/devcluster/pause"
)

// hostIP is the address that all nodes of a development cluster have.
const hostIP = "10.0.0.1"

// pod is one pod on a process node.
type pod struct {
	agent *Agent
	node  *node
	dir   string
	// ip is the pod's address, and listenIP the one on the loopback interface that
	// stands for it.
	ip, listenIP string

	// power is closed when the machine is off.
	power <-chan struct{}

	inits, mains []*container
	startTime    metav1.Time

	mu     sync.Mutex
	latest *corev1.Pod
	// over is a reason to end that is not the containers' own.
	over, overMessage string
	// prepared says that the init containers are done.
	prepared bool

	// volumes are the folders of the pod's volumes, by name, once mounted is closed.
	volumes map[string]string
	mounted chan struct{}
	tokens  map[string]token

	hurry    chan struct{} // Closed when the grace period was cut short.
	stale    chan struct{} // Holds one: what is in a volume may have changed.
	dirty    chan struct{} // Holds one: the status has changed.
	updates  chan struct{} // Holds one: the object has.
	reported corev1.PodStatus
}

func newPod(n *node, o *corev1.Pod, ip, listenIP string) *pod {
	a := n.agent
	p := &pod{
		agent: a, node: n, power: n.life.Done(), latest: o, ip: ip, listenIP: listenIP, startTime: metav1.Now(),
		dir:     filepath.Join(a.podsDir(), string(o.UID)),
		volumes: map[string]string{}, mounted: make(chan struct{}), tokens: map[string]token{},
		hurry: make(chan struct{}), stale: make(chan struct{}, 1), dirty: make(chan struct{}, 1), updates: make(chan struct{}, 1),
	}
	if o.Status.StartTime != nil {
		p.startTime = *o.Status.StartTime
	}
	for i := range o.Spec.InitContainers {
		p.inits = append(p.inits, newContainer(p, &o.Spec.InitContainers[i], true))
	}
	for i := range o.Spec.Containers {
		p.mains = append(p.mains, newContainer(p, &o.Spec.Containers[i], false))
	}
	return p
}

func (p *pod) object() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest
}

// container returns the one of that name, or nil.
func (p *pod) container(name string) *container {
	for _, c := range slices.Concat(p.inits, p.mains) {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

func (p *pod) namespace() string { return p.object().Namespace }

// update takes down a newer state of the object.
func (p *pod) update(o *corev1.Pod) {
	p.mu.Lock()
	was := p.latest
	p.latest = o
	p.mu.Unlock()
	if !maps.Equal(was.Labels, o.Labels) || !maps.Equal(was.Annotations, o.Annotations) {
		notify(p.stale)
	}
	notify(p.updates)
	notify(p.dirty) // Readiness gates are set by others.
}

func (p *pod) changed() { notify(p.dirty) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // It is said already.
	}
}

func (p *pod) grace() time.Duration {
	o := p.object()
	if o.DeletionGracePeriodSeconds != nil && o.DeletionTimestamp != nil {
		return time.Duration(*o.DeletionGracePeriodSeconds) * time.Second
	}
	if o.Spec.TerminationGracePeriodSeconds != nil {
		return time.Duration(*o.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return 30 * time.Second
}

// live lives the pod's life, from its arrival on the node until it is gone. ctx ends
// with the agent, and gone is closed when the object no longer exists.
func (p *pod) live(ctx context.Context, gone <-chan struct{}) {
	defer func() {
		if ctx.Err() != nil {
			return // A node that is switched on again finds what was there.
		}
		if err := os.RemoveAll(p.dir); err != nil {
			p.agent.log("remove the folder of pod %s: %v", p, err)
		}
	}()
	running, stop := context.WithCancel(ctx)
	defer stop()
	reporting, stopReporting := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { p.reportAll(reporting) })
	defer reporter.Wait()
	defer stopReporting()

	var refreshing sync.WaitGroup
	refreshing.Go(func() { p.refresh(running) })
	defer refreshing.Wait()
	defer stop()
	var containers sync.WaitGroup
	if p.object().DeletionTimestamp == nil { // A node that was off has nothing to run for it.
		containers.Go(func() { p.runAll(running, &containers) })
	}
	ended := make(chan struct{})
	go func() {
		containers.Wait()
		close(ended)
	}()
	p.changed()
	grace := p.awaitEnd(ctx, gone, ended)
	stop()
	over := make(chan struct{})
	go p.cutShort(gone, over, grace)
	p.stopAll(ctx, grace)
	containers.Wait()
	close(over)
	if ctx.Err() != nil || isClosed(gone) {
		return
	}
	stopReporting()
	reporter.Wait()
	insist(ctx, gone, func() bool { return p.report(ctx) })
	if p.object().DeletionTimestamp == nil {
		// It has ended by itself, and stays to be looked at until it is deleted.
		p.awaitDeletion(ctx, gone)
	}
	insist(ctx, gone, func() bool { return p.remove(ctx) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// insist does what may fail for want of a connection until it is done or of no use.
func insist(ctx context.Context, gone <-chan struct{}, do func() bool) {
	for !do() && !isClosed(gone) && pause.For(ctx, reportRetry) {
	}
}

// reportRetry is how soon something is said again that was not heard.
const reportRetry = time.Second

// forcedGrace is what a pod gets whose object is gone already.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced.
const forcedGrace = 2 * time.Second

// awaitEnd waits for a reason to stop the pod, and returns the time that is left for it:
// none when the machine loses its power.
func (p *pod) awaitEnd(ctx context.Context, gone, ended <-chan struct{}) (grace time.Duration) {
	var deadline <-chan time.Time
	if s := p.object().Spec.ActiveDeadlineSeconds; s != nil {
		timer := time.NewTimer(time.Until(p.startTime.Add(time.Duration(*s) * time.Second)))
		defer timer.Stop()
		deadline = timer.C
	}
	for p.object().DeletionTimestamp == nil {
		select {
		case <-ctx.Done():
			if p.node.is() == Stopped {
				return p.grace()
			}
			return 0
		case <-gone:
			return forcedGrace
		case <-ended:
			return p.grace()
		case <-deadline:
			p.mu.Lock()
			p.over, p.overMessage = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
			p.mu.Unlock()
			return p.grace()
		case <-p.updates:
		}
	}
	return p.grace()
}

// cutShort closes hurry when a later deletion leaves less time than the first one did.
func (p *pod) cutShort(gone, over <-chan struct{}, grace time.Duration) {
	began := time.Now()
	left := time.NewTimer(grace + time.Hour)
	defer left.Stop()
	for {
		select {
		case <-over:
			return
		case <-left.C:
			close(p.hurry)
			return
		case <-gone:
			gone = nil
			left.Reset(min(forcedGrace, max(0, grace-time.Since(began))))
		case <-p.updates:
			if g := p.grace(); gone != nil && g < grace {
				grace = g
				left.Reset(max(0, grace-time.Since(began)))
			}
		}
	}
}

func (p *pod) awaitDeletion(ctx context.Context, gone <-chan struct{}) {
	for p.object().DeletionTimestamp == nil {
		select {
		case <-ctx.Done():
			return
		case <-gone:
			return
		case <-p.updates:
		}
	}
}

// runAll prepares the pod and runs its containers.
func (p *pod) runAll(ctx context.Context, all *sync.WaitGroup) {
	for ctx.Err() == nil {
		err := p.prepare(ctx)
		if err == nil {
			close(p.mounted)
			break
		}
		p.warn(eventMount, err.Error())
		pause.For(ctx, mountRetry)
	}
	if p.lost() {
		return
	}
	for _, c := range p.inits {
		if ctx.Err() != nil {
			return
		}
		if c.once {
			c.run(ctx, func() {})
			if c.didFail() {
				p.retireSidecars(ctx)
				return
			}
			continue
		}
		started := make(chan struct{})
		var once sync.Once
		all.Go(func() { c.run(ctx, func() { once.Do(func() { close(started) }) }) })
		select {
		case <-started:
		case <-ctx.Done():
			return
		}
	}
	p.mu.Lock()
	p.prepared = true
	p.mu.Unlock()
	p.changed()
	var mains sync.WaitGroup
	for _, c := range p.mains {
		mains.Go(func() { c.run(ctx, func() {}) })
	}
	mains.Wait()
	p.retireSidecars(ctx)
}

// retireSidecars ends them when all others have ended, the last one first.
// See https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers.
func (p *pod) retireSidecars(ctx context.Context) {
	for _, c := range slices.Backward(p.inits) {
		if c.sidecar && ctx.Err() == nil {
			c.retire(ctx, p.grace())
		}
	}
}

// mountRetry is how soon a volume that could not be had is tried again.
const mountRetry = time.Second

// stopAll stops the containers at once, and then the sidecars, the last one first.
func (p *pod) stopAll(ctx context.Context, grace time.Duration) {
	deadline := time.Now().Add(grace)
	var mains sync.WaitGroup
	for _, c := range slices.Concat(p.mains, p.inits) {
		if !c.sidecar {
			mains.Go(func() { c.stopNow(ctx, grace) })
		}
	}
	mains.Wait()
	for _, c := range slices.Backward(p.inits) {
		if c.sidecar {
			c.stopNow(ctx, max(time.Until(deadline), min(grace, 2*time.Second)))
		}
	}
}

func (c *container) didFail() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// retire ends a sidecar that is not needed any more.
func (c *container) retire(ctx context.Context, grace time.Duration) {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.stopNow(ctx, grace)
}

// remove deletes the object, which waited for its containers to end, and reports
// whether that is done.
func (p *pod) remove(ctx context.Context) bool {
	o := p.object()
	err := p.node.client.CoreV1().Pods(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &o.UID},
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return true
	}
	p.complain("delete", err)
	return false
}

// complain logs an error, unless that is what is to be expected.
func (p *pod) complain(what string, err error) {
	if !p.node.gate.closed.Load() {
		p.agent.log("%s pod %s: %v", what, p, err)
	}
}

// reportAll stores the status whenever it has changed.
func (p *pod) reportAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
			if !p.report(ctx) && pause.For(ctx, reportRetry) {
				p.changed()
			}
		}
	}
}

// report stores the status, and says whether that is done. It says nothing twice, unless
// somebody else has said something else: a node that was not heard of has its pods'
// conditions set.
func (p *pod) report(ctx context.Context) bool {
	status, o := p.status(), p.object()
	if equality.Semantic.DeepEqual(status, p.reported) && !contradicted(status, o.Status) {
		return true
	}
	patch, err := statusPatch(o, status)
	if err == nil {
		_, err = p.node.client.CoreV1().Pods(o.Namespace).Patch(ctx, o.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	switch {
	case err == nil:
		p.reported = status
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil:
	default:
		p.complain("report on", err)
		return false
	}
	return true
}

// statusPatch has our status stored, in the place of an address that the pod had before
// its node was off. What others own of the status stays.
func statusPatch(o *corev1.Pod, status corev1.PodStatus) ([]byte, error) {
	// A reason or a message that a condition no more has is to be removed.
	was := corev1.PodStatus{PodIPs: o.Status.PodIPs}
	for _, c := range status.Conditions {
		was.Conditions = append(was.Conditions, corev1.PodCondition{Type: c.Type, Reason: "-", Message: "-"})
	}
	before, err := json.Marshal(corev1.Pod{Status: was})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: o.UID}, Status: status})
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
}

// contradicted says that a condition that was reported is stored as something else.
func contradicted(ours, stored corev1.PodStatus) bool {
	return slices.ContainsFunc(stored.Conditions, func(s corev1.PodCondition) bool {
		return slices.ContainsFunc(ours.Conditions, func(c corev1.PodCondition) bool { return c.Type == s.Type && c.Status != s.Status })
	})
}

func (p *pod) String() string {
	o := p.object()
	return fmt.Sprintf("%s/%s", o.Namespace, o.Name)
}
