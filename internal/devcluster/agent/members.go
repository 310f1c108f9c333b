package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// What an agent says of a node that it has, or has not.
var (
	ErrHasNode = errors.New("the agent has a node of that name")
	ErrNoNode  = errors.New("the agent has no node of that name")
)

// Add starts one more node. It is registered and Ready when Add returns.
func (a *Agent) Add(ctx context.Context, described Node) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.life, cancel)() //nolint:contextcheck // The agent's end ends it, too.
	if a.life.Err() != nil {
		return fmt.Errorf("add node %s: the agent has stopped", described.Name)
	}
	n, err := a.newNode(described)
	if err != nil {
		return fmt.Errorf("add node %s: %w", described.Name, err)
	}
	a.mu.Lock()
	_, is := a.nodes[n.Name]
	if !is {
		a.nodes[n.Name] = n
	}
	a.mu.Unlock()
	if is {
		return fmt.Errorf("add node %s: %w", n.Name, ErrHasNode)
	}
	if err := n.begin(ctx); err != nil {
		n.powerOff()
		a.mu.Lock()
		delete(a.nodes, n.Name)
		a.mu.Unlock()
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	return nil
}

// begin switches the node on, and has it obey from then on.
func (n *node) begin(ctx context.Context) error { //nolint:contextcheck // It obeys as long as the agent lives, not as the call.
	if err := n.switchOn(ctx); err != nil {
		return err
	}
	// Whatever it was when the cluster stopped, it is on now.
	if err := errors.Join(annotate(ctx, n.agent.client, n.Name, stateAnnotation, Running), annotate(ctx, n.agent.client, n.Name, observedAnnotation, Running)); err != nil {
		return err
	}
	exists, abandon := context.WithCancel(n.agent.life)
	n.abandon = abandon
	n.obeying.Go(func() { n.obey(exists) })
	return nil
}

// Remove takes a node away for good, as a cloud takes a machine away: its programs are
// killed at once, whatever they were promised, and then its Node and its pods go. It may
// be tried again if these could not be removed.
func (a *Agent) Remove(ctx context.Context, name string) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	n := a.nodes[name]
	a.mu.Unlock()
	if n == nil {
		return fmt.Errorf("remove node %s: %w", name, ErrNoNode)
	}
	folders := a.foldersOn(n)
	n.powerOff()
	if err := RemoveNode(ctx, a.client, name); err != nil {
		return err
	}
	a.mu.Lock()
	delete(a.nodes, name)
	maps.DeleteFunc(a.pulled, func(key string, _ bool) bool { return strings.HasPrefix(key, name+" ") })
	a.mu.Unlock()
	for _, folder := range folders {
		if err := os.RemoveAll(folder); err != nil {
			a.log("remove the folder of a pod on %s: %v", name, err) // The next start does.
		}
	}
	return nil
}

// foldersOn are those of a node's pods.
func (a *Agent) foldersOn(n *node) (all []string) {
	for _, object := range a.store.List() {
		if o, ok := object.(*corev1.Pod); ok && o.Spec.NodeName == n.Name {
			all = append(all, filepath.Join(a.podsDir(), string(o.UID)))
		}
	}
	for _, p := range a.podsOf(n) {
		all = append(all, p.dir)
	}
	return all
}

func (a *Agent) podsOf(n *node) []*pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(a.pods)), func(p *pod) bool { return p.node != n })
}

// killEvery is how soon a program is killed that was just being started.
const killEvery = 20 * time.Millisecond

// powerOff ends all that runs on the node at once, and that anybody switches it on again.
// A shutdown that is under way, with its grace periods, is cut short.
func (n *node) powerOff() {
	n.abandon()
	n.disconnect(Killed)
	pods := n.agent.podsOf(n) // No more come.
	n.agent.mu.Lock()
	off := n.off
	n.agent.mu.Unlock()
	off()
	ended := make(chan struct{})
	go func() {
		n.obeying.Wait()
		n.switchOff(Killed)
		close(ended)
	}()
	every := time.NewTicker(killEvery)
	defer every.Stop()
	for {
		for _, p := range pods {
			p.kill()
		}
		select {
		case <-ended:
			return
		case <-every.C:
		}
	}
}

// kill kills what runs of the pod now.
func (p *pod) kill() {
	for _, c := range slices.Concat(p.inits, p.mains) {
		c.mu.Lock()
		running := c.process
		c.mu.Unlock()
		if running != nil && !isClosed(running.done) {
			running.kill()
		}
	}
}

// RemoveNode removes a Node that has no machine any more, so that nothing is bound to it
// from then on, and then its pods without any grace: nobody is left who could give them
// one. What is gone already is no error.
func RemoveNode(ctx context.Context, client kubernetes.Interface, name string) error {
	if err := client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove node %s: %w", name, err)
	}
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String()})
	if err != nil {
		return fmt.Errorf("list the pods of node %s: %w", name, err)
	}
	var problems []error
	for _, p := range pods.Items {
		err := client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			problems = append(problems, fmt.Errorf("end pod %s/%s: %w", p.Namespace, p.Name, err))
		}
	}
	return errors.Join(problems...)
}
