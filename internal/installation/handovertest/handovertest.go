// Package handovertest watches, in a test, an installation that goes from one resource to
// another: that no object of it is lost, made anew or left without an owner on the way.
package handovertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
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

// every is how often it is looked: a machine has other things to do.
const every = 100 * time.Millisecond

// Objects returns the objects of a namespace, by kind and name.
func Objects(ctx context.Context, c client.Client, namespace string) (map[string]metav1.PartialObjectMetadata, error) {
	all := map[string]metav1.PartialObjectMetadata{}
	for _, kind := range made {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := c.List(ctx, list, client.InNamespace(namespace))
		if meta.IsNoMatchError(err) {
			continue // Not every cluster knows the stores.
		}
		if err != nil {
			return nil, err
		}
		for _, item := range list.Items {
			all[kind.Kind+"/"+item.Name] = item
		}
	}
	return all, nil
}

// resources returns the UIDs of both resources, as far as they are there.
func resources(ctx context.Context, c client.Client, name types.NamespacedName) (map[types.UID]bool, error) {
	all := map[types.UID]bool{}
	for _, object := range []client.Object{&v1alpha1.ClusterInstallation{}, &v1beta1.Mattermost{}} {
		err := c.Get(ctx, name, object)
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if err == nil {
			all[object.GetUID()] = true
		}
	}
	return all, nil
}

// Watch looks, until end is called, whether every object that there is now stays the
// same one, and none is owned by a resource that is not there, or no longer by one. Of the kinds that may
// change there may be others. Besides, also is asked; nil for nothing. End returns the first
// thing that was not so.
func Watch(ctx context.Context, c client.Client, name types.NamespacedName, mayChange []string, also func(context.Context) error) (end func() error, err error) {
	w := watch{client: c, name: name, mayChange: mayChange}
	if w.first, err = Objects(ctx, c, name.Namespace); err != nil {
		return nil, err
	}
	if len(w.first) < fewest {
		return nil, fmt.Errorf("only %d objects", len(w.first))
	}
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() {
		again := time.NewTicker(every)
		defer again.Stop()
		for ctx.Err() == nil {
			err := w.look(ctx)
			if err == nil && also != nil {
				err = also(ctx)
			}
			if err != nil && ctx.Err() == nil {
				result <- err
				return
			}
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
		result <- nil
	}()
	return func() error {
		cancel()
		return <-result
	}, nil
}

type watch struct {
	client    client.Client
	name      types.NamespacedName
	mayChange []string
	first     map[string]metav1.PartialObjectMetadata
}

// changes reports whether there may be others in the place of an object.
func (w watch) changes(what string) bool {
	kind, _, _ := strings.Cut(what, "/")
	return slices.Contains(w.mayChange, kind)
}

func (w watch) look(ctx context.Context) error {
	before, err := resources(ctx, w.client, w.name)
	now, errNow := Objects(ctx, w.client, w.name.Namespace)
	after, errAfter := resources(ctx, w.client, w.name)
	if err := errors.Join(err, errNow, errAfter); err != nil {
		return err
	}
	for what, is := range now {
		for _, owner := range is.OwnerReferences {
			if isResource(owner) && !before[owner.UID] && !after[owner.UID] {
				return fmt.Errorf("%s is owned by %s %s, which is not there", what, owner.Kind, owner.UID)
			}
		}
	}
	return w.compare(now)
}

// compare wants the objects to be those that there were first.
func (w watch) compare(now map[string]metav1.PartialObjectMetadata) error {
	for what, was := range w.first {
		switch is, there := now[what]; {
		case w.changes(what):
		case !there || is.UID != was.UID || is.DeletionTimestamp != nil:
			return fmt.Errorf("%s is gone, or another one, or about to go", what)
		case len(is.OwnerReferences) < len(was.OwnerReferences):
			return fmt.Errorf("%s has lost its owner", what)
		}
	}
	for what := range now {
		if _, was := w.first[what]; !was && !w.changes(what) {
			return fmt.Errorf("%s is new", what)
		}
	}
	return nil
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
