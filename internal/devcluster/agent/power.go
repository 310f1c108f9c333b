package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// State is what has been done to a node's machine.
type State string

const (
	// Running is a node as it should be.
	Running State = "running"
	// Stopped is one that was shut down: its programs were told to end.
	Stopped State = "stopped"
	// Killed is one that lost its power.
	Killed State = "killed"
	// Partitioned is one whose programs run, and which the API server neither reaches
	// nor hears of.
	Partitioned State = "partitioned"
)

// The agent brings a node into the state of the one annotation, and says so in the
// other. Both are its machine's, not the node's, which may be off.
const (
	stateAnnotation    = "windlass.dev/node-state"
	observedAnnotation = "windlass.dev/node-state-observed"
)

// statePatience is how long a change is awaited. Stopping a node takes as long as the
// longest grace period of its pods.
const statePatience = 5 * time.Minute

// SetState stops, kills, partitions or starts a node, and returns when that is done.
func SetState(ctx context.Context, client kubernetes.Interface, name string, want State) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if node.Labels[KindLabel] != Process {
		return fmt.Errorf("node %s is simulated: it is no machine that could be %s", name, want)
	}
	if is := State(node.Annotations[observedAnnotation]); want == Partitioned && (is == Stopped || is == Killed) {
		return fmt.Errorf("node %s is %s: start it first", name, is)
	}
	if err := annotate(ctx, client, name, stateAnnotation, want); err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, statePatience, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err == nil && State(node.Annotations[observedAnnotation]) == want, err
	})
	if err != nil {
		return fmt.Errorf("wait for node %s to be %s: %w", name, want, err)
	}
	return nil
}

func annotate(ctx context.Context, client kubernetes.Interface, name, key string, s State) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: s}}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// direct takes down what is to become of a node.
func (a *Agent) direct(object any) {
	o, ok := object.(*corev1.Node)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.nodes[o.Name]
	if n == nil {
		return
	}
	switch want := State(o.Annotations[stateAnnotation]); want {
	case Running, Stopped, Killed, Partitioned:
		n.wanted = want
		notify(n.directed)
	default: // It has not been said, or it is nothing that a machine could be.
	}
}

// obey brings the node into the state that is wanted, until ctx ends.
func (n *node) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.directed:
		}
		n.agent.mu.Lock()
		want, is := n.wanted, n.state
		n.agent.mu.Unlock()
		if want != is {
			if err := n.become(ctx, want); err != nil && ctx.Err() == nil {
				n.agent.log("node %s cannot be %s: %v", n.Name, want, err)
				continue
			}
		}
		if err := annotate(ctx, n.agent.client, n.Name, observedAnnotation, want); err != nil && ctx.Err() == nil {
			n.agent.log("say that node %s is %s: %v", n.Name, want, err)
		}
	}
}

func (n *node) become(ctx context.Context, want State) error {
	n.agent.mu.Lock()
	is := n.state
	n.agent.mu.Unlock()
	off := is == Stopped || is == Killed
	switch {
	case want == Running && off:
		return n.switchOn(ctx)
	case want == Running:
		return n.connect(ctx)
	case want == Partitioned && off:
		return errors.New("it is off")
	case want == Partitioned:
		n.disconnect(Partitioned)
		n.hangUp()
	default:
		n.switchOff(want)
	}
	return nil
}

// switchOn starts the node's kubelet, which takes up the pods that are bound to it.
func (n *node) switchOn(ctx context.Context) error { //nolint:contextcheck // The node lives as long as the agent, not as the call.
	life, off := context.WithCancel(n.agent.life)
	n.agent.mu.Lock()
	n.life, n.off = life, off
	n.agent.mu.Unlock()
	if err := n.connect(ctx); err != nil {
		off()
		return err
	}
	n.announce(eventStarting, "Starting kubelet.")
	n.running.Go(func() { n.keep(life) })
	return nil
}

// connect has the node see and be seen.
func (n *node) connect(ctx context.Context) error {
	n.gate.closed.Store(false)
	serving, hangUp := context.WithCancel(n.life)
	if err := n.serve(serving); err != nil { //nolint:contextcheck // It serves until the node is cut off or off.
		hangUp()
		return err
	}
	n.hangUp = hangUp
	if err := errors.Join(n.register(ctx), n.renew(ctx)); err != nil {
		n.gate.closed.Store(true)
		hangUp()
		return err
	}
	n.agent.mu.Lock()
	n.state = Running
	n.agent.mu.Unlock()
	n.announce(eventNodeReady, fmt.Sprintf("Node %s status is now: NodeReady", n.Name))
	n.agent.catchUp(n) //nolint:contextcheck // Pods live as long as the node.
	return nil
}

// disconnect keeps everything from the node, and all that it would say.
func (n *node) disconnect(now State) {
	n.agent.mu.Lock()
	n.state = now
	n.agent.mu.Unlock()
	n.gate.closed.Store(true)
}

// switchOff ends everything on the node without a word to anybody.
func (n *node) switchOff(how State) {
	n.disconnect(how)
	n.agent.mu.Lock()
	off := n.off
	n.agent.mu.Unlock()
	off()
	n.running.Wait()
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	for uid, p := range n.agent.pods {
		if p.node == n {
			delete(n.agent.pods, uid)
			delete(n.agent.gone, uid)
		}
	}
}

// is tells the node's state.
func (n *node) is() State {
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	return n.state
}

// gate is a node's way to the API server.
type gate struct {
	closed atomic.Bool
	next   http.RoundTripper
}

var errPartitioned = errors.New("connect to the API server: the node has no connection")

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.closed.Load() {
		return nil, errPartitioned
	}
	return g.next.RoundTrip(r)
}
