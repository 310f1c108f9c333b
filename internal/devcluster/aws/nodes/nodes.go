// Package nodes makes the machines of a fake cloud nodes of a development cluster. They
// are simulated ones: KWOK lives their lives.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
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
	labels := map[string]string{
		corev1.LabelHostname: m.PrivateDnsName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", agent.KindLabel: agent.Simulated,
		corev1.LabelTopologyZone: m.Zone, corev1.LabelTopologyRegion: m.Region, corev1.LabelInstanceTypeStable: m.InstanceType,
		InstanceLabel: m.InstanceId, ImageLabel: m.ImageId,
	}
	if m.Nodegroup != "" {
		labels["eks.amazonaws.com/nodegroup"], labels["eks.amazonaws.com/nodegroup-image"] = m.Nodegroup, m.ImageId
		labels["eks.amazonaws.com/capacityType"] = map[bool]string{true: "SPOT", false: "ON_DEMAND"}[m.Spot]
	}
	maps.Copy(labels, m.Labels)
	spec := corev1ac.NodeSpec().WithProviderID("aws:///" + m.Zone + "/" + m.InstanceId)
	if s.Tainted {
		spec.WithTaints(corev1ac.Taint().WithKey(agent.SimulatedTaint).WithEffect(corev1.TaintEffectNoSchedule))
	}
	for _, t := range m.Taints {
		effect, ok := effects[t.Effect]
		if !ok {
			return fmt.Errorf("taint %s: the effect %q is not known", t.Key, t.Effect)
		}
		spec.WithTaints(corev1ac.Taint().WithKey(t.Key).WithValue(t.Value).WithEffect(effect))
	}
	node := corev1ac.Node(m.PrivateDnsName).WithLabels(labels).WithSpec(spec)
	_, err := s.Client.CoreV1().Nodes().Apply(ctx, node, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// effects are Kubernetes' names for EKS's.
var effects = map[string]corev1.TaintEffect{
	"NO_SCHEDULE": corev1.TaintEffectNoSchedule, "NO_EXECUTE": corev1.TaintEffectNoExecute, "PREFER_NO_SCHEDULE": corev1.TaintEffectPreferNoSchedule,
}

// Kill removes the node, so that nothing more is bound to it, and then its pods without
// any grace: nobody is left who could give them one.
func (s Simulated) Kill(ctx context.Context, m world.Machine) error {
	err := s.Client.CoreV1().Nodes().Delete(ctx, m.PrivateDnsName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove node %s: %w", m.PrivateDnsName, err)
	}
	return s.killPods(ctx, m.PrivateDnsName)
}

func (s Simulated) killPods(ctx context.Context, node string) error {
	pods, err := s.podsOn(ctx, node)
	if err != nil {
		return err
	}
	var problems []error
	for _, p := range pods {
		err := s.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			problems = append(problems, fmt.Errorf("end pod %s/%s: %w", p.Namespace, p.Name, err))
		}
	}
	return errors.Join(problems...)
}

func (s Simulated) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := s.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	return list.Items, nil
}

// Drain cordons the node and evicts its pods, again and again as EKS does.
func (s Simulated) Drain(ctx context.Context, m world.Machine) error {
	node := corev1ac.Node(m.PrivateDnsName).WithSpec(corev1ac.NodeSpec().WithUnschedulable(true))
	_, err := s.Client.CoreV1().Nodes().Apply(ctx, node, metav1.ApplyOptions{FieldManager: fieldManager + "-drain", Force: true})
	if err != nil {
		return fmt.Errorf("cordon %s: %w", m.PrivateDnsName, err)
	}
	return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods, err := s.podsOn(ctx, m.PrivateDnsName)
		if err != nil {
			return false, nil //nolint:nilerr // It is asked again.
		}
		left := 0
		for _, p := range pods {
			if stays(p) {
				continue
			}
			left++
			s.evict(ctx, p)
		}
		return left == 0, nil
	})
}

// stays is true of pods that a drain leaves alone.
func stays(p corev1.Pod) bool {
	owner := metav1.GetControllerOf(&p)
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror || owner != nil && owner.Kind == "DaemonSet"
}

// evict asks for a pod to leave. A refusal is no error: it is asked again.
func (s Simulated) evict(ctx context.Context, p corev1.Pod) {
	if p.DeletionTimestamp != nil {
		return
	}
	_ = s.Client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
	})
}

// Clean removes the nodes of an earlier cloud, which this one does not know.
func (s Simulated) Clean(ctx context.Context) error {
	list, err := s.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: InstanceLabel})
	if err != nil {
		return fmt.Errorf("list the nodes of an earlier cloud: %w", err)
	}
	var problems []error
	for _, n := range list.Items {
		if strings.HasPrefix(n.Spec.ProviderID, "aws:///") {
			problems = append(problems, s.Kill(ctx, world.Machine{PrivateDnsName: n.Name}))
		}
	}
	return errors.Join(problems...)
}
