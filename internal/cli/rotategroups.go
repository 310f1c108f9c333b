package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
)

// groups makes the NodeGroups that the flags describe, and returns their names.
func (a *standalone) groups(ctx context.Context, c client.Client, in io.Reader, told io.Writer) ([]string, error) {
	wanted, err := a.providers()
	if err != nil {
		return nil, err
	}
	var names []string
	var list v1alpha1.NodeGroupList
	if err := c.List(ctx, &list); err != nil {
		return nil, asked("list NodeGroups", err)
	}
	for i := range wanted {
		name, err := groupOf(ctx, c, list.Items, &wanted[i], told)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if a.file == "" {
		return names, nil
	}
	manifests, err := readGroups(a.file, in)
	if err != nil {
		return nil, err
	}
	for _, m := range manifests {
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(m), client.FieldOwner(rotateOwner), client.ForceOwnership); err != nil {
			if apierrors.IsInvalid(err) {
				return nil, fmt.Errorf("%s: %w", a.file, err)
			}
			return nil, asked("apply NodeGroup "+m.GetName(), err)
		}
		names = append(names, m.GetName())
	}
	return names, nil
}

// providers are the NodeGroups that the flags describe.
func (a *standalone) providers() ([]v1alpha1.NodeGroup, error) {
	var all []v1alpha1.NodeGroup
	add := func(name string, p v1alpha1.Provider) {
		all = append(all, v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: objectName(name)}, Spec: v1alpha1.NodeGroupSpec{Provider: p}})
	}
	for _, name := range a.autoScaling {
		add(name, v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: name, Region: a.region}})
	}
	for _, both := range a.eks {
		cluster, name, ok := strings.Cut(both, "/")
		if !ok || cluster == "" || name == "" {
			return nil, usageError{fmt.Errorf("--eks %s: want CLUSTER/NODEGROUP", both)}
		}
		add(cluster+"-"+name, v1alpha1.Provider{EKS: &v1alpha1.EKSNodegroup{Cluster: cluster, Name: name, Region: a.region}})
	}
	return all, nil
}

var unfit = regexp.MustCompile("[^a-z0-9]+")

// objectName is a name as Kubernetes takes it.
func objectName(name string) string {
	name = strings.Trim(unfit.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return cmp.Or(strings.Trim(name[:min(len(name), validation.DNS1123LabelMaxLength)], "-"), "group")
}

// groupOf is the name of the NodeGroup that has the provider; it is made if there is none.
func groupOf(ctx context.Context, c client.Client, all []v1alpha1.NodeGroup, wanted *v1alpha1.NodeGroup, told io.Writer) (string, error) {
	for i := range all {
		if equality.Semantic.DeepEqual(all[i].Spec.Provider, wanted.Spec.Provider) {
			return all[i].Name, nil
		}
	}
	if err := c.Create(ctx, wanted, client.FieldOwner(rotateOwner)); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("there is a NodeGroup %s of another group of machines: make one with --groups FILE under another name", wanted.Name)
		}
		return "", asked("make NodeGroup "+wanted.Name, err)
	}
	say(told, "NodeGroup %s was made", wanted.Name)
	return wanted.Name, nil
}

// readGroups reads manifests of NodeGroups, and refuses any other.
func readGroups(path string, in io.Reader) ([]*unstructured.Unstructured, error) {
	objects, path, err := readManifests(path, in)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.GroupVersionKind() != v1alpha1.GroupVersion.WithKind("NodeGroup") || o.GetName() == "" {
			return nil, fmt.Errorf("%s: want NodeGroups of %s with a name, and found %s %q", path, v1alpha1.GroupVersion, o.GetKind(), o.GetName())
		}
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s holds no NodeGroup", path)
	}
	return objects, nil
}
