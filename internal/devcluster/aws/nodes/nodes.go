// Package nodes makes the machines of a fake cloud nodes of a development cluster: simulated
// ones, whose lives KWOK lives, or process nodes, whose lives the agent lives.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/aws/world"
)

const (
	// fieldManager owns what this package writes.
	fieldManager = "windlass-fake-aws"
	// InstanceLabel is the instance that a node is, and ImageLabel what that runs.
	InstanceLabel = "windlass.dev/instance"
	ImageLabel    = "windlass.dev/image"
)

// Simulated makes machines simulated nodes.
type Simulated struct {
	Client kubernetes.Interface
	// Tainted keeps pods away that do not tolerate simulated nodes, where there are
	// others that run programs.
	Tainted bool
}

// Boot makes the node as a kubelet and EKS make it.
func (s Simulated) Boot(ctx context.Context, m world.Machine) error {
	labels := labelsOf(m)
	maps.Copy(labels, map[string]string{
		corev1.LabelHostname: m.PrivateDnsName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", agent.KindLabel: agent.Simulated,
	})
	taints, err := taintsOf(m)
	if err != nil {
		return err
	}
	if s.Tainted {
		taints = append(taints, corev1.Taint{Key: agent.SimulatedTaint, Effect: corev1.TaintEffectNoSchedule})
	}
	spec := corev1ac.NodeSpec().WithProviderID(providerID(m))
	for _, t := range taints {
		spec.WithTaints(corev1ac.Taint().WithKey(t.Key).WithValue(t.Value).WithEffect(t.Effect))
	}
	node := corev1ac.Node(m.PrivateDnsName).WithLabels(labels).WithSpec(spec)
	_, err = s.Client.CoreV1().Nodes().Apply(ctx, node, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// Kill removes the node and its pods.
func (s Simulated) Kill(ctx context.Context, m world.Machine) error {
	return agent.RemoveNode(ctx, s.Client, m.PrivateDnsName)
}

// Drain cordons the node and evicts its pods, again and again as EKS does.
func (s Simulated) Drain(ctx context.Context, m world.Machine) error { return drain(ctx, s.Client, m) }

func providerID(m world.Machine) string { return providerPrefix + m.Zone + "/" + m.InstanceId }

// providerPrefix is that of all instances of AWS.
const providerPrefix = "aws:///"

// labelsOf are what a node is labelled with as a machine of a cloud.
func labelsOf(m world.Machine) map[string]string {
	labels := map[string]string{
		corev1.LabelTopologyZone: m.Zone, corev1.LabelTopologyRegion: m.Region, corev1.LabelInstanceTypeStable: m.InstanceType,
		InstanceLabel: m.InstanceId, ImageLabel: m.ImageId,
	}
	if m.Nodegroup != "" {
		labels["eks.amazonaws.com/nodegroup"], labels["eks.amazonaws.com/nodegroup-image"] = m.Nodegroup, m.ImageId
		labels["eks.amazonaws.com/capacityType"] = map[bool]string{true: "SPOT", false: "ON_DEMAND"}[m.Spot]
	}
	maps.Copy(labels, m.Labels)
	return labels
}

// effects are Kubernetes' names for EKS's.
var effects = map[string]corev1.TaintEffect{
	"NO_SCHEDULE": corev1.TaintEffectNoSchedule, "NO_EXECUTE": corev1.TaintEffectNoExecute, "PREFER_NO_SCHEDULE": corev1.TaintEffectPreferNoSchedule,
}

func taintsOf(m world.Machine) ([]corev1.Taint, error) {
	var taints []corev1.Taint
	for _, t := range m.Taints {
		effect, ok := effects[t.Effect]
		if !ok {
			return nil, fmt.Errorf("taint %s: the effect %q is not known", t.Key, t.Effect)
		}
		taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: effect})
	}
	return taints, nil
}

// Clean removes the nodes of an earlier cloud, which nobody knows any more.
func Clean(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: InstanceLabel})
	if err != nil {
		return fmt.Errorf("list the nodes of an earlier cloud: %w", err)
	}
	var problems []error
	for _, n := range list.Items {
		if strings.HasPrefix(n.Spec.ProviderID, providerPrefix) {
			problems = append(problems, agent.RemoveNode(ctx, client, n.Name))
		}
	}
	return errors.Join(problems...)
}
