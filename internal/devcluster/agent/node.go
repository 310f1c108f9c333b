package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"

	"windlass.dev/internal/devcluster/pause"
)

// Labels and taints that tell the kinds of nodes apart.
const (
	// KindLabel is "process" or "simulated".
	KindLabel = "windlass.dev/node"
	Process   = "process"
	Simulated = "simulated"
	// SimulatedTaint keeps pods from simulated nodes, where there are others, unless
	// they tolerate it.
	SimulatedTaint = "windlass.dev/simulated"
)

// Node is one process node. All but the name may be missing.
type Node struct {
	Name, Zone string
	Labels     map[string]string
	Taints     []corev1.Taint
	// ProviderID is whose machine it is; empty for the agent's own.
	ProviderID string
	// Capacity is what it has in other amounts than nodes have otherwise.
	Capacity corev1.ResourceList
}

// node is a Node with its machine.
type node struct {
	Node

	agent  *Agent
	client kubernetes.Interface
	gate   *gate
	record record.EventRecorder
	// port is where its kubelet serves, until hangUp is called.
	port   atomic.Int32
	hangUp context.CancelFunc

	// running is all that ends when the machine is switched off.
	running sync.WaitGroup
	// obeying is who switches it on and off, until abandon is called.
	obeying sync.WaitGroup
	abandon context.CancelFunc
	// directed holds one: what is wanted of it has changed.
	directed chan struct{}

	// What follows is guarded by the agent's lock. The life ends when it is switched off.
	state, wanted State
	uid           types.UID       // The Node's.
	life          context.Context //nolint:containedctx // Pods that come later live as long.
	off           context.CancelFunc
}

// newNode makes a node that is off.
func (a *Agent) newNode(described Node) (*node, error) {
	way := &gate{next: a.transport}
	client, err := kubernetes.NewForConfigAndClient(rest.AnonymousClientConfig(a.options.Config), &http.Client{Transport: way})
	if err != nil {
		return nil, err
	}
	return &node{
		Node: described, agent: a, client: client, gate: way, state: Killed, directed: make(chan struct{}, 1), off: func() {}, abandon: func() {},
		record: a.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: described.Name}),
	}, nil
}

// A kubelet renews its lease every 10 s, which lasts for 40, and its status every 5
// minutes. See https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats.
const (
	leaseEvery  = 10 * time.Second
	leaseLasts  = 40
	statusEvery = 5 * time.Minute
)

// capacity is what a node says that it has. It is not enforced.
func (n *node) capacity() corev1.ResourceList {
	all := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU())*8, resource.DecimalSI),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		corev1.ResourcePods:             resource.MustParse("250"),
	}
	maps.Copy(all, n.Capacity)
	return all
}

// register makes the node, or takes up the one that is there.
func (n *node) register(ctx context.Context) error {
	nodes := n.client.CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
		corev1.LabelHostname: n.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	}}}
	if n.Zone != "" {
		node.Labels[corev1.LabelTopologyZone], node.Labels[corev1.LabelTopologyRegion] = n.Zone, "local"
	}
	maps.Copy(node.Labels, n.Labels)
	node.Labels[KindLabel] = Process
	node.Spec.ProviderID, node.Spec.Taints = cmp.Or(n.ProviderID, "process://"+n.Name), n.Taints
	_, err := nodes.Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = nodes.Get(ctx, n.Name, metav1.GetOptions{})
		if err == nil && node.Labels[KindLabel] != Process {
			return errors.New("there is another node of that name, which runs no processes")
		}
	}
	if err != nil {
		return err
	}
	return n.heartbeat(ctx)
}

// heartbeat writes the node's status.
func (n *node) heartbeat(ctx context.Context) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		node, err := n.client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		n.agent.mu.Lock()
		n.uid = node.UID
		n.agent.mu.Unlock()
		now := metav1.Now()
		node.Status.Capacity, node.Status.Allocatable = n.capacity(), n.capacity()
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP}, {Type: corev1.NodeHostName, Address: n.Name}, {Type: corev1.NodeInternalDNS, Address: servingName}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = n.port.Load()
		node.Status.NodeInfo = corev1.NodeSystemInfo{
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1", KubeletVersion: n.agent.version,
		}
		before := node.Status.Conditions
		node.Status.Conditions = nil
		for kind, is := range map[corev1.NodeConditionType]corev1.ConditionStatus{
			corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
			corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
		} {
			reason := "KubeletReady"
			if kind != corev1.NodeReady {
				reason = "KubeletHasSufficient" + string(kind)
			}
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: kind, Status: is, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: since(before, kind, is, now)})
		}
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

// since is when a condition became what it is.
func since(before []corev1.NodeCondition, kind corev1.NodeConditionType, is corev1.ConditionStatus, now metav1.Time) metav1.Time {
	for _, was := range before {
		if was.Type == kind && was.Status == is {
			return was.LastTransitionTime
		}
	}
	return now
}

// keep renews the node's lease, and its status more rarely, until ctx ends.
func (n *node) keep(ctx context.Context) {
	last := time.Now()
	for ctx.Err() == nil {
		if err := n.renew(ctx); err != nil && ctx.Err() == nil && !n.gate.closed.Load() {
			n.agent.log("renew the lease of %s: %v", n.Name, err)
		}
		if time.Since(last) >= statusEvery || n.doubted(ctx) {
			last = time.Now()
			if err := n.heartbeat(ctx); err != nil && ctx.Err() == nil && !n.gate.closed.Load() {
				n.agent.log("status of %s: %v", n.Name, err)
			}
		}
		pause.For(ctx, leaseEvery)
	}
}

// doubted says that the Node is stored as not Ready, which it is: a kubelet says so at once.
func (n *node) doubted(ctx context.Context) bool {
	node, err := n.client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	return err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	})
}

func (n *node) renew(ctx context.Context) error {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: n.Name}}
		lease.OwnerReferences = []metav1.OwnerReference{n.owner()}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: new(int32(leaseLasts)), RenewTime: &now}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.OwnerReferences = []metav1.OwnerReference{n.owner()}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &n.Name, &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// owner has the lease go with the Node.
func (n *node) owner() metav1.OwnerReference {
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.uid}
}

func (n *node) requestToken(ctx context.Context, o *corev1.Pod, source *corev1.ServiceAccountTokenProjection) (value string, expires time.Time, err error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: o.Name, UID: o.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := n.client.CoreV1().ServiceAccounts(o.Namespace).CreateToken(ctx, o.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, err
	}
	return answer.Status.Token, answer.Status.ExpirationTimestamp.Time, nil
}
