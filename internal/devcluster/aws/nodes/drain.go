package nodes

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/aws/world"
)

// drain cordons the node and evicts its pods, again and again as EKS does.
func drain(ctx context.Context, client kubernetes.Interface, m world.Machine) error {
	// Applying would make a node that is gone.
	cordon := []byte(`{"spec":{"unschedulable":true}}`)
	_, err := client.CoreV1().Nodes().Patch(ctx, m.PrivateDnsName, types.StrategicMergePatchType, cordon, metav1.PatchOptions{FieldManager: fieldManager + "-drain"})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cordon %s: %w", m.PrivateDnsName, err)
	}
	return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods, err := podsOn(ctx, client, m.PrivateDnsName)
		if err != nil {
			return false, nil //nolint:nilerr // It is asked again.
		}
		left := 0
		for _, p := range pods {
			if stays(p) {
				continue
			}
			left++
			evict(ctx, client, p)
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
func evict(ctx context.Context, client kubernetes.Interface, p corev1.Pod) {
	if p.DeletionTimestamp != nil {
		return
	}
	_ = client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
	})
}

func podsOn(ctx context.Context, client kubernetes.Interface, node string) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	return list.Items, nil
}
