// Package handovertest watches, in a test, an installation that goes from one resource to
// another: that no object of it is lost, made anew or left without an owner on the way.
package handovertest

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// made are the kinds of which an installation has objects.
var made = []schema.GroupVersionKind{
	corev1.SchemeGroupVersion.WithKind("Service"), corev1.SchemeGroupVersion.WithKind("ServiceAccount"), corev1.SchemeGroupVersion.WithKind("Secret"),
	networkingv1.SchemeGroupVersion.WithKind("Ingress"), appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Group: "mysql.presslabs.org", Version: "v1alpha1", Kind: "MysqlCluster"}, {Group: "miniocontroller.min.io", Version: "v1beta1", Kind: "MinIOInstance"},
	corev1.SchemeGroupVersion.WithKind("Pod"),
}

// Pods are the kinds of which there are others when the pods are replaced.
var Pods = []string{"Pod", "ReplicaSet", "Deployment"}

// fewest is how many objects an installation has at least.
const fewest = 7

// Objects returns the objects of a namespace, by kind and name.
func Objects(ctx context.Context, c client.Client, namespace string) (map[string]metav1.PartialObjectMetadata, error) {
	all := map[string]metav1.PartialObjectMetadata{}
	for _, kind := range made {
		list, err := listed(ctx, c, kind, namespace)
		if err != nil {
			return nil, err
		}
		for _, item := range list.Items {
			all[kind.Kind+"/"+item.Name] = item
		}
	}
	return all, nil
}

// listed are the objects of a kind. Not every cluster knows the stores: of what it does not
// know there is nothing, of no version.
func listed(ctx context.Context, c client.Client, kind schema.GroupVersionKind, namespace string) (*metav1.PartialObjectMetadataList, error) {
	list := listOf(kind)
	err := c.List(ctx, list, client.InNamespace(namespace))
	if meta.IsNoMatchError(err) {
		return list, nil
	}
	return list, err
}

func listOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}

func isResource(owner metav1.OwnerReference) bool {
	return owner.Kind == "ClusterInstallation" || owner.Kind == "Mattermost"
}

// Audit returns what is wrong with who owns the objects of a namespace: all that has an
// owner has to have this one.
func Audit(ctx context.Context, c client.Client, owner client.Object) error {
	all, err := Objects(ctx, c, owner.GetNamespace())
	if err != nil {
		return err
	}
	var problems []error
	owned := 0
	for what, object := range all {
		for _, o := range object.OwnerReferences {
			switch {
			case o.UID == owner.GetUID():
				owned++
			case isResource(o):
				problems = append(problems, fmt.Errorf("%s is owned by %s %s", what, o.Kind, o.UID))
			}
		}
	}
	if owned < 5 {
		problems = append(problems, fmt.Errorf("only %d objects are owned by it", owned))
	}
	return errors.Join(problems...)
}
