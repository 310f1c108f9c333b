package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// nothing is a program that no image has: a container that is to run it ends when its image
// is there, whatever is in it, and does nothing.
const nothing = "/windlass.dev/nothing"

// nobody is a user id that namespaces with restricted pods allow, and that owns nothing.
const nobody = 65534

// prePull makes a pod on the node with a container for each image. It is bound to the node
// by name, since no scheduler has to be asked, and goes with the run, if not before.
func (f *feature) prePull(ctx context.Context, run *v1alpha1.NodeRotation, a rotation.PrePull) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.namespace, Name: "pre-pull-" + string(a.UID),
			// No mesh has to look after it.
			Labels:          map[string]string{v1alpha1.PrePullLabel: run.Name, "sidecar.istio.io/inject": "false"},
			Annotations:     map[string]string{"linkerd.io/inject": "disabled"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRotation", Name: run.Name, UID: run.UID, Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName: a.Node, RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: new(int64(a.Timeout / time.Second)), TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(nobody)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		},
	}
	few := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")}
	for i, image := range a.Images {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("image-%d", i), Image: image, Command: []string{nothing}, ImagePullPolicy: corev1.PullIfNotPresent, Resources: corev1.ResourceRequirements{Requests: few},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		})
	}
	for _, name := range a.Secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	err := f.client.Create(ctx, pod, client.FieldOwner(Manager))
	if apierrors.IsAlreadyExists(err) {
		return nil // It is not seen yet.
	}
	return err
}

func (f *feature) removePod(ctx context.Context, a rotation.RemovePod) error {
	err := f.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name}}, client.Preconditions{UID: &a.UID})
	return client.IgnoreNotFound(err)
}
