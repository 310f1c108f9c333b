package agent

import (
	"context"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// Node is one process node.
type Node struct {
	Name, Zone string
}

// A kubelet renews its lease every 10 s, which lasts for 40, and its status every 5
// minutes. See https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats.
const (
	leaseEvery  = 10 * time.Second
	leaseLasts  = 40
	statusEvery = 5 * time.Minute
)

// capacity is what a node says that it has. It is not enforced.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU())*8, resource.DecimalSI),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		corev1.ResourcePods:             resource.MustParse("250"),
	}
}

// register makes the node, or takes up the one that is there.
func (a *Agent) register(ctx context.Context, n Node) error {
	nodes := a.options.Client.CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
		KindLabel: Process, corev1.LabelHostname: n.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	}}}
	if n.Zone != "" {
		node.Labels[corev1.LabelTopologyZone], node.Labels[corev1.LabelTopologyRegion] = n.Zone, "local"
	}
	node.Spec.ProviderID = "process://" + n.Name
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.heartbeat(ctx, n)
}

// heartbeat writes the node's status.
func (a *Agent) heartbeat(ctx context.Context, n Node) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		node, err := a.options.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		node.Status.Capacity, node.Status.Allocatable = capacity(), capacity()
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP}, {Type: corev1.NodeHostName, Address: n.Name}}
		node.Status.NodeInfo = corev1.NodeSystemInfo{
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1", KubeletVersion: a.version,
		}
		node.Status.Conditions = nil
		for kind, is := range map[corev1.NodeConditionType]corev1.ConditionStatus{
			corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
			corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
		} {
			reason := "KubeletReady"
			if kind != corev1.NodeReady {
				reason = "KubeletHasSufficient" + string(kind)
			}
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: kind, Status: is, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now})
		}
		_, err = a.options.Client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

// keep renews the node's lease, and its status more rarely, until ctx ends.
func (a *Agent) keep(ctx context.Context, n Node) {
	last := time.Now()
	for ctx.Err() == nil {
		if err := a.renew(ctx, n); err != nil && ctx.Err() == nil {
			a.log("renew the lease of %s: %v", n.Name, err)
		}
		if time.Since(last) >= statusEvery {
			last = time.Now()
			if err := a.heartbeat(ctx, n); err != nil && ctx.Err() == nil {
				a.log("status of %s: %v", n.Name, err)
			}
		}
		pause.For(ctx, leaseEvery)
	}
}

func (a *Agent) renew(ctx context.Context, n Node) error {
	leases := a.options.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: n.Name}}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: new(int32(leaseLasts)), RenewTime: &now}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &n.Name, &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}
