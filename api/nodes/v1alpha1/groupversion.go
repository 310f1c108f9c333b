// Package v1alpha1 is the API of node rotation: where the wanted machine image comes
// from, which groups of machines there are, and the runs that replace their nodes.
//
// +kubebuilder:object:generate=true
// +groupName=nodes.windlass.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "nodes.windlass.dev", Version: "v1alpha1"}

// AddToScheme adds this package's kinds to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&NodeImage{}, &NodeImageList{}, &NodeGroup{}, &NodeGroupList{},
		&NodeRotation{}, &NodeRotationList{}, &NodeReplacement{}, &NodeReplacementList{},
		&FleetRotation{}, &FleetRotationList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
